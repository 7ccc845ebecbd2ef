/** The few packets of MQTT 3.1.1 and 5 that a load generator sends, encoded by hand: no library's cost is measured. Pure. */

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
} as const
export type PacketType = (typeof PacketType)[keyof typeof PacketType]

export type Qos = 0 | 1 | 2

/** Protocol levels. */
export type Version = 4 | 5

/** Bytes of payload that carry who sent it, its number, and when: no payload is smaller. */
export const STAMP_BYTES = 16
const SEQUENCE_AT = 4
const SENT_AT = 8

/** PUBREL and SUBSCRIBE carry 0010 in their low bits. [MQTT-3.6.1-1] [MQTT-3.8.1-1] */
const RESERVED_FLAGS = 0x02

export interface ConnectFields {
  readonly version: Version
  readonly clientId: string
  readonly clean: boolean
  readonly keepaliveSeconds: number
  readonly username: string
  readonly password: string
}

/** CONNECT, section 3.1. */
export function connectPacket(fields: ConnectFields): Buffer {
  const flags = 0x80 | 0x40 | (fields.clean ? 0x02 : 0)
  const keepalive = fields.keepaliveSeconds
  return packet(PacketType.connect << 4, [
    lengthPrefixed('MQTT'),
    Buffer.from([fields.version, flags, keepalive >> 8, keepalive & 0xff]),
    noProperties(fields.version),
    lengthPrefixed(fields.clientId),
    lengthPrefixed(fields.username),
    lengthPrefixed(fields.password),
  ])
}

/** SUBSCRIBE to one filter, section 3.8. */
export function subscribePacket(packetId: number, filter: string, qos: Qos, version: Version = 4): Buffer {
  return packet((PacketType.subscribe << 4) | RESERVED_FLAGS, [
    Buffer.from([packetId >> 8, packetId & 0xff]),
    noProperties(version),
    lengthPrefixed(filter),
    Buffer.from([qos]),
  ])
}

export interface PublishFields {
  readonly topic: string
  readonly qos: Qos
  readonly retain: boolean
  readonly payloadBytes: number
  /** Default: 3.1.1. */
  readonly version?: Version
}

/** A PUBLISH whose variable parts (id, sequence, time) are written in place, message after message. */
export interface PublishTemplate {
  readonly bytes: Buffer
  /** Where the packet id stands; meaningless at QoS 0. */
  readonly packetIdAt: number
  readonly payloadAt: number
}

/** PUBLISH, section 3.3, stamped with the publisher's number. */
export function publishTemplate(fields: PublishFields, publisher: number): PublishTemplate {
  const payload = Buffer.alloc(Math.max(fields.payloadBytes, STAMP_BYTES), 0x61)
  payload.fill(0, 0, STAMP_BYTES)
  payload.writeUInt32BE(publisher, 0)
  const header = (PacketType.publish << 4) | (fields.qos << 1) | (fields.retain ? 1 : 0)
  const packetId = Buffer.alloc(fields.qos === 0 ? 0 : 2)
  const properties = noProperties(fields.version ?? 4)
  const bytes = packet(header, [lengthPrefixed(fields.topic), packetId, properties, payload])
  const payloadAt = bytes.length - payload.length
  return { bytes, packetIdAt: payloadAt - properties.length - packetId.length, payloadAt }
}

/** Packet ids go round from 1 to 65,535; the windows are far smaller than the circle. [MQTT-2.3.1-1] */
export function packetIdOf(sequence: number): number {
  return (sequence % 0xffff) + 1
}

/** The publisher's number in a payload. */
export function readPublisher(bytes: Buffer, payloadAt: number): number {
  return readUint32(bytes, payloadAt)
}

/** The message's number, counted from 0 for each publisher. */
export function readSequence(bytes: Buffer, payloadAt: number): number {
  return readUint32(bytes, payloadAt + SEQUENCE_AT)
}

export function writeSequence(bytes: Buffer, payloadAt: number, sequence: number): void {
  const at = payloadAt + SEQUENCE_AT
  bytes[at] = sequence >>> 24
  bytes[at + 1] = sequence >>> 16
  bytes[at + 2] = sequence >>> 8
  bytes[at + 3] = sequence
}

export function readSentMs(bytes: Buffer, payloadAt: number): number {
  return bytes.readDoubleBE(payloadAt + SENT_AT)
}

export function writeSentMs(bytes: Buffer, payloadAt: number, sentMs: number): void {
  bytes.writeDoubleBE(sentMs, payloadAt + SENT_AT)
}

/** Big-endian 16 bits at `at`, as packet ids and string lengths are. */
export function readUint16(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

// Buffer's own readers check bounds and throw; at a million messages a second that is seen in the profile.
function readUint32(bytes: Buffer, at: number): number {
  return readUint16(bytes, at) * 0x1_0000 + readUint16(bytes, at + 2)
}

/** Bytes of properties at `at`, with their length: fewer than 128 here. MQTT 5, 2.2.2 */
export function propertyBytes(bytes: Buffer, at: number): number {
  return 1 + (bytes[at] ?? 0)
}

function noProperties(version: Version): Buffer {
  return Buffer.alloc(version === 5 ? 1 : 0)
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}

function packet(header: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const length: number[] = []
  let rest = body.length
  do {
    const digit = rest % 128
    rest = (rest - digit) / 128
    length.push(rest > 0 ? digit | 0x80 : digit)
  } while (rest > 0)
  return Buffer.concat([Buffer.from([header, ...length]), body])
}
