import { describe, expect, it } from 'vitest'
import { CongestionWindow } from '../../../../src/tunnel/protocol/congestion.ts'
import { ReceiveWindow, WindowBudget } from '../../../../src/tunnel/protocol/receive-window.ts'
import { RoundTrip } from '../../../../src/tunnel/protocol/round-trip.ts'
import type { StreamsLimits } from '../../../../src/tunnel/protocol/streams.ts'

const KIB = 1_024
const MIB = 1_048_576
const limits: StreamsLimits = {
  chunkBytes: 32_768,
  windowBytes: MIB,
  maxWindowBytes: 8 * MIB,
  totalWindowBytes: 64 * MIB,
  sendBufferBytes: MIB,
  maxStreams: 100,
  openTimeoutMs: 20_000,
  resumeTimeoutMs: 120_000,
}

describe('the receive window (6.3)', () => {
  /** Reads a whole window each `ms`. */
  function read(window: ReceiveWindow, ms: number, roundTripMs: number, times = 10): void {
    let now = 0
    for (let time = 0; time < times; time++) {
      now += ms
      window.consumed(window.consumedOffset + window.bytes, now, roundTripMs)
    }
  }

  it('doubles up to its maximum while a window is read within two round trips', () => {
    const window = new ReceiveWindow(new WindowBudget(limits), 0)
    read(window, 110, 100, 1)
    expect(window.bytes).toBe(2 * MIB)
    read(window, 110, 100)
    expect(window.bytes).toBe(8 * MIB)
    expect(window.limit - window.consumedOffset).toBe(8 * MIB)
  })

  it.each([
    ['the reader is slower', 210, 100],
    ['the way is short', 1, 2],
    ['the way is not known', 1, Infinity],
  ])('stays as it is when %s', (_name, ms, roundTripMs) => {
    const window = new ReceiveWindow(new WindowBudget(limits), 0)
    read(window, ms, roundTripMs)
    expect(window.bytes).toBe(MIB)
  })

  it('grows within what all windows may take together, and gives it back', () => {
    const budget = new WindowBudget({ ...limits, totalWindowBytes: 10 * MIB })
    const first = new ReceiveWindow(budget, 0)
    const second = new ReceiveWindow(budget, 0)
    read(first, 1, 100)
    read(second, 1, 100)
    expect([first.bytes, second.bytes]).toEqual([8 * MIB, 2 * MIB])
    first.close()
    read(second, 1, 100)
    expect(second.bytes).toBe(8 * MIB)
  })

  it('begins small when little is left, and not below the initial credit', () => {
    const budget = new WindowBudget(limits)
    const sizes = Array.from({ length: 1_000 }, () => new ReceiveWindow(budget, 0).bytes)
    expect(sizes[0]).toBe(MIB)
    expect(sizes.at(-1)).toBe(64 * KIB)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(64 * MIB + 1_000 * 64 * KIB)
  })
})

describe('the congestion window (7.5)', () => {
  const create = (leastMs = 10) => {
    const path = new RoundTrip()
    path.sample(leastMs, 0)
    return { path, window: new CongestionWindow(path, 8 * MIB) }
  }

  it('doubles with each window that is acknowledged, until something is lost', () => {
    const { window } = create()
    const sizes = Array.from({ length: 5 }, () => {
      window.acknowledged(window.bytes(0), window.bytes(0))
      return window.bytes(0)
    })
    expect(sizes).toEqual([256 * KIB, 512 * KIB, MIB, 2 * MIB, 4 * MIB])
    window.lost(0, 100)
    expect(window.bytes(0)).toBe(2 * MIB)
    window.acknowledged(2 * MIB, 2 * MIB)
    expect(window.bytes(0)).toBe(2 * MIB + 32 * KIB)
  })

  it('does not grow when it is not used', () => {
    const { window } = create()
    window.acknowledged(1_000, 50_000)
    expect(window.bytes(0)).toBe(128 * KIB)
  })

  it('is halved once for what was on its way at a loss, and again for what went out later', () => {
    const { window } = create()
    window.acknowledged(128 * KIB, 128 * KIB)
    window.lost(0, 200_000)
    window.lost(100_000, 250_000)
    expect(window.bytes(0)).toBe(128 * KIB)
    window.lost(200_000, 300_000)
    expect(window.bytes(0)).toBe(64 * KIB)
  })

  it('is never below 64 KiB', () => {
    const { window } = create()
    for (let time = 0; time < 20; time++) window.timedOut(0)
    expect(window.bytes(0)).toBe(64 * KIB)
    window.restart()
    expect(window.bytes(0)).toBe(128 * KIB)
  })

  it('is held to what the path delivers in a little more than its shortest round trip', () => {
    const { window } = create(20)
    for (let time = 0; time < 5; time++) window.acknowledged(window.bytes(0), window.bytes(0))
    expect(window.bytes(0)).toBe(4 * MIB)
    for (let time = 1; time < 10; time++) window.sample(1_000, 4 * MIB, time)
    // 4 MiB a second, for 20 and 75 ms
    expect(window.bytes(0)).toBeCloseTo((4 * MIB * 95) / 1_000, 0)
    // What is on its way until then is acknowledged, and does not let it grow.
    window.acknowledged(MIB, 4 * MIB)
    expect(window.bytes(0)).toBeCloseTo((4 * MIB * 95) / 1_000, 0)
  })

  it('is not held for one slow answer, nor for the queue of others', () => {
    const { window } = create(20)
    window.sample(20, 128 * KIB, 1)
    window.sample(200, 128 * KIB, 2)
    expect(window.bytes(0)).toBe(128 * KIB)
    for (let time = 3; time < 20; time++) window.sample(500, 1_000, time)
    expect(window.bytes(0)).toBe(128 * KIB)
  })
})

describe('the round trip of a path', () => {
  it('is the least that was seen, for a while', () => {
    const path = new RoundTrip()
    expect(path.leastMs).toBe(Infinity)
    path.sample(10, 0)
    path.sample(50, 1_000)
    path.sample(100, 21_000)
    expect(path.leastMs).toBe(10)
    path.sample(90, 41_000)
    expect(path.leastMs).toBe(90)
    path.forget()
    expect(path.leastMs).toBe(Infinity)
  })

  it('is let run empty now and then while it is crowded', () => {
    const path = new RoundTrip()
    path.sample(10, 0)
    path.crowded(300, 0)
    expect(path.isDraining(1)).toBe(false)
    path.crowded(300, 10_000)
    expect([path.isDraining(10_299), path.isDraining(10_300)]).toEqual([true, false])
    path.crowded(300, 15_000)
    expect(path.isDraining(15_001)).toBe(false)
    path.crowded(30_000, 20_000)
    expect([path.isDraining(20_999), path.isDraining(21_000)]).toEqual([true, false])
  })
})
