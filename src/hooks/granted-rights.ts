import { filterCovered, topicFilterFault, topicMatches } from '../broker/topics.ts'
import {
  compileRights,
  effectiveRules,
  mayPublish,
  maySubscribe,
  type Acl,
  type AclRights,
  type Rule,
} from './acl.ts'
import {
  AuthError,
  type ExplainQuestion,
  type RuleExplanation,
  type Session,
  type SubscribeRequest,
  type TunnelRequest,
} from './types.ts'

/**
 * Rights that come with an identity: the claim of a token, the answer of a service. Lists of topic filters for
 * `publish` and `subscribe`, of `<agent>/<service>` (each may be `*`) for `serve` and `open`; in all of them `%c` is
 * the client id and `%u` the user name. What is in no list is refused.
 */
export interface GrantedRights {
  readonly acl: Acl
  readonly serve: readonly string[]
  readonly open: readonly string[]
}

const lists = ['publish', 'subscribe', 'serve', 'open'] as const
const filterLimits = { maxBytes: 65_535, maxLevels: 65_535 }
const maxFilters = 1_000

/** Checks what came from outside; a text says what is wrong with it. */
export function parseGrantedRights(value: unknown): GrantedRights | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return 'the rights are not an object'
  const found = value as Record<string, unknown>
  const unknown = Object.keys(found).find((key) => !lists.some((list) => list === key))
  if (unknown !== undefined)
    return `the rights have a list ${JSON.stringify(unknown)}; known are ${lists.join(', ')}`
  const taken: Record<string, readonly string[]> = {}
  for (const list of lists) {
    const entries: unknown = found[list] ?? []
    if (
      !Array.isArray(entries) ||
      entries.length > maxFilters ||
      !entries.every((entry) => typeof entry === 'string')
    )
      return `${list} is not a list of at most ${maxFilters} texts`
    taken[list] = entries
  }
  const { publish = [], subscribe = [], serve = [], open = [] } = taken
  for (const filter of [...publish, ...subscribe]) {
    const fault = topicFilterFault(filter.replace(/%[cu]/g, 'x'), filterLimits)
    if (fault !== undefined) return `${JSON.stringify(filter)}: ${fault}`
  }
  const bad = [...serve, ...open].find((entry) => !/.\/[^/]+$/.test(entry))
  if (bad !== undefined) return `${JSON.stringify(bad)} is not <agent>/<service>`
  const rules = [
    ...publish.map((filter) => ruleOf('write', filter)),
    ...subscribe.map((filter) => ruleOf('read', filter)),
  ]
  const isPattern = ({ filter }: Rule): boolean => /%[cu]/.test(filter)
  return {
    acl: {
      general: rules.filter((rule) => !isPattern(rule)),
      generalForAll: true,
      users: new Map(),
      // Nothing for clients whose id or name means more than one level (acl.ts).
      patterns: rules.filter(isPattern),
    },
    serve,
    open,
  }
}

function ruleOf(access: Rule['access'], filter: string): Rule {
  // `%m` is nothing special here.
  return { access, filter, line: 0, text: filter }
}

interface Compiled {
  readonly id: string
  readonly username: string | undefined
  readonly rights: AclRights
  /** Answers for the topics that the client uses again and again. */
  readonly publish: Map<string, boolean>
}

/** Topics remembered a client: about 100 bytes each. */
const maxRememberedTopics = 128

/** Who was granted what, while it is connected. */
export interface RightsBySession {
  grant(session: Session, rights: GrantedRights): void
  has(session: Session): boolean
  /** These throw {@link AuthError}, or mark what they refuse; only for those that were granted something. */
  publish(session: Session, topic: string): void
  subscribe(session: Session, subscriptions: readonly SubscribeRequest[]): void
  tunnel(session: Session, request: TunnelRequest): void
  explain(session: Session, question: ExplainQuestion): RuleExplanation
}

/** `source` names where the rights come from, for explanations: `the claim acl of its token`. */
export function createRightsBySession(source: string): RightsBySession {
  const granted = new WeakMap<Session, GrantedRights>()
  const compiled = new WeakMap<Session, Compiled>()

  function compiledFor(session: Session): Compiled {
    const { id, username } = session
    const known = compiled.get(session)
    if (known?.id === id && known.username === username) return known
    const rights = compileRights(granted.get(session)!.acl, { clientId: id, username, mountpoint: '' })
    const made: Compiled = { id, username, rights, publish: new Map() }
    compiled.set(session, made)
    return made
  }

  function isAllowed({ rights, publish }: Compiled, topic: string): boolean {
    const known = publish.get(topic)
    if (known !== undefined) return known
    if (publish.size >= maxRememberedTopics) publish.clear()
    const allowed = mayPublish(rights, topic)
    publish.set(topic, allowed)
    return allowed
  }

  return {
    grant(session, rights) {
      granted.set(session, rights)
      compiled.delete(session)
    },
    has: (session) => granted.has(session),
    publish(session, topic) {
      if (!isAllowed(compiledFor(session), topic)) throw publishRefused
    },
    subscribe(session, subscriptions) {
      const { rights } = compiledFor(session)
      for (const subscription of subscriptions)
        if (!maySubscribe(rights, subscription.topic)) subscription.refused = 'no filter covers this one'
    },
    tunnel(session, { action, agent, service }) {
      if (!granted.get(session)![action].some((entry) => covers(entry, session, agent, service)))
        throw tunnelRefused
    },
    explain(session, question) {
      const rights = granted.get(session)
      if (rights === undefined)
        return { rule: source, reason: 'it is not connected, or came without such rights' }
      const entry = deciding(rights, session, question)
      const list = `${source}, list ${question.action}`
      return entry === undefined
        ? { rule: list, reason: 'nothing in the list allows it' }
        : { rule: `${list}: ${entry}`, reason: 'the list allows it' }
    },
  }
}

function deciding(rights: GrantedRights, session: Session, question: ExplainQuestion): string | undefined {
  switch (question.action) {
    case 'connect':
      return undefined
    case 'serve':
    case 'open':
      return rights[question.action].find((entry) => covers(entry, session, question.agent, question.service))
    case 'publish':
    case 'subscribe': {
      const { action, topic } = question
      const { id, username } = session
      const wanted = action === 'publish' ? 'write' : 'read'
      const fits =
        action === 'publish' ? topicMatches : (by: string, filter: string) => filterCovered(filter, by)
      const rules = effectiveRules(rights.acl, { clientId: id, username, mountpoint: '' })
      return rules.find(({ rule, filter }) => rule.access === wanted && fits(filter, topic))?.rule.filter
    }
    default:
      return question satisfies never
  }
}

function covers(entry: string, { id, username }: Session, agent: string, service: string): boolean {
  if (username === undefined && entry.includes('%u')) return false
  const slash = entry.lastIndexOf('/')
  const onAgent = entry.slice(0, slash).replace(/%[cu]/g, (name) => (name === '%c' ? id : (username ?? '')))
  const onService = entry.slice(slash + 1)
  // Serving is asked for with the service `+`: an agent serves under its own name, whatever it serves.
  const serviceFits = onService === '*' || onService === service
  return serviceFits && (entry.slice(0, slash) === '*' || onAgent === agent)
}

// Shared: a flood of refused messages must not cost a stack trace each.
const publishRefused = new AuthError('no filter of its rights allows this topic')
const tunnelRefused = new AuthError('its rights do not name this tunnel')
