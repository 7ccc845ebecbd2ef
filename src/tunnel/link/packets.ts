import { type FrameHeader, HEADER_BYTES, writeFrameHeader } from '../protocol/frame.ts'

/** The MQTT 3.1.1 packets that an end of a tunnel sends. Its own code: the endpoints know nothing of the broker. */

/** Control packet types: the high nibble of the first byte (MQTT 3.1.1, 2.2.1). */
export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
} as const

/** CONNACK return codes (MQTT 3.1.1, 3.2.2.3). */
export const ConnackCode = {
  accepted: 0,
  unacceptableProtocol: 1,
  identifierRejected: 2,
  unavailable: 3,
  badCredentials: 4,
  notAuthorized: 5,
} as const

/** SUBACK: this filter was refused (MQTT 3.1.1, 3.9.3). */
export const SUBACK_FAILURE = 0x80

export const PINGREQ = Buffer.of(PacketType.pingreq << 4, 0)
export const DISCONNECT = Buffer.of(PacketType.disconnect << 4, 0)

/** Payloads up to this are copied behind their head: cheaper than one more buffer in the write. */
const JOINED_PAYLOAD_MAX_BYTES = 2_048

export interface ConnectFields {
  readonly clientId: string
  readonly keepaliveSeconds: number
  readonly username: string | undefined
  readonly password: string | Buffer | undefined
  /** Retained, QoS 0. */
  readonly will: { readonly topic: string; readonly payload: string } | undefined
}

/** Always with clean session 1 (docs/tunnel-protocol.md 2.3). */
export function encodeConnect(fields: ConnectFields): Buffer {
  const { will, username, password } = fields
  const flags =
    0x02 |
    (will === undefined ? 0 : 0x04 | 0x20) |
    (password === undefined ? 0 : 0x40) |
    (username === undefined ? 0 : 0x80)
  const { keepaliveSeconds } = fields
  const body = [
    field('MQTT'),
    Buffer.of(4, flags, keepaliveSeconds >> 8, keepaliveSeconds & 0xff),
    field(fields.clientId),
  ]
  if (will !== undefined) body.push(field(will.topic), field(will.payload))
  if (username !== undefined) body.push(field(username))
  if (password !== undefined) body.push(field(password))
  return packet(PacketType.connect << 4, body)
}

/** One filter at QoS 0. */
export function encodeSubscribe(packetId: number, filter: string): Buffer {
  return packet((PacketType.subscribe << 4) | 2, [uint16(packetId), field(filter), Buffer.of(0)])
}

/** Retained, at QoS 0. */
export function encodeRetained(topic: string, payload: string): Buffer {
  return packet((PacketType.publish << 4) | 1, [field(topic), Buffer.from(payload)])
}

/** PUBACK, PUBREC and PUBCOMP. */
export function encodeAck(type: number, packetId: number): Buffer {
  return Buffer.of(type << 4, 2, packetId >> 8, packetId & 0xff)
}

/**
 * PUBLISH of a frame at QoS 0: its fixed header, its topic (a {@link field}) and the header of the frame.
 * A small payload is in it; a large one is not copied and must be sent behind it: {@link followsItsHead}.
 */
export function encodeFrameHead(topic: Buffer, header: FrameHeader, payload: Buffer | undefined): Buffer {
  const payloadBytes = payload?.length ?? 0
  const length = topic.length + HEADER_BYTES + payloadBytes
  const headBytes = 1 + lengthBytes(length) + topic.length + HEADER_BYTES
  const isJoined = payload !== undefined && payloadBytes <= JOINED_PAYLOAD_MAX_BYTES
  const head = Buffer.allocUnsafe(isJoined ? headBytes + payloadBytes : headBytes)
  const topicAt = writeFixedHeader(head, PacketType.publish << 4, length)
  head.set(topic, topicAt)
  const end = writeFrameHeader(head, topicAt + topic.length, header)
  if (isJoined) head.set(payload, end)
  return head
}

/** Whether {@link encodeFrameHead} has left the payload to be sent behind it. */
export function followsItsHead(payload: Buffer): boolean {
  return payload.length > JOINED_PAYLOAD_MAX_BYTES
}

/** A field with its length before it (MQTT 3.1.1, 1.5.3). */
export function field(value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([uint16(bytes.length), bytes])
}

const uint16 = (value: number): Buffer => Buffer.of(value >> 8, value & 0xff)

function packet(first: number, body: readonly Buffer[]): Buffer {
  const length = body.reduce((sum, part) => sum + part.length, 0)
  const header = Buffer.alloc(1 + lengthBytes(length))
  writeFixedHeader(header, first, length)
  return Buffer.concat([header, ...body])
}

/** Bytes that the remaining length takes (MQTT 3.1.1, 2.2.3). */
function lengthBytes(length: number): number {
  return length < 128 ? 1 : length < 16_384 ? 2 : length < 2_097_152 ? 3 : 4
}

/** Returns the offset behind it. */
function writeFixedHeader(target: Buffer, first: number, length: number): number {
  let offset = 0
  target[offset++] = first
  while (length > 127) {
    target[offset++] = (length & 127) | 128
    length >>>= 7
  }
  target[offset++] = length
  return offset
}
