import type {
  InterceptedConnect,
  InterceptedPacket,
  InterceptedPublish,
  InterceptedSubscribe,
  InterceptedUnsubscribe,
  InterceptorPlace,
} from '../../hooks/interceptor.ts'
import type { MessageProperties } from '../../hooks/types.ts'
import { rewrittenFault } from '../message-properties.ts'
import {
  parseShare,
  reservedNamespace,
  topicFilterFault,
  topicNameFault,
  type TopicLimits,
} from '../topics.ts'

export interface ReplacementLimits {
  readonly topics: TopicLimits
  readonly maxPacketBytes: number
}

/** Of the fixed header and the packet identifier, at most. */
const HEAD_BYTES = 7
/** MQTT 3.1.1, 1.5.3. */
const MAX_FIELD_BYTES = 65_535

/**
 * What an interceptor has returned in place of a packet, with the fields that count and nothing else, frozen.
 * Pure. @throws {TypeError} saying what of it is not allowed: a mistake in the interceptor.
 */
export function replace<P extends InterceptedPacket>(
  packet: P,
  answer: unknown,
  place: InterceptorPlace,
  limits: ReplacementLimits,
): P {
  if (typeof answer !== 'object' || answer === null)
    throw new TypeError(`answered ${typeof answer}: a packet, null or nothing is expected`)
  const given = answer as Partial<InterceptedPacket>
  if (given.cmd !== packet.cmd) throw new TypeError(`${packet.cmd} was made into ${String(given.cmd)}`)
  switch (packet.cmd) {
    case 'connect':
      if (place === 'after') throw new TypeError('a CONNECT cannot be changed after the handlers')
      return Object.freeze(replaceConnect(packet, given as InterceptedConnect, limits)) as P
    case 'publish':
      return Object.freeze(replacePublish(packet, given as InterceptedPublish, limits)) as P
    case 'subscribe':
      return Object.freeze(replaceSubscribe(packet, given as InterceptedSubscribe, place, limits)) as P
    case 'unsubscribe':
      return Object.freeze(replaceUnsubscribe(packet, given as InterceptedUnsubscribe, limits)) as P
    default:
      throw new TypeError(`${packet.cmd} cannot be changed`)
  }
}

function replaceConnect(
  packet: InterceptedConnect,
  { clientId, username, password, will, clean, keepalive, protocolVersion, properties }: InterceptedConnect,
  { topics }: ReplacementLimits,
): InterceptedConnect {
  mustBe('clientId', isText(clientId), 'a string')
  const mayBeEmpty = packet.protocolVersion === 5 || (packet.clean && packet.protocolVersion === 4)
  mustBe('clientId', clientId !== '' || mayBeEmpty, 'not empty') // [MQTT-3.1.3-7]
  mustBe('username', username === undefined || isText(username), 'a string or undefined')
  mustBe('password', password === undefined || Buffer.isBuffer(password), 'a Buffer or undefined')
  mustStay('clean', clean, packet.clean)
  mustStay('keepalive', keepalive, packet.keepalive)
  mustStay('protocolVersion', protocolVersion, packet.protocolVersion)
  mustStay('properties', properties, packet.properties)
  if (will !== undefined && will !== packet.will) {
    mustBe('will', typeof will === 'object' && will !== null && Buffer.isBuffer(will.payload), 'a will')
    mustBe('will.qos', will.qos === 0 || will.qos === 1 || will.qos === 2, '0, 1 or 2')
    mustBe('will.retain', typeof will.retain === 'boolean', 'a boolean')
    mustBe('will.payload', will.payload.length <= MAX_FIELD_BYTES, `of ${MAX_FIELD_BYTES} bytes at most`)
    mustBeTopic(will.topic, topics)
    mustBeProperties('will.', will.properties, will.messageExpirySeconds)
  }
  return { ...packet, clientId, username, password, will: will && Object.freeze({ ...will }) }
}

function replacePublish(
  packet: InterceptedPublish,
  { topic, payload, qos, retain, messageId, properties, messageExpirySeconds }: InterceptedPublish,
  { topics, maxPacketBytes }: ReplacementLimits,
): InterceptedPublish {
  mustStay('qos', qos, packet.qos)
  mustStay('messageId', messageId, packet.messageId)
  mustBe('payload', Buffer.isBuffer(payload), 'a Buffer')
  mustBe('retain', typeof retain === 'boolean', 'a boolean')
  if (topic !== packet.topic) mustBeTopic(topic, topics)
  if (HEAD_BYTES + 2 + Buffer.byteLength(topic) + payload.length > maxPacketBytes)
    throw new TypeError(`the packet has become larger than limits.maxPacketBytes (${maxPacketBytes})`)
  mustBeProperties('', properties, messageExpirySeconds)
  const { properties: _before, messageExpirySeconds: _seconds, ...rest } = packet
  return {
    ...rest,
    ...{ topic, payload, retain },
    ...(properties !== undefined && { properties }),
    ...(messageExpirySeconds !== undefined && { messageExpirySeconds }),
  }
}

function replaceSubscribe(
  packet: InterceptedSubscribe,
  { messageId, subscriptions }: InterceptedSubscribe,
  place: InterceptorPlace,
  { topics }: ReplacementLimits,
): InterceptedSubscribe {
  mustStay('messageId', messageId, packet.messageId)
  const { length } = packet.subscriptions
  // SUBACK has a code for each, in the order of the client's. [MQTT-3.9.3-1]
  mustBe(
    'subscriptions',
    Array.isArray(subscriptions) && subscriptions.length === length,
    `${length} filters`,
  )
  const made = packet.subscriptions.map((before, index) => {
    const { topic, qos } = subscriptions[index]!
    mustBe('qos', (qos === 0 || qos === 1 || qos === 2) && qos <= before.qos, 'that of the client, or lower')
    if (topic !== before.topic) mustBeFilter(topic, topics, place)
    return Object.freeze({ ...before, topic, qos })
  })
  return { ...packet, subscriptions: Object.freeze(made) }
}

function replaceUnsubscribe(
  packet: InterceptedUnsubscribe,
  { messageId, unsubscriptions }: InterceptedUnsubscribe,
  { topics }: ReplacementLimits,
): InterceptedUnsubscribe {
  mustStay('messageId', messageId, packet.messageId)
  mustBe('unsubscriptions', Array.isArray(unsubscriptions) && unsubscriptions.length > 0, 'filters')
  const named = new Set(packet.unsubscriptions)
  for (const filter of unsubscriptions) if (!named.has(filter)) mustBeFilter(filter, topics, 'before')
  return { ...packet, unsubscriptions: Object.freeze([...unsubscriptions]) }
}

function mustBeProperties(
  prefix: string,
  properties: MessageProperties | undefined,
  messageExpirySeconds: number | undefined,
): void {
  const fault = rewrittenFault(properties, messageExpirySeconds)
  if (fault !== undefined) throw new TypeError(`${prefix}${fault} was made into what it cannot be`)
}

/** Nobody is led into the broker's own namespaces: frames of tunnels and `$SYS` values would be forged there. */
function mustBeTopic(topic: unknown, limits: TopicLimits): void {
  if (!isText(topic)) throw new TypeError('topic must be a string')
  const fault = topicNameFault(topic, limits) ?? (reservedNamespace(topic) && 'a reserved topic')
  if (fault !== undefined) throw new TypeError(`topic was made into ${JSON.stringify(topic)}: ${fault}`)
}

function mustBeFilter(filter: unknown, limits: TopicLimits, place: InterceptorPlace): void {
  if (!isText(filter)) throw new TypeError('a filter must be a string')
  const shared = parseShare(filter)
  const inner = typeof shared === 'object' ? shared.filter : filter
  const fault =
    typeof shared === 'string'
      ? shared
      : place === 'after' && shared !== undefined
        ? 'a shared subscription'
        : (topicFilterFault(inner, limits) ??
          (reservedNamespace(inner) === 'tunnel' ? 'a reserved topic' : undefined))
  if (fault !== undefined) throw new TypeError(`a filter was made into ${JSON.stringify(filter)}: ${fault}`)
}

/** Without U+0000 and lone surrogates, which UTF-8 does not have, and with a length that has a field. [MQTT-1.5.3-1] */
function isText(text: unknown): text is string {
  if (typeof text !== 'string' || /\p{Surrogate}/u.test(text) || text.includes('\0')) return false
  return Buffer.byteLength(text) <= MAX_FIELD_BYTES
}

function mustBe(field: string, isGood: boolean, what: string): void {
  if (!isGood) throw new TypeError(`${field} must be ${what}`)
}

function mustStay(field: string, given: unknown, was: unknown): void {
  if (given !== was) throw new TypeError(`${field} must not be changed`)
}
