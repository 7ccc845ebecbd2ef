import type { Directory, IdentityRefusal } from '../../identities/directory.ts'
import type { Identity } from '../../identities/records.ts'
import {
  decidingPublish,
  decidingSubscribe,
  decidingTunnel,
  isUnsafeFor,
  type EffectiveRule,
} from '../../identities/rules.ts'
import type { ExplainQuestion, RuleExplanation, Session } from '../types.ts'
import type { CompiledRights, SessionRights } from './session-rights.ts'

export interface Explaining {
  readonly directory: Directory
  readonly rights: SessionRights
  readonly faultOf: (session: Session, identity: Identity | undefined) => IdentityRefusal | undefined
  readonly nameOf: (session: Session) => string | undefined
}

const faults: Readonly<Record<IdentityRefusal, string>> = {
  secret: 'wrong password or key',
  expired: 'the key has expired',
  disabled: 'the identity is disabled',
  'client-id': 'the client id belongs to another identity, or this identity to another client id',
}

/** Which role and rule decide, or what is wrong with the identity. */
export function explainDynamic(
  { directory, rights, faultOf, nameOf }: Explaining,
  session: Session,
  question: ExplainQuestion,
): RuleExplanation {
  const name = nameOf(session)
  const identity = name === undefined ? undefined : directory.identities.get(name)?.value
  const fault = faultOf(session, identity)
  if (question.action === 'connect') {
    if (fault !== undefined) return { opinion: 'refused', reason: faults[fault] }
    if (identity === undefined)
      return {
        opinion: 'none',
        reason: name === undefined ? 'the client has no username' : `there is no identity ${quoted(name)}`,
      }
    return {
      rule: `identity ${quoted(identity.name)}`,
      ...(isWithoutSecret(identity) && { opinion: 'none' as const }),
      reason: isWithoutSecret(identity)
        ? 'it has neither password nor keys: another handler says who it is'
        : `it is enabled: its ${secretsOf(identity)} decides`,
    }
  }
  if (identity === undefined)
    return {
      reason: name === undefined ? 'the client has no username' : `there is no identity ${quoted(name)}`,
    }
  if (fault !== undefined) return { rule: `identity ${quoted(identity.name)}`, reason: faults[fault] }
  const known = rights.peek(session)
  const isCached = question.action === 'publish' && known?.remembers(question.topic) === true
  const compiled = rights.of(session)
  const deciding = compiled && decidingRule(compiled, question)
  if (deciding === undefined) return { reason: nothingFits(directory, identity, session, question), isCached }
  return { ...ruleText(deciding), isCached }
}

function decidingRule(
  { rights }: CompiledRights,
  question: Exclude<ExplainQuestion, { action: 'connect' }>,
): EffectiveRule | undefined {
  switch (question.action) {
    case 'publish':
      return decidingPublish(rights, question.topic)
    case 'subscribe':
      return decidingSubscribe(rights, question.topic)
    case 'serve':
    case 'open':
      return decidingTunnel(rights, question)
    default:
      return question satisfies never
  }
}

function ruleText({ role, place, rule, filter }: EffectiveRule): RuleExplanation {
  const verb = rule.allow ? 'allow' : 'deny'
  const means = filter === rule.on ? '' : `, which means ${filter} here,`
  return {
    rule: `role ${quoted(role)}, rule ${place}: ${verb} ${rule.actions.join(', ')} on ${rule.on}`,
    reason: `the rule${means} ${rule.allow ? 'allows' : 'denies'} it`,
  }
}

function nothingFits(
  directory: Directory,
  identity: Identity,
  { id }: Session,
  { action }: ExplainQuestion,
): string {
  const missing = directory.missingOf(identity)
  if (missing !== undefined)
    return `the ${missing} is not there or cannot be read, so the identity ${quoted(identity.name)} has no rights`
  const names = directory.roleNamesOf(identity)
  if (names.length === 0) return `the identity ${quoted(identity.name)} has no role`
  const what = action === 'subscribe' ? 'covers the filter as a whole' : `is about this ${action}`
  const subject = { clientId: id, username: identity.name }
  const isUnsafe = directory
    .rolesOf(identity)
    .some(({ rules }) => rules.some(({ allow, on }) => allow && isUnsafeFor(on, subject)))
  const unsafe = isUnsafe ? '; %c and %u give nothing to a client whose id or name has +, # or /' : ''
  return `no rule of its roles (${names.map(quoted).join(', ')}) ${what}${unsafe}`
}

function isWithoutSecret({ passwordHash, keys }: Identity): boolean {
  return passwordHash === undefined && keys.length === 0
}

function secretsOf({ passwordHash, keys }: Identity): string {
  if (passwordHash === undefined) return 'key'
  return keys.length === 0 ? 'password' : 'password or key'
}

function quoted(name: string): string {
  return JSON.stringify(name)
}
