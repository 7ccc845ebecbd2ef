import { describe, expect, it } from 'vitest'
import { TunnelPair } from '../../../support/tunnel-pair.ts'

const MIB = 1_048_576

/** Keeps the client's side full, and forgets what came. */
function fill(pair: TunnelPair): { readonly byteCount: () => number } {
  const up = pair.open()
  const chunk = Buffer.alloc(65_536)
  let byteCount = 0
  const feed = (): void => {
    while (up.hasRoom) up.write(chunk, pair.nowMs)
  }
  pair.onEvent = (event, { role, received }) => {
    if (event.kind === 'room' && event.stream === up) feed()
    if (event.kind === 'data' && role === 'agent' && event.stream.id === up.id) {
      byteCount += event.bytes.length
      received.delete(up.id)
    }
    pair.frames.length = 0
    pair.client.events.length = pair.agent.events.length = 0
  }
  feed()
  return { byteCount: () => byteCount }
}

/** Bytes a millisecond from then on. */
function rateAfter(pair: TunnelPair, warmUpMs: number, forMs: number): number {
  const { byteCount } = fill(pair)
  pair.run(warmUpMs)
  const before = byteCount()
  pair.run(forMs)
  return (byteCount() - before) / forMs
}

describe('over a way of 100 ms there and back', () => {
  it('grows far above 10 MB/s', () => {
    const rate = rateAfter(new TunnelPair({ delayMs: 50, upBytesPerMs: 100_000 }), 3_000, 2_000)
    expect(rate).toBeGreaterThan(50_000)
  })

  it('fills a line of 20 MB/s, and keeps it filled', () => {
    const pair = new TunnelPair({ delayMs: 50, upBytesPerMs: 20_000 })
    expect(rateAfter(pair, 5_000, 60_000)).toBeGreaterThan(0.9 * 20_000)
  })
})

describe('over a slow uplink', () => {
  it('keeps it filled, and a keystroke waits little behind it', () => {
    const pair = new TunnelPair({ delayMs: 15, upBytesPerMs: 1_000 })
    const { byteCount } = fill(pair)
    pair.run(5_000)
    const before = byteCount()
    pair.run(60_000)
    expect((byteCount() - before) / 60_000).toBeGreaterThan(0.9 * 1_000)
    const up = pair.open()
    while (up.phase === 'opening') pair.run(1)
    const waits: number[] = []
    for (let key = 0; key < 20; key++) {
      const at = pair.nowMs
      up.write(Buffer.from('k'), at)
      while (up.sentBytes <= key) pair.run(1)
      waits.push(pair.nowMs - at)
    }
    // 30 ms of way, and a queue of 64 KiB, or 75 ms; a megabyte of it would be a second.
    expect(Math.max(...waits)).toBeLessThan(300)
  })
})

describe('over a short way', () => {
  it('does not grow its window without need', () => {
    const pair = new TunnelPair({ delayMs: 0.1, upBytesPerMs: 700_000 })
    const { byteCount } = fill(pair)
    pair.run(500)
    expect(byteCount()).toBeGreaterThan(100 * MIB)
    const [down] = [...pair.agent.streams.all()]
    pair.isReading = false
    const before = down!.receivedBytes
    pair.run(500)
    expect(down!.receivedBytes - before).toBeLessThanOrEqual(MIB)
  })
})
