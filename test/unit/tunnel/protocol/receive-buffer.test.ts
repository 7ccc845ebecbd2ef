import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReceiveBuffer } from '../../../../src/tunnel/protocol/receive-buffer.ts'

const SIZE = 200
const whole = Buffer.from(Array.from({ length: SIZE }, (_, index) => index))

const piece = fc.record({
  from: fc.nat(SIZE - 1),
  size: fc.integer({ min: 1, max: 40 }),
  isKept: fc.boolean(),
})

/** What a buffer gives for one frame. */
function give(buffer: ReceiveBuffer, offset: number, bytes: Buffer): Buffer {
  const out: Buffer[] = []
  for (
    let next = buffer.receive(offset, bytes) ?? buffer.takeKept();
    next !== undefined;
    next = buffer.takeKept()
  ) {
    out.push(next)
  }
  return Buffer.concat(out)
}

describe('the receive buffer (6.2)', () => {
  it('hands on each byte once and in order, like one that marks every byte', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        const buffer = new ReceiveBuffer()
        const has = new Set<number>()
        let out = Buffer.alloc(0)
        for (const { from, size, isKept } of pieces) {
          const bytes = whole.subarray(from, from + size)
          for (let place = from; place < from + bytes.length; place++) has.add(place)
          let next = 0
          if (isKept) buffer.keep(from, bytes)
          else out = Buffer.concat([out, give(buffer, from, bytes)])
          if (isKept)
            for (let kept = buffer.takeKept(); kept; kept = buffer.takeKept())
              out = Buffer.concat([out, kept])
          while (has.has(next)) next++
          expect(out.equals(whole.subarray(0, next))).toBe(true)
          const behind = [...has].filter((place) => place > next).sort((a, b) => a - b)[0]
          expect([buffer.nextOffset, buffer.gapOffset]).toEqual([next, behind])
        }
      }),
      { numRuns: 1_000 },
    )
  })

  it('counts FIN as one offset, when all before it has come', () => {
    const buffer = new ReceiveBuffer()
    buffer.finish(3)
    expect([buffer.ackedOffset, buffer.isComplete, buffer.gapOffset]).toEqual([0, false, 3])
    give(buffer, 0, Buffer.from('abc'))
    expect([buffer.ackedOffset, buffer.isComplete, buffer.gapOffset]).toEqual([4, true, undefined])
  })

  it('finds what breaks the rules', () => {
    const buffer = new ReceiveBuffer()
    expect(buffer.fault(0, 10, false, 10)).toBeUndefined()
    expect(buffer.fault(0, 11, false, 10)).toMatch(/credit/)
    expect(buffer.fault(11, 0, true, 10)).toBeUndefined()
    buffer.keep(5, Buffer.alloc(3))
    expect(buffer.fault(0, 7, true, 10)).toMatch(/before what was sent/)
    buffer.finish(8)
    expect(buffer.fault(0, 8, true, 10)).toBeUndefined()
    expect(buffer.fault(0, 7, true, 10)).toMatch(/another/)
    expect(buffer.fault(8, 1, false, 10)).toMatch(/beyond the end/)
  })

  it('keeps a bounded number of pieces, and copies those that would hold much more than themselves', () => {
    const buffer = new ReceiveBuffer()
    const read = Buffer.alloc(65_536)
    let kept = 0
    for (let index = 1; index <= 5_000; index++)
      if (buffer.keep(index * 2, read.subarray(index, index + 1))) kept++
    expect(kept).toBe(4_096)
    const first = buffer.receive(0, Buffer.alloc(2))
    expect(first).toHaveLength(2)
    expect(buffer.takeKept()!.buffer.byteLength).toBeLessThan(65_536)
  })
})
