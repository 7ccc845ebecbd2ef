import type { Explanation, WhyRequest } from '../../admin/api/resources.ts'
import type { Config } from '../../config/schema.ts'
import { isAnonymous } from '../listener-profile.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { PublishRequest, QoS, SubscribeRequest } from '../../hooks/types.ts'
import { parseShare, reservedNamespace, topicFilterFault, topicNameFault } from '../topics.ts'
import { askHandlers, explainConnect, type Asking } from './ask-handlers.ts'
import {
  banRule,
  connectRules,
  publishRules,
  subscriptionLimit,
  topicLimits,
  type RulesContext,
} from './rules.ts'
import { isAgainst, step, type Step } from './step.ts'
import { describeSubject, findSubject, type Subject, type Subjects } from './subject.ts'
import { openRequest, openRules, tunnelPublish, tunnelSubscribe, type TunnelPlace } from './tunnel-rules.ts'

export interface WhyContext extends RulesContext, Subjects {
  readonly config: RulesContext['config'] & Pick<Config, 'auth' | 'admin'>
  /** Name of this pod, now. */
  readonly pod: () => string
  readonly tunnels: TunnelPlace['tunnels']
  readonly statusOf: TunnelPlace['statusOf']
}

/** Explains what would be decided, without doing it. Rejects with TMQ_USAGE, or TMQ_LIMIT: too many at once. */
export type Why = (request: WhyRequest) => Promise<Explanation>

/** Explanations under way: handlers may be slow, and this is past their slots. */
const MAX_AT_ONCE = 16

type Findings = Pick<Explanation, 'steps' | 'effective'>
const NOTHING_EFFECTIVE = { topic: null, qos: null, retain: null }

export function createWhy(context: WhyContext): Why {
  let underWay = 0
  return async (request) => {
    if (underWay >= MAX_AT_ONCE)
      throw new TunnelMQError(ErrorCode.limit, `${MAX_AT_ONCE} explanations are under way; try again`)
    underWay++
    try {
      const subject = findSubject(request, context)
      const { steps, effective } = await explain(context, request, subject)
      const against = steps.find(isAgainst)
      return {
        pod: context.pod(),
        allowed: against === undefined,
        summary: summarize(request, subject, steps, against),
        client: describeSubject(subject),
        steps,
        effective,
      }
    } finally {
      underWay--
    }
  }
}

function explain(context: WhyContext, request: WhyRequest, subject: Subject): Promise<Findings> {
  switch (request.action) {
    case 'connect':
      return Promise.resolve(connect(context, request, subject))
    case 'publish':
      return publish(context, request, subject)
    case 'subscribe':
      return subscribe(context, request, subject)
    case 'open':
      return open(context, request.topic, subject, [banRule(context, subject)])
    default:
      return request.action satisfies never
  }
}

function connect(context: WhyContext, request: WhyRequest, subject: Subject): Findings {
  const { profile, session } = subject
  const steps = connectRules(context, request, subject)
  if (isAnonymous(profile, session))
    steps.push(
      step('listener', 'allowed', 'no username: no handler is asked', `allowAnonymous of ${profile.name}`),
    )
  else steps.push(...explainConnect({ handlers: profile.guard.chain.handlers, session }))
  return { steps, effective: NOTHING_EFFECTIVE }
}

async function publish(context: WhyContext, request: WhyRequest, subject: Subject): Promise<Findings> {
  const { topic, retain } = request
  const before = [banRule(context, subject)]
  if (reservedNamespace(topic) === 'tunnel') {
    const found = tunnelPublish(topic, placeOf(context, subject))
    if ('steps' in found) return { steps: [...before, ...found.steps], effective: NOTHING_EFFECTIVE }
    before.push(step('protocol', 'none', `a frame of a tunnel: who may open ${found.open} may send it`))
    return await open(context, found.open, subject, before)
  }
  before.push(...publishRules(context, request, subject))
  const message: PublishRequest = {
    topic,
    payload: Buffer.alloc(0),
    retain,
    qos: request.qos as QoS,
    dup: false,
    isWill: false,
  }
  const limits = topicLimits(context.config)
  const steps = await decide(context, subject, before, { action: 'publish', request: message }, () => {
    const fault = topicNameFault(message.topic, limits)
    const isReserved = reservedNamespace(message.topic) !== undefined
    return fault !== undefined || isReserved
      ? `it rewrites the topic to one that is not allowed: ${message.topic}`
      : undefined
  })
  const effective = { topic: message.topic, qos: message.qos, retain: message.retain }
  return { steps, effective: steps.some(isAgainst) ? NOTHING_EFFECTIVE : effective }
}

async function subscribe(context: WhyContext, request: WhyRequest, subject: Subject): Promise<Findings> {
  const refused = (reason: string): Findings => ({
    steps: [...before, step('protocol', 'refused', `${reason}: the connection is closed`)],
    effective: NOTHING_EFFECTIVE,
  })
  const before = [banRule(context, subject)]
  const shared = parseShare(request.topic)
  if (typeof shared === 'string') return refused(shared)
  const topic = shared?.filter ?? request.topic
  const limits = topicLimits(context.config)
  const fault = topicFilterFault(topic, limits)
  if (fault !== undefined) return refused(fault)
  before.push(
    step(
      'protocol',
      'none',
      shared === undefined ? 'a legal filter' : `a shared subscription of group ${shared.group}`,
    ),
  )
  const asked: SubscribeRequest = {
    topic,
    qos: request.qos as QoS,
    ...(shared && { shareGroup: shared.group }),
  }
  if (reservedNamespace(topic) === 'tunnel') {
    const place = placeOf(context, subject)
    const kind = tunnelSubscribe(request.topic, place)
    if (typeof kind === 'object') return { steps: [...before, kind], effective: NOTHING_EFFECTIVE }
    if (kind === 'serve') {
      const serve = { action: 'serve', agent: place.client, service: '+', topic } as const
      const steps = await decide(context, subject, before, { action: 'serve', request: serve })
      return { steps, effective: NOTHING_EFFECTIVE }
    }
  }
  before.push(...subscriptionLimit(context, request.topic, subject))
  const steps = await decide(context, subject, before, { action: 'subscribe', request: asked }, () => {
    const wanders = asked.topic !== topic && reservedNamespace(asked.topic) === 'tunnel'
    return wanders || topicFilterFault(asked.topic, limits) !== undefined
      ? `it rewrites the filter to one that is not allowed: ${asked.topic}`
      : undefined
  })
  // QoS 2 is not offered to shared subscriptions.
  const qos = shared === undefined || asked.qos === 0 ? asked.qos : 1
  const effective = { topic: asked.topic, qos, retain: null }
  return { steps, effective: steps.some(isAgainst) ? NOTHING_EFFECTIVE : effective }
}

async function open(
  context: WhyContext,
  destination: string,
  subject: Subject,
  before: readonly Step[],
): Promise<Findings> {
  const place = placeOf(context, subject)
  const request = openRequest(destination, place)
  if ('by' in request) return { steps: [...before, request], effective: NOTHING_EFFECTIVE }
  const steps = await decide(context, subject, before, { action: 'open', request })
  if (!before.some(isAgainst)) steps.push(...openRules(place, request.agent))
  return { steps, effective: NOTHING_EFFECTIVE }
}

/** The rules that come before; then the handlers, if those let the request through. */
async function decide(
  { config }: WhyContext,
  { session, profile }: Subject,
  before: readonly Step[],
  asking: Asking,
  fault?: () => string | undefined,
): Promise<Step[]> {
  const { handlers } = profile.guard.chain
  if (before.some(isAgainst))
    return [...before, ...handlers.map(({ name }) => step(name, 'not asked', 'a rule before it refuses'))]
  // Another pod waits for the answer no longer than that.
  const timeoutMs = Math.min(config.auth.timeoutMs, config.admin.podTimeoutMs * 0.8)
  return [
    ...before,
    ...(await askHandlers(asking, { handlers, session, timeoutMs, ...(fault && { fault }) })),
  ]
}

function placeOf({ tunnels, statusOf }: WhyContext, { session, profile }: Subject): TunnelPlace {
  return { tunnels, statusOf, mountpoint: profile.mountpoint, client: session.id }
}

function summarize(
  request: WhyRequest,
  subject: Subject,
  steps: readonly Step[],
  against: Step | undefined,
): string {
  const who = JSON.stringify(request.client)
  const what = {
    connect: 'connect',
    publish: `publish to ${request.topic}`,
    subscribe: `subscribe to ${request.topic}`,
    open: `open ${request.topic}`,
  }[request.action]
  const guess =
    subject.state === 'connected'
      ? ''
      : ' It is not connected here: handlers were shown what the question says of it.'
  const because = ({ by, reason, rule }: Step): string =>
    `${by}${rule === null ? '' : ` (${rule})`}: ${reason ?? 'no reason given'}`
  if (against !== undefined) return `${who} may not ${what}. ${because(against)}.${guess}`
  const decisive = steps.find(({ opinion }) => opinion === 'allowed')
  if (decisive !== undefined) return `${who} may ${what}. ${because(decisive)}.${guess}`
  const deciders = steps.filter(({ opinion }) => opinion === 'not asked').map(({ by }) => by)
  return `${who} may ${what} if ${deciders.join(' or ')} accepts it.${guess}`
}
