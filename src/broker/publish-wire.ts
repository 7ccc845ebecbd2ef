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
  return encode(topic, payload, withId, undefined, undefined)
}

/** What the connection adds to the properties of the message. */
export interface OwnProperties {
  /** There is room for one. */
  readonly hasAlias: boolean
  /** Encoded. */
  readonly identifiers: Buffer
}

/** MQTT 5, 3.3. `shared`: encoded properties of the message, without their length. */
export function encodePublish5(
  topic: string,
  payload: Buffer,
  withId: boolean,
  shared: Buffer,
  own: OwnProperties,
): PublishWire {
  return encode(topic, payload, withId, shared, own)
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

/** Before MQTT 5 there are no properties: `shared` and `own` are undefined. */
function encode(
  topic: string,
  payload: Buffer,
  withId: boolean,
  shared: Buffer | undefined,
  own: OwnProperties | undefined,
): PublishWire {
  const topicBytes = Buffer.byteLength(topic)
  const large = payload.length > LARGE_PAYLOAD_BYTES
  let listBytes = 0
  let propertyBytes = 0
  if (shared !== undefined) {
    listBytes = (own!.hasAlias ? ALIAS_BYTES : 0) + own!.identifiers.length + shared.length
    propertyBytes = varintBytes(listBytes) + listBytes
  }
  const length = 2 + topicBytes + (withId ? 2 : 0) + propertyBytes + payload.length
  const headBytes = 1 + varintBytes(length) + length - payload.length
  const bytes = Buffer.allocUnsafe(large ? headBytes : headBytes + payload.length)
  let offset = writeHeader(bytes, 0, PacketType.publish << 4, length)
  bytes[offset++] = topicBytes >> 8
  bytes[offset++] = topicBytes & 0xff
  if (topicBytes === topic.length) bytes.write(topic, offset, topicBytes, 'latin1')
  else bytes.write(topic, offset, topicBytes, 'utf8')
  const idAt = offset + topicBytes
  let aliasAt = 0
  if (shared !== undefined) {
    let at = writeVarint(bytes, headBytes - propertyBytes, listBytes)
    if (own!.hasAlias) {
      bytes[at] = TOPIC_ALIAS
      aliasAt = at + 1
      at += ALIAS_BYTES
    }
    if (own!.identifiers.length > 0) bytes.set(own!.identifiers, at)
    if (shared.length > 0) bytes.set(shared, headBytes - shared.length)
  }
  if (!large) bytes.set(payload, headBytes)
  return { bytes, idAt, aliasAt, payload: large ? payload : undefined }
}
