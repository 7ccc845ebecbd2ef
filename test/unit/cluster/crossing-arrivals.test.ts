import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { createBlobWriter } from '../../../src/cluster/blob-writer.ts'
import { createArrivals } from '../../../src/cluster/crossing-arrivals.ts'
import { createSilentLog } from '../../../src/log.ts'
import { PATIENCE } from '../../support/eventually.ts'

const message = {
  payload: Buffer.alloc(10),
  qos: 0,
  retain: false,
  publisher: '',
  publishedAtMs: 0,
  expiresAtMs: 0,
} as const

function blobOf(topics: readonly string[]): Buffer {
  const blobs: Buffer[] = []
  const writer = createBlobWriter(
    () => '0123456789abcdef',
    (blob) => blobs.push(blob),
  )
  for (const topic of topics) writer.message({ ...message, topic }, undefined)
  writer.flush()
  return Buffer.concat(blobs)
}

function world(take: (topic: string) => void, maxWaitingBytes = 1_000_000) {
  const counts = { garbage: 0, dropped: 0 }
  const arrivals = createArrivals({
    sink: { message: ({ topic }) => take(topic), frame: () => undefined },
    maxWaitingBytes,
    log: createSilentLog(),
    garbage: () => counts.garbage++,
    dropped: (count) => (counts.dropped += count),
  })
  return { arrivals, counts }
}

/** Stands in for work at each message. */
function spin(ms: number): void {
  const untilMs = performance.now() + ms
  while (performance.now() < untilMs);
}

describe('what arrives from other pods', () => {
  it('lets the event loop turn while much has come, and keeps the order', async () => {
    const taken: string[] = []
    const { arrivals } = world((topic) => {
      taken.push(topic)
      spin(0.2)
    })
    const topics = Array.from({ length: 100 }, (_, index) => `t/${index}`)
    arrivals.take(blobOf(topics.slice(0, 60)))
    arrivals.take(blobOf(topics.slice(60)))
    expect(taken.length).toBeLessThan(60)
    const turns = new EventTarget()
    setImmediate(() => turns.dispatchEvent(new Event('turn')))
    await once(turns, 'turn')
    expect(taken.length).toBeLessThan(100)
    await vi.waitFor(() => expect(taken).toEqual(topics), PATIENCE)
  })

  it('is dropped and counted past the bound', async () => {
    const taken: string[] = []
    const { arrivals, counts } = world((topic) => {
      taken.push(topic)
      spin(0.5)
    }, 4_000)
    const topics = Array.from({ length: 50 }, (_, index) => `t/${index}`)
    arrivals.take(blobOf(topics))
    arrivals.take(blobOf(topics))
    arrivals.take(blobOf(topics))
    await vi.waitFor(() => expect(taken.length + counts.dropped).toBe(150), PATIENCE)
    expect(counts.dropped).toBe(100)
    arrivals.take(blobOf(['again']))
    await vi.waitFor(() => expect(taken.at(-1)).toBe('again'), PATIENCE)
  })

  it('goes on behind garbage, and behind a message that could not be delivered', async () => {
    const taken: string[] = []
    const { arrivals, counts } = world((topic) => {
      if (topic === 'bad') throw new Error('a bug of a receiver')
      taken.push(topic)
    })
    arrivals.take(blobOf(['bad', 'a']))
    arrivals.take(Buffer.from('garbage'))
    arrivals.take(Buffer.alloc(0))
    arrivals.take(blobOf(['b', 'bad']))
    arrivals.take(blobOf(['c']))
    await nextTurn()
    expect(taken).toEqual(['a', 'b', 'c'])
    expect(counts).toEqual({ garbage: 2, dropped: 0 })
  })
})
