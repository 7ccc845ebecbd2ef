import { PacketType, type ConnackCode } from './types.ts'

/** MQTT 3.1.1 packets that the broker writes itself. */

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
  const packet = Buffer.allocUnsafe(1 + lengthBytes(length) + length)
  let offset = writeHeader(packet, 0, PacketType.suback << 4, length)
  packet[offset++] = messageId >> 8
  packet[offset++] = messageId & 0xff
  for (const code of codes) packet[offset++] = code
  return packet
}

/** Bytes that the remaining length takes (MQTT 3.1.1, 2.2.3). */
export function lengthBytes(length: number): number {
  return length < 128 ? 1 : length < 16_384 ? 2 : length < 2_097_152 ? 3 : 4
}

/** Writes the first byte and the remaining length; returns the offset behind them. */
export function writeHeader(target: Buffer, offset: number, first: number, length: number): number {
  target[offset++] = first
  while (length > 127) {
    target[offset++] = (length & 127) | 128
    length >>>= 7
  }
  target[offset++] = length
  return offset
}
