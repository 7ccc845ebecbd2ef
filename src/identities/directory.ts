import type { HandlerLog } from '../hooks/log.ts'
import type { IdentityKind, IdentityListener, StoredIdentity } from '../store/contract.ts'
import { withinTimer } from '../timer.ts'
import { parseRecord, type Group, type Identity, type RecordOf, type Role } from './records.ts'

/** A record with the number of the write that it is of. */
export interface Kept<Value> {
  readonly value: Value
  readonly revision: number
}

/** Whose rights may have changed: the names of identities, or of client ids that belong to one; undefined: of all. */
export type Touched =
  | { readonly names: ReadonlySet<string>; readonly clientIds: ReadonlySet<string> }
  | undefined

/** `secret`: a wrong or missing password or key; `expired`: the key; `client-id`: not the one of this identity. */
export type IdentityRefusal = 'secret' | 'disabled' | 'expired' | 'client-id'

type Change = Parameters<IdentityListener['changed']>[0][number]

/** Identities, groups and roles of all pods, in memory, by name. */
export class Directory implements IdentityListener {
  readonly identities = new Kind<Identity>()
  readonly groups = new Kind<Group>()
  readonly roles = new Kind<Role>()
  /** The store was read. */
  isLoaded = false
  /** Of the last write that is in here. */
  revision = 0
  /** Grows whenever something in here has changed; the revision goes back where a store has lost writes. */
  generation = 0
  /** Writes since the start. */
  changes = 0
  /** Stored records that could not be read, since the start: they give no rights. */
  unreadable = 0
  /** Of CONNECTs that the dynamic handler has refused, by why, since the start. */
  readonly refused: Record<IdentityRefusal, number> = {
    secret: 0,
    disabled: 0,
    expired: 0,
    'client-id': 0,
  }
  readonly #log: HandlerLog
  readonly #listeners: ((touched: Touched) => void)[] = []
  /** Names of identities. */
  readonly #byKey = new Map<string, string>()
  readonly #byClientId = new Map<string, Set<string>>()
  /** Of identities. */
  readonly #unreadable = new Set<string>()
  #roles = new Map<string, readonly Role[]>()
  #expiryTimer: NodeJS.Timeout | undefined
  #expiryAtMs = Infinity

  constructor(log: HandlerLog) {
    this.#log = log
  }

  figures() {
    const { identities, groups, roles, changes, unreadable, refused } = this
    return {
      identities: identities.size,
      groups: groups.size,
      roles: roles.size,
      changes,
      unreadable,
      refused,
    }
  }

  /** After each change, and when a key has ended. */
  onChange(listener: (touched: Touched) => void): void {
    this.#listeners.push(listener)
  }

  close(): void {
    clearTimeout(this.#expiryTimer)
    this.#listeners.length = 0
  }

  loaded(records: readonly StoredIdentity[], revision: number): void {
    for (const kind of [this.identities, this.groups, this.roles]) kind.clear()
    this.#byKey.clear()
    this.#byClientId.clear()
    this.#unreadable.clear()
    for (const record of records) this.#take(record)
    this.revision = revision
    this.generation++
    this.isLoaded = true
    this.#expiryAtMs = Infinity
    this.#awaitExpiry([...this.identities.values()])
    this.#tell(undefined)
  }

  changed(changes: readonly Change[], revision: number): void {
    this.revision = revision
    this.generation++
    this.changes++
    const names = new Set<string>()
    const clientIds = new Set<string>()
    // Of before and of after: whoever is in neither has what it had.
    for (const change of changes) this.#touchedBy(change, names, clientIds)
    for (const change of changes) this.#take(change)
    for (const change of changes) this.#touchedBy(change, names, clientIds)
    this.#awaitExpiry(
      changes.flatMap(({ name, kind }) => (kind === 'identity' && this.identities.get(name)) || []),
    )
    this.#tell({ names, clientIds })
  }

  /** Whose key that is. */
  ownerOfKey(id: string): Kept<Identity> | undefined {
    const name = this.#byKey.get(id)
    return name === undefined ? undefined : this.identities.get(name)
  }

  /** Names of the identities that this client id is bound to; undefined: it is anybody's. */
  ownersOfClientId(clientId: string): ReadonlySet<string> | undefined {
    return this.#byClientId.get(clientId)
  }

  /** There is an identity of that name, and nobody knows what it says. */
  isUnreadable(name: string | undefined): boolean {
    return name !== undefined && this.#unreadable.has(name)
  }

  /** The same list until something of it changes: of its own, then of its groups, each once. */
  rolesOf(identity: Identity): readonly Role[] {
    const known = this.#roles.get(identity.name)
    if (known !== undefined) return known
    // What is missing may have denied something that the others allow.
    const roles =
      this.missingOf(identity) === undefined
        ? this.roleNamesOf(identity).flatMap((name) => this.roles.get(name)?.value ?? [])
        : []
    this.#roles.set(identity.name, roles)
    return roles
  }

  roleNamesOf(identity: Identity): string[] {
    const names = new Set(identity.roles)
    for (const group of identity.groups)
      for (const role of this.groups.get(group)?.value.roles ?? []) names.add(role)
    return [...names]
  }

  /** A group or role of it, for people, that is damaged, or gone (none that is in use is ever deleted): it has no rights. */
  missingOf(identity: Identity): string | undefined {
    const group = identity.groups.find((name) => this.groups.get(name) === undefined)
    if (group !== undefined) return `group ${JSON.stringify(group)}`
    const role = this.roleNamesOf(identity).find((name) => this.roles.get(name) === undefined)
    return role === undefined ? undefined : `role ${JSON.stringify(role)}`
  }

  #take({ kind, name, json, revision }: Change): void {
    const value = json === undefined ? undefined : parseRecord(kind, name, json)
    if (json !== undefined && value === undefined) {
      this.unreadable++
      this.#log.error({ kind, name }, 'a stored identity cannot be read: it has no rights')
    }
    if (kind === 'identity') {
      this.#index(name, value as Identity | undefined)
      if (json !== undefined && value === undefined) this.#unreadable.add(name)
      else this.#unreadable.delete(name)
    }
    const kept = this.#kindOf(kind)
    if (value === undefined) kept.delete(name)
    else kept.set(name, { value, revision })
  }

  #kindOf(kind: IdentityKind): Kind<RecordOf[IdentityKind]> {
    const kinds = { identity: this.identities, group: this.groups, role: this.roles }
    return kinds[kind]
  }

  #index(name: string, after: Identity | undefined): void {
    const before = this.identities.get(name)?.value
    for (const { id } of before?.keys ?? []) this.#byKey.delete(id)
    for (const { id } of after?.keys ?? []) this.#byKey.set(id, name)
    if (before?.clientId !== undefined) {
      const owners = this.#byClientId.get(before.clientId)
      owners?.delete(name)
      if (owners?.size === 0) this.#byClientId.delete(before.clientId)
    }
    if (after?.clientId === undefined) return
    const owners = this.#byClientId.get(after.clientId) ?? new Set()
    this.#byClientId.set(after.clientId, owners.add(name))
  }

  #touchedBy({ kind, name }: Change, names: Set<string>, clientIds: Set<string>): void {
    if (kind === 'identity') {
      names.add(name)
      const clientId = this.identities.get(name)?.value.clientId
      if (clientId !== undefined) clientIds.add(clientId)
      return
    }
    const groups = new Set<string>(kind === 'group' ? [name] : [])
    if (kind === 'role')
      for (const { value } of this.groups.values()) if (value.roles.includes(name)) groups.add(value.name)
    for (const { value } of this.identities.values()) {
      const isTouched =
        value.groups.some((group) => groups.has(group)) || (kind === 'role' && value.roles.includes(name))
      if (isTouched) names.add(value.name)
    }
  }

  #tell(touched: Touched): void {
    if (touched === undefined) this.#roles = new Map()
    else for (const name of touched.names) this.#roles.delete(name)
    for (const listener of this.#listeners) listener(touched)
  }

  /** Whoever came in with a key is to go when that ends. */
  #awaitExpiry(identities: readonly Kept<Identity>[]): void {
    const nowMs = Date.now()
    let nextMs = this.#expiryAtMs
    for (const { value } of identities)
      for (const { expiresAtMs } of value.keys)
        if (expiresAtMs > nowMs && expiresAtMs < nextMs) nextMs = expiresAtMs
    clearTimeout(this.#expiryTimer)
    this.#expiryAtMs = nextMs
    if (nextMs === Infinity) return
    this.#expiryTimer = setTimeout(() => this.#expired(), withinTimer(nextMs - nowMs))
    this.#expiryTimer.unref()
  }

  #expired(): void {
    const nowMs = Date.now()
    const all = [...this.identities.values()]
    const ended = all.filter(({ value }) =>
      value.keys.some(({ expiresAtMs }) => expiresAtMs >= this.#expiryAtMs && expiresAtMs <= nowMs),
    )
    this.#expiryAtMs = Infinity
    this.#awaitExpiry(all)
    if (ended.length > 0)
      this.#tell({ names: new Set(ended.map(({ value }) => value.name)), clientIds: new Set() })
  }
}

/** Records of one kind. */
export class Kind<Value> {
  readonly #byName = new Map<string, Kept<Value>>()
  /** In order; undefined: to be made. */
  #names: readonly string[] | undefined

  get size(): number {
    return this.#byName.size
  }

  get(name: string): Kept<Value> | undefined {
    return this.#byName.get(name)
  }

  values(): IterableIterator<Kept<Value>> {
    return this.#byName.values()
  }

  /** In the order of names (code units), those behind `after`. */
  *behind(after: string): Generator<Kept<Value>> {
    const names = (this.#names ??= [...this.#byName.keys()].toSorted())
    let [low, high] = [0, names.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((names[middle] ?? '') <= after) low = middle + 1
      else high = middle
    }
    for (let at = low; at < names.length; at++) {
      const kept = this.#byName.get(names[at] ?? '')
      if (kept !== undefined) yield kept
    }
  }

  set(name: string, kept: Kept<Value>): void {
    if (!this.#byName.has(name)) this.#names = undefined
    this.#byName.set(name, kept)
  }

  delete(name: string): void {
    if (this.#byName.delete(name)) this.#names = undefined
  }

  clear(): void {
    this.#byName.clear()
    this.#names = undefined
  }
}
