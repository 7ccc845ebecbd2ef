import { Packet } from './wire.ts'

/** What a broker sent, taken apart. */
export type Received =
  | { readonly type: 'connack'; readonly sessionPresent: boolean; readonly code: number }
  | ({ readonly type: 'publish' } & Published)
  | { readonly type: AckType; readonly messageId: number }
  | { readonly type: 'suback'; readonly messageId: number; readonly codes: readonly number[] }
  | { readonly type: 'pingresp' }

export type AckType = 'puback' | 'pubrec' | 'pubrel' | 'pubcomp' | 'unsuback'
export type Of<T extends Received['type']> = Extract<Received, { type: T }>

export interface Published {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  /** 0 at QoS 0. */
  readonly messageId: number
}

const ACKS: Readonly<Record<number, AckType>> = {
  [Packet.puback]: 'puback',
  [Packet.pubrec]: 'pubrec',
  [Packet.pubrel]: 'pubrel',
  [Packet.pubcomp]: 'pubcomp',
  [Packet.unsuback]: 'unsuback',
}

/** @throws Error when no broker may send it. */
export function decode(first: number, body: Buffer): Received {
  const type = first >> 4
  if (type === Packet.publish) return { type: 'publish', ...decodePublish(first, body) }
  if (type === Packet.connack) return { type: 'connack', sessionPresent: body[0] === 1, code: body[1]! }
  if (type === Packet.pingresp) return { type: 'pingresp' }
  const messageId = body.readUInt16BE(0)
  if (type === Packet.suback) return { type: 'suback', messageId, codes: [...body.subarray(2)] }
  const ack = ACKS[type]
  if (ack === undefined) throw new Error(`a broker does not send packets of type ${type}`)
  return { type: ack, messageId }
}

function decodePublish(first: number, body: Buffer): Published {
  const qos = (first >> 1) & 3
  const topicEnd = 2 + body.readUInt16BE(0)
  return {
    topic: body.toString('utf8', 2, topicEnd),
    payload: Buffer.from(body.subarray(qos === 0 ? topicEnd : topicEnd + 2)),
    qos,
    retain: (first & 1) !== 0,
    dup: (first & 8) !== 0,
    messageId: qos === 0 ? 0 : body.readUInt16BE(topicEnd),
  }
}

/** For the message of a failed expectation. */
export function describe(packet: Received): string {
  if (packet.type === 'publish') return `publish ${packet.topic} at QoS ${packet.qos}`
  return 'messageId' in packet ? `${packet.type} ${packet.messageId}` : packet.type
}
