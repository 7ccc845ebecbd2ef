import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { IdentityKind, IdentityStore, IdentityWrite } from '../store/contract.ts'
import type { Directory, Kept } from './directory.ts'
import type { Group, Identity, IdentityKey, RecordOf, Role } from './records.ts'
import { ruleFault } from './rules.ts'

export interface IdentityLimits {
  readonly maxIdentities: number
  readonly maxGroups: number
  readonly maxRoles: number
  /** Of one identity. */
  readonly maxKeysEach: number
}

export interface ChangesParts {
  readonly directory: Directory
  readonly store: IdentityStore
  readonly limits: IdentityLimits
}

/** As JSON. What one write may cost, in the store and on its way to other pods. */
const MAX_RECORD_BYTES = 256 * 1024
const MAX_WAITING = 1_000
/** Each time another pod has written meanwhile; one of the pods always gets through. */
const MAX_ATTEMPTS = 20

/**
 * Changes of the directory, each checked against all of what there is and written only if that is still so: rules between
 * records (names that are in use, client ids that are taken, bounds) hold on all pods.
 */
export class Changes {
  readonly #directory: Directory
  readonly #store: IdentityStore
  readonly #limits: IdentityLimits
  #turn: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor({ directory, store, limits }: ChangesParts) {
    this.#directory = directory
    this.#store = store
    this.#limits = limits
  }

  async create(record: Identity): Promise<void> {
    await this.#change(() => {
      this.assertFree('identity', record.name)
      this.#assertRoom('identities', this.#directory.identities.size, this.#limits.maxIdentities)
      this.#checkIdentity(record)
      return this.#put('identity', record)
    })
  }

  /** False: there is none of that name, or `make` answers undefined. */
  identity(
    name: string,
    atRevision: number | undefined,
    make: (old: Identity) => Identity | undefined,
  ): Promise<boolean> {
    return this.#change(() => {
      const old = this.#directory.identities.get(name)
      if (old === undefined) return undefined
      assertRevision('identity', name, old, atRevision)
      const made = make(old.value)
      if (made === undefined) return undefined
      this.#checkIdentity(made)
      return this.#put('identity', { ...made, changedAtMs: Date.now() })
    })
  }

  withKey(identity: Identity, key: IdentityKey): Identity {
    const { maxKeysEach } = this.#limits
    if (identity.keys.length >= maxKeysEach)
      throw exists(
        `The identity ${quoted(identity.name)} has ${maxKeysEach} keys (identities.maxKeysEach): delete one first`,
      )
    return { ...identity, keys: [...identity.keys, key] }
  }

  async putGroup(group: Group, atRevision: number | undefined): Promise<void> {
    const { groups } = this.#directory
    await this.#change(() => {
      const old = groups.get(group.name)
      assertRevision('group', group.name, old, atRevision)
      if (old === undefined) this.#assertRoom('groups', groups.size, this.#limits.maxGroups)
      this.#checkRoles(group.roles)
      return this.#put('group', group)
    })
  }

  async putRole(role: Role, atRevision: number | undefined): Promise<void> {
    const { roles } = this.#directory
    for (const [index, rule] of role.rules.entries()) {
      const fault = ruleFault(rule)
      if (fault !== undefined) throw usage(`rules.${index}: ${fault}`)
    }
    await this.#change(() => {
      const old = roles.get(role.name)
      assertRevision('role', role.name, old, atRevision)
      if (old === undefined) this.#assertRoom('roles', roles.size, this.#limits.maxRoles)
      return this.#put('role', role)
    })
  }

  /** False: there is none of that name. */
  remove(kind: IdentityKind, name: string, atRevision: number | undefined): Promise<boolean> {
    return this.#change(() => {
      const old = this.#kept(kind, name)
      if (old === undefined) return undefined
      assertRevision(kind, name, old, atRevision)
      this.#assertUnused(kind, name)
      return { kind, name, json: undefined, before: stored(old) }
    })
  }

  /** Throws TMQ_EXISTS. Also asked before a hash is calculated for nothing. */
  assertFree(kind: IdentityKind, name: string): void {
    if (this.#kept(kind, name) !== undefined)
      throw exists(`There is an ${kind} ${quoted(name)} already: change it, or choose another name`)
  }

  /** `make` looks at what there is, synchronously, and is asked again when that has changed before it was written. */
  async #change(make: () => IdentityWrite | undefined): Promise<boolean> {
    if (this.#waiting >= MAX_WAITING)
      throw new TunnelMQError(ErrorCode.limit, 'Too many changes of identities are waiting')
    this.#waiting++
    const done = this.#turn.then(() => this.#attempt(make))
    this.#turn = done.catch(() => undefined)
    try {
      return await done
    } finally {
      this.#waiting--
    }
  }

  async #attempt(make: () => IdentityWrite | undefined): Promise<boolean> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const { revision } = this.#directory
      const write = make()
      if (write === undefined) return false
      if ((await this.#store.write([write], revision)) !== undefined) return true
    }
    throw new TunnelMQError(
      ErrorCode.storeUnavailable,
      'Other pods change identities all the time: try it again',
    )
  }

  #kept(kind: IdentityKind, name: string): Kept<RecordOf[IdentityKind]> | undefined {
    const { identities, groups, roles } = this.#directory
    return { identity: identities, group: groups, role: roles }[kind].get(name)
  }

  #put<Kind extends IdentityKind>(kind: Kind, record: RecordOf[Kind]): IdentityWrite {
    const json = JSON.stringify(record)
    const bytes = Buffer.byteLength(json)
    if (bytes > MAX_RECORD_BYTES)
      throw usage(`The ${kind} has ${bytes} bytes as JSON; it may have ${MAX_RECORD_BYTES}`)
    const { name } = record
    return { kind, name, json, before: stored(this.#kept(kind, name)) }
  }

  #checkIdentity({ name, clientId, groups, roles }: Identity): void {
    for (const [index, group] of groups.entries())
      if (this.#directory.groups.get(group) === undefined)
        throw usage(`groups.${index}: there is no group ${quoted(group)}`)
    this.#checkRoles(roles)
    const owners = clientId === undefined ? undefined : this.#directory.ownersOfClientId(clientId)
    const other = [...(owners ?? [])].find((owner) => owner !== name)
    if (other !== undefined)
      throw exists(`clientId: ${quoted(clientId ?? '')} belongs to the identity ${quoted(other)}`)
  }

  #checkRoles(roles: readonly string[]): void {
    for (const [index, role] of roles.entries())
      if (this.#directory.roles.get(role) === undefined)
        throw usage(`roles.${index}: there is no role ${quoted(role)}`)
  }

  #assertRoom(what: string, count: number, most: number): void {
    if (count < most) return
    const setting = `identities.max${what.slice(0, 1).toUpperCase()}${what.slice(1)}`
    throw exists(`There are ${count} ${what}, which is as many as there may be (${setting})`)
  }

  #assertUnused(kind: IdentityKind, name: string): void {
    const { identities, groups } = this.#directory
    if (kind === 'identity') return
    const has = (record: Identity | Group): boolean =>
      (kind === 'role' ? record.roles : 'groups' in record ? record.groups : []).includes(name)
    const users: string[] = []
    for (const { value } of identities.values()) if (has(value)) users.push(`identity ${quoted(value.name)}`)
    if (kind === 'role')
      for (const { value } of groups.values()) if (has(value)) users.push(`group ${quoted(value.name)}`)
    if (users.length === 0) return
    const more = users.length > 3 ? `, and ${users.length - 3} more` : ''
    throw exists(`The ${kind} ${quoted(name)} is in use: ${users.slice(0, 3).join(', ')}${more}`)
  }
}

function stored<Value>(kept: Kept<Value> | undefined): IdentityWrite['before'] {
  return kept && { json: JSON.stringify(kept.value), revision: kept.revision }
}

function assertRevision(
  kind: IdentityKind,
  name: string,
  kept: Kept<unknown> | undefined,
  asked: number | undefined,
): void {
  if (asked === undefined || kept?.revision === asked) return
  const found = kept === undefined ? 'is not there' : `has revision ${kept.revision}`
  throw new TunnelMQError(
    ErrorCode.changed,
    `The ${kind} ${quoted(name)} ${found}, not ${asked}: read it again`,
  )
}

function quoted(name: string): string {
  return JSON.stringify(name)
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}

function exists(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.exists, message)
}
