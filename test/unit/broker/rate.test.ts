import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TokenBucket } from '../../../src/broker/rate.ts'

describe('the token bucket', () => {
  it('gives its burst at once, and then says how long to wait', () => {
    const bucket = new TokenBucket(10, 0)
    for (let i = 0; i < 10; i++) expect(bucket.take(1, 0)).toBe(0)
    expect(bucket.take(1, 0)).toBe(100)
    expect(bucket.take(1, 0)).toBe(200)
    expect(bucket.take(0, 100)).toBe(100)
    expect(bucket.take(0, 200)).toBe(0)
  })

  it('saves up no more than its burst', () => {
    const bucket = new TokenBucket(10, 0, 3)
    for (let i = 0; i < 3; i++) expect(bucket.take(1, 1_000_000)).toBe(0)
    expect(bucket.take(1, 1_000_000)).toBe(100)
  })

  it('goes into debt for something larger than its burst, and has it paid', () => {
    const bucket = new TokenBucket(1_000, 0, 100)
    expect(bucket.take(600, 0)).toBe(500)
    expect(bucket.take(0, 499)).toBe(1)
    expect(bucket.take(0, 500)).toBe(0)
  })

  it('keeps whoever waits as told to the rate, and nobody waits for longer than the rate asks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.nat(300)), {
          minLength: 1,
          maxLength: 50,
          size: 'max',
        }),
        (perSecond, takes) => {
          const bucket = new TokenBucket(perSecond, 0)
          let nowMs = 0
          let taken = 0
          for (const [count, idleMs] of takes) {
            nowMs += idleMs
            const waitMs = bucket.take(count, nowMs)
            taken += count
            nowMs += waitMs
            // The burst, and what has come since the start.
            const allowed = perSecond + (nowMs * perSecond) / 1_000
            expect(taken).toBeLessThanOrEqual(allowed + 0.001)
            expect(waitMs > 2 ? bucket.take(0, nowMs - 2) : 1).toBeGreaterThan(0)
            // What has been waited for is there, but for a rounding of the division.
            expect(bucket.take(0, nowMs)).toBeLessThanOrEqual(1)
            expect(bucket.take(0, ++nowMs)).toBe(0)
          }
        },
      ),
    )
  })
})
