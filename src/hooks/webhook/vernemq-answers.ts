import { RefuseReason, type PublishRequest, type SubscribeRequest } from '../types.ts'
import {
  isQoS,
  isRecord,
  optional,
  readRewritten,
  type Allowed,
  type Answer,
  type FormatOptions,
  type Question,
  type SubscriptionAnswer,
} from './format.ts'
import { readMessageProperties } from './vernemq-m5.ts'

/** Services are shown shared subscriptions as the client has sent them. */
export function filterOf({ topic, shareGroup }: Readonly<SubscribeRequest>): string {
  return shareGroup === undefined ? topic : `$share/${shareGroup}/${topic}`
}

/** Throws: it is not what VerneMQ understands. `m5`: of a hook of MQTT 5. */
export function readAnswer(
  answer: Record<string, unknown>,
  question: Question,
  options: FormatOptions,
  m5: boolean,
): Answer {
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
      return readPublish(modifiers, options, m5 ? question.message : undefined)
    case 'authSubscribe':
      return readSubscribe(answer['topics'] ?? modifiers['topics'], question.subscriptions, m5)
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

/** `message`: of a hook of MQTT 5, which may have other properties. */
function readPublish(
  modifiers: Record<string, unknown>,
  options: FormatOptions,
  message: Readonly<PublishRequest> | undefined,
): Allowed {
  const {
    topic: _topic,
    payload: _payload,
    qos,
    retain: _retain,
    mountpoint: _mountpoint,
    properties,
    ...rest
  } = modifiers
  for (const modifier of Object.keys(rest)) options.onIgnored(modifier)
  if (message === undefined && properties !== undefined) options.onIgnored('properties')
  checkMountpoint(modifiers, options)
  return {
    verdict: 'allow',
    // `base64encode` counts for both directions.
    ...readRewritten(modifiers, qos, options.payload),
    ...(message !== undefined &&
      properties !== undefined &&
      readMessageProperties(properties, message, options.onIgnored)),
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

/**
 * The list takes the place of what was asked; 128 refuses, of MQTT 5 each reason code. One of another length is understood
 * by its topics.
 */
function readSubscribe(topics: unknown, asked: readonly Readonly<SubscribeRequest>[], m5: boolean): Allowed {
  if (topics === undefined || (Array.isArray(topics) && topics.length === 0)) return { verdict: 'allow' }
  if (!Array.isArray(topics)) throw new Error('topics is not a list')
  const answers = topics.map((entry) => readTopic(entry, m5))
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

function readTopic(entry: unknown, m5: boolean): SubscriptionAnswer {
  const { topic, qos } = isRecord(entry) ? entry : {}
  if (typeof topic !== 'string' || typeof qos !== 'number')
    throw new Error('topics has an entry without topic and qos')
  if (isQoS(qos)) return { topic, qos }
  return { topic, qos: 0, refused: `the service says ${qos}`, ...(m5 && { refusedCode: qos }) }
}

function withoutShare(
  answer: SubscriptionAnswer,
  { shareGroup }: Readonly<SubscribeRequest>,
): SubscriptionAnswer {
  const prefix = `$share/${shareGroup}/`
  if (shareGroup === undefined || !answer.topic.startsWith(prefix)) return answer
  return { ...answer, topic: answer.topic.slice(prefix.length) }
}
