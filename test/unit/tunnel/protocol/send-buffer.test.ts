import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SendBuffer } from '../../../../src/tunnel/protocol/send-buffer.ts'

type Step =
  | { readonly kind: 'write'; readonly size: number }
  | { readonly kind: 'read'; readonly at: number; readonly size: number }
  | { readonly kind: 'acknowledge'; readonly part: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), size: fc.oneof(fc.nat(30), fc.nat(9_000)) }),
  fc.record({
    kind: fc.constant('read' as const),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    size: fc.integer({ min: 1, max: 9_000 }),
  }),
  fc.record({ kind: fc.constant('acknowledge' as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
)

describe('the send buffer', () => {
  it('gives what was written, like one that keeps everything in one piece', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const buffer = new SendBuffer()
        let all = Buffer.alloc(0)
        let acked = 0
        const given: { readonly bytes: Buffer; readonly wanted: Buffer }[] = []
        for (const { kind, ...rest } of steps) {
          if (kind === 'write') {
            const bytes = Buffer.alloc((rest as { size: number }).size, all.length % 251)
            buffer.write(bytes)
            all = Buffer.concat([all, bytes])
          } else if (kind === 'acknowledge') {
            acked += Math.floor((all.length - acked) * (rest as { part: number }).part)
            buffer.acknowledge(acked)
          } else if (acked < all.length) {
            const { at, size } = rest as { at: number; size: number }
            const offset = Math.min(all.length - 1, acked + Math.floor((all.length - acked) * at))
            given.push({ bytes: buffer.read(offset, size), wanted: all.subarray(offset, offset + size) })
          }
          expect([buffer.ackedOffset, buffer.endOffset]).toEqual([acked, all.length])
        }
        // What was handed to the link stays as it was, whatever came later.
        for (const { bytes, wanted } of given) {
          expect(bytes.length).toBeGreaterThan(0)
          expect(bytes.equals(wanted.subarray(0, bytes.length))).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('does not copy what is large, or alone', () => {
    const buffer = new SendBuffer()
    const alone = Buffer.from('a')
    buffer.write(alone)
    expect(buffer.read(0, 10)).toBe(alone)
    const large = Buffer.alloc(100_000)
    buffer.write(large)
    expect(buffer.read(1, 200_000)).toBe(large)
    expect(buffer.read(2, 10).buffer).toBe(large.buffer)
  })

  it('puts small writes in a row together', () => {
    const buffer = new SendBuffer()
    for (let index = 0; index < 700; index++) buffer.write(Buffer.alloc(24))
    let reads = 0
    for (let offset = 0; offset < buffer.endOffset; reads++) offset += buffer.read(offset, 32_768).length
    expect(reads).toBeLessThanOrEqual(3)
  })

  it('forgets what was acknowledged', () => {
    const buffer = new SendBuffer()
    for (let index = 0; index < 10_000; index++) {
      buffer.write(Buffer.alloc(5_000))
      buffer.acknowledge(index * 5_000)
    }
    expect(buffer.byteCount).toBe(5_000)
    buffer.clear()
    expect(buffer.byteCount).toBe(0)
  })
})
