import { describe, expect, it } from 'vitest'
import { FrameType } from '../../../../src/tunnel/protocol/frame.ts'
import { TunnelPair } from '../../../support/tunnel-pair.ts'

const MIB = 1_048_576

describe('what goes out first', () => {
  it('gives each stream one chunk in turn', () => {
    const pair = new TunnelPair()
    const streams = [pair.opened().up, pair.opened().up, pair.opened().up]
    pair.frames.length = 0
    for (const stream of streams) stream.write(Buffer.alloc(100_000), pair.nowMs)
    pair.run()
    const order = pair
      .sent('client', 'data')
      .map(({ stream }) => streams.findIndex(({ id }) => id === stream))
    expect(order.slice(0, 9)).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2])
  })

  it('lets a stream that was idle go before those that are busy', () => {
    const pair = new TunnelPair()
    const busy = pair.opened().up
    const idle = pair.opened().up
    pair.run(100)
    busy.write(Buffer.alloc(MIB), pair.nowMs)
    let taken = 0
    pair.client.streams.transmit(pair.nowMs, () => taken++ < 3)
    idle.write(Buffer.from('key'), pair.nowMs)
    const next: number[] = []
    pair.client.streams.transmit(pair.nowMs, (_route, { type, stream }) => {
      if (type === FrameType.data) next.push(stream)
      return next.length < 2
    })
    expect(next).toEqual([idle.id, busy.id])
  })

  it('does not let idle streams that write again and again keep a busy one waiting for ever', () => {
    const pair = new TunnelPair()
    const busy = pair.opened().up
    const others = Array.from({ length: 40 }, () => pair.opened().up)
    pair.run(100)
    busy.write(Buffer.alloc(MIB), pair.nowMs)
    let left = 1
    pair.client.streams.transmit(pair.nowMs, () => left-- > 0)
    for (const other of others) other.write(Buffer.from('x'), pair.nowMs)
    const order: number[] = []
    pair.client.streams.transmit(pair.nowMs, (_route, { stream }) => order.push(stream) < 30)
    expect(order.indexOf(busy.id)).toBeGreaterThan(0)
    expect(order.indexOf(busy.id)).toBeLessThan(20)
  })

  it('sends control frames before DATA', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.run(100)
    up.write(Buffer.alloc(MIB), pair.nowMs)
    pair.inject('client', { type: FrameType.ping, stream: up.id, offset: 77 })
    const order: number[] = []
    pair.client.streams.transmit(pair.nowMs, (_route, { type }) => order.push(type) < 5)
    expect(order[0]).toBe(FrameType.pong)
    expect(order[1]).toBe(FrameType.data)
  })

  it('answers a thousand PINGs that wait with one PONG', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.run(100)
    pair.frames.length = 0
    for (let value = 0; value < 1_000; value++)
      pair.inject('client', { type: FrameType.ping, stream: up.id, offset: value })
    pair.run()
    expect(pair.sent('client', 'pong').map(({ offset }) => offset)).toEqual([999])
  })

  it('offers a frame again that the link has not taken', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.run(100)
    up.write(Buffer.from('abc'), pair.nowMs)
    up.finish(pair.nowMs)
    const tries: number[] = []
    for (let time = 0; time < 3; time++) {
      pair.client.streams.transmit(pair.nowMs, (_route, { offset, flags }) => tries.push(offset, flags) < 0)
    }
    expect(tries).toEqual([0, 1, 0, 1, 0, 1])
    pair.run(100)
    expect(pair.bytes('agent', up).toString()).toBe('abc')
    expect(pair.client.streams.counters.resentBytes).toBe(0)
  })

  it('takes answers that come while it hands over, as a link within the process may bring them', () => {
    const client = new TunnelPair()
    const { up } = client.opened()
    client.run(100)
    up.write(Buffer.alloc(100_000), client.nowMs)
    const offsets: number[] = []
    client.client.streams.transmit(client.nowMs, (_route, { offset }, payload) => {
      offsets.push(offset)
      const acked = offset + (payload?.length ?? 0)
      client.inject('client', { type: FrameType.ack, stream: up.id, acked, limit: acked + MIB })
      client.client.streams.transmit(client.nowMs, () => true)
      return true
    })
    expect(offsets).toEqual([0, 32_768, 65_536, 98_304])
    expect(up.sentBytes).toBe(100_000)
  })

  it('has nothing to do for streams that are idle but a look each half minute', () => {
    const pair = new TunnelPair()
    for (let index = 0; index < 100; index++) pair.opened()
    pair.run(1_000)
    expect(pair.client.streams.nextDeadlineMs).toBeGreaterThan(pair.nowMs + 20_000)
    expect(pair.agent.streams.nextDeadlineMs).toBeGreaterThan(pair.nowMs + 20_000)
  })

  it('carries 20,000 short streams one after another, and keeps none', () => {
    const pair = new TunnelPair()
    pair.onEvent = (event, { role }) => {
      if (event.kind === 'end' && role === 'agent') event.stream.finish(pair.nowMs)
    }
    let closed = 0
    for (let index = 0; index < 20_000; index++) {
      const up = pair.open()
      up.write(Buffer.from('hello'), pair.nowMs)
      up.finish(pair.nowMs)
      pair.run(1)
      if (up.phase === 'closed') closed++
      pair.frames.length = pair.client.events.length = pair.agent.events.length = 0
      pair.agent.received.clear()
    }
    expect(closed).toBe(20_000)
    expect([pair.client.streams.count, pair.agent.streams.count]).toEqual([0, 0])
    expect(pair.agent.streams.counters).toMatchObject({
      opened: 20_000,
      closed: 20_000,
      reset: 0,
      resentBytes: 0,
    })
  })
})
