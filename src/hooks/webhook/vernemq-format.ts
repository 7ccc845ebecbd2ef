import { RefuseReason, type Session, type SubscribeRequest } from '../types.ts'
import {
  decodePayload,
  encodePayload,
  isQoS,
  isRecord,
  jsonRequest,
  optional,
  parseObject,
  passwordText,
  type Allowed,
  type Answer,
  type Format,
  type FormatOptions,
  type Notice,
  type Question,
  type SubscriptionAnswer,
} from './format.ts'

/**
 * The webhooks of VerneMQ (vmq_webhooks, hooks of MQTT 3.1.1), as services that were written for it expect them: names,
 * order of keys, null where there is nothing, payload in base64.
 */
export function createVernemqFormat(options: FormatOptions): Format {
  // Theirs have no separator at the end.
  const mountpoint = options.mountpoint.replace(/\/$/, '')
  return {
    // There, too, only a yes is remembered by the header.
    cachesByHeader: new Set(['allow']),
    request: (session, asked) =>
      jsonRequest(bodyOf(session, asked, { ...options, mountpoint }), {
        ...options.headers,
        'vernemq-hook': hookOf(session, asked),
      }),
    answer: (text, _session, question) => readAnswer(parseObject(text), question, { ...options, mountpoint }),
  }
}

function hookOf({ clean }: Session, { hook }: Question | Notice): string {
  switch (hook) {
    case 'authConnect':
      return 'auth_on_register'
    case 'authPublish':
      return 'auth_on_publish'
    case 'authSubscribe':
    case 'authTunnel':
      return 'auth_on_subscribe'
    case 'connect':
      return 'on_register'
    case 'publish':
      return 'on_publish'
    case 'subscribe':
      return 'on_subscribe'
    case 'unsubscribe':
      return 'on_unsubscribe'
    case 'disconnect':
      return clean ? 'on_client_gone' : 'on_client_offline'
    default:
      return hook satisfies never
  }
}

function bodyOf(session: Session, asked: Question | Notice, options: FormatOptions): object {
  const { mountpoint } = options
  const peer = { peer_addr: session.peer.address, peer_port: session.peer.port }
  const client = { mountpoint, client_id: session.id }
  const username = { username: session.username ?? null }
  switch (asked.hook) {
    case 'authConnect': {
      const { certificate } = session.peer
      return {
        ...peer,
        ...client,
        ...username,
        password: passwordText(session.password),
        clean_session: session.clean,
        ...(options.sendCertificatePem && certificate && { client_cert: derOf(certificate.pem) }),
      }
    }
    case 'connect':
      return { ...peer, ...client, ...username }
    case 'authPublish':
    case 'publish': {
      const { qos, topic, payload, retain } = asked.message
      // `no_payload` is for the question alone there.
      const encoding = options.payload === 'none' && asked.hook === 'publish' ? 'base64' : options.payload
      const content = encoding === 'none' ? {} : { payload: encodePayload(payload, encoding) }
      return { ...username, ...client, qos, topic, ...content, retain }
    }
    case 'authSubscribe':
    case 'subscribe': {
      const topics = asked.subscriptions.map((subscription) => ({
        topic: filterOf(subscription),
        qos: subscription.qos,
      }))
      return { ...username, ...client, topics }
    }
    case 'authTunnel':
      return { ...username, ...client, topics: [{ topic: asked.tunnel.topic, qos: 0 }] }
    case 'unsubscribe':
      return { ...username, ...client, topics: asked.topics }
    case 'disconnect':
      return client
    default:
      return asked satisfies never
  }
}

/** They are shown shared subscriptions as the client has sent them. */
function filterOf({ topic, shareGroup }: Readonly<SubscribeRequest>): string {
  return shareGroup === undefined ? topic : `$share/${shareGroup}/${topic}`
}

function derOf(pem: string): string {
  return pem.replace(/-----[A-Z ]+-----|\s/g, '')
}

function readAnswer(answer: Record<string, unknown>, question: Question, options: FormatOptions): Answer {
  const { result } = answer
  if (result === 'next') return { verdict: 'ignore' }
  if (isRecord(result)) {
    const error = typeof result['error'] === 'string' ? result['error'] : 'the service says no'
    const isCredentials = error === 'invalid_credentials'
    return {
      verdict: 'deny',
      reason: error,
      refuse: isCredentials ? RefuseReason.badCredentials : RefuseReason.notAuthorized,
    }
  }
  if (result !== 'ok') throw new Error('result is none of "ok", "next" and {"error": ...}')
  const modifiers = modifiersOf(answer)
  switch (question.hook) {
    case 'authConnect':
      return readRegister(modifiers, options)
    case 'authPublish':
      return readPublish(modifiers, options)
    case 'authSubscribe':
      return readSubscribe(answer['topics'] ?? modifiers['topics'], question.subscriptions)
    case 'authTunnel':
      return { verdict: 'allow' }
    default:
      return question satisfies never
  }
}

/** An empty list is what PHP makes of an empty object. */
function modifiersOf({ modifiers = {} }: Record<string, unknown>): Record<string, unknown> {
  if (Array.isArray(modifiers) && modifiers.length === 0) return {}
  if (!isRecord(modifiers)) throw new Error('modifiers is not an object')
  return modifiers
}

/** The right to be here ends with the life of the connection. */
function readRegister(modifiers: Record<string, unknown>, options: FormatOptions): Allowed {
  const { subscriber_id: subscriber, ...others } = modifiers
  if (subscriber !== undefined && !isRecord(subscriber)) throw new Error('subscriber_id is not an object')
  const {
    client_id: _id,
    mountpoint: _mountpoint,
    username: _name,
    max_connection_lifetime: _life,
    ...rest
  } = others
  for (const modifier of Object.keys(rest)) options.onIgnored(modifier)
  const named = { ...others, ...subscriber }
  checkMountpoint(named, options)
  const username = optional(others, 'username', 'string')
  const clientId = optional(named, 'client_id', 'string')
  const lifetime = optional(others, 'max_connection_lifetime', 'number')
  return {
    verdict: 'allow',
    ...(username !== undefined && { username }),
    ...(clientId !== undefined && { clientId }),
    ...(lifetime !== undefined && lifetime > 0 && { endsAtMs: Date.now() + lifetime * 1_000 }),
  }
}

function readPublish(modifiers: Record<string, unknown>, options: FormatOptions): Allowed {
  const {
    topic: _topic,
    payload: _payload,
    qos,
    retain: _retain,
    mountpoint: _mountpoint,
    ...rest
  } = modifiers
  for (const modifier of Object.keys(rest)) options.onIgnored(modifier)
  checkMountpoint(modifiers, options)
  const topic = optional(modifiers, 'topic', 'string')
  const payload = optional(modifiers, 'payload', 'string')
  const retain = optional(modifiers, 'retain', 'boolean')
  if (qos !== undefined && !isQoS(qos)) throw new Error('qos is none of 0, 1 and 2')
  return {
    verdict: 'allow',
    ...(topic !== undefined && { topic }),
    // `base64encode` counts for both directions.
    ...(payload !== undefined && { payload: decodePayload(payload, options.payload) }),
    ...(retain !== undefined && { retain }),
    ...(qos !== undefined && { qos }),
  }
}

/** The mountpoint is the listener's here: a client cannot be moved into somebody else's. */
function checkMountpoint(modifiers: Record<string, unknown>, { mountpoint }: FormatOptions): void {
  const wanted = optional(modifiers, 'mountpoint', 'string')
  if (wanted !== undefined && wanted.replace(/\/$/, '') !== mountpoint)
    throw new Error(
      `it moves the client to the mountpoint ${JSON.stringify(wanted)}, and its listener has ${JSON.stringify(mountpoint)}`,
    )
}

/** The list takes the place of what was asked; 128 refuses. One of another length is understood by its topics. */
function readSubscribe(topics: unknown, asked: readonly Readonly<SubscribeRequest>[]): Allowed {
  if (topics === undefined || (Array.isArray(topics) && topics.length === 0)) return { verdict: 'allow' }
  if (!Array.isArray(topics)) throw new Error('topics is not a list')
  const answers = topics.map(readTopic)
  if (answers.length === asked.length)
    return { verdict: 'allow', subscriptions: answers.map((one, index) => withoutShare(one, asked[index]!)) }
  return {
    verdict: 'allow',
    subscriptions: asked.map((subscription) => {
      const found = answers.find(({ topic }) => topic === filterOf(subscription))
      return found === undefined
        ? { topic: subscription.topic, qos: subscription.qos, refused: 'the service has left it out' }
        : withoutShare(found, subscription)
    }),
  }
}

function readTopic(entry: unknown): SubscriptionAnswer {
  const { topic, qos } = isRecord(entry) ? entry : {}
  if (typeof topic !== 'string' || typeof qos !== 'number')
    throw new Error('topics has an entry without topic and qos')
  return isQoS(qos) ? { topic, qos } : { topic, qos: 0, refused: `the service says ${qos}` }
}

function withoutShare(
  answer: SubscriptionAnswer,
  { shareGroup }: Readonly<SubscribeRequest>,
): SubscriptionAnswer {
  const prefix = `$share/${shareGroup}/`
  if (shareGroup === undefined || !answer.topic.startsWith(prefix)) return answer
  return { ...answer, topic: answer.topic.slice(prefix.length) }
}
