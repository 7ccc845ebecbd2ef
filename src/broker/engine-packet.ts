import type { QoS } from '../hooks/types.ts'
import type { StoredMessage } from '../store/contract.ts'

/** A packet as Aedes hands it to its persistence, and takes it back. */
export interface EnginePacket {
  readonly cmd?: string
  readonly topic?: string
  readonly payload?: Buffer | string
  readonly qos?: QoS
  readonly retain?: boolean
  readonly messageId?: number | undefined
  /** With the counter, what Aedes knows a packet by before it has a packet identifier. */
  readonly brokerId?: string
  readonly brokerCounter?: number
  readonly [field: string]: unknown
}

/** What Aedes keeps of a packet that it queues; the rest belongs to one connection. */
const QUEUED_FIELDS = ['brokerId', 'brokerCounter', 'clientId', 'nl', 'properties', 'messageExpiry'] as const

/** A packet to be queued. On its way out it has no packet identifier yet: each receiver has its own. */
export function toQueuedMessage(packet: EnginePacket, messageId?: number): StoredMessage {
  const fields: Record<string, unknown> = { cmd: 'publish', dup: packet['dup'] ?? false }
  for (const name of QUEUED_FIELDS) if (packet[name] !== undefined) fields[name] = packet[name]
  if (messageId !== undefined) fields['messageId'] = messageId
  return toMessage(packet, fields)
}

/** A packet of which every field is kept: a retained message, a will. */
export function toStoredMessage(packet: EnginePacket): StoredMessage {
  const { topic: _topic, payload: _payload, qos: _qos, retain: _retain, messageId: _id, ...fields } = packet
  return toMessage(packet, fields)
}

function toMessage(packet: EnginePacket, fields: Record<string, unknown>): StoredMessage {
  const { topic = '', payload = '', qos = 0, retain = false } = packet
  const expiry = packet['messageExpiry']
  const publisher = packet['clientId']
  return {
    topic,
    payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
    qos,
    retain,
    publisher: typeof publisher === 'string' ? publisher : '',
    publishedAtMs: Date.now(),
    expiresAtMs: typeof expiry === 'number' ? expiry : 0,
    properties: typeof payload === 'string' ? { packet: fields, text: true } : { packet: fields },
  }
}

/** The packet that a stored message was made of; of a message of ours, what a packet says of it. */
export function toPacket({ topic, payload, qos, retain, properties }: StoredMessage): EnginePacket {
  return {
    ...(properties?.packet ?? { cmd: 'publish' }),
    topic,
    payload: properties?.text === true ? payload.toString() : payload,
    qos,
    retain,
  }
}
