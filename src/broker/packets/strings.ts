import { isUtf8 } from 'node:buffer'
import { malformed } from './fault.ts'

/**
 * A UTF-8 string of a packet (MQTT 3.1.1, 1.5.3; MQTT 5, 1.5.4), strictly: ill-formed UTF-8 (surrogates included)
 * [MQTT-1.5.3-1] and U+0000 [MQTT-1.5.3-2] end the connection.
 */
export function decodeString(bytes: Buffer, start: number, end: number, what: string): string {
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number
    if (byte === 0) throw malformed(`U+0000 in ${what}`)
    if (byte > 0x7f) return decodeNonAscii(bytes, start, end, what)
  }
  return bytes.toString('latin1', start, end)
}

function decodeNonAscii(bytes: Buffer, start: number, end: number, what: string): string {
  const part = bytes.subarray(start, end)
  if (!isUtf8(part)) throw malformed(`ill-formed UTF-8 in ${what}`)
  if (part.includes(0)) throw malformed(`U+0000 in ${what}`)
  return part.toString('utf8')
}

/** Reads the fields of one packet in order; every read is checked against the packet's end. */
export class FieldReader {
  readonly bytes: Buffer
  readonly end: number
  position: number

  constructor(bytes: Buffer, start: number, end: number) {
    this.bytes = bytes
    this.position = start
    this.end = end
  }

  get atEnd(): boolean {
    return this.position === this.end
  }

  byte(what: string): number {
    this.#need(1, what)
    return this.bytes[this.position++] as number
  }

  uint16(what: string): number {
    this.#need(2, what)
    const value = this.bytes.readUInt16BE(this.position)
    this.position += 2
    return value
  }

  uint32(what: string): number {
    this.#need(4, what)
    const value = this.bytes.readUInt32BE(this.position)
    this.position += 4
    return value
  }

  /** Variable byte integer, in as few bytes as it takes (MQTT 5, 1.5.5). [MQTT-1.5.5-1] */
  varint(what: string): number {
    let value = 0
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.byte(what)
      value |= (byte & 0x7f) << shift
      if (byte & 0x80) continue
      if (byte === 0 && shift > 0) throw malformed(`${what} in more bytes than it takes`)
      return value
    }
    throw malformed(`${what} of more than four bytes`)
  }

  binary(what: string): Buffer {
    const length = this.uint16(what)
    this.#need(length, what)
    const value = this.bytes.subarray(this.position, this.position + length)
    this.position += length
    return value
  }

  string(what: string): string {
    const length = this.uint16(what)
    this.#need(length, what)
    const start = this.position
    this.position += length
    return decodeString(this.bytes, start, this.position, what)
  }

  #need(count: number, what: string): void {
    if (this.end - this.position < count) throw malformed(`${what} reaches beyond the packet`)
  }
}
