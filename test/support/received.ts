import type { Properties } from '../../src/broker/packets/properties.ts'
import { Packet } from './wire.ts'
import { readProperties } from './wire-properties.ts'

/** What a broker sent, taken apart. `properties` and what else is optional is there with MQTT 5, and only then. */
export type Received =
  | {
      readonly type: 'connack'
      readonly sessionPresent: boolean
      readonly code: number
      readonly properties?: Properties
    }
  | ({ readonly type: 'publish' } & Published)
  | {
      readonly type: AckType
      readonly messageId: number
      readonly reasonCode?: number
      /** Of an UNSUBACK. */
      readonly codes?: readonly number[]
      readonly properties?: Properties
    }
  | {
      readonly type: 'suback'
      readonly messageId: number
      readonly codes: readonly number[]
      readonly properties?: Properties
    }
  | { readonly type: 'pingresp' }
  | { readonly type: 'disconnect'; readonly reasonCode: number; readonly properties: Properties }
  | { readonly type: 'auth'; readonly reasonCode: number; readonly properties: Properties }

export type AckType = 'puback' | 'pubrec' | 'pubrel' | 'pubcomp' | 'unsuback'
export type Of<T extends Received['type']> = Extract<Received, { type: T }>

export interface Published {
  /** With MQTT 5 also where an alias stood for it. */
  readonly topic: string
  readonly payload: Buffer
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  /** 0 at QoS 0. */
  readonly messageId: number
  readonly properties?: Properties
}

const ACKS: Readonly<Record<number, AckType>> = {
  [Packet.puback]: 'puback',
  [Packet.pubrec]: 'pubrec',
  [Packet.pubrel]: 'pubrel',
  [Packet.pubcomp]: 'pubcomp',
  [Packet.unsuback]: 'unsuback',
}

/** What one connection needs to know to read what comes: made anew for each. */
export class Decoder {
  /** Set when a CONNECT of MQTT 5 was sent. */
  isMqtt5 = false
  /** The topic was left out, as its alias was known. */
  aliasedCount = 0
  readonly #aliases = new Map<number, string>()

  /** @throws Error when no broker may send it. */
  decode(first: number, body: Buffer): Received {
    const type = first >> 4
    if (type === Packet.publish) return { type: 'publish', ...this.#publish(first, body) }
    if (type === Packet.connack) {
      const connack = { type: 'connack', sessionPresent: body[0] === 1, code: body[1]! } as const
      // A broker that refuses the version may answer in its own.
      return this.isMqtt5 && body.length > 2 ? { ...connack, ...restOf(body, 2) } : connack
    }
    if (type === Packet.pingresp) return { type: 'pingresp' }
    if (this.isMqtt5 && (type === Packet.disconnect || type === Packet.auth))
      return { type: type === Packet.auth ? 'auth' : 'disconnect', ...reasonOf(body, 0) }
    const messageId = body.readUInt16BE(0)
    const codes =
      this.isMqtt5 && (type === Packet.suback || type === Packet.unsuback) ? codesOf(body) : undefined
    if (type === Packet.suback)
      return { type: 'suback', messageId, ...(codes ?? { codes: [...body.subarray(2)] }) }
    const ack = ACKS[type]
    if (ack === undefined) throw new Error(`a broker does not send packets of type ${type}`)
    if (!this.isMqtt5) return { type: ack, messageId }
    return { type: ack, messageId, ...(codes ?? reasonOf(body, 2)) }
  }

  #publish(first: number, body: Buffer): Published {
    const qos = (first >> 1) & 3
    const topicEnd = 2 + body.readUInt16BE(0)
    const messageId = qos === 0 ? 0 : body.readUInt16BE(topicEnd)
    const headEnd = qos === 0 ? topicEnd : topicEnd + 2
    const read = this.isMqtt5 ? readProperties(body, headEnd) : undefined
    const written = body.toString('utf8', 2, topicEnd)
    return {
      topic: read === undefined ? written : this.#resolve(written, read.properties.topicAlias),
      payload: Buffer.from(body.subarray(read?.end ?? headEnd)),
      qos,
      retain: (first & 1) !== 0,
      dup: (first & 8) !== 0,
      messageId,
      ...(read && { properties: read.properties }),
    }
  }

  #resolve(topic: string, alias: number | undefined): string {
    if (alias === undefined || topic !== '') {
      if (topic === '') throw new Error('PUBLISH with neither a topic nor an alias')
      if (alias !== undefined) this.#aliases.set(alias, topic)
      return topic
    }
    const known = this.#aliases.get(alias)
    if (known === undefined) throw new Error(`topic alias ${alias} was not given a topic`)
    this.aliasedCount++
    return known
  }
}

function restOf(body: Buffer, start: number): { properties: Properties } {
  const { properties, end } = readProperties(body, start)
  if (end !== body.length) throw new Error('bytes behind the last field')
  return { properties }
}

/** What goes without saying may be left out (MQTT 5, 3.4.2.1). */
function reasonOf(body: Buffer, start: number): { reasonCode: number; properties: Properties } {
  const rest = body.length > start + 1 ? restOf(body, start + 1) : { properties: {} }
  return { reasonCode: body.length > start ? body[start]! : 0, ...rest }
}

function codesOf(body: Buffer): { codes: readonly number[]; properties: Properties } {
  const { properties, end } = readProperties(body, 2)
  return { codes: [...body.subarray(end)], properties }
}

/** For the message of a failed expectation. */
export function describe(packet: Received): string {
  if (packet.type === 'publish') return `publish ${packet.topic} at QoS ${packet.qos}`
  if (packet.type === 'disconnect') return `disconnect 0x${packet.reasonCode.toString(16)}`
  return 'messageId' in packet ? `${packet.type} ${packet.messageId}` : packet.type
}
