import type { MessageProperties, QoS } from '../hooks/types.ts'
import type { StoredMessage, StoredProperties } from '../store/contract.ts'
import { encodeExpiry, encodeMessageProperties } from './packets/encode-properties.ts'
import { ALIAS_ONLY, encodePublish, encodePublish5, NOTHING_OWN, type PublishWire } from './publish-wire.ts'

const WAS_RETAINED: StoredProperties = Object.freeze({ retain: true })

/** Of a message that comes in. `wasRetained`: with RETAIN, and somebody wants to know. Undefined: nothing is kept. */
export function keptProperties(
  wasRetained: boolean,
  properties?: MessageProperties,
): StoredProperties | undefined {
  if (properties === undefined) return wasRetained ? WAS_RETAINED : undefined
  return wasRetained ? { ...properties, retain: true } : properties
}

/** What is made of a message for receivers of MQTT 5: at QoS 0, and with room for a packet identifier. */
interface Encoded5 {
  /** Without their length. */
  readonly properties: Buffer
  /** Said in them; 0: it does not expire. */
  readonly secondsLeft: number
  whole0: PublishWire | undefined
  whole1: PublishWire | undefined
  /** With room for an alias, and no topic. */
  aliased0: PublishWire | undefined
  aliased1: PublishWire | undefined
}

/** A message on its way through the broker. Where several receive it, it is serialised once for each QoS. */
export class Message implements StoredMessage {
  readonly topic: string
  payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly publisher: string
  readonly publishedAtMs: number
  readonly expiresAtMs: number
  readonly properties?: StoredProperties
  /** As it was published, where an interceptor has given it another topic on its way to one client. */
  readonly publishedTopic?: string
  /** Somebody has been sent it: for the next one it is encoded so that all can share that. */
  wasSent = false
  #wire0: PublishWire | undefined
  #wire1: PublishWire | undefined
  #encoded5: Encoded5 | undefined

  constructor(
    topic: string,
    payload: Buffer,
    qos: QoS,
    retain: boolean,
    publisher: string,
    publishedAtMs: number,
    expiresAtMs: number,
    properties?: StoredProperties,
    publishedTopic = topic,
  ) {
    this.topic = topic
    this.payload = payload
    this.qos = qos
    this.retain = retain
    this.publisher = publisher
    this.publishedAtMs = publishedAtMs
    this.expiresAtMs = expiresAtMs
    if (properties !== undefined) this.properties = properties
    if (publishedTopic !== topic) this.publishedTopic = publishedTopic
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

  /** What subscriptions match. */
  get subscribedTopic(): string {
    return this.publishedTopic ?? this.topic
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

  /**
   * As {@link wire}, in MQTT 5, for all who need nothing of their own but, perhaps, an alias in place of the topic.
   * Made again when a second has gone by, if the message expires.
   */
  wire5(withId: boolean, isAliased: boolean): PublishWire {
    const { payload } = this
    const made = this.#encode5()
    const { properties } = made
    if (isAliased) {
      if (withId) return (made.aliased1 ??= encodePublish5('', payload, true, properties, ALIAS_ONLY))
      return (made.aliased0 ??= encodePublish5('', payload, false, properties, ALIAS_ONLY))
    }
    if (withId) return (made.whole1 ??= encodePublish5(this.topic, payload, true, properties, NOTHING_OWN))
    return (made.whole0 ??= encodePublish5(this.topic, payload, false, properties, NOTHING_OWN))
  }

  /** Properties for every receiver, encoded, without their length. */
  get properties5(): Buffer {
    if (this.properties === undefined && this.expiresAtMs === 0) return NOTHING
    return this.#encode5().properties
  }

  #encode5(): Encoded5 {
    // [MQTT-3.3.2-6]: the seconds that are left. It is not 0 before it has expired.
    const secondsLeft =
      this.expiresAtMs === 0 ? 0 : Math.max(1, Math.ceil((this.expiresAtMs - Date.now()) / 1_000))
    if (this.#encoded5?.secondsLeft === secondsLeft) return this.#encoded5
    const properties = this.#encodeProperties(secondsLeft)
    return (this.#encoded5 = {
      properties,
      secondsLeft,
      whole0: undefined,
      whole1: undefined,
      aliased0: undefined,
      aliased1: undefined,
    })
  }

  #encodeProperties(secondsLeft: number): Buffer {
    const { properties } = this
    const seconds = Math.min(secondsLeft, MAX_SECONDS)
    if (properties === undefined) return seconds === 0 ? NOTHING : encodeExpiry(seconds)
    if (seconds === 0) return encodeMessageProperties(properties)
    return encodeMessageProperties({ ...properties, messageExpiryInterval: seconds })
  }

  /** The payload may be a slice of a network chunk; what waits must not keep the chunk alive. */
  detach(): void {
    if (this.payload.buffer.byteLength > this.payload.length + 64) this.payload = Buffer.from(this.payload)
  }
}

const NOTHING = Buffer.alloc(0)
/** Largest message expiry interval (MQTT 5, 3.3.2.3.3). */
const MAX_SECONDS = 0xffff_ffff
