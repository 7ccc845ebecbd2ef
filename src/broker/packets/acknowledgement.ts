import { malformed, protocolError } from './fault.ts'
import {
  Allowed,
  decodeProperties,
  NO_PROPERTIES,
  type Properties,
  type PropertyBounds,
} from './properties.ts'
import { ReasonCode } from './reason.ts'
import { FieldReader } from './strings.ts'
import { PacketType } from './types.ts'

/** PUBACK, PUBREC, PUBREL or PUBCOMP of MQTT 5 (3.4 to 3.7). */
export interface Acknowledgement {
  readonly messageId: number
  readonly reasonCode: number
  readonly properties: Readonly<Properties>
}

const ACCEPTED: ReadonlySet<number> = new Set([
  ReasonCode.success,
  ReasonCode.noMatchingSubscribers,
  ReasonCode.unspecifiedError,
  ReasonCode.implementationSpecificError,
  ReasonCode.notAuthorized,
  ReasonCode.topicNameInvalid,
  ReasonCode.packetIdentifierInUse,
  ReasonCode.quotaExceeded,
  ReasonCode.payloadFormatInvalid,
])
const RELEASED: ReadonlySet<number> = new Set([ReasonCode.success, ReasonCode.packetIdentifierNotFound])

/** The packet identifier before MQTT 5, where that is all there is. @throws PacketFault */
export function decodeMessageId(bytes: Buffer, start: number, end: number): number {
  if (end - start !== 2) throw malformed('acknowledgement is not two bytes long')
  return messageIdAt(bytes, start)
}

/** Reason code and properties are left out where there is nothing to say. @throws PacketFault */
export function decodeAcknowledgement(
  type: PacketType,
  bytes: Buffer,
  start: number,
  end: number,
  bounds?: PropertyBounds,
): Acknowledgement {
  if (end - start < 2) throw malformed('acknowledgement without a packet identifier')
  const messageId = messageIdAt(bytes, start)
  if (end - start === 2) return { messageId, reasonCode: ReasonCode.success, properties: NO_PROPERTIES }
  const reasonCode = bytes[start + 2]!
  const known = type === PacketType.puback || type === PacketType.pubrec ? ACCEPTED : RELEASED
  // [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
  if (!known.has(reasonCode)) throw protocolError(`reason code ${reasonCode} in packet type ${type}`)
  if (end - start === 3) return { messageId, reasonCode, properties: NO_PROPERTIES }
  const fields = new FieldReader(bytes, start + 3, end)
  const properties = decodeProperties(fields, Allowed.acknowledgement, `packet type ${type}`, bounds)
  if (!fields.atEnd) throw malformed('bytes after the last field of an acknowledgement')
  return { messageId, reasonCode, properties }
}

function messageIdAt(bytes: Buffer, start: number): number {
  const messageId = (bytes[start]! << 8) | bytes[start + 1]!
  if (messageId === 0) throw malformed('packet identifier 0') // [MQTT-2.2.1-3]
  return messageId
}
