import type { WhyRequest } from '../../admin/api/resources.ts'
import { listenerName } from '../../config/listener-name.ts'
import type { Config } from '../../config/schema.ts'
import { UNIX_ADDRESS, type Admission } from '../../listeners/admission.ts'
import type { Store } from '../../store/contract.ts'
import type { Connection } from '../connection.ts'
import { RESERVED_ID_PREFIX } from '../listener-profile.ts'
import { reservedNamespace, topicNameFault, type TopicLimits } from '../topics.ts'
import { isAgainst, step, type Step } from './step.ts'
import type { Subject } from './subject.ts'

export interface RulesContext {
  readonly config: Pick<Config, 'limits' | 'session' | 'listeners'>
  readonly admission: Pick<Admission, 'bans' | 'counts'>
  readonly store: Pick<Store, 'sessions'>
  readonly connections: ReadonlySet<Connection>
}

export function topicLimits({ limits }: RulesContext['config']): TopicLimits {
  return { maxBytes: limits.maxTopicBytes, maxLevels: limits.maxTopicLevels }
}

/** A ban closes the door, and no connection that is through it. */
export function banRule({ admission }: RulesContext, { address, state }: Subject): Step {
  if (address === undefined) return step('ban', 'none', 'no address is known')
  const ban = admission.bans().find((one) => one.address === address)
  if (ban === undefined) return step('ban', 'none', `${address} is not banned`)
  const reason = `${address} is banned: too many refused logins, or by an operator`
  return state === 'connected'
    ? step('ban', 'none', `${reason}; this connection was there before`)
    : step('ban', 'refused', reason)
}

/** What is looked at before authConnect (listeners/admission.ts, connecting.ts), beside what only a CONNECT shows. */
export function connectRules(context: RulesContext, request: WhyRequest, subject: Subject): Step[] {
  const { limits, session } = context.config
  const id = Buffer.byteLength(request.client)
  const steps = [banRule(context, subject)]
  if (id > limits.maxClientIdBytes)
    steps.push(
      step(
        'protocol',
        'refused',
        `client id of ${id} bytes`,
        `limits.maxClientIdBytes: ${limits.maxClientIdBytes}`,
      ),
    )
  else if (request.client.startsWith(RESERVED_ID_PREFIX))
    steps.push(
      step('protocol', 'refused', `client ids that begin with ${RESERVED_ID_PREFIX} are the broker's own`),
    )
  else steps.push(step('protocol', 'none', 'a legal client id'))
  // It takes the place of its old connection.
  if (subject.state === 'connected') return steps
  steps.push(...connectionLimits(context, subject))
  if (subject.stored === undefined && context.store.sessions.size >= session.maxSessions)
    steps.push(
      step(
        'limit',
        'none',
        'no new session is stored: refused unless it comes with clean session 1',
        `session.maxSessions: ${session.maxSessions}`,
      ),
    )
  if (!steps.some(isAgainst)) steps.push(step('limit', 'none', 'no limit is reached'))
  return steps
}

function connectionLimits({ config, admission, connections }: RulesContext, subject: Subject): Step[] {
  const { limits, listeners } = config
  const { profile, address, session } = subject
  const counts = admission.counts()
  const steps: Step[] = []
  const check = (key: string, limit: number, found: () => number): void => {
    if (limit > 0 && found() >= limit)
      steps.push(step('limit', 'refused', `${limit} are there`, `${key}: ${limit}`))
  }
  check('limits.maxConnections', limits.maxConnections, () => counts.connections)
  const [only, ...others] = listeners.filter((listener) => listenerName(listener) === profile.name)
  if (only !== undefined && others.length === 0)
    check(
      `maxConnections of ${profile.name}`,
      only.maxConnections,
      () => counts.byListener.get(profile.name) ?? 0,
    )
  if (address !== undefined && address !== UNIX_ADDRESS)
    check('limits.maxConnectionsPerAddress', limits.maxConnectionsPerAddress, () =>
      count(connections, ({ transport }) => transport.peer.address === address),
    )
  if (session.username !== undefined && session.username !== '')
    check('limits.maxConnectionsPerUser', limits.maxConnectionsPerUser, () =>
      count(connections, (connection) => connection.session?.username === session.username),
    )
  return steps
}

function count(connections: ReadonlySet<Connection>, isOne: (connection: Connection) => boolean): number {
  let found = 0
  for (const connection of connections) if (isOne(connection)) found++
  return found
}

/** Before authPublish (publishing.ts). */
export function publishRules(context: RulesContext, request: WhyRequest, subject: Subject): Step[] {
  const { topic, qos } = request
  const fault = topicNameFault(topic, topicLimits(context.config))
  if (fault !== undefined) return [step('protocol', 'refused', `${fault}: the connection is closed`)]
  const reserved = reservedNamespace(topic)
  if (reserved !== undefined)
    return [
      step(
        'protocol',
        'refused',
        `reserved topic: nobody publishes to $${reserved === 'sys' ? 'SYS' : reserved}`,
      ),
    ]
  const steps = [step('protocol', 'none', 'a legal topic name')]
  const { maxInflightIncoming } = context.config.limits
  const client = subject.connection?.clientSession
  const open = client?.stored?.incomingIds.size ?? client?.incomingIds.size ?? 0
  if (qos === 2 && open >= maxInflightIncoming)
    steps.push(
      step(
        'limit',
        'refused',
        `${open} messages at QoS 2 await PUBREL: the connection is closed`,
        `limits.maxInflightIncoming: ${maxInflightIncoming}`,
      ),
    )
  return steps
}

/** Where there are too many already, a filter that is new is refused. */
export function subscriptionLimit({ config }: RulesContext, filter: string, subject: Subject): Step[] {
  const { maxSubscriptionsPerClient } = config.limits
  const subscriptions = subject.connection?.clientSession?.subscriptions ?? subject.stored?.subscriptions
  if (
    subscriptions === undefined ||
    subscriptions.has(filter) ||
    subscriptions.size < maxSubscriptionsPerClient
  )
    return []
  return [
    step(
      'limit',
      'refused',
      `it has ${subscriptions.size} subscriptions`,
      `limits.maxSubscriptionsPerClient: ${maxSubscriptionsPerClient}`,
    ),
  ]
}
