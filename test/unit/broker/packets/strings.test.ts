import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PeerError } from '../../../../src/errors.ts'
import { decodeString, FieldReader } from '../../../../src/broker/packets/strings.ts'
import { field } from '../../../support/wire.ts'

/** The twin: the platform's strict decoder, and the rule about U+0000. */
function strictly(bytes: Buffer): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    return text.includes('\0') ? undefined : text
  } catch {
    return undefined
  }
}

function decode(bytes: Buffer): string | undefined {
  // In the middle of something: what is around it must not matter.
  const around = Buffer.concat([Buffer.from([0, 0xff]), bytes, Buffer.from([0xbf, 0])])
  try {
    return decodeString(around, 2, 2 + bytes.length, 'text')
  } catch (error) {
    if (error instanceof PeerError && error.code === 'TMQ_PROTOCOL') return undefined
    throw error
  }
}

const wellFormed = fc.string({ unit: 'binary', maxLength: 12 }).map((text) => Buffer.from(text))
const damaged = fc
  .tuple(wellFormed, fc.nat(), fc.constantFrom(0x00, 0x80, 0xbf, 0xc0, 0xc3, 0xed, 0xa0, 0xf0, 0xf4, 0xff))
  .map(([bytes, at, byte]) => {
    const copy = Buffer.concat([bytes, Buffer.from('z')])
    copy[at % copy.length] = byte
    return copy
  })
const anyBytes = fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes))

describe('strings of packets', () => {
  it('are decoded exactly as a strict UTF-8 decoder does it, without U+0000', () => {
    fc.assert(
      fc.property(fc.oneof(wellFormed, damaged, anyBytes), (bytes) => {
        expect(decode(bytes)).toBe(strictly(bytes))
      }),
      { numRuns: 2_000 },
    )
  })

  it.each([
    ['a surrogate [MQTT-1.5.3-1]', [0xed, 0xa0, 0x80]],
    ['an overlong form of "/"', [0xc0, 0xaf]],
    ['U+110000, which does not exist', [0xf4, 0x90, 0x80, 0x80]],
    ['a cut sequence', [0x61, 0xe2, 0x82]],
    ['U+0000 [MQTT-1.5.3-2]', [0x61, 0x00]],
    ['U+0000 behind what is not ASCII', [0xc3, 0xa4, 0x00]],
    ['U+0000 in its overlong form', [0xc0, 0x80]],
  ])('refuse %s', (_what, bytes) => {
    expect(decode(Buffer.from(bytes))).toBeUndefined()
  })

  it('keep a byte order mark [MQTT-1.5.3-3]', () => {
    expect(decode(Buffer.from([0xef, 0xbb, 0xbf, 0x61]))).toBe('\uFEFFa')
  })
})

describe('the reader of fields', () => {
  it('reads each kind of field, and ends at the end', () => {
    const bytes = Buffer.concat([Buffer.from([9, 7, 0x12, 0x34]), field('äb'), field(Buffer.from([0, 0xff]))])
    const reader = new FieldReader(bytes, 1, bytes.length)
    expect(reader.byte('a byte')).toBe(7)
    expect(reader.uint16('a number')).toBe(0x1234)
    expect(reader.string('a string')).toBe('äb')
    expect(reader.atEnd).toBe(false)
    expect(reader.binary('bytes')).toEqual(Buffer.from([0, 0xff]))
    expect(reader.atEnd).toBe(true)
  })

  it('reads nothing beyond the end of the packet, though there are bytes', () => {
    const bytes = Buffer.concat([field('abc'), Buffer.from('next packet')])
    const needed = { byte: 1, uint16: 2, binary: 5, string: 5 } as const
    for (const [method, size] of Object.entries(needed)) {
      for (let end = 0; end < size; end++) {
        const reader = new FieldReader(bytes, 0, end)
        expect(() => reader[method as keyof typeof needed]('it')).toThrow('it reaches beyond the packet')
      }
    }
    expect(new FieldReader(bytes, 0, 5).string('it')).toBe('abc')
  })
})
