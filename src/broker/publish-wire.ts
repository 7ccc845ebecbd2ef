import { lengthBytes, writeHeader } from './packets/encode.ts'
import { encodeVarint } from './packets/properties.ts'
import { PacketType } from './packets/types.ts'

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

const NOTHING = Buffer.alloc(0)
const TOPIC_ALIAS = 0x23
const SUBSCRIPTION_IDENTIFIER = 0x0b
/** Of a topic alias in the properties. */
export const ALIAS_BYTES = 3

/** MQTT 3.1.1, 3.3. With or without room for a packet identifier. */
export function encodePublish(topic: string, payload: Buffer, withId: boolean): PublishWire {
  return encode(topic, payload, withId, NOTHING, 0)
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
  { hasAlias, identifiers }: OwnProperties,
): PublishWire {
  const aliasBytes = hasAlias ? ALIAS_BYTES : 0
  const length = aliasBytes + identifiers.length + shared.length
  if (length === 0) return encode(topic, payload, withId, NO_PROPERTIES, 0)
  const alias = hasAlias ? Buffer.of(TOPIC_ALIAS, 0, 0) : NOTHING
  const head = encodeVarint(length)
  const properties = Buffer.concat([head, alias, identifiers, shared])
  return encode(topic, payload, withId, properties, hasAlias ? head.length + 1 : 0)
}

const NO_PROPERTIES = Buffer.of(0)

/** Bytes of the whole packet of MQTT 5, with its topic; `propertyBytes` without their length. */
export function publishBytes5(
  topicBytes: number,
  payloadBytes: number,
  withId: boolean,
  propertyBytes: number,
): number {
  const length = 2 + topicBytes + (withId ? 2 : 0) + lengthBytes(propertyBytes) + propertyBytes + payloadBytes
  return 1 + lengthBytes(length) + length
}

/** Subscription identifiers as properties (MQTT 5, 3.3.2.3.8). */
export function encodeIdentifiers(identifiers: readonly number[]): Buffer {
  return Buffer.concat(
    identifiers.flatMap((identifier) => [Buffer.of(SUBSCRIPTION_IDENTIFIER), encodeVarint(identifier)]),
  )
}

/** `properties`: encoded, with their length in front; before MQTT 5 there are none. */
function encode(
  topic: string,
  payload: Buffer,
  withId: boolean,
  properties: Buffer,
  aliasInProperties: number,
): PublishWire {
  const topicBytes = Buffer.byteLength(topic)
  const large = payload.length > LARGE_PAYLOAD_BYTES
  const length = 2 + topicBytes + (withId ? 2 : 0) + properties.length + payload.length
  const headBytes = 1 + lengthBytes(length) + length - payload.length
  const bytes = Buffer.allocUnsafe(large ? headBytes : headBytes + payload.length)
  let offset = writeHeader(bytes, 0, PacketType.publish << 4, length)
  bytes[offset++] = topicBytes >> 8
  bytes[offset++] = topicBytes & 0xff
  if (topicBytes === topic.length) bytes.write(topic, offset, topicBytes, 'latin1')
  else bytes.write(topic, offset, topicBytes, 'utf8')
  const idAt = offset + topicBytes
  const propertiesAt = headBytes - properties.length
  if (properties.length > 0) bytes.set(properties, propertiesAt)
  if (!large) bytes.set(payload, headBytes)
  return {
    bytes,
    idAt,
    aliasAt: aliasInProperties === 0 ? 0 : propertiesAt + aliasInProperties,
    payload: large ? payload : undefined,
  }
}
