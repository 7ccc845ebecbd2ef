import { describe, expect, it } from 'vitest'
import { FrameType, INITIAL_CREDIT_BYTES } from '../../../../src/tunnel/protocol/frame.ts'
import { decodeOpen, encodeOpen } from '../../../../src/tunnel/protocol/open-payload.ts'
import { decodeReset, ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import { token, TunnelPair } from '../../../support/tunnel-pair.ts'

const resets = (pair: TunnelPair, from: 'client' | 'agent') =>
  pair.sent(from, 'reset').map(({ payload }) => decodeReset(payload).code)

describe('opening a stream (5)', () => {
  it('asks, dials, accepts, and carries bytes both ways', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    up.write(Buffer.from('hello'), pair.nowMs)
    down.write(Buffer.from('and back'), pair.nowMs)
    pair.run()
    expect(pair.bytes('agent', up).toString()).toBe('hello')
    expect(pair.bytes('client', up).toString()).toBe('and back')
    expect(pair.kinds('agent')).toEqual(['opened', 'data'])
    expect(pair.kinds('client')).toEqual(['accepted', 'data'])
  })

  it('tells the agent the source, and the peer that the broker has added', () => {
    const pair = new TunnelPair()
    const source = { address: '10.0.0.1', port: 22 }
    const peer = { address: '192.0.2.7', port: 1883, username: 'ann' }
    pair.inject('agent', { type: FrameType.open, limit: 1 }, encodeOpen({ token: token(1), source, peer }))
    pair.run()
    expect(pair.agent.events[0]).toMatchObject({ kind: 'opened', stream: { source, peer } })
  })

  it('counts ids up, and starts again at 0 behind the last', () => {
    const pair = new TunnelPair()
    expect([pair.open().id, pair.open().id, pair.open().id]).toEqual([0xffff_ffff, 0, 1])
  })

  it('repeats OPEN after 1, 2, 4 and 8 s, and gives up after 20 s with RESET timeout (5.2)', () => {
    const pair = new TunnelPair()
    pair.loses = () => true
    pair.open()
    const start = pair.nowMs
    pair.run(30_000)
    expect(pair.sent('client', 'open').map(({ atMs }) => Math.round(atMs - start))).toEqual([
      0, 1_000, 3_000, 7_000, 15_000,
    ])
    expect(resets(pair, 'client')).toEqual([ResetCode.timeout])
    expect(pair.client.events).toMatchObject([{ kind: 'reset', code: ResetCode.timeout, by: 'us' }])
    expect(pair.client.streams.count).toBe(0)
  })

  it('sends DATA behind OPEN at once, within the initial credit (5.3)', () => {
    const pair = new TunnelPair()
    pair.isAccepting = false
    const up = pair.open()
    up.write(Buffer.alloc(200_000, 1), pair.nowMs)
    pair.run(900)
    const data = pair.sent('client', 'data')
    expect(data.reduce((sum, { payload }) => sum + payload.length, 0)).toBe(INITIAL_CREDIT_BYTES)
    expect(pair.kinds('agent')).toEqual(['opened'])
    for (const stream of pair.agent.streams.all()) stream.accept(pair.nowMs)
    pair.run()
    expect(pair.bytes('agent', up)).toHaveLength(200_000)
  })

  it('says nothing while the agent dials, since any answer means yes (5.2)', () => {
    const pair = new TunnelPair()
    pair.isAccepting = false
    const up = pair.open()
    up.write(Buffer.from('early'), pair.nowMs)
    up.finish(pair.nowMs)
    pair.run(8_000)
    expect(pair.sent('agent')).toEqual([])
    expect(up.phase).toBe('opening')
  })

  it('takes any frame but PING for the answer: ACCEPT may be lost', () => {
    const pair = new TunnelPair()
    const up = pair.open()
    pair.loses = ({ name }) => name === 'accept'
    pair.run()
    pair.inject('client', { type: FrameType.ping, stream: up.id })
    expect(up.phase).toBe('opening')
    pair.inject('client', { type: FrameType.ack, stream: up.id })
    expect(up.phase).toBe('open')
  })

  it('answers a repeated OPEN with ACCEPT again (5.5)', () => {
    const pair = new TunnelPair()
    let lost = 0
    pair.loses = ({ name }) => name === 'accept' && lost++ < 2
    const up = pair.open()
    pair.run(4_000)
    expect(up.phase).toBe('open')
    expect(pair.sent('agent', 'accept')).toHaveLength(3)
    expect(pair.agent.streams.counters.opened).toBe(1)
  })

  it('opens early DATA to the target once, also when its OPEN was lost', () => {
    const pair = new TunnelPair()
    let lost = 0
    pair.loses = ({ name }) => name === 'open' && lost++ < 1
    const up = pair.open()
    up.write(Buffer.from('early'), pair.nowMs)
    pair.run(1_100)
    expect(resets(pair, 'agent')).toEqual([ResetCode.unknownStream])
    expect(pair.bytes('agent', up).toString()).toBe('early')
    expect(pair.kinds('client')).toEqual(['accepted'])
  })

  it('resets the old stream when its id is opened with another token (5.5)', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.inject('agent', { type: FrameType.open, stream: up.id, limit: 9 }, encodeOpen({ token: token(99) }))
    pair.run()
    expect(pair.kinds('agent')).toEqual(['opened', 'reset', 'opened'])
    expect(pair.agent.streams.count).toBe(1)
  })

  it('answers OPEN of a stream that has ended as 8.4 says, and does not dial again (5.5)', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    down.reset(ResetCode.refused, 'no', pair.nowMs)
    pair.run()
    pair.frames.length = 0
    pair.inject('agent', { type: FrameType.open, stream: up.id, limit: 9 }, encodeOpen({ token: token(0) }))
    pair.run()
    expect(resets(pair, 'agent')).toEqual([ResetCode.refused])
    expect(pair.kinds('agent')).toEqual(['opened'])
  })

  it('refuses more streams than maxStreams: the agent with RESET limit, the client by throwing', () => {
    const pair = new TunnelPair({ limits: { maxStreams: 1 } })
    pair.opened()
    expect(() => pair.open()).toThrow(RangeError)
    pair.inject('agent', { type: FrameType.open, stream: 7, limit: 9 }, encodeOpen({ token: token(99) }))
    pair.run()
    expect(resets(pair, 'agent')).toEqual([ResetCode.limit])
    expect(pair.agent.streams.count).toBe(1)
  })

  it('does not tell the agent of a stream whose OPEN never went out', () => {
    const pair = new TunnelPair({ isUp: false })
    pair.open().reset(ResetCode.reset, '', pair.nowMs)
    pair.connect('client', 'agent')
    pair.run(1_000)
    expect(pair.frames).toEqual([])
  })

  it('opens when the link comes up', () => {
    const pair = new TunnelPair({ isUp: false })
    const up = pair.open()
    pair.run(5_000)
    pair.connect('client', 'agent')
    pair.run()
    expect(up.phase).toBe('open')
  })

  it('refuses an OPEN that is none with RESET protocol', () => {
    const pair = new TunnelPair()
    for (const payload of ['{', '[]', '{"v":2,"token":"0000000000000000"}', '{"v":1,"token":"x"}']) {
      pair.inject('agent', { type: FrameType.open, limit: 9 }, Buffer.from(payload))
    }
    pair.inject('agent', { type: FrameType.open, offset: 1, limit: 9 }, encodeOpen({ token: token(1) }))
    pair.run()
    expect(resets(pair, 'agent')).toEqual(Array(5).fill(ResetCode.protocol))
    expect(pair.agent.streams.count).toBe(0)
  })
})

describe('the payload of OPEN (5.1)', () => {
  it('is read as it was written', () => {
    const open = {
      token: token(7),
      source: { address: '::1', port: 1 },
      peer: { address: '::2', port: 65_535 },
    }
    expect(decodeOpen(encodeOpen(open))).toEqual(open)
  })

  it('is without what is not as it should be, and without members that are not known', () => {
    const bytes = Buffer.from(
      JSON.stringify({
        v: 1,
        token: token(7),
        source: { address: 1, port: 1 },
        peer: { address: 'a', port: -1 },
        x: 1,
      }),
    )
    expect(decodeOpen(bytes)).toEqual({ token: token(7) })
  })
})
