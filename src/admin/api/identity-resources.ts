import { z } from '@hono/zod-openapi'
import { pageOf } from './resources.ts'

/**
 * Identities, groups and roles of the dynamic handler, as the API shows and takes them. Secrets are taken or shown once,
 * and hashes never. `revision` grows with each change of that record; the header `if-match` with it makes a change fail
 * (412) when somebody was faster.
 */

/** Of an identity (the MQTT user name), group or role. */
export const MAX_NAME_CHARACTERS = 128
const MAX_REFERENCES = 100
const MAX_RULES = 200

const time = () => z.iso.datetime().openapi({ example: '2026-11-21T12:00:00.000Z' })
const count = () => z.int().min(0)

/** What is wrong with a name, or undefined. A colon ends the name in HTTP Basic; `.` and `..` vanish from URLs. */
export function nameFault(name: string): string | undefined {
  if (name === '') return 'is empty'
  if (name.length > MAX_NAME_CHARACTERS) return `is longer than ${MAX_NAME_CHARACTERS} characters`
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  if (/[:\u0000-\u001f\u007f-\u009f]/.test(name)) return 'contains a colon or a control character'
  if (/\p{Cs}/u.test(name)) return 'is no well-formed Unicode'
  if (name.trim() !== name) return 'begins or ends with a space'
  if (name === '.' || name === '..') return 'is `.` or `..`, which URLs cannot carry'
  return undefined
}

export const Name = z
  .string()
  .min(1)
  .max(MAX_NAME_CHARACTERS)
  .superRefine((name, context) => {
    const fault = nameFault(name)
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault })
  })

const names = (what: string) =>
  z
    .array(Name)
    .max(MAX_REFERENCES)
    .refine((list) => new Set(list).size === list.length, 'names something twice')
    .describe(what)
const description = () => z.string().max(512).describe('For people.')
/** In bytes it is at most 65,535 (MQTT); a longer one than this serves nobody. */
const clientId = () =>
  z
    .string()
    .min(1)
    .max(256)
    .nullable()
    .describe('The only client id that it may have, which nobody else may have then; null: any.')
const password = () => z.string().min(8).max(1_024)

// --- identities

export const IdentityKey = z
  .object({
    id: z.string(),
    description: z.string(),
    createdAt: time(),
    expiresAt: time().nullable(),
  })
  .openapi('IdentityKey')
export type IdentityKey = z.infer<typeof IdentityKey>

export const Identity = z
  .object({
    name: z.string().describe('The MQTT user name.'),
    description: z.string(),
    isEnabled: z.boolean(),
    clientId: z.string().nullable().describe('The only client id that it may have; null: any.'),
    hasPassword: z.boolean(),
    keys: z.array(IdentityKey),
    groups: z.array(z.string()),
    roles: z.array(z.string()).describe('Its own; those of its groups come after them.'),
    createdAt: time(),
    changedAt: time(),
    revision: count(),
  })
  .openapi('Identity')
export type Identity = z.infer<typeof Identity>

const warning = () =>
  z
    .string()
    .nullable()
    .describe('Why identities have no effect now: no listener has a handler `type: dynamic`.')

export const IdentityDetail = Identity.extend({
  effectiveRoles: z.array(z.string()).describe('In the order in which they are asked.'),
  warning: warning(),
}).openapi('IdentityDetail')
export type IdentityDetail = z.infer<typeof IdentityDetail>

export const IdentityPage = z
  .object({ ...pageOf(Identity).shape, warning: warning() })
  .openapi('IdentityPage')
export type IdentityPage = z.infer<typeof IdentityPage>

export const IdentityQuery = z.strictObject({
  search: z.string().max(256).optional().describe('Part of name, description or client id.'),
  group: z.string().max(MAX_NAME_CHARACTERS).optional().describe('Only members of this group.'),
  role: z
    .string()
    .max(MAX_NAME_CHARACTERS)
    .optional()
    .describe('Only those that have this role, of their own or by a group.'),
  state: z.enum(['enabled', 'disabled', 'all']).default('all'),
  after: z.string().max(4_096).optional().describe('`next` of the page before.'),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
export type IdentityQuery = z.infer<typeof IdentityQuery>

export const IdentityRequest = z
  .strictObject({
    name: Name,
    description: description().default(''),
    isEnabled: z.boolean().default(true),
    clientId: clientId().default(null),
    password: password().optional().describe('Absent: none; then only keys let it in.'),
    groups: names('Names of groups.').default([]),
    roles: names('Names of roles.').default([]),
  })
  .openapi('IdentityRequest')
export type IdentityRequest = z.infer<typeof IdentityRequest>

/** What is absent stays as it is. */
export const IdentityChange = z
  .strictObject({
    description: description().optional(),
    isEnabled: z.boolean().optional(),
    clientId: clientId().optional(),
    groups: names('Names of groups, in place of those that there are.').optional(),
    roles: names('Names of roles, in place of those that there are.').optional(),
  })
  .openapi('IdentityChange')
export type IdentityChange = z.infer<typeof IdentityChange>

export const PasswordRequest = z
  .strictObject({ password: password().optional().describe('Absent: the broker makes one.') })
  .openapi('PasswordRequest')
export type PasswordRequest = z.infer<typeof PasswordRequest>

export const PasswordSet = z
  .object({
    password: z.string().nullable().describe('The one that the broker made, shown this once; null: yours.'),
    revision: count(),
  })
  .openapi('PasswordSet')
export type PasswordSet = z.infer<typeof PasswordSet>

export const IdentityKeyRequest = z
  .strictObject({
    description: description().default(''),
    expiresAt: z.iso.datetime({ offset: true }).nullable().default(null).describe('Null: never.'),
  })
  .openapi('IdentityKeyRequest')
export type IdentityKeyRequest = z.infer<typeof IdentityKeyRequest>

export const IdentityKeyMade = IdentityKey.extend({
  secret: z
    .string()
    .describe(
      '`tmqi_<id>_<43 characters>`, shown this once. Used in place of the password, or as bearer token.',
    ),
  revision: count(),
}).openapi('IdentityKeyMade')
export type IdentityKeyMade = z.infer<typeof IdentityKeyMade>

// --- groups

export const GroupRequest = z
  .strictObject({ description: description().default(''), roles: names('Names of roles.').default([]) })
  .openapi('GroupRequest')
export type GroupRequest = z.infer<typeof GroupRequest>

export const Group = z
  .object({
    name: z.string(),
    description: z.string(),
    roles: z.array(z.string()),
    members: count().describe('Identities that are in it.'),
    revision: count(),
  })
  .openapi('Group')
export type Group = z.infer<typeof Group>
export const GroupPage = pageOf(Group).openapi('GroupPage')

/** Of groups and of roles. */
export const NameQuery = z.strictObject({
  search: z.string().max(256).optional().describe('Part of name or description.'),
  after: z.string().max(4_096).optional().describe('`next` of the page before.'),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
export type NameQuery = z.infer<typeof NameQuery>

// --- roles

export const ruleActions = ['publish', 'subscribe', 'serve', 'open'] as const

export const RoleRule = z
  .strictObject({
    allow: z.boolean().default(true),
    actions: z
      .array(z.enum(ruleActions))
      .min(1)
      .max(ruleActions.length)
      .describe('`publish` and `subscribe` (of topics), or `serve` and `open` (of tunnels); not both sorts.'),
    on: z
      .string()
      .min(1)
      .max(1_024)
      .describe(
        'Of topics: a filter; a subscription must be covered by it. Of tunnels: `<agent>/<service>`, where each may be `*`. `%c` is the client id, `%u` the user name.',
      ),
  })
  .openapi('RoleRule')
export type RoleRule = z.infer<typeof RoleRule>

export const RoleRequest = z
  .strictObject({
    description: description().default(''),
    rules: z.array(RoleRule).max(MAX_RULES).describe('In this order: the first that fits decides.'),
  })
  .openapi('RoleRequest')
export type RoleRequest = z.infer<typeof RoleRequest>

export const Role = z
  .object({
    name: z.string(),
    description: z.string(),
    rules: z.array(RoleRule),
    identities: count().describe('That have it as their own.'),
    groups: count().describe('That have it.'),
    revision: count(),
  })
  .openapi('Role')
export type Role = z.infer<typeof Role>
export const RolePage = pageOf(Role).openapi('RolePage')
