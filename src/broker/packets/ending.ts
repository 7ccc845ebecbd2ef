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

/** DISCONNECT (3.14) or AUTH (3.15) of MQTT 5. */
export interface ReasonPacket {
  readonly reasonCode: number
  readonly properties: Readonly<Properties>
}

const NORMAL: ReasonPacket = { reasonCode: ReasonCode.success, properties: NO_PROPERTIES }

/** What a client may say (MQTT 5, table 3-10). */
const FROM_CLIENTS: ReadonlySet<number> = new Set([
  ReasonCode.success,
  ReasonCode.disconnectWithWill,
  ReasonCode.unspecifiedError,
  ReasonCode.malformedPacket,
  ReasonCode.protocolError,
  ReasonCode.implementationSpecificError,
  ReasonCode.topicNameInvalid,
  ReasonCode.receiveMaximumExceeded,
  ReasonCode.topicAliasInvalid,
  ReasonCode.packetTooLarge,
  ReasonCode.messageRateTooHigh,
  ReasonCode.quotaExceeded,
  ReasonCode.administrativeAction,
  ReasonCode.payloadFormatInvalid,
])

/** [MQTT-3.14.2-1] @throws PacketFault */
export function decodeDisconnect(
  bytes: Buffer,
  start: number,
  end: number,
  bounds?: PropertyBounds,
): ReasonPacket {
  if (start === end) return NORMAL
  const packet = decode(new FieldReader(bytes, start, end), Allowed.disconnect, 'DISCONNECT', bounds)
  if (!FROM_CLIENTS.has(packet.reasonCode))
    throw protocolError(`reason code ${packet.reasonCode} in a DISCONNECT of a client`)
  return packet
}

/** [MQTT-3.15.2-1] @throws PacketFault */
export function decodeAuth(bytes: Buffer, start: number, end: number, bounds?: PropertyBounds): ReasonPacket {
  // 0, which only the broker may say, and no method. [MQTT-4.12.0-5]
  if (start === end) throw protocolError('AUTH without a method')
  const packet = decode(new FieldReader(bytes, start, end), Allowed.auth, 'AUTH', bounds)
  const { reasonCode } = packet
  if (reasonCode !== ReasonCode.continueAuthentication && reasonCode !== ReasonCode.reAuthenticate)
    throw protocolError(`reason code ${reasonCode} in an AUTH of a client`)
  if (packet.properties.authenticationMethod === undefined) throw protocolError('AUTH without a method')
  return packet
}

function decode(
  fields: FieldReader,
  allowed: Parameters<typeof decodeProperties>[1],
  what: string,
  bounds: PropertyBounds | undefined,
): ReasonPacket {
  const reasonCode = fields.byte('reason code')
  if (fields.atEnd) return { reasonCode, properties: NO_PROPERTIES }
  const properties = decodeProperties(fields, allowed, what, bounds)
  if (!fields.atEnd) throw malformed(`bytes after the last field of ${what}`)
  return { reasonCode, properties }
}
