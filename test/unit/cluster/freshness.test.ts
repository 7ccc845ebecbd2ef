import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createFreshness, DISPATCH_PART, SETTLE_PART } from '../../../src/cluster/freshness.ts'

const freshMs = 1_000
const holdMs = 5_000

describe('freshness', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('ends a while after Redis was heard of, and comes back with it', () => {
    const follower = { freshAtMs: -Infinity }
    const freshness = createFreshness({ follower, freshMs, holdMs })
    expect(freshness.isFresh).toBe(false)
    follower.freshAtMs = performance.now()
    expect(freshness.isFresh).toBe(true)
    vi.advanceTimersByTime(799)
    expect(freshness.isFresh).toBe(true)
    vi.advanceTimersByTime(1)
    expect(freshness.isFresh).toBe(false)
  })

  it('calls back those that wait, in order and later, when it is there', () => {
    const follower = { freshAtMs: -Infinity }
    const freshness = createFreshness({ follower, freshMs, holdMs })
    const told: [string, unknown][] = []
    freshness.onceFresh((error) => told.push(['a', error]))
    freshness.onceFresh((error) => told.push(['b', error]))
    follower.freshAtMs = performance.now()
    expect(told).toEqual([])
    vi.advanceTimersByTime(10)
    expect(told).toEqual([
      ['a', undefined],
      ['b', undefined],
    ])
  })

  it('fails those that have waited for too long, each after its own time', () => {
    const freshness = createFreshness({ follower: { freshAtMs: -Infinity }, freshMs, holdMs })
    const told: unknown[] = []
    freshness.onceFresh((error) => told.push(error))
    vi.advanceTimersByTime(3_000)
    freshness.onceFresh((error) => told.push(error))
    vi.advanceTimersByTime(2_010)
    expect(told).toEqual([expect.objectContaining({ code: 'TMQ_STORE_UNAVAILABLE' })])
    vi.advanceTimersByTime(3_000)
    expect(told).toHaveLength(2)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('fails those that wait when it is closed', () => {
    const freshness = createFreshness({ follower: { freshAtMs: -Infinity }, freshMs, holdMs })
    const told: unknown[] = []
    freshness.onceFresh((error) => told.push(error))
    freshness.close()
    expect(told).toEqual([expect.objectContaining({ code: 'TMQ_STORE_UNAVAILABLE' })])
  })

  /**
   * Two pods with clocks of their own, which run up to 5 % apart. One writes a change and waits out its time; the
   * other was told before the change that nothing is new, at any time, and is asked whether it is fresh at any time.
   */
  it('is never there with older routes once a SUBACK was given by time', () => {
    const rate = fc.double({ min: 0.95, max: 1.05, noNaN: true })
    const delay = fc.double({ min: 0, max: 500, noNaN: true })
    fc.assert(
      fc.property(rate, rate, delay, delay, delay, (writer, dispatcher, heardBefore, answer, later) => {
        const writtenAt = 10_000
        const freshAt = (writtenAt - heardBefore) * dispatcher
        const subackAt = writtenAt + answer + (freshMs * SETTLE_PART) / writer
        const clock = vi.spyOn(performance, 'now').mockReturnValue((subackAt + later) * dispatcher)
        const { isFresh } = createFreshness({ follower: { freshAtMs: freshAt }, freshMs, holdMs })
        clock.mockRestore()
        expect(isFresh).toBe(false)
      }),
    )
    expect(DISPATCH_PART * 1.05).toBeLessThan(SETTLE_PART / 1.05)
  })
})
