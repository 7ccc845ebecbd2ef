import type { QoS } from '../../hooks/types.ts'
import type { StoredMessage, StoredSubscription } from '../contract.ts'
import { parseShare } from '../../broker/topics.ts'
import { decodeMsgpack, type MsgpackValue } from '../migration/msgpack.ts'

/** A packet as aedes-persistence-redis stores it. */
export interface AedesPacket {
  readonly isRelease: boolean
  /** 0: it was not sent yet. */
  readonly messageId: number
  /** Of the publisher; of a will: whose it is. */
  readonly clientId: string
  readonly message: StoredMessage
}

/** Undefined: it cannot be read. */
export function decodeAedesPacket(value: Buffer, nowMs: number): AedesPacket | undefined {
  const fields = recordOf(decodeMsgpack(value))
  if (fields === undefined) return undefined
  const { cmd, topic, payload, qos, retain, messageId, clientId, messageExpiry } = fields
  const isRelease = cmd === 'pubrel'
  const bytes = payloadOf(payload)
  if (!isRelease && (typeof topic !== 'string' || topic === '' || bytes === undefined)) return undefined
  const publisher = typeof clientId === 'string' ? clientId : ''
  return {
    isRelease,
    messageId: isMessageId(messageId) ? messageId : 0,
    clientId: publisher,
    message: {
      topic: typeof topic === 'string' ? topic : '',
      payload: bytes ?? Buffer.alloc(0),
      qos: isQos(qos) ? qos : 0,
      retain: retain === true,
      publisher,
      publishedAtMs: nowMs,
      expiresAtMs: typeof messageExpiry === 'number' && messageExpiry > 0 ? Math.floor(messageExpiry) : 0,
    },
  }
}

/** `filter` is the field of the client's hash. Before version 9 its value was the QoS alone, as a digit. */
export function decodeAedesSubscription(filter: string, value: Buffer): StoredSubscription | undefined {
  const digit = value.length === 1 ? Number(value.toString('latin1')) : Number.NaN
  const fields = Number.isNaN(digit) ? recordOf(decodeMsgpack(value)) : { qos: digit }
  if (fields === undefined || !isQos(fields['qos'])) return undefined
  const shared = parseShare(filter)
  if (typeof shared === 'string') return undefined
  const { group, filter: matchFilter } = shared ?? { group: undefined, filter }
  const { qos, nl, rap } = fields
  return {
    filter,
    matchFilter,
    // As TunnelMQ grants it (docs/decisions/0005-shared-subscriptions.md).
    qos: group !== undefined && qos === 2 ? 1 : qos,
    ...(group === undefined ? {} : { shareGroup: group }),
    ...(nl === true ? { noLocal: true } : {}),
    ...(rap === true ? { retainAsPublished: true } : {}),
  }
}

function recordOf(value: MsgpackValue | undefined): Record<string, MsgpackValue> | undefined {
  const isRecord =
    typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value)
  return isRecord ? value : undefined
}

function payloadOf(value: MsgpackValue | undefined): Buffer | undefined {
  if (Buffer.isBuffer(value)) return value
  return typeof value === 'string' ? Buffer.from(value) : undefined
}

function isQos(value: MsgpackValue | undefined): value is QoS {
  return value === 0 || value === 1 || value === 2
}

function isMessageId(value: MsgpackValue | undefined): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 65_535
}
