import type { WebhookConfig, WebhookHook } from '../../config/webhook-schema.ts'
import type { BrokerCounters } from '../../counters.ts'
import { createExpiry } from '../expiry.ts'
import { createRightsBySession } from '../granted-rights.ts'
import type { HandlerLog } from '../log.ts'
import { tunnelRight } from '../tunnel-right.ts'
import {
  AuthError,
  noOpinion,
  RefuseReason,
  type ExplainQuestion,
  type ManagedHandler,
  type NoOpinion,
  type PublishRequest,
  type RuleExplanation,
  type Session,
  type SubscribeRequest,
  type Verdict,
} from '../types.ts'
import { createAnswerCache } from './cache.ts'
import { passwordText, type Allowed, type Answer, type Format, type Notice, type Question } from './format.ts'
import { createNotifier } from './notifier.ts'
import { createService, ServiceFailure } from './service.ts'
import { createTunnelmqFormat } from './tunnelmq-format.ts'
import { createVernemqFormat } from './vernemq-format.ts'

export interface WebhookOptions {
  readonly config: WebhookConfig
  readonly mountpoint: string
  readonly log: HandlerLog
  readonly counters: Pick<BrokerCounters, 'webhook' | 'webhookEndpoint'>
  readonly name?: string
}

/**
 * A service of the user's decides, asked over HTTP. No answer, or none that can be understood: refused as unavailable
 * (CONNACK 3), so that devices come again.
 */
export async function createWebhookHandler(options: WebhookOptions): Promise<ManagedHandler> {
  const { config, log, name = 'http' } = options
  const counters = options.counters.webhook(name)
  const service = await createService({ config, counters: options.counters, handler: name, log })
  const format = formatOf(options)
  const cache = createAnswerCache({
    config: config.cache,
    counters,
    showsCorrelationData: config.mqtt5Hooks !== undefined,
  })
  const notifier = createNotifier({
    config: config.notify,
    counters,
    log,
    handler: name,
    send: (request) => service.tell(request),
  })
  const expiry = createExpiry()
  const rights = createRightsBySession('the acl in the answer of the service')
  const connected = new WeakSet<Session>()
  const asks = new Set<WebhookHook>(config.hooks)
  const asks5 = config.mqtt5Hooks === undefined ? asks : new Set<WebhookHook>(config.mqtt5Hooks)
  const asksOf = ({ protocolVersion }: Session): Set<WebhookHook> => (protocolVersion === 5 ? asks5 : asks)
  const decidesTopics = [asks, asks5].some((some) => some.has('authPublish') && some.has('authSubscribe'))

  /** The answer, at once when it is remembered. */
  function ask(session: Session, question: Question, apply: (answer: Allowed) => void): Verdict {
    if (!asksOf(session).has(question.hook)) return noOpinion
    const key = cache.key(session, question)
    const known = cache.get(key)
    if (known !== undefined) return settle(known, apply)
    return askService(session, question, key).then((answer) => settle(answer, apply))
  }

  async function askService(session: Session, question: Question, key: string): Promise<Answer> {
    let said = ''
    try {
      const { answer, headers } = await service.ask(format.request(session, question), (text) => {
        said = text
        const found = format.answer(text, session, question)
        if (found.verdict === 'allow' && found.rights !== undefined && !decidesTopics)
          throw new Error('it has an acl, which needs authPublish and authSubscribe in hooks')
        return found
      })
      const header = format.cachesByHeader.has(answer.verdict) ? headers['cache-control'] : undefined
      cache.put(key, answer, said, header)
      return answer
    } catch (error) {
      if (error instanceof ServiceFailure) throw new AuthError(error.message, RefuseReason.unavailable)
      throw error
    }
  }

  function admit(session: Session, answer: Allowed): void {
    if (answer.username !== undefined) session.username = answer.username
    if (answer.clientId !== undefined) session.id = answer.clientId
    if (answer.rights !== undefined) rights.grant(session, answer.rights)
    if (answer.endsAtMs !== undefined) expiry.note(session, answer.endsAtMs)
  }

  function tell(session: Session, notice: Notice): void {
    if (asksOf(session).has(notice.hook)) notifier.tell(session.id, format.request(session, notice))
  }

  const questions: Partial<ManagedHandler> = {
    authConnect(session) {
      if (!asksOf(session).has('authConnect')) return noOpinion
      if (passwordText(session.password) === undefined) throw notText
      return ask(session, { hook: 'authConnect' }, (answer) => admit(session, answer))
    },
    authPublish(session, message) {
      if (rights.has(session)) return rights.publish(session, message.topic)
      return ask(session, { hook: 'authPublish', message }, (answer) => rewrite(message, answer))
    },
    authSubscribe(session, subscriptions) {
      if (rights.has(session)) return rights.subscribe(session, subscriptions)
      return ask(session, { hook: 'authSubscribe', subscriptions }, (answer) => narrow(subscriptions, answer))
    },
    authTunnel(session, tunnel) {
      if (rights.has(session)) return rights.tunnel(session, tunnel)
      if (asks.has('authTunnel')) return ask(session, { hook: 'authTunnel', tunnel }, () => undefined)
      return tunnelRight(topicsAlone, tunnel.action)?.(session, tunnel) ?? noOpinion
    },
  }
  const topicsAlone = { authPublish: questions.authPublish!, authSubscribe: questions.authSubscribe! }
  const notices: Partial<ManagedHandler> = {
    publish: (session, message) => tell(session, { hook: 'publish', message }),
    subscribe: (session, subscriptions) => tell(session, { hook: 'subscribe', subscriptions }),
    unsubscribe: (session, topics) => tell(session, { hook: 'unsubscribe', topics }),
  }
  // A method that is there has a say: what the service is not asked is not there. An acl names tunnels as well.
  const wanted = Object.entries({ ...questions, ...notices }).filter(
    ([hook]) =>
      [asks, asks5].some((some) => some.has(hook as WebhookHook)) || (hook === 'authTunnel' && decidesTopics),
  )

  return {
    name,
    ...(Object.fromEntries(wanted) as Partial<ManagedHandler>),
    connect(session) {
      connected.add(session)
      expiry.start(session)
      tell(session, { hook: 'connect' })
    },
    disconnect(session, why) {
      expiry.forget(session)
      // Who was refused was never there.
      if (connected.delete(session)) tell(session, { hook: 'disconnect', why })
    },
    stillAllowed: (session) => !expiry.hasEnded(session),
    explain: (session, question) => explain(session, question),
    reload: () => service.reload(),
    onChange: (listener) => expiry.onEnd(listener),
    async close() {
      expiry.close()
      await notifier.close(config.timeoutMs)
      service.close()
      cache.close()
    },
  }
  function explain(session: Session, question: ExplainQuestion): RuleExplanation | undefined {
    if (question.action !== 'connect' && rights.has(session)) return rights.explain(session, question)
    const asked = questionOf(question)
    if (!asksOf(session).has(asked.hook)) return undefined
    // Of `connect` the password is not known, and so nothing that is remembered.
    const isCached = asked.hook !== 'authConnect' && cache.has(cache.key(session, asked))
    return { rule: service.name, reason: 'the service decides', isCached }
  }
}

const NOTHING = Buffer.alloc(0)

/** As the chain asks it. */
function questionOf(question: ExplainQuestion): Question {
  switch (question.action) {
    case 'connect':
      return { hook: 'authConnect' }
    case 'publish': {
      const { topic, qos, retain } = question
      return {
        hook: 'authPublish',
        message: { topic, qos, retain, payload: NOTHING, dup: false, isWill: false },
      }
    }
    case 'subscribe':
      return { hook: 'authSubscribe', subscriptions: [question] }
    case 'serve':
    case 'open':
      return { hook: 'authTunnel', tunnel: question }
    default:
      return question satisfies never
  }
}

const notText = new AuthError(
  'the password is not UTF-8, and cannot be sent in JSON',
  RefuseReason.badCredentials,
)

function settle(answer: Answer, apply: (answer: Allowed) => void): void | NoOpinion {
  if (answer.verdict === 'ignore') return noOpinion
  if (answer.verdict === 'deny') throw new AuthError(answer.reason, answer.refuse, answer.details)
  apply(answer)
}

function rewrite(message: PublishRequest, answer: Allowed): void {
  const { topic, payload, retain, qos, properties, messageExpirySeconds } = answer
  if (topic !== undefined) message.topic = topic
  if (payload !== undefined) message.payload = payload
  if (retain !== undefined) message.retain = retain
  if (qos !== undefined && qos < message.qos) message.qos = qos
  if (properties !== undefined) message.properties = properties
  if (messageExpirySeconds !== undefined) message.messageExpirySeconds = messageExpirySeconds
}

function narrow(subscriptions: readonly SubscribeRequest[], answer: Allowed): void {
  for (const [index, { topic, qos, refused, refusedCode }] of (answer.subscriptions ?? []).entries()) {
    const subscription = subscriptions[index]!
    if (refused !== undefined) subscription.refused = refused
    if (refusedCode !== undefined) subscription.refusedCode = refusedCode
    subscription.topic = topic
    if (qos < subscription.qos) subscription.qos = qos
  }
}

function formatOf({ config, mountpoint, log, name = 'http' }: WebhookOptions): Format {
  const ignored = new Set<string>()
  const options = {
    ...config,
    mountpoint,
    onIgnored(what: string) {
      // Said once, and of no more than a service can think of.
      if (ignored.has(what) || ignored.size >= 100) return
      ignored.add(what)
      log.error({ handler: name, modifier: what }, 'modifier of the service has no effect here')
    },
  }
  return config.format === 'vernemq' ? createVernemqFormat(options) : createTunnelmqFormat(options)
}
