import type { IdentityKind } from '../store/contract.ts'

/**
 * What the dynamic handler knows of clients: plain records, JSON as they are stored. Names are unique within their kind,
 * and are what is written in the others (a role's name in a group).
 */

/** What a rule is about: PUBLISH; SUBSCRIBE (the filter must be covered); an agent's serving and a stream's opening. */
export const ruleActions = ['publish', 'subscribe', 'serve', 'open'] as const
export type RuleAction = (typeof ruleActions)[number]

/** First match decides, in the order of the role; what no rule allows is refused. */
export interface RoleRule {
  readonly allow: boolean
  /** Of topics (`publish`, `subscribe`), or of tunnels (`serve`, `open`); not of both. */
  readonly actions: readonly RuleAction[]
  /**
   * Of topics a filter, with `%c` (client id) and `%u` (user name); of tunnels `<agent>/<service>`, where each may be
   * `*`. `serve` is about an agent as a whole: `<agent>/*`.
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
  readonly description: string
  /** SHA-256, hex. */
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
  readonly clientId?: string
  /** As of `tunnelmq passwd` (scrypt); undefined: none, only keys. */
  readonly passwordHash?: string
  readonly keys: readonly IdentityKey[]
  readonly groups: readonly string[]
  readonly roles: readonly string[]
  readonly createdAtMs: number
  readonly changedAtMs: number
}

export interface RecordOf {
  readonly identity: Identity
  readonly group: Group
  readonly role: Role
}

/**
 * A stored record. Strict, as its rights are handed out: undefined for anything that we would not have written, such as
 * what a later version has added, which may be a restriction.
 */
export function parseRecord<Kind extends IdentityKind>(
  kind: Kind,
  name: string,
  json: string,
): RecordOf[Kind] | undefined {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return undefined
  }
  const isRight = shapes[kind](value) && value.name === name
  return isRight ? (value as RecordOf[Kind]) : undefined
}

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string'
const isFlag: Check = (value) => typeof value === 'boolean'
const isTime: Check = (value) => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
const isAction: Check = (value) => ruleActions.some((action) => action === value)

const isRule = shapeOf({ allow: isFlag, actions: listOf(isAction), on: isText })
const isKey = shapeOf({
  id: isText,
  description: isText,
  hash: (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value),
  createdAtMs: isTime,
  expiresAtMs: isTime,
})

const shapes = {
  identity: shapeOf(
    {
      name: isText,
      description: isText,
      isEnabled: isFlag,
      keys: listOf(isKey),
      groups: listOf(isText),
      roles: listOf(isText),
      createdAtMs: isTime,
      changedAtMs: isTime,
    },
    { clientId: isText, passwordHash: isText },
  ),
  group: shapeOf({ name: isText, description: isText, roles: listOf(isText) }),
  role: shapeOf({ name: isText, description: isText, rules: listOf(isRule) }),
}

function listOf(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check)
}

function shapeOf(needed: Record<string, Check>, optional: Record<string, Check> = {}) {
  return (value: unknown): value is Record<string, unknown> => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
    const fields = value as Record<string, unknown>
    return (
      Object.entries(needed).every(([name, check]) => check(fields[name])) &&
      Object.keys(fields).every((name) => Object.hasOwn(needed, name) || Object.hasOwn(optional, name)) &&
      Object.entries(optional).every(([name, check]) => fields[name] === undefined || check(fields[name]))
    )
  }
}
