import type { Decision } from '../hooks/decision.ts'
import type { DisconnectReason } from '../hooks/types.ts'
import {
  encodeAck,
  encodeAck5,
  encodeCodes5,
  encodeConnack,
  encodeConnack5,
  encodeReason5,
  encodeSuback,
} from './packets/encode.ts'
import type { Properties } from './packets/properties.ts'
import { isFailure, ReasonCode } from './packets/reason.ts'
import { PacketType, type ProtocolVersion } from './packets/types.ts'
import { connackCodeOf, disconnectCode, disconnectText, subackCodeOf } from './reason-of.ts'
import type { Terms } from './terms.ts'

/** Whom an answer is for. */
export interface Asker {
  readonly version: ProtocolVersion
  readonly terms: Terms | undefined
}

// The packets that answer a client, in its version: what only MQTT 5 can say, only its clients are told. Undefined: none
// of them is as small as the client wants its packets.

/** PUBACK, PUBREC, PUBREL and PUBCOMP. */
export function ackPacket(
  asker: Asker,
  type: PacketType,
  messageId: number,
  code: ReasonCode,
  text: string | undefined,
): Buffer | undefined {
  if (asker.version < 5) return encodeAck(type, messageId)
  const problem = problemOf(asker, code, text)
  return fitting(asker, problem, (properties) => encodeAck5(type, messageId, code, properties))
}

/** `codes`: granted QoS, or the reason code of a failure. */
export function subackPacket(
  asker: Asker,
  messageId: number,
  codes: readonly number[],
  text: string | undefined,
): Buffer | undefined {
  const { version } = asker
  if (version < 5) {
    const known = codes.map((code) => subackCodeOf(code, version))
    return encodeSuback(messageId, known)
  }
  return codesPacket(asker, PacketType.suback, messageId, codes, text)
}

export function unsubackPacket(
  asker: Asker,
  messageId: number,
  codes: readonly number[],
): Buffer | undefined {
  if (asker.version < 5) return encodeAck(PacketType.unsuback, messageId)
  return codesPacket(asker, PacketType.unsuback, messageId, codes, undefined)
}

/** AUTH, which is of MQTT 5 alone. */
export function authPacket(
  asker: Asker,
  code: ReasonCode,
  method: string,
  data: Buffer | undefined,
): Buffer | undefined {
  const properties = {
    authenticationMethod: method,
    ...(data !== undefined && { authenticationData: data }),
  }
  return fitting(asker, properties, (fit) => encodeReason5(PacketType.auth, code, fit))
}

/** Before MQTT 5 that is the refusal alone: Aedes writes the other one. */
export function connackPacket(
  asker: Asker,
  code: ReasonCode,
  properties: Properties | undefined,
  sessionPresent = false,
): Buffer | undefined {
  if (asker.version < 5) return encodeConnack(connackCodeOf(code))
  return fitting(asker, properties, (fit) => encodeConnack5(sessionPresent, code, fit))
}

/** Also undefined where there is nothing to say: before MQTT 5, or to one that has gone. [MQTT-3.14.0-1] */
export function disconnectPacket(
  asker: Asker,
  reason: DisconnectReason,
  serverReference: string | undefined,
): Buffer | undefined {
  const code = asker.version < 5 ? undefined : disconnectCode(reason)
  if (code === undefined) return undefined
  const { userProperties } = reason
  const reasonString = disconnectText(reason)
  const properties = {
    ...(reasonString !== undefined && { reasonString }),
    ...(serverReference !== undefined && { serverReference }),
    ...(userProperties !== undefined && { userProperties }),
  }
  return fitting(asker, properties, (fit) => encodeReason5(PacketType.disconnect, code, fit))
}

function codesPacket(
  asker: Asker,
  type: typeof PacketType.suback | typeof PacketType.unsuback,
  messageId: number,
  codes: readonly number[],
  text: string | undefined,
): Buffer | undefined {
  const failure = codes.find(isFailure) as ReasonCode | undefined
  const problem = failure === undefined ? undefined : problemOf(asker, failure, text)
  return fitting(asker, problem, (properties) => encodeCodes5(type, messageId, codes, properties))
}

/** A reason string, if the client wants it. CONNACK and DISCONNECT may always have one. [MQTT-3.1.2-29] */
function problemOf({ terms }: Asker, code: ReasonCode, text: string | undefined): Properties | undefined {
  if (text === undefined || !isFailure(code) || terms?.wantsProblems !== true) return undefined
  return { reasonString: text }
}

/**
 * Never larger than the client wants its packets [MQTT-3.1.2-24]: without what it can do without, if it must be
 * [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.14.2-3].
 */
function fitting(
  { terms }: Asker,
  properties: Properties | undefined,
  encode: (properties: Properties | undefined) => Buffer,
): Buffer | undefined {
  const packet = encode(properties)
  if (terms === undefined || packet.length <= terms.maximumPacketSize) return packet
  if (properties === undefined) return undefined
  const { reasonString: _text, userProperties: _pairs, serverReference: _other, ...rest } = properties
  const { responseInformation: _topic, ...needed } = rest
  const smaller = encode(Object.keys(needed).length === 0 ? undefined : needed)
  return smaller.length <= terms.maximumPacketSize ? smaller : undefined
}

/** What a client of MQTT 5 is told beside a reason code; details are for the log. */
export type Told = Pick<Decision, 'clientText' | 'userProperties'>

export function toldProperties({ clientText, userProperties }: Told = {}): Properties | undefined {
  if (clientText === undefined && userProperties === undefined) return undefined
  return {
    ...(clientText !== undefined && { reasonString: clientText }),
    ...(userProperties !== undefined && { userProperties }),
  }
}
