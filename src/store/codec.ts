import { isUtf8 } from 'node:buffer'
import type { QoS } from '../hooks/types.ts'
import type { QueueEntry, StoredMessage, StoredProperties, StoredSubscription } from './contract.ts'
import { decodeStoredProperties, encodeStoredProperties } from './properties.ts'

/**
 * Values at rest, in LevelDB and in Redis. Each begins with a version byte. Decoders are strict: they give undefined for
 * anything that the encoders would not have written, and never throw.
 *
 *   message   version, flags (qos 0-1, retain 2, properties 3), publishedAtMs f64, expiresAtMs f64,
 *             topic, publisher, [properties as JSON]: each u32 length and bytes; payload: the rest
 *   entry     version, state (0 publish, 1 pubrel), qos; in state publish a message follows
 *   session   version, flags (connected 0), n u48, seqMark u48, sentUpToSeq u48, createdAtMs f64, expiresAtMs f64;
 *             version 2, of clients of MQTT 5: behind that expirySeconds u32
 *   subscription  version, JSON
 */
export const VERSION = 1

const MESSAGE_HEAD_BYTES = 18
const ENTRY_HEAD_BYTES = 3
const SESSION_BYTES = 36
/** Version of a session with an expiry interval of its own. */
const OWN_EXPIRY = 2
const RETAIN_FLAG = 0x04
const PROPERTIES_FLAG = 0x08

export function encodeMessage(message: StoredMessage, headBytes = 0): Buffer {
  const properties = message.properties && encodeStoredProperties(message.properties)
  const texts = [message.topic, message.publisher]
  if (properties !== undefined) texts.push(properties)
  let length = headBytes + MESSAGE_HEAD_BYTES + message.payload.length
  for (const text of texts) length += 4 + Buffer.byteLength(text)
  const value = Buffer.allocUnsafe(length)
  value[headBytes] = VERSION
  value[headBytes + 1] =
    message.qos | (message.retain ? RETAIN_FLAG : 0) | (properties === undefined ? 0 : PROPERTIES_FLAG)
  value.writeDoubleBE(message.publishedAtMs, headBytes + 2)
  value.writeDoubleBE(message.expiresAtMs, headBytes + 10)
  let at = headBytes + MESSAGE_HEAD_BYTES
  for (const text of texts) {
    const bytes = value.write(text, at + 4)
    value.writeUInt32BE(bytes, at)
    at += 4 + bytes
  }
  value.set(message.payload, at)
  return value
}

/** The payload is a slice of `value`. */
export function decodeMessage(value: Buffer, from = 0): StoredMessage | undefined {
  if (value.length < from + MESSAGE_HEAD_BYTES || value[from] !== VERSION) return undefined
  const flags = value[from + 1] ?? 0
  const qos = flags & 0x03
  if (qos === 3 || flags > 0x0f) return undefined
  const publishedAtMs = value.readDoubleBE(from + 2)
  const expiresAtMs = value.readDoubleBE(from + 10)
  if (!Number.isFinite(publishedAtMs) || !Number.isFinite(expiresAtMs)) return undefined
  const topic = decodeText(value, from + MESSAGE_HEAD_BYTES)
  const publisher = topic && decodeText(value, topic.end)
  if (publisher === undefined) return undefined
  let end = publisher.end
  let properties: StoredProperties | undefined
  if ((flags & PROPERTIES_FLAG) !== 0) {
    const json = decodeText(value, end)
    properties = json && decodeStoredProperties(json.text)
    if (json === undefined || properties === undefined) return undefined
    end = json.end
  }
  return {
    topic: topic?.text ?? '',
    payload: value.subarray(end),
    qos: qos as QoS,
    retain: (flags & RETAIN_FLAG) !== 0,
    publisher: publisher.text,
    publishedAtMs,
    expiresAtMs,
    ...(properties === undefined ? {} : { properties }),
  }
}

/** `countedBytes` of a message at rest, without decoding it; undefined for what is none. */
export function messageCountedBytes(value: Buffer): number | undefined {
  if (value.length < MESSAGE_HEAD_BYTES || value[0] !== VERSION) return undefined
  let at = MESSAGE_HEAD_BYTES
  for (let texts = 2; texts > 0; texts--) {
    if (at + 4 > value.length) return undefined
    at += 4 + value.readUInt32BE(at)
  }
  return at > value.length ? undefined : value.length - at
}

/** An entry in state `publish`. {@link setEntryQos} makes it fit the next session of the same publish. */
export function encodeEntry(message: StoredMessage, qos: 1 | 2): Buffer {
  const value = encodeMessage(message, ENTRY_HEAD_BYTES)
  value[0] = VERSION
  value[1] = 0
  value[2] = qos
  return value
}

export function setEntryQos(entry: Buffer, qos: 1 | 2): void {
  entry[2] = qos
}

export const releasedEntry: Buffer = Buffer.of(VERSION, 1, 2)

export function decodeEntry(seq: number, value: Buffer): QueueEntry | undefined {
  if (value.length < ENTRY_HEAD_BYTES || value[0] !== VERSION) return undefined
  const qos = value[2]
  if (qos !== 1 && qos !== 2) return undefined
  if (value[1] === 1) {
    if (value.length !== ENTRY_HEAD_BYTES) return undefined
    return { seq, qos, state: 'pubrel', message: undefined }
  }
  const message = value[1] === 0 ? decodeMessage(value, ENTRY_HEAD_BYTES) : undefined
  return message && { seq, qos, state: 'publish', message }
}

export interface SessionRecord {
  readonly connected: boolean
  readonly number: number
  readonly seqMark: number
  readonly sentUpToSeq: number
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly expirySeconds: number | undefined
}

export function encodeSession(session: SessionRecord): Buffer {
  const { expirySeconds } = session
  const value = Buffer.allocUnsafe(SESSION_BYTES + (expirySeconds === undefined ? 0 : 4))
  value[0] = expirySeconds === undefined ? VERSION : OWN_EXPIRY
  if (expirySeconds !== undefined) value.writeUInt32BE(expirySeconds, SESSION_BYTES)
  value[1] = session.connected ? 1 : 0
  value.writeUIntBE(session.number, 2, 6)
  value.writeUIntBE(session.seqMark, 8, 6)
  value.writeUIntBE(session.sentUpToSeq, 14, 6)
  value.writeDoubleBE(session.createdAtMs, 20)
  value.writeDoubleBE(session.expiresAtMs, 28)
  return value
}

export function decodeSession(value: Buffer): SessionRecord | undefined {
  const hasOwnExpiry = value[0] === OWN_EXPIRY
  if (value.length !== SESSION_BYTES + (hasOwnExpiry ? 4 : 0)) return undefined
  if ((!hasOwnExpiry && value[0] !== VERSION) || (value[1] ?? 2) > 1) return undefined
  const record: SessionRecord = {
    connected: value[1] === 1,
    number: value.readUIntBE(2, 6),
    seqMark: value.readUIntBE(8, 6),
    sentUpToSeq: value.readUIntBE(14, 6),
    createdAtMs: value.readDoubleBE(20),
    expiresAtMs: value.readDoubleBE(28),
    expirySeconds: hasOwnExpiry ? value.readUInt32BE(SESSION_BYTES) : undefined,
  }
  const sound =
    record.number > 0 && Number.isFinite(record.createdAtMs) && Number.isFinite(record.expiresAtMs)
  return sound ? record : undefined
}

export function encodeSubscription(subscription: StoredSubscription): Buffer {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(JSON.stringify(subscription))])
}

export function decodeSubscription(filter: string, value: Buffer): StoredSubscription | undefined {
  if (value[0] !== VERSION) return undefined
  const text = decodeUtf8(value.subarray(1))
  const fields = text === undefined ? undefined : parseObject(text)
  if (fields === undefined || fields['filter'] !== filter) return undefined
  const { matchFilter, shareGroup, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier } =
    fields
  if (typeof matchFilter !== 'string' || (qos !== 0 && qos !== 1 && qos !== 2)) return undefined
  const optionalsFit =
    (shareGroup === undefined || typeof shareGroup === 'string') &&
    (noLocal === undefined || typeof noLocal === 'boolean') &&
    (retainAsPublished === undefined || typeof retainAsPublished === 'boolean') &&
    (retainHandling === undefined || retainHandling === 0 || retainHandling === 1 || retainHandling === 2) &&
    (subscriptionIdentifier === undefined || isSubscriptionIdentifier(subscriptionIdentifier))
  if (!optionalsFit) return undefined
  return {
    filter,
    matchFilter,
    qos,
    ...(shareGroup === undefined ? {} : { shareGroup }),
    ...(noLocal === undefined ? {} : { noLocal }),
    ...(retainAsPublished === undefined ? {} : { retainAsPublished }),
    ...(retainHandling === undefined ? {} : { retainHandling }),
    ...(subscriptionIdentifier === undefined ? {} : { subscriptionIdentifier }),
  }
}

/** MQTT 5, 3.8.2.1.2. */
function isSubscriptionIdentifier(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 268_435_455
}

function decodeText(value: Buffer, at: number): { text: string; end: number } | undefined {
  if (at + 4 > value.length) return undefined
  const end = at + 4 + value.readUInt32BE(at)
  if (end > value.length) return undefined
  const text = decodeUtf8(value.subarray(at + 4, end))
  return text === undefined ? undefined : { text, end }
}

function decodeUtf8(bytes: Buffer): string | undefined {
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined
}

function parseObject(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
