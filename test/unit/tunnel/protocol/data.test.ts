import { describe, expect, it } from 'vitest'
import { FrameFlag, FrameType, readUInt48 } from '../../../../src/tunnel/protocol/frame.ts'
import { decodeReset, ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import { TunnelPair } from '../../../support/tunnel-pair.ts'

const MIB = 1_048_576

/** Bytes that differ from place to place, so that swapped ones are seen. */
function pattern(byteCount: number): Buffer {
  const bytes = Buffer.alloc(byteCount)
  for (let index = 0; index < byteCount; index++) bytes[index] = (index * 31 + (index >> 8) * 7) & 0xff
  return bytes
}

const resets = (pair: TunnelPair, from: 'client' | 'agent') =>
  pair.sent(from, 'reset').map(({ payload }) => decodeReset(payload).code)

describe('data and credit (6)', () => {
  it('sends chunks of at most chunkBytes, out of the buffer that was written, without copying it', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    const bytes = pattern(100_000)
    pair.frames.length = 0
    up.write(bytes, pair.nowMs)
    pair.run()
    const data = pair.sent('client', 'data')
    expect(data.map(({ payload }) => payload.length)).toEqual([32_768, 32_768, 32_768, 1_696])
    expect(data.every(({ payload }) => payload.buffer === bytes.buffer)).toBe(true)
    expect(pair.bytes('agent', up).equals(bytes)).toBe(true)
  })

  it('puts small writes together while it may not send, and sends a lone one at once', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.frames.length = 0
    up.write(Buffer.from('x'), pair.nowMs)
    pair.run()
    expect(pair.sent('client', 'data')).toHaveLength(1)
    pair.client.isBlocked = true
    for (let index = 0; index < 1_000; index++) up.write(Buffer.alloc(24, index), pair.nowMs)
    pair.run()
    pair.client.isBlocked = false
    pair.frames.length = 0
    pair.run()
    expect(pair.sent('client', 'data').length).toBeLessThan(5)
    expect(pair.bytes('agent', up)).toHaveLength(24_001)
  })

  it('stops at the credit when the reader does not read, and for no other stream (6.3)', () => {
    const pair = new TunnelPair()
    const first = pair.opened()
    const second = pair.opened()
    pair.isReading = false
    first.up.write(pattern(3 * MIB), pair.nowMs)
    pair.run(500)
    expect(pair.bytes('agent', first.up)).toHaveLength(MIB)
    pair.isReading = true
    second.up.write(pattern(3 * MIB), pair.nowMs)
    pair.run(500)
    expect(pair.bytes('agent', second.up)).toHaveLength(3 * MIB)
    first.down.consumed(MIB, pair.nowMs)
    pair.run(500)
    expect(pair.bytes('agent', first.up).equals(pattern(3 * MIB))).toBe(true)
  })

  it('has no room above sendBufferBytes, and tells when it has again, once', () => {
    const pair = new TunnelPair({ limits: { sendBufferBytes: MIB } })
    const { up, down } = pair.opened()
    pair.isReading = false
    up.write(pattern(2 * MIB), pair.nowMs)
    expect(up.hasRoom).toBe(false)
    pair.run(100)
    expect(up.hasRoom).toBe(false)
    expect(pair.kinds('client')).toEqual(['accepted'])
    pair.isReading = true
    down.consumed(MIB, pair.nowMs)
    pair.run(100)
    expect(up.hasRoom).toBe(true)
    expect(pair.kinds('client')).toEqual(['accepted', 'room'])
  })

  it('probes with RESUME when the message with the credit was lost (6.4)', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    pair.isReading = false
    up.write(pattern(2 * MIB), pair.nowMs)
    pair.run(500)
    pair.loses = ({ from }) => from === 'agent'
    down.consumed(MIB, pair.nowMs)
    pair.isReading = true
    pair.run(100)
    pair.loses = () => false
    pair.frames.length = 0
    pair.run(10_000)
    expect(pair.sent('client', 'resume').length).toBeGreaterThan(0)
    expect(pair.bytes('agent', up).equals(pattern(2 * MIB))).toBe(true)
  })

  it('probes after 1, 2, 4, 8 and 8 s while there is no credit (6.4)', () => {
    const pair = new TunnelPair({ limits: { windowBytes: 65_536, maxWindowBytes: 65_536 } })
    const { up } = pair.opened()
    pair.isReading = false
    up.write(pattern(100_000), pair.nowMs)
    pair.run(1_000)
    const probes = () => pair.sent('client', 'resume').map(({ atMs }) => atMs)
    pair.run(29_000)
    const gaps = probes().map((atMs, index) => Math.round((atMs - (probes()[index - 1] ?? atMs)) / 1_000))
    expect(gaps).toEqual([0, 2, 4, 8, 8])
  })

  it('resets a peer that sends beyond the credit (6.2)', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.inject('agent', { type: FrameType.data, stream: up.id, offset: MIB }, Buffer.alloc(1))
    pair.run()
    expect(resets(pair, 'agent')).toEqual([ResetCode.protocol])
    expect(pair.kinds('agent')).toEqual(['opened', 'reset'])
    expect(pair.kinds('client')).toEqual(['accepted', 'reset'])
  })

  it('resets a peer that sends beyond its end, or has two ends (6.2)', () => {
    const wrong = [
      { offset: 10, flags: 0 },
      { offset: 9, flags: FrameFlag.fin },
      { offset: 0, flags: FrameFlag.fin },
    ]
    for (const frame of wrong) {
      const pair = new TunnelPair()
      const { up } = pair.opened()
      const base = { type: FrameType.data, stream: up.id } as const
      pair.inject('agent', { ...base, flags: FrameFlag.fin }, Buffer.alloc(5))
      pair.inject('agent', { ...base, ...frame }, Buffer.alloc(2))
      pair.run()
      expect(resets(pair, 'agent')).toEqual([ResetCode.protocol])
    }
  })

  it('resets a peer that acknowledges what was not sent (6.5)', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.inject('agent', { type: FrameType.ack, stream: up.id, acked: 1 })
    pair.run()
    expect(resets(pair, 'agent')).toEqual([ResetCode.protocol])
  })
})

describe('acknowledging (7.1)', () => {
  it('waits 20 ms, for another frame to carry it', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    pair.run(100)
    pair.frames.length = 0
    up.write(Buffer.from('ping'), pair.nowMs)
    pair.run(19)
    expect(pair.sent('agent')).toEqual([])
    down.write(Buffer.from('pong'), pair.nowMs)
    pair.run(19)
    expect(pair.sent('agent').map(({ name, acked }) => [name, acked])).toEqual([['data', 4]])
    pair.run(100)
    expect(pair.sent('client', 'ack').map(({ acked }) => acked)).toEqual([4])
    expect(pair.sent('agent', 'ack')).toEqual([])
  })

  it('is not forgotten when the link does not take the DATA that would carry it', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    pair.run(100)
    down.write(Buffer.from('ping'), pair.nowMs)
    pair.run(10)
    pair.client.isBlocked = true
    up.write(Buffer.from('pong'), pair.nowMs)
    pair.run(20)
    pair.client.isBlocked = false
    pair.frames.length = 0
    pair.run()
    expect(pair.sent('client').map(({ name, acked }) => [name, acked])).toEqual([
      ['ack', 4],
      ['data', 4],
    ])
  })

  it('goes out at once when a quarter of the window was handed on', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.run(100)
    pair.frames.length = 0
    const before = pair.nowMs
    up.write(pattern(MIB), pair.nowMs)
    pair.run()
    expect(pair.nowMs).toBe(before)
    const limits = pair.sent('agent', 'ack').map(({ limit }) => limit)
    expect(limits.length).toBeGreaterThanOrEqual(2)
    expect(limits.length).toBeLessThanOrEqual(8)
    // Of a stream that is not young any more.
    pair.frames.length = 0
    up.write(pattern(4 * MIB), pair.nowMs)
    pair.run()
    const later = pair.sent('agent', 'ack').map(({ limit }) => limit)
    expect(later.length).toBeGreaterThan(10)
    expect(later.every((limit, index) => limit - (later[index - 1] ?? 0) >= MIB / 4)).toBe(true)
  })

  it('goes out at once on a duplicate', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    up.write(Buffer.from('abc'), pair.nowMs)
    pair.run(100)
    pair.frames.length = 0
    pair.inject('agent', { type: FrameType.data, stream: up.id }, Buffer.from('abc'))
    pair.run()
    expect(pair.sent('agent', 'ack').map(({ acked }) => acked)).toEqual([3])
    expect(pair.bytes('agent', up).toString()).toBe('abc')
  })

  it('goes out at once on FIN, and on RESUME', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.run(100)
    pair.frames.length = 0
    pair.inject('agent', { type: FrameType.resume, stream: up.id })
    pair.run()
    expect(pair.sent('agent', 'ack')).toHaveLength(1)
    up.finish(pair.nowMs)
    pair.run()
    expect(pair.sent('agent', 'ack').map(({ acked }) => acked)).toEqual([0, 1])
  })
})

describe('sending again (7.3, 7.4)', () => {
  it('fills a gap at once, and sends nothing else again', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.frames.length = 0
    pair.loses = ({ name, offset }) => {
      const isIt = name === 'data' && offset === 32_768
      if (isIt) pair.loses = () => false
      return isIt
    }
    up.write(pattern(163_840), pair.nowMs)
    pair.run()
    const gaps = pair.sent('agent', 'ack').filter(({ flags }) => flags & FrameFlag.gap)
    expect(gaps.map(({ acked, payload }) => [acked, readUInt48(payload, 0)])).toContainEqual([32_768, 65_536])
    expect(pair.client.streams.counters.resentBytes).toBe(32_768)
    expect(pair.bytes('agent', up).equals(pattern(163_840))).toBe(true)
  })

  it('does not repair the same gap twice, except by the time', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.loses = ({ name, offset }) => name === 'data' && offset === 0
    up.write(pattern(200_000), pair.nowMs)
    pair.run(500)
    const tries = () => pair.sent('client', 'data').filter(({ offset }) => offset === 0).length
    expect(tries()).toBe(2)
    pair.run(1_000)
    expect(tries()).toBeGreaterThan(2)
    pair.loses = () => false
    pair.run(5_000)
    expect(pair.bytes('agent', up).equals(pattern(200_000))).toBe(true)
  })

  it('sends again after 1, 2, 4, 8 and 8 s without progress: the last message may be the lost one', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.run(100)
    pair.frames.length = 0
    pair.loses = ({ name }) => name === 'data'
    up.write(Buffer.from('last'), pair.nowMs)
    const start = pair.nowMs
    pair.run(24_000)
    expect(pair.sent('client', 'data').map(({ atMs }) => Math.round((atMs - start) / 1_000))).toEqual([
      0, 1, 3, 7, 15, 23,
    ])
    pair.loses = () => false
    pair.run(8_000)
    expect(pair.bytes('agent', up).toString()).toBe('last')
  })

  it('goes on behind what was acknowledged late, after it has gone back', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    const bytes = pattern(3 * MIB)
    pair.loses = ({ from }) => from === 'agent'
    up.write(bytes.subarray(0, MIB), pair.nowMs)
    pair.run(500)
    const byteCount = pair.bytes('agent', up).length
    pair.loses = ({ from }) => from === 'client'
    pair.run(600)
    pair.loses = () => false
    pair.inject('client', { type: FrameType.ack, stream: up.id, acked: byteCount, limit: 2 * MIB })
    pair.frames.length = 0
    up.write(bytes.subarray(MIB), pair.nowMs)
    pair.run(100)
    expect(pair.sent('client', 'data')[0]!.offset).toBe(byteCount)
    expect(pair.bytes('agent', up).equals(bytes)).toBe(true)
  })

  it('waits longer where answers take longer: nothing goes out twice', () => {
    const pair = new TunnelPair({ delayMs: 900 })
    const up = pair.open()
    pair.run(5_000)
    up.write(Buffer.from('first'), pair.nowMs)
    pair.run(10_000)
    const { resentBytes } = pair.client.streams.counters
    for (let time = 0; time < 20; time++) {
      up.write(pattern(10_000), pair.nowMs)
      pair.run(3_000)
    }
    expect(pair.client.streams.counters.resentBytes).toBe(resentBytes)
    expect(pair.bytes('agent', up)).toHaveLength(200_005)
  })

  it('does not count the time in which its own link takes nothing', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.run(100)
    pair.agent.isUp = false
    up.write(Buffer.from('once'), pair.nowMs)
    pair.run(500)
    pair.client.isBlocked = true
    up.write(Buffer.from('more'), pair.nowMs)
    pair.frames.length = 0
    pair.run(10_000)
    pair.client.isBlocked = false
    pair.run(400)
    expect(pair.sent('client', 'data').map(({ offset }) => offset)).toEqual([4])
    pair.run(400)
    expect(pair.sent('client', 'data').map(({ offset }) => offset)).toEqual([4, 0, 4])
  })

  it('a lost FIN is sent again', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    let lost = 0
    pair.loses = ({ name, flags }) => name === 'data' && flags === FrameFlag.fin && lost++ < 2
    up.write(Buffer.from('bye'), pair.nowMs)
    up.finish(pair.nowMs)
    pair.run(10_000)
    expect(pair.kinds('agent')).toEqual(['opened', 'data', 'end'])
  })
})
