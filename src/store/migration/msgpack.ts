import { isUtf8 } from 'node:buffer'

/** Values deeper than this are not of a packet. */
const MAX_DEPTH = 16

export type MsgpackValue =
  | string
  | number
  | boolean
  | null
  | Buffer
  | MsgpackValue[]
  | { [key: string]: MsgpackValue }

/**
 * Decodes MessagePack, as packets of Aedes are stored in it: without extension types, keys are text. Undefined for
 * anything else; never throws. Bytes are slices of `bytes`.
 */
export function decodeMsgpack(bytes: Buffer): MsgpackValue | undefined {
  try {
    const reader = new Reader(bytes)
    const value = reader.value(0)
    return reader.at === bytes.length ? value : undefined
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

class Reader {
  at = 0
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  value(depth: number): MsgpackValue {
    if (depth > MAX_DEPTH) throw new RangeError('too deep')
    const type = this.#bytes.readUInt8(this.at++)
    if (type <= 0x7f) return type
    if (type <= 0x8f) return this.#map(type & 0x0f, depth)
    if (type <= 0x9f) return this.#array(type & 0x0f, depth)
    if (type <= 0xbf) return this.#text(type & 0x1f)
    if (type >= 0xe0) return type - 0x100
    switch (type) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#unsigned(1 << (type - 0xc4)))
      case 0xca:
        return this.#take(4).readFloatBE()
      case 0xcb:
        return this.#take(8).readDoubleBE()
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#unsigned(1 << (type - 0xcc))
      case 0xcf:
        return Number(this.#take(8).readBigUInt64BE())
      case 0xd0:
      case 0xd1:
      case 0xd2: {
        const width = 1 << (type - 0xd0)
        return this.#take(width).readIntBE(0, width)
      }
      case 0xd3:
        return Number(this.#take(8).readBigInt64BE())
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#unsigned(1 << (type - 0xd9)))
      case 0xdc:
      case 0xdd:
        return this.#array(this.#unsigned(2 << (type - 0xdc)), depth)
      case 0xde:
      case 0xdf:
        return this.#map(this.#unsigned(2 << (type - 0xde)), depth)
      default:
        throw new RangeError('an extension')
    }
  }

  #take(count: number): Buffer {
    const end = this.at + count
    if (end > this.#bytes.length) throw new RangeError('cut short')
    const taken = this.#bytes.subarray(this.at, end)
    this.at = end
    return taken
  }

  #unsigned(width: number): number {
    return this.#take(width).readUIntBE(0, width)
  }

  #text(length: number): string {
    const bytes = this.#take(length)
    if (!isUtf8(bytes)) throw new RangeError('not UTF-8')
    return bytes.toString('utf8')
  }

  #array(count: number, depth: number): MsgpackValue[] {
    const items: MsgpackValue[] = []
    for (let index = 0; index < count; index++) items.push(this.value(depth + 1))
    return items
  }

  #map(count: number, depth: number): { [key: string]: MsgpackValue } {
    const entries: [string, MsgpackValue][] = []
    for (let index = 0; index < count; index++) {
      const key = this.value(depth + 1)
      if (typeof key !== 'string') throw new RangeError('a key that is no text')
      entries.push([key, this.value(depth + 1)])
    }
    return Object.fromEntries(entries)
  }
}
