import { parseGrantedRights } from '../granted-rights.ts'
import {
  RefuseReason,
  type PublishRequest,
  type RefusalDetails,
  type Session,
  type SubscribeRequest,
} from '../types.ts'
import {
  encodePayload,
  isQoS,
  isRecord,
  jsonRequest,
  optional,
  parseObject,
  passwordText,
  readRewritten,
  type Allowed,
  type Answer,
  type Format,
  type FormatOptions,
  type Notice,
  type Question,
  type SubscriptionAnswer,
} from './format.ts'

/** Our own format: docs/webhooks.md. */
export function createTunnelmqFormat(options: FormatOptions): Format {
  return {
    cachesByHeader: new Set(['allow', 'deny', 'ignore']),
    request: (session, asked) =>
      jsonRequest(
        { action: asked.hook, ...clientFacts(session, options), ...facts(session, asked, options) },
        options.headers,
      ),
    answer: (text, _session, question) => readAnswer(parseObject(text), question, options),
  }
}

function clientFacts(
  { id, username, clean, keepalive, protocolVersion, properties, peer }: Session,
  { mountpoint }: FormatOptions,
): object {
  const { certificate } = peer
  return {
    clientid: id,
    username: username ?? null,
    address: peer.address,
    port: peer.port,
    listener: peer.listener,
    transport: peer.transport,
    mountpoint,
    protocolVersion,
    clean,
    keepalive,
    ...(properties?.userProperties !== undefined && { connectUserProperties: properties.userProperties }),
    ...(certificate !== undefined && {
      certificate: {
        subject: certificate.subject,
        commonName: certificate.commonName ?? null,
        altNames: certificate.altNames,
        issuer: certificate.issuer,
        serialNumber: certificate.serialNumber,
        fingerprint256: certificate.fingerprint256,
      },
    }),
  }
}

function facts(session: Session, asked: Question | Notice, options: FormatOptions): object {
  switch (asked.hook) {
    case 'authConnect': {
      const { will, peer, password } = session
      return {
        password: passwordText(password),
        ...(will !== undefined && { will: { topic: will.topic, qos: will.qos, retain: will.retain } }),
        ...(options.sendCertificatePem && peer.certificate && { certificatePem: peer.certificate.pem }),
      }
    }
    case 'authPublish':
    case 'publish': {
      const { topic, qos, retain, payload, isWill } = asked.message
      return {
        topic,
        qos,
        retain,
        isWill,
        ...messageFacts(asked.message),
        ...(options.payload !== 'none' && { payload: encodePayload(payload, options.payload) }),
      }
    }
    case 'authSubscribe':
    case 'subscribe':
      // Once: with each filter, a packet of many would make a text of any size.
      return {
        subscriptions: asked.subscriptions.map(subscriptionFacts),
        userProperties: asked.subscriptions[0]?.userProperties,
      }
    case 'authTunnel': {
      const { action, agent, service } = asked.tunnel
      return { tunnel: { action, agent, service } }
    }
    case 'unsubscribe':
      return { topics: asked.topics }
    case 'disconnect':
      return { reason: asked.why.kind, ...(asked.why.detail !== undefined && { detail: asked.why.detail }) }
    case 'connect':
      return {}
    default:
      return asked satisfies never
  }
}

/** Of MQTT 5; JSON leaves out what is undefined. Correlation data is the business of those who exchange it. */
export function messageFacts({ properties, messageExpirySeconds }: Readonly<PublishRequest>): object {
  if (properties === undefined && messageExpirySeconds === undefined) return {}
  const { payloadFormatIndicator, contentType, responseTopic, userProperties } = properties ?? {}
  return { payloadFormatIndicator, contentType, responseTopic, userProperties, messageExpirySeconds }
}

function subscriptionFacts(subscription: Readonly<SubscribeRequest>): object {
  const { topic, qos, shareGroup, noLocal, retainAsPublished, retainHandling } = subscription
  const { subscriptionIdentifier } = subscription
  return { topic, qos, shareGroup, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }
}

function readAnswer(answer: Record<string, unknown>, question: Question, options: FormatOptions): Answer {
  const { result } = answer
  if (result === 'ignore') return { verdict: 'ignore' }
  if (result === 'deny') {
    const reason = optional(answer, 'reason', 'string') ?? 'the service says no'
    const refuse = optional(answer, 'refuse', 'string')
    if (refuse !== undefined && !isRefuseReason(refuse))
      throw new Error(`refuse is none of ${reasons.join(', ')}`)
    const otherwise =
      question.hook === 'authConnect' ? RefuseReason.badCredentials : RefuseReason.notAuthorized
    const details = readDetails(answer)
    return { verdict: 'deny', reason, refuse: refuse ?? otherwise, ...(details && { details }) }
  }
  if (result !== 'allow') throw new Error('result is none of allow, deny and ignore')
  switch (question.hook) {
    case 'authConnect':
      return readConnect(answer)
    case 'authPublish':
      return readPublish(answer, options)
    case 'authSubscribe':
      return readSubscribe(answer, question.subscriptions)
    case 'authTunnel':
      return { verdict: 'allow' }
    default:
      return question satisfies never
  }
}

/** For clients of MQTT 5. */
function readDetails(answer: Record<string, unknown>): RefusalDetails | undefined {
  const reasonCode = optional(answer, 'reasonCode', 'number')
  const reasonString = optional(answer, 'reasonString', 'string')
  if (reasonCode === undefined && reasonString === undefined) return undefined
  return {
    ...(reasonCode !== undefined && { reasonCode }),
    ...(reasonString !== undefined && { reasonString }),
  }
}

const reasons = Object.values(RefuseReason)
const isRefuseReason = (text: string): text is RefuseReason => reasons.some((reason) => reason === text)

function readConnect(answer: Record<string, unknown>): Allowed {
  const username = optional(answer, 'username', 'string')
  const clientId = optional(answer, 'clientid', 'string')
  const expiresAt = optional(answer, 'expiresAt', 'number')
  const rights =
    answer['acl'] === undefined || answer['acl'] === null ? undefined : parseGrantedRights(answer['acl'])
  if (typeof rights === 'string') throw new Error(`acl: ${rights}`)
  return {
    verdict: 'allow',
    ...(username !== undefined && { username }),
    ...(clientId !== undefined && { clientId }),
    ...(expiresAt !== undefined && { endsAtMs: expiresAt * 1_000 }),
    ...(rights !== undefined && { rights }),
  }
}

function readPublish(answer: Record<string, unknown>, options: FormatOptions): Allowed {
  const qos = optional(answer, 'qos', 'number')
  return { verdict: 'allow', ...readRewritten(answer, qos, options.payload) }
}

function readSubscribe(
  answer: Record<string, unknown>,
  asked: readonly Readonly<SubscribeRequest>[],
): Allowed {
  const { subscriptions } = answer
  if (subscriptions === undefined || subscriptions === null) return { verdict: 'allow' }
  if (!Array.isArray(subscriptions) || subscriptions.length !== asked.length)
    throw new Error('subscriptions is not a list of as many as were asked about')
  return {
    verdict: 'allow',
    subscriptions: subscriptions.map((entry: unknown, index): SubscriptionAnswer => {
      if (!isRecord(entry)) throw new Error('one of subscriptions is not an object')
      const { topic, qos } = asked[index]!
      const refused = entry['refused']
      const wantedQos = optional(entry, 'qos', 'number') ?? qos
      if (!isQoS(wantedQos)) throw new Error('qos is none of 0, 1 and 2')
      const refusedCode = optional(entry, 'refusedCode', 'number')
      return {
        topic: optional(entry, 'topic', 'string') ?? topic,
        qos: wantedQos,
        ...(refusedCode !== undefined && { refusedCode }),
        ...(refused !== undefined &&
          refused !== false &&
          refused !== null && { refused: typeof refused === 'string' ? refused : 'the service says no' }),
      }
    }),
  }
}
