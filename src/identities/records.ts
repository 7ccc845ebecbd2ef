/**
 * What the dynamic handler knows of clients: plain records, JSON as they are stored. Names are unique within their kind,
 * and are what is written in the others (a role's name in a group).
 */

/** What a rule is about: PUBLISH; SUBSCRIBE (the filter must be covered); an agent's serving and a stream's opening. */
export type RuleAction = 'publish' | 'subscribe' | 'serve' | 'open'

/** First match decides, in the order of the role; what no rule allows is refused. */
export interface RoleRule {
  readonly allow: boolean
  readonly actions: readonly RuleAction[]
  /**
   * For `publish` and `subscribe` a topic filter, with `%c` (client id) and `%u` (user name); for `serve` and `open`
   * `<agent>/<service>`, where each may be `*`.
   */
  readonly on: string
}

export interface Role {
  readonly name: string
  readonly description: string
  readonly rules: readonly RoleRule[]
}

export interface Group {
  readonly name: string
  readonly description: string
  readonly roles: readonly string[]
}

/** A secret that a client may show in place of its password; hashed, with an end of its own. */
export interface IdentityKey {
  readonly id: string
  readonly hash: string
  readonly createdAtMs: number
  /** 0: never. */
  readonly expiresAtMs: number
}

/** A client, or several that share a user name. */
export interface Identity {
  /** The MQTT user name. */
  readonly name: string
  readonly description: string
  readonly isEnabled: boolean
  /** The only client id that it may have; undefined: any. */
  readonly clientId: string | undefined
  /** As of `tunnelmq passwd` (scrypt); undefined: none, only keys. */
  readonly passwordHash: string | undefined
  readonly keys: readonly IdentityKey[]
  readonly groups: readonly string[]
  readonly roles: readonly string[]
  readonly createdAtMs: number
  readonly changedAtMs: number
}

/** One write: all of it, or nothing. `undefined` deletes. */
export type IdentityChange =
  | { readonly kind: 'identity'; readonly name: string; readonly record: Identity | undefined }
  | { readonly kind: 'group'; readonly name: string; readonly record: Group | undefined }
  | { readonly kind: 'role'; readonly name: string; readonly record: Role | undefined }
