import type { QoS } from '../../hooks/types.ts'
import { malformed, protocolError } from './fault.ts'
import {
  Allowed,
  decodeProperties,
  NO_PROPERTIES,
  type Properties,
  type PropertyBounds,
} from './properties.ts'
import { FieldReader } from './strings.ts'
import type { ProtocolVersion } from './types.ts'

/** A filter with its subscription options (MQTT 5, 3.8.3.1); before MQTT 5 all but the QoS are undefined. */
export interface RequestedSubscription {
  readonly filter: string
  readonly qos: QoS
  readonly noLocal?: boolean
  readonly retainAsPublished?: boolean
  /** 0: retained messages are sent, 1: if the subscription is new, 2: not. */
  readonly retainHandling?: 0 | 1 | 2
}

export interface SubscribePacket {
  readonly messageId: number
  readonly subscriptions: RequestedSubscription[]
  readonly properties: Readonly<Properties>
}

export interface UnsubscribePacket {
  readonly messageId: number
  readonly filters: string[]
  /** As the client has named them, where an interceptor has made other filters of that. */
  readonly named?: readonly string[]
  readonly properties: Readonly<Properties>
}

/** SUBSCRIBE (MQTT 3.1.1 and MQTT 5, 3.8). Whether the filters are legal is asked of topics.ts. @throws PeerError */
export function decodeSubscribe(
  bytes: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion = 4,
  bounds?: PropertyBounds,
): SubscribePacket {
  const fields = new FieldReader(bytes, start, end)
  const messageId = readMessageId(fields)
  const properties =
    version < 5 ? NO_PROPERTIES : decodeProperties(fields, Allowed.subscribe, 'SUBSCRIBE', bounds)
  const subscriptions: RequestedSubscription[] = []
  while (!fields.atEnd) {
    const filter = fields.string('topic filter')
    const options = fields.byte('subscription options')
    subscriptions.push(version < 5 ? { filter, qos: qosOf(options) } : { filter, ...optionsOf(options) })
  }
  if (subscriptions.length === 0) throw malformed('SUBSCRIBE without a topic filter') // [MQTT-3.8.3-3]
  return { messageId, subscriptions, properties }
}

/** UNSUBSCRIBE (MQTT 3.1.1 and MQTT 5, 3.10). @throws PeerError */
export function decodeUnsubscribe(
  bytes: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion = 4,
  bounds?: PropertyBounds,
): UnsubscribePacket {
  const fields = new FieldReader(bytes, start, end)
  const messageId = readMessageId(fields)
  const properties =
    version < 5 ? NO_PROPERTIES : decodeProperties(fields, Allowed.unsubscribe, 'UNSUBSCRIBE', bounds)
  const filters: string[] = []
  while (!fields.atEnd) filters.push(fields.string('topic filter'))
  if (filters.length === 0) throw malformed('UNSUBSCRIBE without a topic filter') // [MQTT-3.10.3-2]
  return { messageId, filters, properties }
}

function qosOf(qos: number): QoS {
  if (qos > 2) throw malformed('requested QoS is not 0, 1 or 2') // [MQTT-3.8.3-4]
  return qos as QoS
}

function optionsOf(options: number): Omit<RequestedSubscription, 'filter'> {
  if (options & 0xc0) throw malformed('reserved subscription options are set') // [MQTT-3.8.3-5]
  const qos = options & 0x03
  const retainHandling = (options >> 4) & 0x03
  if (qos === 3) throw protocolError('requested QoS 3')
  if (retainHandling === 3) throw protocolError('retain handling 3')
  return {
    qos: qos as QoS,
    noLocal: (options & 0x04) !== 0,
    retainAsPublished: (options & 0x08) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  }
}

function readMessageId(fields: FieldReader): number {
  const messageId = fields.uint16('packet identifier')
  if (messageId === 0) throw malformed('packet identifier 0') // [MQTT-2.3.1-1]
  return messageId
}
