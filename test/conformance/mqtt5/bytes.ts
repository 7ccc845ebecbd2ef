import { field, packet, remainingLength, uint16 } from '../../support/wire.ts'

/** Packets of MQTT 5 by hand, for what no encoder makes. */

/** With their length before them; each is its identifier and value. */
export function properties(...parts: readonly Buffer[]): Buffer {
  const bytes = Buffer.concat(parts)
  return Buffer.concat([remainingLength(bytes.length), bytes])
}

export function userProperty(name: string | Buffer, value: string | Buffer): Buffer {
  return Buffer.concat([Buffer.of(0x26), field(name), field(value)])
}

export interface ConnectBytes {
  readonly protocol?: string | Buffer
  readonly level?: number
  /** Default: clean start. */
  readonly flags?: number
  readonly properties?: Buffer
  /** Default: an empty client id. */
  readonly payload?: readonly Buffer[]
}

export function connectBytes(fields: ConnectBytes): Buffer {
  return packet(
    0x10,
    field(fields.protocol ?? 'MQTT'),
    Buffer.of(fields.level ?? 5, fields.flags ?? 0x02),
    uint16(0),
    fields.properties ?? properties(),
    ...(fields.payload ?? [field('')]),
  )
}

/** QoS 0 unless `first` says otherwise. */
export function publishBytes(topic: string | Buffer, rest: Buffer = properties(), first = 0x30): Buffer {
  return packet(first, field(topic), rest)
}

export function subscribeBytes(filter: string | Buffer, options: number, first = 0x82): Buffer {
  return packet(first, uint16(1), properties(), field(filter), Buffer.of(options))
}

export const SURROGATE = Buffer.from([0x61, 0xed, 0xa0, 0x80])
export const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])
