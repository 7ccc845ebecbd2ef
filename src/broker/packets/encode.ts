import { encodeProperties } from './encode-properties.ts'
import type { Properties } from './properties.ts'
import { ReasonCode } from './reason.ts'
import { PacketType, type ConnackCode } from './types.ts'
import { varintBytes, writeVarint } from './varint.ts'

// --- MQTT 3.1.1

export function encodeConnack(code: ConnackCode): Buffer {
  return Buffer.from([PacketType.connack << 4, 2, 0, code])
}

/** PUBACK, PUBREC, PUBREL, PUBCOMP and UNSUBACK: a header and the packet identifier. */
export function encodeAck(type: PacketType, messageId: number): Buffer {
  const packet = Buffer.allocUnsafe(4)
  // [MQTT-3.6.1-1] PUBREL carries the reserved flags 0010.
  packet[0] = (type << 4) | (type === PacketType.pubrel ? 2 : 0)
  packet[1] = 2
  packet[2] = messageId >> 8
  packet[3] = messageId & 0xff
  return packet
}

export function encodeSuback(messageId: number, codes: readonly number[]): Buffer {
  const length = 2 + codes.length
  const packet = Buffer.allocUnsafe(1 + varintBytes(length) + length)
  let offset = writeHeader(packet, 0, PacketType.suback << 4, length)
  packet[offset++] = messageId >> 8
  packet[offset++] = messageId & 0xff
  for (const code of codes) packet[offset++] = code
  return packet
}

// --- MQTT 5

/** MQTT 5, 3.2. */
export function encodeConnack5(
  sessionPresent: boolean,
  code: ReasonCode,
  properties: Readonly<Properties> | undefined,
): Buffer {
  return packetOf(PacketType.connack << 4, [
    Buffer.of(sessionPresent ? 1 : 0, code),
    encodeProperties(properties),
  ])
}

/** PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5, 3.4 to 3.7): what goes without saying is left out. */
export function encodeAck5(
  type: PacketType,
  messageId: number,
  code: ReasonCode = ReasonCode.success,
  properties?: Readonly<Properties>,
): Buffer {
  if (code === ReasonCode.success && properties === undefined) return encodeAck(type, messageId)
  const head = Buffer.of(messageId >> 8, messageId & 0xff, code)
  const first = (type << 4) | (type === PacketType.pubrel ? 2 : 0)
  return packetOf(first, properties === undefined ? [head] : [head, encodeProperties(properties)])
}

/** SUBACK and UNSUBACK (MQTT 5, 3.9 and 3.11): a code for each filter. */
export function encodeCodes5(
  type: typeof PacketType.suback | typeof PacketType.unsuback,
  messageId: number,
  codes: readonly number[],
  properties?: Readonly<Properties>,
): Buffer {
  const head = Buffer.of(messageId >> 8, messageId & 0xff)
  return packetOf(type << 4, [head, encodeProperties(properties), Buffer.from(codes)])
}

/** DISCONNECT and AUTH (MQTT 5, 3.14 and 3.15). */
export function encodeReason5(
  type: typeof PacketType.disconnect | typeof PacketType.auth,
  code: ReasonCode,
  properties?: Readonly<Properties>,
): Buffer {
  return packetOf(type << 4, [Buffer.of(code), encodeProperties(properties)])
}

function packetOf(first: number, parts: readonly Buffer[]): Buffer {
  let length = 0
  for (const part of parts) length += part.length
  const packet = Buffer.allocUnsafe(1 + varintBytes(length) + length)
  let offset = writeHeader(packet, 0, first, length)
  for (const part of parts) {
    packet.set(part, offset)
    offset += part.length
  }
  return packet
}

// --- both

/** Writes the first byte and the remaining length; returns the offset behind them. */
export function writeHeader(target: Buffer, offset: number, first: number, length: number): number {
  target[offset] = first
  return writeVarint(target, offset + 1, length)
}
