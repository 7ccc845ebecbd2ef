import type { QoS } from '../../hooks/types.ts'
import { malformed } from './fault.ts'
import { FieldReader } from './strings.ts'

export interface SubscribePacket {
  readonly messageId: number
  readonly subscriptions: { readonly filter: string; readonly qos: QoS }[]
}

export interface UnsubscribePacket {
  readonly messageId: number
  readonly filters: string[]
}

/** SUBSCRIBE (MQTT 3.1.1, 3.8). Whether the filters are legal is asked of topics.ts. @throws PeerError */
export function decodeSubscribe(bytes: Buffer, start: number, end: number): SubscribePacket {
  const fields = new FieldReader(bytes, start, end)
  const messageId = readMessageId(fields)
  const subscriptions: { filter: string; qos: QoS }[] = []
  while (!fields.atEnd) {
    const filter = fields.string('topic filter')
    const qos = fields.byte('requested QoS')
    if (qos > 2) throw malformed('requested QoS is not 0, 1 or 2') // [MQTT-3.8.3-4]
    subscriptions.push({ filter, qos: qos as QoS })
  }
  if (subscriptions.length === 0) throw malformed('SUBSCRIBE without a topic filter') // [MQTT-3.8.3-3]
  return { messageId, subscriptions }
}

/** UNSUBSCRIBE (MQTT 3.1.1, 3.10). @throws PeerError */
export function decodeUnsubscribe(bytes: Buffer, start: number, end: number): UnsubscribePacket {
  const fields = new FieldReader(bytes, start, end)
  const messageId = readMessageId(fields)
  const filters: string[] = []
  while (!fields.atEnd) filters.push(fields.string('topic filter'))
  if (filters.length === 0) throw malformed('UNSUBSCRIBE without a topic filter') // [MQTT-3.10.3-2]
  return { messageId, filters }
}

function readMessageId(fields: FieldReader): number {
  const messageId = fields.uint16('packet identifier')
  if (messageId === 0) throw malformed('packet identifier 0') // [MQTT-2.3.1-1]
  return messageId
}
