import { propertiesField, type WireProperties } from './wire-properties.ts'

/** Packets of MQTT 3.1.1 and 5 made by hand, so that tests can also make illegal ones, and a reader for the answers. */

export const Packet = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  /** MQTT 5. */
  auth: 15,
} as const

export const pingreq = Buffer.from([0xc0, 0])
export const disconnect = Buffer.from([0xe0, 0])

export function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff])
}

/** A field with its length before it; bytes are taken as they are. */
export function field(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint16(bytes.length), bytes])
}

export function remainingLength(length: number): Buffer {
  const bytes: number[] = []
  do {
    const rest = Math.floor(length / 128)
    bytes.push((length % 128) | (rest > 0 ? 0x80 : 0))
    length = rest
  } while (length > 0)
  return Buffer.from(bytes)
}

/** `first` holds type and flags; the length is made to fit. */
export function packet(first: number, ...body: readonly Buffer[]): Buffer {
  const length = body.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([Buffer.of(first), remainingLength(length), ...body])
}

export interface WireWill {
  readonly topic: string | Buffer
  readonly payload?: string | Buffer
  readonly qos?: number
  readonly retain?: boolean
  /** MQTT 5: delay, expiry and what the message has. */
  readonly properties?: WireProperties
}

export interface ConnectFields {
  readonly clientId: string | Buffer
  /** Default: 3.1.1. */
  readonly version?: 5
  /** MQTT 5: clean start. Default true. */
  readonly clean?: boolean
  /** MQTT 5. */
  readonly properties?: WireProperties
  readonly keepaliveSeconds?: number
  readonly username?: string | Buffer
  readonly password?: string | Buffer
  readonly will?: WireWill
  readonly protocol?: string | Buffer
  readonly level?: number
  /** Instead of the flags that follow from the other fields. */
  readonly flags?: number
}

export function connectPacket(fields: ConnectFields): Buffer {
  const { will, username, password } = fields
  const isMqtt5 = fields.version === 5
  const flags =
    ((fields.clean ?? true) ? 2 : 0) |
    (will === undefined ? 0 : 4 | ((will.qos ?? 0) << 3) | (will.retain ? 0x20 : 0)) |
    (password === undefined ? 0 : 0x40) |
    (username === undefined ? 0 : 0x80)
  const body = [
    field(fields.protocol ?? 'MQTT'),
    Buffer.of(fields.level ?? fields.version ?? 4, fields.flags ?? flags),
    uint16(fields.keepaliveSeconds ?? 0),
  ]
  if (isMqtt5) body.push(propertiesField(fields.properties))
  body.push(field(fields.clientId))
  if (isMqtt5 && will !== undefined) body.push(propertiesField(will.properties))
  if (will !== undefined) body.push(field(will.topic), field(will.payload ?? ''))
  if (username !== undefined) body.push(field(username))
  if (password !== undefined) body.push(field(password))
  return packet(Packet.connect << 4, ...body)
}

export interface PublishPacket {
  readonly topic: string | Buffer
  readonly payload?: string | Buffer
  readonly qos?: number
  readonly retain?: boolean
  readonly dup?: boolean
  readonly messageId?: number
  /** Given: it is a packet of MQTT 5. */
  readonly properties?: WireProperties
}

export function publishPacket(fields: PublishPacket): Buffer {
  const { topic, payload = '', qos = 0, retain = false, dup = false, messageId = 1 } = fields
  const first = (Packet.publish << 4) | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
  const head = qos === 0 ? [field(topic)] : [field(topic), uint16(messageId)]
  if (fields.properties !== undefined) head.push(propertiesField(fields.properties))
  return packet(first, ...head, Buffer.from(payload))
}

/** Beside the QoS (MQTT 5, 3.8.3.1). */
export interface SubscriptionOptions {
  readonly noLocal?: boolean
  readonly retainAsPublished?: boolean
  /** 0: retained messages are sent, 1: if the subscription is new, 2: not. */
  readonly retainHandling?: number
}

export type Filter = readonly [filter: string | Buffer, qos: number, options?: SubscriptionOptions]

/** With `properties` it is a packet of MQTT 5. */
export function subscribePacket(
  messageId: number,
  filters: readonly Filter[],
  properties?: WireProperties,
): Buffer {
  const parts = filters.flatMap(([filter, qos, options]) => [field(filter), Buffer.of(qos | bitsOf(options))])
  return packet((Packet.subscribe << 4) | 2, uint16(messageId), ...optional(properties), ...parts)
}

function bitsOf({ noLocal, retainAsPublished, retainHandling = 0 }: SubscriptionOptions = {}): number {
  return (noLocal === true ? 4 : 0) | (retainAsPublished === true ? 8 : 0) | (retainHandling << 4)
}

/** With `properties` it is a packet of MQTT 5. */
export function unsubscribePacket(
  messageId: number,
  filters: readonly (string | Buffer)[],
  properties?: WireProperties,
): Buffer {
  const head = [uint16(messageId), ...optional(properties)]
  return packet((Packet.unsubscribe << 4) | 2, ...head, ...filters.map(field))
}

/** Reason code and properties of MQTT 5; each is left out where it is not given, and 0 with properties. */
export interface Reason {
  readonly reasonCode?: number
  readonly properties?: WireProperties
}

export function ackPacket(type: number, messageId: number, reason: Reason = {}): Buffer {
  const first = (type << 4) | (type === Packet.pubrel ? 2 : 0)
  return packet(first, uint16(messageId), ...reasonFields(reason))
}

/** DISCONNECT of MQTT 5. */
export function disconnectPacket(reason: Reason = {}): Buffer {
  return packet(Packet.disconnect << 4, ...reasonFields(reason))
}

/** AUTH (MQTT 5, 3.15). */
export function authPacket(reason: Reason): Buffer {
  return packet(Packet.auth << 4, ...reasonFields(reason))
}

function reasonFields({ reasonCode, properties }: Reason): Buffer[] {
  if (reasonCode === undefined && properties === undefined) return []
  return [Buffer.of(reasonCode ?? 0), ...optional(properties)]
}

function optional(properties: WireProperties | undefined): Buffer[] {
  return properties === undefined ? [] : [propertiesField(properties)]
}

/** Cuts what a broker sends into packets. */
export class PacketReader {
  readonly #onPacket: (first: number, body: Buffer) => void
  #rest: Buffer = Buffer.alloc(0)

  constructor(onPacket: (first: number, body: Buffer) => void) {
    this.#onPacket = onPacket
  }

  receive(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let offset = 0
    for (;;) {
      let length = 0
      let position = offset + 1
      let factor = 1
      let byte = 0x80
      while (byte & 0x80 && position < bytes.length) {
        byte = bytes[position++]!
        length += (byte & 0x7f) * factor
        factor *= 128
      }
      if (byte & 0x80 || position + length > bytes.length) break
      this.#onPacket(bytes[offset]!, bytes.subarray(position, position + length))
      offset = position + length
    }
    this.#rest = bytes.subarray(offset)
  }
}
