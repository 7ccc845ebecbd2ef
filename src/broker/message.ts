import type { MessageProperties, QoS } from '../hooks/types.ts'
import type { StoredMessage, StoredProperties } from '../store/contract.ts'
import { lengthBytes, writeHeader } from './packets/encode.ts'
import { PacketType } from './packets/types.ts'

/** Above this many payload bytes a packet is not copied together, but written as head and payload. */
export const LARGE_PAYLOAD_BYTES = 8_192

/** A PUBLISH packet, ready for every receiver of a fan-out; the packet identifier is filled in at `idAt`. */
export interface PublishWire {
  /** The whole packet, or only its head when the payload is large. */
  readonly bytes: Buffer
  readonly idAt: number
  readonly payload: Buffer | undefined
}

const WAS_RETAINED: StoredProperties = Object.freeze({ retain: true })

/** Of a message that comes in. `wasRetained`: with RETAIN, and somebody wants to know. Undefined: nothing is kept. */
export function keptProperties(
  wasRetained: boolean,
  properties?: MessageProperties,
): StoredProperties | undefined {
  if (properties === undefined) return wasRetained ? WAS_RETAINED : undefined
  return wasRetained ? { ...properties, retain: true } : properties
}

/** A message on its way through the broker. Serialised once for each QoS, however many receive it. */
export class Message implements StoredMessage {
  readonly topic: string
  payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly publisher: string
  readonly publishedAtMs: number
  readonly expiresAtMs: number
  readonly properties?: StoredProperties
  #wire0: PublishWire | undefined
  #wire1: PublishWire | undefined
  /** MQTT 5. */
  #plain0: PublishWire | undefined
  #plain1: PublishWire | undefined

  constructor(
    topic: string,
    payload: Buffer,
    qos: QoS,
    retain: boolean,
    publisher: string,
    publishedAtMs: number,
    expiresAtMs: number,
    properties?: StoredProperties,
  ) {
    this.topic = topic
    this.payload = payload
    this.qos = qos
    this.retain = retain
    this.publisher = publisher
    this.publishedAtMs = publishedAtMs
    this.expiresAtMs = expiresAtMs
    if (properties !== undefined) this.properties = properties
  }

  static from(stored: StoredMessage): Message {
    if (stored instanceof Message) return stored
    return new Message(
      stored.topic,
      stored.payload,
      stored.qos,
      stored.retain,
      stored.publisher,
      stored.publishedAtMs,
      stored.expiresAtMs,
      stored.properties,
    )
  }

  /** RETAIN as its publisher has set it, for those who ask for that: `retain` is 0 for all who had subscribed before. */
  get wasRetained(): boolean {
    return this.properties?.retain === true
  }

  /** A copy with the identifier of the one subscription that it is for. */
  identified(subscriptionIdentifier: number): Message {
    const { topic, payload, qos, retain, publisher, publishedAtMs, expiresAtMs } = this
    const properties = { ...this.properties, subscriptionIdentifiers: [subscriptionIdentifier] }
    return new Message(topic, payload, qos, retain, publisher, publishedAtMs, expiresAtMs, properties)
  }

  /** With or without room for a packet identifier; flags are set by whoever writes it. */
  wire(withId: boolean): PublishWire {
    if (withId) return (this.#wire1 ??= encodePublish(this.topic, this.payload, true))
    return (this.#wire0 ??= encodePublish(this.topic, this.payload, false))
  }

  /** As {@link wire}, in MQTT 5, and without properties. */
  plainWire5(withId: boolean): PublishWire {
    if (withId) return (this.#plain1 ??= encodePublish(this.topic, this.payload, true, NO_PROPERTIES5))
    return (this.#plain0 ??= encodePublish(this.topic, this.payload, false, NO_PROPERTIES5))
  }

  /** The payload may be a slice of a network chunk; what waits must not keep the chunk alive. */
  detach(): void {
    if (this.payload.buffer.byteLength > this.payload.length + 64) this.payload = Buffer.from(this.payload)
  }
}

const NOTHING = Buffer.alloc(0)
const NO_PROPERTIES5 = Buffer.of(0)

/** `properties`: encoded, with their length in front; before MQTT 5 there are none. */
export function encodePublish(
  topic: string,
  payload: Buffer,
  withId: boolean,
  properties: Buffer = NOTHING,
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
  if (properties.length > 0) bytes.set(properties, headBytes - properties.length)
  if (!large) bytes.set(payload, headBytes)
  return { bytes, idAt, payload: large ? payload : undefined }
}
