import { filterCovered, filtersOverlap, topicFilterFault, topicMatches } from '../broker/topics.ts'
import type { Role, RoleRule, RuleAction } from './records.ts'

/** Rules of roles, and what they mean to one client. Pure. */

/** Whom rights are made for. */
export interface Subject {
  readonly clientId: string
  readonly username: string
}

/** A rule with what it means to one client: `%c` and `%u` are replaced. */
export interface EffectiveRule {
  readonly role: string
  /** Its place in the role, from 1. */
  readonly place: number
  readonly rule: RoleRule
  /** Of topics: the filter. */
  readonly filter: string
  /** Of tunnels; undefined: any. */
  readonly agent: string | undefined
  readonly service: string | undefined
}

/** What one client may do: rules in the order in which they are asked, the first that fits decides. */
export interface Rights {
  readonly publish: readonly EffectiveRule[]
  readonly subscribe: readonly EffectiveRule[]
  readonly serve: readonly EffectiveRule[]
  readonly open: readonly EffectiveRule[]
  /** Deliveries have to be looked at: something below a filter that may be subscribed is denied. */
  readonly deniesDeliveries: boolean
}

const filterLimits = { maxBytes: 65_535, maxLevels: 65_535 }
const placeholder = /%[cu]/g
const ANY = '*'

/** What is wrong with a rule, for people, or undefined. */
export function ruleFault({ actions, on }: Pick<RoleRule, 'actions' | 'on'>): string | undefined {
  const ofTunnels = actions.filter((action) => action === 'serve' || action === 'open')
  if (ofTunnels.length > 0 && ofTunnels.length < actions.length)
    return 'is about topics and tunnels at once: make two rules of it'
  if (new Set(actions).size < actions.length) return 'names an action twice'
  if (ofTunnels.length === 0) {
    const fault = topicFilterFault(on.replaceAll(placeholder, 'x'), filterLimits)
    return fault && `on: ${fault}`
  }
  const [agent = '', service = '', ...rest] = on.split('/')
  if (agent === '' || service === '' || rest.length > 0)
    return 'on: must be <agent>/<service>, such as pi7/ssh, pi7/* or */web'
  if (/[+#]/.test(on)) return 'on: + and # mean nothing here; * stands for any agent or service'
  if ((agent !== ANY && agent.includes(ANY)) || (service !== ANY && service.includes(ANY)))
    return 'on: * stands alone, for any agent or any service'
  if (actions.includes('serve') && service !== ANY)
    return 'on: an agent serves as a whole; to serve, the service must be * (as in pi7/*)'
  return undefined
}

/** The rights of one client with these roles, in this order. */
export function compileRights(roles: readonly Role[], subject: Subject): Rights {
  const rights: Record<RuleAction, EffectiveRule[]> = { publish: [], subscribe: [], serve: [], open: [] }
  for (const role of roles) {
    for (const [index, rule] of role.rules.entries()) {
      const effective = effectiveRule(role.name, index + 1, rule, subject)
      if (effective !== undefined) for (const action of rule.actions) rights[action].push(effective)
    }
  }
  return { ...rights, deniesDeliveries: deniesDeliveries(rights.subscribe) }
}

function effectiveRule(
  role: string,
  place: number,
  rule: RoleRule,
  subject: Subject,
): EffectiveRule | undefined {
  // Written by us or not: what cannot be understood allows nothing.
  if (ruleFault(rule) !== undefined && rule.allow) return undefined
  // CVE-2017-7650: a client named `#` would be given everything by `%c`. A name that can mean more than one level gets
  // nothing where it would be put in; it is still denied what is denied.
  if (rule.allow && isUnsafeFor(rule.on, subject)) return undefined
  const filter = substitute(rule.on, subject)
  // A client named `$SYS` does not get into namespaces that the rule has not named.
  if (rule.allow && filter.startsWith('$') && !rule.on.startsWith('$')) return undefined
  const [agent = '', service = ''] = rule.on.split('/')
  return {
    role,
    place,
    rule,
    filter,
    agent: agent === ANY ? undefined : substitute(agent, subject),
    service: service === ANY ? undefined : substitute(service, subject),
  }
}

/** A name would be put in that can mean more than one level of a topic. */
export function isUnsafeFor(on: string, { clientId, username }: Subject): boolean {
  return (
    (on.includes('%c') && /[+#/]/.test(clientId)) || (on.includes('%u') && /[+#/]/.test(username)) || false
  )
}

function substitute(text: string, { clientId, username }: Subject): string {
  return text.replaceAll(placeholder, (name) => (name === '%c' ? clientId : username))
}

/** A denial takes something away of a filter that a later rule allows as a whole. */
function deniesDeliveries(rules: readonly EffectiveRule[]): boolean {
  return rules.some(
    ({ rule, filter }, at) =>
      !rule.allow &&
      rules.slice(at + 1).some((later) => later.rule.allow && filtersOverlap(filter, later.filter)),
  )
}

/** The rule that decides; undefined: there is none, which refuses. */
export function decidingPublish({ publish }: Rights, topic: string): EffectiveRule | undefined {
  return publish.find(({ filter }) => topicMatches(filter, topic))
}

/**
 * A rule decides on a filter that it covers as a whole: everything that is delivered for it is then of the rule. What
 * denials take away of it is for {@link mayDeliver} to stop.
 */
export function decidingSubscribe({ subscribe }: Rights, filter: string): EffectiveRule | undefined {
  return subscribe.find((rule) => filterCovered(filter, rule.filter))
}

/** Of a subscription that was granted, by whomever. */
export function mayDeliver({ subscribe }: Rights, topic: string): boolean {
  const deciding = subscribe.find(({ filter }) => topicMatches(filter, topic))
  return deciding?.rule.allow !== false
}

/** `service` is `+` for serving: the agent as a whole. */
export function decidingTunnel(
  rights: Rights,
  { action, agent, service }: { action: 'serve' | 'open'; agent: string; service: string },
): EffectiveRule | undefined {
  return rights[action].find(
    (rule) =>
      (rule.agent === undefined || rule.agent === agent) &&
      (rule.service === undefined || rule.service === service),
  )
}
