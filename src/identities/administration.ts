import type {
  Group as GroupShown,
  Identity as IdentityShown,
  IdentityDetail,
  IdentityKey as KeyShown,
  IdentityQuery,
  NameQuery,
  Role as RoleShown,
} from '../admin/api/identity-resources.ts'
import type { Page } from '../admin/api/resources.ts'
import type { IdentityOperations } from '../admin/operations.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { hashPassword } from '../hooks/password-hash.ts'
import type { IdentityStore } from '../store/contract.ts'
import { Changes, type IdentityLimits } from './changes.ts'
import type { Directory, Kept, Kind } from './directory.ts'
import type { Group, Identity, IdentityKey, Role } from './records.ts'
import { createKeyText, createPassword } from './secrets.ts'

export interface AdministrationParts {
  readonly directory: Directory
  readonly store: IdentityStore
  readonly limits: IdentityLimits
  /** Some listener has a handler `type: dynamic`. */
  readonly isInForce: boolean
}

const NOT_IN_FORCE =
  'No listener of this broker has a handler `type: dynamic`: identities are kept, and have no effect'

/** What the API changes and shows of identities, groups and roles. */
export function createIdentityOperations(parts: AdministrationParts): IdentityOperations {
  const { directory, isInForce } = parts
  const { identities, groups, roles } = directory
  const changes = new Changes(parts)
  const warning = isInForce ? null : NOT_IN_FORCE

  function assertLoaded(): void {
    if (!directory.isLoaded)
      throw new TunnelMQError(ErrorCode.storeUnavailable, 'The broker is starting: its store is not open yet')
  }

  function detail(kept: Kept<Identity>): IdentityDetail {
    return { ...identityShown(kept), effectiveRoles: directory.roleNamesOf(kept.value), warning }
  }

  const detailOf = (name: string): IdentityDetail | undefined => {
    const kept = identities.get(name)
    return kept && detail(kept)
  }
  /** What was just written; somebody else may have deleted it since. */
  const written = <Shown>(kind: string, shown: Shown | undefined): Shown => {
    if (shown === undefined) throw new TunnelMQError(ErrorCode.changed, `The ${kind} is gone again`)
    return shown
  }

  return {
    identities(query) {
      assertLoaded()
      const page = pageOf(identities, query, (one) => isAsked(one, query, directory), identityShown)
      return { ...page, warning }
    },
    identity(name) {
      assertLoaded()
      return detailOf(name)
    },
    async createIdentity({ name, description, isEnabled, clientId, password, groups: inGroups, roles: own }) {
      assertLoaded()
      changes.assertFree('identity', name)
      const passwordHash = password === undefined ? undefined : await hashPassword(Buffer.from(password))
      const nowMs = Date.now()
      const record: Identity = {
        name,
        description,
        isEnabled,
        ...(clientId !== null && { clientId }),
        ...(passwordHash !== undefined && { passwordHash }),
        keys: [],
        groups: inGroups,
        roles: own,
        createdAtMs: nowMs,
        changedAtMs: nowMs,
      }
      await changes.create(record)
      return written('identity', detailOf(name))
    },
    async changeIdentity(name, { clientId, ...change }, atRevision) {
      assertLoaded()
      const isThere = await changes.identity(name, atRevision, (old) => {
        const { clientId: before, ...rest } = old
        const bound = clientId === undefined ? before : (clientId ?? undefined)
        const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
        return { ...rest, ...given, ...(bound !== undefined && { clientId: bound }) }
      })
      return isThere ? written('identity', detailOf(name)) : undefined
    },
    deleteIdentity(name, atRevision) {
      assertLoaded()
      return changes.remove('identity', name, atRevision)
    },
    async setIdentityPassword(name, request, atRevision) {
      assertLoaded()
      const password = request.password ?? createPassword()
      if (identities.get(name) === undefined) return undefined
      const passwordHash = await hashPassword(Buffer.from(password))
      const isThere = await changes.identity(name, atRevision, (old) => ({ ...old, passwordHash }))
      if (!isThere) return undefined
      const { revision } = written('identity', identities.get(name))
      return { password: request.password === undefined ? password : null, revision }
    },
    deleteIdentityPassword(name, atRevision) {
      assertLoaded()
      return changes.identity(name, atRevision, ({ passwordHash, ...rest }) =>
        passwordHash === undefined ? undefined : rest,
      )
    },
    async createIdentityKey(name, { description, expiresAt }) {
      assertLoaded()
      const { id, text, hash } = createKeyText()
      const nowMs = Date.now()
      const expiresAtMs = expiresAt === null ? 0 : Date.parse(expiresAt)
      if (expiresAt !== null && !(expiresAtMs > nowMs))
        throw new TunnelMQError(ErrorCode.usage, 'expiresAt: is over already')
      const key: IdentityKey = { id, description, hash, createdAtMs: nowMs, expiresAtMs }
      const isThere = await changes.identity(name, undefined, (old) => changes.withKey(old, key))
      if (!isThere) return undefined
      const { revision } = written('identity', identities.get(name))
      return { ...keyShown(key), secret: text, revision }
    },
    deleteIdentityKey(name, id) {
      assertLoaded()
      return changes.identity(name, undefined, (old) => {
        const keys = old.keys.filter((key) => key.id !== id)
        return keys.length === old.keys.length ? undefined : { ...old, keys }
      })
    },

    groups(query) {
      assertLoaded()
      const members = membersOf(directory)
      return pageOf(
        groups,
        query,
        (one) => isNamed(one, query),
        (kept) => groupShown(kept, members),
      )
    },
    group(name) {
      assertLoaded()
      const kept = groups.get(name)
      return kept && groupShown(kept, membersOf(directory))
    },
    async putGroup(name, { description, roles: given }, atRevision) {
      assertLoaded()
      await changes.putGroup({ name, description, roles: given }, atRevision)
      return groupShown(written('group', groups.get(name)), membersOf(directory))
    },
    deleteGroup(name, atRevision) {
      assertLoaded()
      return changes.remove('group', name, atRevision)
    },
    roles(query) {
      assertLoaded()
      const holders = holdersOf(directory)
      return pageOf(
        roles,
        query,
        (one) => isNamed(one, query),
        (kept) => roleShown(kept, holders),
      )
    },
    role(name) {
      assertLoaded()
      const kept = roles.get(name)
      return kept && roleShown(kept, holdersOf(directory))
    },
    async putRole(name, { description, rules }, atRevision) {
      assertLoaded()
      await changes.putRole({ name, description, rules }, atRevision)
      return roleShown(written('role', roles.get(name)), holdersOf(directory))
    },
    deleteRole(name, atRevision) {
      assertLoaded()
      return changes.remove('role', name, atRevision)
    },
  }
}

function pageOf<Value extends { readonly name: string }, Shown>(
  kind: Kind<Value>,
  query: NameQuery | IdentityQuery,
  isWanted: (value: Value) => boolean,
  shown: (kept: Kept<Value>) => Shown,
): Page<Shown> {
  const { after, limit } = query
  const items: Shown[] = []
  let last = ''
  let next: string | null = null
  // The cursor is the name that was shown last, whether it is still there or not.
  for (const kept of kind.behind(after ?? '')) {
    if (!isWanted(kept.value)) continue
    if (items.length === limit) {
      next = last
      break
    }
    items.push(shown(kept))
    last = kept.value.name
  }
  const { limit: _limit, after: _after, ...filters } = query
  const isAll = Object.values(filters).every((value) => value === undefined || value === 'all')
  return { items, next, total: isAll ? kind.size : null }
}

function isAsked(
  identity: Identity,
  { search, group, role, state }: IdentityQuery,
  directory: Directory,
): boolean {
  if (state !== 'all' && identity.isEnabled !== (state === 'enabled')) return false
  if (group !== undefined && !identity.groups.includes(group)) return false
  if (role !== undefined && !directory.roleNamesOf(identity).includes(role)) return false
  return isNamed(identity, { search }) || hasText(identity.clientId ?? '', search)
}

function isNamed(
  { name, description }: { readonly name: string; readonly description: string },
  { search }: { search?: string | undefined },
): boolean {
  return search === undefined || hasText(name, search) || hasText(description, search)
}

function hasText(text: string, search: string | undefined): boolean {
  return search !== undefined && text.toLowerCase().includes(search.toLowerCase())
}

const timeOf = (ms: number): string => new Date(ms).toISOString()

function keyShown({ id, description, createdAtMs, expiresAtMs }: IdentityKey): KeyShown {
  return {
    id,
    description,
    createdAt: timeOf(createdAtMs),
    expiresAt: expiresAtMs === 0 ? null : timeOf(expiresAtMs),
  }
}

function identityShown({ value, revision }: Kept<Identity>): IdentityShown {
  const { name, description, isEnabled, clientId, passwordHash, keys, groups, roles } = value
  return {
    name,
    description,
    isEnabled,
    clientId: clientId ?? null,
    hasPassword: passwordHash !== undefined,
    keys: keys.map(keyShown),
    groups: [...groups],
    roles: [...roles],
    createdAt: timeOf(value.createdAtMs),
    changedAt: timeOf(value.changedAtMs),
    revision,
  }
}

function groupShown({ value, revision }: Kept<Group>, members: ReadonlyMap<string, number>): GroupShown {
  const { name, description, roles } = value
  return { name, description, roles: [...roles], members: members.get(name) ?? 0, revision }
}

interface Holders {
  readonly identities: ReadonlyMap<string, number>
  readonly groups: ReadonlyMap<string, number>
}

function roleShown({ value, revision }: Kept<Role>, holders: Holders): RoleShown {
  const { name, description } = value
  const rules = value.rules.map(({ allow, actions, on }) => ({ allow, actions: [...actions], on }))
  const count = { identities: holders.identities.get(name) ?? 0, groups: holders.groups.get(name) ?? 0 }
  return { name, description, rules, ...count, revision }
}

/** Counts of identities, by group. */
function membersOf({ identities }: Directory): Map<string, number> {
  return counted(identities, ({ groups }) => groups)
}

function holdersOf({ identities, groups }: Directory): Holders {
  return {
    identities: counted(identities, ({ roles }) => roles),
    groups: counted(groups, ({ roles }) => roles),
  }
}

function counted<Value>(kind: Kind<Value>, names: (value: Value) => readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { value } of kind.values())
    for (const name of names(value)) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}
