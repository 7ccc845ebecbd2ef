import { malformed, PacketFault, protocolError } from './fault.ts'
import {
  Allowed,
  decodeProperties,
  NO_PROPERTIES,
  UNBOUNDED,
  type Properties,
  type PropertyBounds,
} from './properties.ts'
import { ReasonCode } from './reason.ts'
import { decodeString, FieldReader } from './strings.ts'

/** A PUBLISH, as the broker takes it. */
export type PublishInput = Readonly<
  Pick<
    PublishFields,
    'topic' | 'qos' | 'retain' | 'dup' | 'messageId' | 'payload' | 'packet' | 'properties' | 'propertyBytes'
  >
>

/**
 * Fields of a PUBLISH (MQTT 3.1.1 and MQTT 5, 3.3), with the topic aliases of its connection. One object is used again
 * and again: read it, do not keep it.
 */
export class PublishFields {
  topic = ''
  qos: 0 | 1 | 2 = 0
  retain = false
  dup = false
  messageId = 0
  payload: Buffer = EMPTY
  /** Without the topic alias, which is dealt with; {@link NO_PROPERTIES} before MQTT 5. */
  properties: Readonly<Properties> = NO_PROPERTIES
  /** Of the properties, as they came. */
  propertyBytes = 0
  readonly #isMqtt5: boolean
  readonly #maxAliases: number
  readonly #bounds: PropertyBounds
  #aliases: Map<number, string> | undefined
  /** Publishers repeat their topic: the bytes of the last one spare its decoding. */
  #lastTopicBytes: Buffer = EMPTY
  #bytes: Buffer = EMPTY
  #start = 0
  #end = 0

  /** `maxTopicAliases`: what the CONNACK has said (MQTT 5). */
  constructor(isMqtt5 = false, maxTopicAliases = 0, bounds = UNBOUNDED) {
    this.#isMqtt5 = isMqtt5
    this.#maxAliases = maxTopicAliases
    this.#bounds = bounds
  }

  /** The whole packet of MQTT 3.1.1, to be sent on as it came; undefined: it is one of MQTT 5. */
  get packet(): Buffer | undefined {
    return this.#isMqtt5 ? undefined : this.#bytes.subarray(this.#start, this.#end)
  }

  /** What an alias stands for now. */
  aliased(alias: number): string | undefined {
    return this.#aliases?.get(alias)
  }

  /** @throws PeerError when malformed. */
  decode(bytes: Buffer, packetStart: number, bodyStart: number, end: number): void {
    const first = bytes[packetStart]!
    this.qos = ((first >> 1) & 3) as 0 | 1 | 2
    this.retain = (first & 1) !== 0
    this.dup = (first & 8) !== 0
    if (end - bodyStart < 2) throw malformed('PUBLISH without a topic')
    const topicStart = bodyStart + 2
    const topicEnd = topicStart + ((bytes[bodyStart]! << 8) | bytes[bodyStart + 1]!)
    let position = topicEnd
    if (this.qos > 0) position += 2
    if (position > end) throw malformed('topic reaches beyond the packet')
    if (!this.#isMqtt5 || topicEnd > topicStart) this.#readTopic(bytes, topicStart, topicEnd)
    if (this.qos > 0) {
      this.messageId = (bytes[topicEnd]! << 8) | bytes[topicEnd + 1]!
      if (this.messageId === 0) throw malformed('packet identifier 0') // [MQTT-2.3.1-1]
    } else this.messageId = 0
    if (this.#isMqtt5) {
      const start = position
      position = this.#readProperties(bytes, start, end, topicEnd > topicStart)
      this.propertyBytes = position - start
    }
    this.payload = bytes.subarray(position, end)
    this.#bytes = bytes
    this.#start = packetStart
    this.#end = end
  }

  /** Where the payload begins. */
  #readProperties(bytes: Buffer, position: number, end: number, hasTopic: boolean): number {
    // Most have none.
    if (hasTopic && bytes[position] === 0 && position < end) {
      this.properties = NO_PROPERTIES
      return position + 1
    }
    // Of those that have some, most have nothing but an alias.
    if (bytes[position] === 3 && bytes[position + 1] === TOPIC_ALIAS && position + 4 <= end) {
      this.properties = NO_PROPERTIES
      this.#useAlias((bytes[position + 2]! << 8) | bytes[position + 3]!, hasTopic)
      return position + 4
    }
    const fields = new FieldReader(bytes, position, end)
    const properties = decodeProperties(fields, Allowed.publish, 'PUBLISH', this.#bounds)
    const { topicAlias } = properties
    this.properties = topicAlias === undefined ? properties : withoutAlias(properties)
    checkResponseTopic(properties.responseTopic)
    if (topicAlias !== undefined) this.#useAlias(topicAlias, hasTopic)
    else if (!hasTopic) throw protocolError('PUBLISH without a topic and without a topic alias') // MQTT 5, 3.3.2.1
    return fields.position
  }

  /** MQTT 5, 3.3.2.3.4. */
  #useAlias(alias: number, hasTopic: boolean): void {
    if (alias === 0 || alias > this.#maxAliases) {
      // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
      throw new PacketFault(
        ReasonCode.topicAliasInvalid,
        `topic alias ${alias}; at most ${this.#maxAliases} here`,
      )
    }
    if (hasTopic) {
      ;(this.#aliases ??= new Map()).set(alias, this.topic)
      return
    }
    const topic = this.#aliases?.get(alias)
    if (topic === undefined) throw protocolError(`topic alias ${alias} was not given a topic`)
    if (topic !== this.topic) {
      this.topic = topic
      this.#lastTopicBytes = EMPTY
    }
  }

  #readTopic(bytes: Buffer, start: number, end: number): void {
    const last = this.#lastTopicBytes
    const length = end - start
    if (length === last.length && length > 0) {
      let i = 0
      while (i < length && bytes[start + i] === last[i]) i++
      if (i === length) return
    }
    this.topic = decodeString(bytes, start, end, 'topic')
    this.#lastTopicBytes = Buffer.from(bytes.subarray(start, end))
  }
}

function withoutAlias({ topicAlias: _alias, ...properties }: Readonly<Properties>): Readonly<Properties> {
  return properties
}

/** Where an answer is to be published, so a topic name. @throws PacketFault */
export function checkResponseTopic(topic: string | undefined): void {
  if (topic === undefined) return
  if (topic.length === 0) throw protocolError('empty response topic') // [MQTT-4.7.3-1]
  if (topic.includes('+') || topic.includes('#')) throw protocolError('wildcard in a response topic') // [MQTT-3.3.2-14]
}

const EMPTY = Buffer.alloc(0)
/** Identifier of the property. */
const TOPIC_ALIAS = 0x23
