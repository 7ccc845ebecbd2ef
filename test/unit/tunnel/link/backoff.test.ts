import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Backoff } from '../../../../src/tunnel/link/backoff.ts'

const waits = (backoff: Backoff, random: number, count: number): number[] =>
  Array.from({ length: count }, () => backoff.next(random))

describe('the wait before the next attempt', () => {
  it('has a bound that doubles, up to 30 s', () => {
    const almostOne = 1 - Number.EPSILON
    expect(waits(new Backoff(), almostOne, 8)).toEqual([
      1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
    ])
  })

  it('is at random between 500 ms and the bound', () => {
    expect(waits(new Backoff(), 0, 3)).toEqual([500, 500, 500])
    expect(waits(new Backoff(), 0.5, 3)).toEqual([750, 1_250, 2_250])
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })), (randoms) => {
        const backoff = new Backoff()
        for (const random of randoms) {
          const wait = backoff.next(random)
          expect(wait).toBeGreaterThanOrEqual(500)
          expect(wait).toBeLessThanOrEqual(30_000)
        }
      }),
    )
  })

  it('is short again after a connection that stood for 10 s', () => {
    const backoff = new Backoff()
    waits(backoff, 0.5, 3)
    backoff.stood(10_000)
    expect(backoff.next(0.5)).toBe(750)
  })

  it('goes on from where it was after a shorter one, but at most from 4 s', () => {
    const backoff = new Backoff()
    waits(backoff, 0.5, 1)
    backoff.stood(9_999)
    expect(waits(backoff, 0.5, 4)).toEqual([1_250, 2_250, 4_250, 8_250])
    backoff.stood(1)
    expect(waits(backoff, 0.5, 2)).toEqual([2_250, 4_250])
  })
})
