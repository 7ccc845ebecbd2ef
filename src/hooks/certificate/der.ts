import { BaseBlock, fromBER } from 'asn1js'

/** One element of DER: where it begins, and where its value is. */
export interface Element {
  /** 1: universal, 3: context-specific. */
  readonly tagClass: number
  readonly tagNumber: number
  readonly start: number
  readonly valueStart: number
  readonly end: number
}

export const Universal = { integer: 2, sequence: 16, utcTime: 23, generalizedTime: 24 } as const

/**
 * Walks DER one element after the other, by the library's decoders of identifiers and lengths. The library's way of
 * reading a whole tree takes 5 s and 400 MB for a revocation list of 100,000 entries, of which we need the serials.
 */
export class DerWalk {
  readonly bytes: Uint8Array
  #head = new BaseBlock()

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  /** @throws {Error} when there is no whole element with a definite length. */
  elementAt(start: number, end: number): Element {
    const { idBlock, lenBlock } = this.#head
    const lengthStart = idBlock.fromBER(this.bytes, start, end - start)
    if (lengthStart === -1) return this.#malformed()
    const valueStart = lenBlock.fromBER(this.bytes, lengthStart, end - lengthStart)
    if (valueStart === -1 || lenBlock.isIndefiniteForm) return this.#malformed()
    // Needlessly long lengths leave a warning each.
    if (lenBlock.warnings.length > 0) return this.#malformed()
    const elementEnd = valueStart + lenBlock.length
    if (elementEnd > end) return this.#malformed()
    const { tagClass, tagNumber } = idBlock
    return { tagClass, tagNumber, start, valueStart, end: elementEnd }
  }

  /** The elements within one that is constructed. */
  *within({ valueStart, end }: Pick<Element, 'valueStart' | 'end'>): Generator<Element> {
    for (let at = valueStart; at < end;) {
      const element = this.elementAt(at, end)
      yield element
      at = element.end
    }
  }

  value({ valueStart, end }: Element): Uint8Array {
    return this.bytes.subarray(valueStart, end)
  }

  whole({ start, end }: Element): Uint8Array {
    return this.bytes.subarray(start, end)
  }

  #malformed(): never {
    // The decoders keep what was wrong.
    this.#head = new BaseBlock()
    throw new Error('is not DER')
  }
}

/**
 * Decodes a small structure as a whole.
 * @throws {Error} when it is not one, or something follows it.
 */
export function decode(bytes: Uint8Array): ReturnType<typeof fromBER>['result'] {
  const { offset, result } = fromBER(bytes)
  if (offset === -1) throw new Error(`is not DER: ${result.error}`)
  if (offset !== bytes.byteLength) throw new Error('is not DER: something follows it')
  return result
}

/** A serial number as a key of sets: its bytes, without leading zeros. */
export function serialKey(bytes: Uint8Array): string {
  let start = 0
  while (start < bytes.byteLength - 1 && bytes[start] === 0) start++
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, bytes.byteLength - start).toString('latin1')
}
