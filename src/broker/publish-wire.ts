import { writeHeader } from './packets/encode.ts'
import { PacketType } from './packets/types.ts'
import { varintBytes, writeVarint } from './packets/varint.ts'

/** Above this many payload bytes a packet is not copied together, but written as head and payload. */
export const LARGE_PAYLOAD_BYTES = 8_192

/** A PUBLISH packet, ready for every receiver of a fan-out; what is a connection's own is filled in. */
export interface PublishWire {
  /** The whole packet, or only its head when the payload is large. */
  readonly bytes: Buffer
  /** Of the packet identifier. */
  readonly idAt: number
  /** Of the topic alias; 0: it has none. */
  readonly aliasAt: number
  readonly payload: Buffer | undefined
}

const TOPIC_ALIAS = 0x23
const SUBSCRIPTION_IDENTIFIER = 0x0b
/** Of a topic alias in the properties. */
export const ALIAS_BYTES = 3

/** MQTT 3.1.1, 3.3. With or without room for a packet identifier. */
export function encodePublish(topic: string, payload: Buffer, withId: boolean): PublishWire {
  return encode({ topic, payload, withId, shared: undefined, own: undefined })
}

/** What the connection adds to the properties of the message. */
export interface OwnProperties {
  /** There is room for one. */
  readonly hasAlias: boolean
  /** Encoded. */
  readonly identifiers: Buffer
}

const NOTHING = Buffer.alloc(0)
export const NOTHING_OWN: OwnProperties = { hasAlias: false, identifiers: NOTHING }
export const ALIAS_ONLY: OwnProperties = { hasAlias: true, identifiers: NOTHING }

/** MQTT 5, 3.3. `shared`: encoded properties of the message, without their length. */
export function encodePublish5(
  topic: string,
  payload: Buffer,
  withId: boolean,
  shared: Buffer,
  own: OwnProperties,
): PublishWire {
  return encode({ topic, payload, withId, shared, own })
}

/** Bytes of the whole packet of MQTT 5, with its topic; `propertyBytes` without their length. */
export function publishBytes5(
  topicBytes: number,
  payloadBytes: number,
  withId: boolean,
  propertyBytes: number,
): number {
  const length = 2 + topicBytes + (withId ? 2 : 0) + varintBytes(propertyBytes) + propertyBytes + payloadBytes
  return 1 + varintBytes(length) + length
}

/** Subscription identifiers as properties (MQTT 5, 3.3.2.3.8). */
export function encodeIdentifiers(identifiers: readonly number[]): Buffer {
  let length = 0
  for (const identifier of identifiers) length += 1 + varintBytes(identifier)
  const bytes = Buffer.allocUnsafe(length)
  let at = 0
  for (const identifier of identifiers) {
    bytes[at] = SUBSCRIPTION_IDENTIFIER
    at = writeVarint(bytes, at + 1, identifier)
  }
  return bytes
}

/** What one PUBLISH is made of. */
export interface PublishParts {
  readonly topic: string
  readonly payload: Buffer
  /** There is room for a packet identifier. */
  readonly withId: boolean
  /** Encoded properties of the message, without their length; undefined, as `own`: before MQTT 5. */
  readonly shared: Buffer | undefined
  readonly own: OwnProperties | undefined
}

interface Measures {
  readonly topicBytes: number
  /** Properties, without their length. */
  readonly listBytes: number
  /** The remaining length of the fixed header. */
  readonly length: number
  /** All that stands before the payload. */
  readonly headBytes: number
}

/** Asked before it is written, as there has to be room for it. */
export function measure({ topic, payload, withId, shared, own }: PublishParts): Measures {
  const topicBytes = Buffer.byteLength(topic)
  let listBytes = 0
  let propertyBytes = 0
  if (shared !== undefined) {
    listBytes = (own!.hasAlias ? ALIAS_BYTES : 0) + own!.identifiers.length + shared.length
    propertyBytes = varintBytes(listBytes) + listBytes
  }
  const length = 2 + topicBytes + (withId ? 2 : 0) + propertyBytes + payload.length
  return { topicBytes, listBytes, length, headBytes: 1 + varintBytes(length) + length - payload.length }
}

/** All that stands before the payload; `messageId` and `alias` are 0 where there is none, or where they come later. */
export function writeHead(
  target: Buffer,
  start: number,
  { topic, withId, shared, own }: PublishParts,
  { topicBytes, listBytes, length }: Measures,
  first: number,
  messageId: number,
  alias: number,
): void {
  let at = writeHeader(target, start, first, length)
  target[at++] = topicBytes >> 8
  target[at++] = topicBytes & 0xff
  if (topicBytes === topic.length) target.write(topic, at, topicBytes, 'latin1')
  else target.write(topic, at, topicBytes, 'utf8')
  at += topicBytes
  if (withId) {
    target[at++] = messageId >> 8
    target[at++] = messageId & 0xff
  }
  if (shared === undefined) return
  at = writeVarint(target, at, listBytes)
  if (own!.hasAlias) {
    target[at++] = TOPIC_ALIAS
    target[at++] = alias >> 8
    target[at++] = alias & 0xff
  }
  if (own!.identifiers.length > 0) target.set(own!.identifiers, at)
  if (shared.length > 0) target.set(shared, at + own!.identifiers.length)
}

function encode(parts: PublishParts): PublishWire {
  const { payload, withId, own } = parts
  const measures = measure(parts)
  const { headBytes, listBytes } = measures
  const large = payload.length > LARGE_PAYLOAD_BYTES
  const bytes = Buffer.allocUnsafe(large ? headBytes : headBytes + payload.length)
  writeHead(bytes, 0, parts, measures, PacketType.publish << 4, 0, 0)
  if (!large) bytes.set(payload, headBytes)
  const propertyBytes = own === undefined ? 0 : varintBytes(listBytes) + listBytes
  return {
    bytes,
    idAt: headBytes - propertyBytes - (withId ? 2 : 0),
    // The first of the properties, behind its identifier.
    aliasAt: own?.hasAlias === true ? headBytes - listBytes + 1 : 0,
    payload: large ? payload : undefined,
  }
}
