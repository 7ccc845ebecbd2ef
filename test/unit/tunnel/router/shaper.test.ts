import { describe, expect, it } from 'vitest'
import { frames, type SeenFrame } from '../../../support/tunnel-frames.ts'
import { createRouterWorld, type FakeEnd, type RouterWorld } from './world.ts'

/** A sender that always has more to send, keeps to its credit, and hears what the broker says of it. */
class Sender {
  sentBytes = 0
  limit = 65_536
  readonly topic: string
  readonly id: number
  readonly end: FakeEnd

  constructor(end: FakeEnd, topic: string, id: number) {
    this.end = end
    this.topic = topic
    this.id = id
  }

  hear(heard: readonly SeenFrame[]): void {
    for (const { stream, limit, type } of heard)
      if (stream === this.id && type !== 'reset') this.limit = Math.max(this.limit, limit)
  }

  /** All that its credit allows, but at most 32 KB at a time. */
  send(): void {
    while (this.sentBytes < this.limit) {
      const size = Math.min(32_768, this.limit - this.sentBytes)
      this.end.send(this.topic, frames.data(this.id, this.sentBytes, Buffer.alloc(size)))
      this.sentBytes += size
    }
  }
}

interface Shaped extends RouterWorld {
  readonly agent: FakeEnd
  readonly client: FakeEnd
  /** Streams that clients fill. */
  readonly senders: readonly Sender[]
  /** As many seconds, in which everybody sends and hears. Returns the bytes that reached the agent. */
  run(seconds: number): number
}

/** `count` streams whose receiver has a window of 1 MiB, and takes everything at once. */
function shapedWorld(rates: object, count = 1): Shaped {
  const world = createRouterWorld(rates)
  const agent = world.end('pi7').serve()
  const client = world.end('laptop').listen()
  const up = '$tunnel/pi7/ssh/laptop/up'
  const down = '$tunnel/pi7/ssh/laptop/down'
  const senders = Array.from({ length: count }, (_, id) => new Sender(client, up, id))
  for (const { id } of senders) {
    client.send(up, frames.open(id))
    agent.send(down, frames.accept(id))
  }
  const step = (): number => {
    const heard = client.gotFrames()
    for (const sender of senders) {
      sender.hear(heard)
      sender.send()
    }
    let bytes = 0
    for (const { type, stream, offset, payload } of agent.gotFrames()) {
      if (type !== 'data') continue
      bytes += payload.length
      const received = offset + payload.length
      agent.send(down, frames.ack(stream, { acked: received, limit: received + 1_048_576 }))
    }
    world.advance(50)
    return bytes
  }
  return {
    ...world,
    agent,
    client,
    senders,
    run(seconds) {
      let bytes = 0
      for (let i = 0; i < seconds * 20; i++) bytes += step()
      return bytes
    },
  }
}

describe('a rate', () => {
  it.each([10_000, 100_000, 10_000_000])('of %i bytes a second is kept to, and reached', (rate) => {
    const world = shapedWorld({ bytesPerSecondPerStream: rate })
    // The first credit of a client is the protocol's, and repaid afterwards.
    world.run(30)
    const bytes = world.run(20)
    expect(bytes).toBeGreaterThan(rate * 20 * 0.9)
    expect(bytes).toBeLessThan(rate * 20 * 1.1)
  })

  it('of a client is shared by its streams, of which none starves', () => {
    const world = shapedWorld({ bytesPerSecondPerClient: 200_000 }, 8)
    world.run(10)
    const before = world.senders.map(({ sentBytes }) => sentBytes)
    const bytes = world.run(40)
    expect(bytes).toBeGreaterThan(200_000 * 40 * 0.9)
    expect(bytes).toBeLessThan(200_000 * 40 * 1.1)
    for (const [index, { sentBytes }] of world.senders.entries())
      expect(sentBytes - before[index]!).toBeGreaterThan((bytes / 8) * 0.5)
  })

  it('of an agent is shared by all its clients', () => {
    const world = shapedWorld({ bytesPerSecondPerAgent: 100_000, bytesPerSecondPerStream: 90_000 }, 4)
    world.run(10)
    const bytes = world.run(20)
    expect(bytes).toBeGreaterThan(100_000 * 20 * 0.9)
    expect(bytes).toBeLessThan(100_000 * 20 * 1.1)
  })

  it('holds from the first byte on: its credit comes with OPEN, and more by itself', () => {
    const { end, router, advance } = createRouterWorld({ bytesPerSecondPerStream: 10_000 })
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send('$tunnel/pi7/ssh/laptop/up', frames.open(7, { limit: 1_048_576 }))
    const [open] = agent.gotFrames()
    expect(open!.limit).toBe(2_500)
    agent.send('$tunnel/pi7/ssh/laptop/down', frames.accept(7), frames.data(7, 0, Buffer.alloc(2_500)))
    expect(client.gotFrames()).toMatchObject([{ type: 'accept', limit: 65_536 }, { type: 'data' }])
    expect(router.counts().shaped).toBe(2)
    advance(1_000)
    const acks = agent.gotFrames()
    expect(new Set(acks.map(({ type, offset }) => `${type} ${offset}`))).toEqual(new Set(['ack 0']))
    expect(acks.at(-1)!.limit).toBeGreaterThanOrEqual(3_900)
    expect(acks.at(-1)!.limit).toBeLessThanOrEqual(5_000)
    // One in 50 ms is the most.
    expect(acks.length).toBeLessThanOrEqual(20)
  })

  it('leaves credit as it is when the reader is the slower one', () => {
    const { end, advance, router } = createRouterWorld({ bytesPerSecondPerStream: 1_000_000 })
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send('$tunnel/pi7/ssh/laptop/up', frames.open(7, { limit: 100 }))
    expect(agent.gotFrames()).toMatchObject([{ limit: 100 }])
    agent.send('$tunnel/pi7/ssh/laptop/down', frames.accept(7, 70_000))
    advance(10_000)
    expect(agent.got()).toEqual([])
    expect(router.counts().shaped).toBe(0)
    client.send('$tunnel/pi7/ssh/laptop/up', frames.ack(7, { limit: 101 }))
    expect(agent.gotFrames()).toMatchObject([{ type: 'ack', limit: 101 }])
  })

  it('is held against senders that go beyond the credit they were told', () => {
    const { end } = createRouterWorld({ bytesPerSecondPerStream: 10_000 })
    const agent = end('pi7').serve()
    const client = end('laptop').listen()
    client.send('$tunnel/pi7/ssh/laptop/up', frames.open(7))
    agent.send('$tunnel/pi7/ssh/laptop/down', frames.accept(7), frames.data(7, 2_400, Buffer.alloc(200)))
    expect(client.got()).toEqual(['accept 7', 'reset 7 protocol'])
  })

  it('cannot be passed by with the same bytes again and again', () => {
    const world = shapedWorld({ bytesPerSecondPerStream: 10_000 })
    for (let i = 0; i < 1_000; i++)
      world.client.send('$tunnel/pi7/ssh/laptop/up', frames.data(0, 0, Buffer.alloc(60_000)))
    expect(world.agent.got().length).toBeLessThan(1_300_000 / 60_000)
    expect(world.router.counters.dropped.rate).toBeGreaterThan(900)
    // It was not reset, and goes on when its debt is paid.
    world.advance(130_000)
    world.client.send('$tunnel/pi7/ssh/laptop/up', frames.data(0, 0, 'x'))
    expect(world.agent.got()).toContain('data 0 @0 "x"')
  })

  it('cannot be passed by with ever new streams either', () => {
    const world = shapedWorld({ bytesPerSecondPerClient: 10_000 })
    let bytes = 0
    for (let id = 100; id < 1_100; id++) {
      const up = '$tunnel/pi7/ssh/laptop/up'
      world.client.send(up, frames.open(id), frames.data(id, 0, Buffer.alloc(60_000)), frames.reset(id, 14))
      for (const { type, payload } of world.agent.gotFrames()) if (type === 'data') bytes += payload.length
    }
    expect(bytes).toBeLessThan(1_300_000)
  })

  it('holds for streams from before a restart, without a stall when they have come back', () => {
    const world = createRouterWorld({ bytesPerSecondPerStream: 100_000 })
    const agent = world.end('pi7').serve()
    const client = world.end('laptop').listen()
    const up = '$tunnel/pi7/ssh/laptop/up'
    const down = '$tunnel/pi7/ssh/laptop/down'
    client.send(up, frames.resume(7, { offset: 500_000, acked: 300_000, limit: 1_300_000 }))
    expect(agent.gotFrames()).toMatchObject([{ type: 'resume', limit: 325_000 }])
    // It had been told so much before.
    client.send(up, frames.data(7, 500_000, Buffer.alloc(20_000)))
    agent.send(down, frames.ack(7, { acked: 500_000, limit: 1_500_000 }))
    agent.send(down, frames.data(7, 300_000, Buffer.alloc(40_000)))
    expect(agent.got()).toHaveLength(1)
    const told = client.gotFrames().filter(({ type }) => type === 'ack')
    expect(told.at(-1)!.limit).toBeLessThanOrEqual(520_000 + 25_000)
    world.advance(1_000)
    expect(client.gotFrames().at(-1)!.limit).toBeGreaterThan(520_000)
    expect(agent.gotFrames().at(-1)!.limit).toBeGreaterThan(340_000)
    expect(world.router.counters.ended.protocol).toBe(0)
  })

  it('is forgotten with its stream', () => {
    const world = shapedWorld({ bytesPerSecondPerStream: 10_000, bytesPerSecondPerClient: 10_000 }, 3)
    world.run(1)
    expect(world.router.held().shaped).toBe(6)
    for (const { id } of world.senders) world.client.send('$tunnel/pi7/ssh/laptop/up', frames.reset(id, 14))
    expect(world.router.held().shaped).toBe(0)
    expect(world.router.counts().shaped).toBe(0)
  })
})
