import { describe, expect, it } from 'vitest'
import { FrameFlag, FrameType } from '../../../../src/tunnel/protocol/frame.ts'
import { decodeReset, encodeReset, ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import { token, TunnelPair } from '../../../support/tunnel-pair.ts'
import { encodeOpen } from '../../../../src/tunnel/protocol/open-payload.ts'

const resets = (pair: TunnelPair, from: 'client' | 'agent') =>
  pair.sent(from, 'reset').map(({ payload }) => decodeReset(payload).code)

describe('resuming (8.1, 8.2)', () => {
  it.each([['client'], ['agent'], ['client', 'agent']] as const)(
    'goes on where it was after %s %s was away',
    (...away) => {
      const pair = new TunnelPair({ delayMs: 10 })
      const up = pair.open()
      pair.run(100)
      const bytes = Buffer.alloc(2_000_000, 'abcdefg')
      up.write(bytes, pair.nowMs)
      pair.run(15)
      pair.cut(...away)
      pair.run(3_000)
      expect(pair.bytes('agent', up).length).toBeLessThan(bytes.length)
      pair.connect(...away)
      pair.run(10_000)
      expect(pair.bytes('agent', up).equals(bytes)).toBe(true)
    },
  )

  it('sends RESUME before anything else of a stream, and waits for the answer with DATA', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    up.write(Buffer.alloc(100), pair.nowMs)
    pair.run(100)
    pair.cut('client')
    up.write(Buffer.alloc(50), pair.nowMs)
    pair.frames.length = 0
    pair.loses = ({ from }) => from === 'agent'
    pair.connect('client')
    pair.run(500)
    expect(pair.sent('client').map(({ name, offset }) => [name, offset])).toEqual([['resume', 100]])
    pair.loses = () => false
    pair.run(2_000)
    expect(
      pair
        .sent('client')
        .map(({ name }) => name)
        .slice(0, 3),
    ).toEqual(['resume', 'resume', 'data'])
    expect(pair.bytes('agent', up)).toHaveLength(150)
  })

  it('answers an old RESUME, and does not go back for it', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    up.write(Buffer.alloc(1_000), pair.nowMs)
    pair.run(100)
    pair.loses = () => true
    up.write(Buffer.alloc(500), pair.nowMs)
    pair.run(10)
    pair.frames.length = 0
    pair.inject('client', { type: FrameType.resume, stream: up.id, acked: 500 })
    pair.run(100)
    expect(pair.sent('client').map(({ name }) => name)).toEqual(['ack'])
    pair.inject('client', { type: FrameType.resume, stream: up.id, acked: 1_000 })
    pair.run(100)
    expect(pair.sent('client').map(({ name }) => name)).toEqual(['ack', 'ack', 'data'])
  })

  it('does not take it for congestion that its peer was away', () => {
    const pair = new TunnelPair({ delayMs: 50 })
    const up = pair.open()
    pair.run(200)
    pair.cut('agent')
    up.write(Buffer.alloc(8_000_000), pair.nowMs)
    pair.run(60_000)
    pair.connect('agent')
    pair.run(500)
    expect(pair.bytes('agent', up).length).toBeGreaterThan(1_500_000)
  })

  it('tells with FIN in RESUME that its direction has ended', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    up.write(Buffer.from('abc'), pair.nowMs)
    up.finish(pair.nowMs)
    pair.run(100)
    pair.cut('client')
    pair.connect('client')
    pair.frames.length = 0
    pair.run()
    expect(pair.sent('client', 'resume')).toMatchObject([{ flags: FrameFlag.fin, offset: 4 }])
  })

  it('drops its streams when its own link stays away for resumeTimeout, and not before', () => {
    const pair = new TunnelPair()
    pair.opened()
    pair.run(100)
    pair.cut('client', 'agent')
    pair.run(119_000)
    expect(pair.client.streams.count).toBe(1)
    pair.run(1_001)
    expect(pair.client.events.at(-1)).toMatchObject({ kind: 'reset', code: ResetCode.timeout, by: 'us' })
    expect([pair.client.streams.count, pair.agent.streams.count]).toEqual([0, 0])
    expect(pair.client.streams.nextDeadlineMs).toBe(Infinity)
  })

  it('drops a stream when the peer stays away behind a RESUME', () => {
    const pair = new TunnelPair()
    pair.opened()
    pair.cut('client', 'agent')
    pair.connect('client')
    pair.run(121_000)
    expect(pair.client.events.at(-1)).toMatchObject({ kind: 'reset', code: ResetCode.timeout })
  })
})

describe('ending (8.3 to 8.7)', () => {
  it('half-closes, and closes when both have ended', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    up.write(Buffer.from('question'), pair.nowMs)
    up.finish(pair.nowMs)
    pair.run(100)
    expect(pair.kinds('agent')).toEqual(['opened', 'data', 'end'])
    down.write(Buffer.from('answer'), pair.nowMs)
    pair.run(100)
    down.finish(pair.nowMs)
    pair.run(100)
    expect(pair.kinds('agent')).toEqual(['opened', 'data', 'end', 'closed'])
    expect(pair.kinds('client')).toEqual(['accepted', 'data', 'end', 'closed'])
    expect([up.phase, up.sentBytes, up.receivedBytes]).toEqual(['closed', 8, 6])
    expect([pair.client.streams.count, pair.agent.streams.count]).toEqual([0, 0])
  })

  it('tells of the end once, though FIN comes twice', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    up.finish(pair.nowMs)
    pair.run(100)
    pair.inject('agent', { type: FrameType.data, flags: FrameFlag.fin, stream: up.id })
    pair.run(100)
    expect(pair.kinds('agent')).toEqual(['opened', 'end'])
  })

  it('closes though the last acknowledgement was lost', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    up.finish(pair.nowMs)
    pair.run(100)
    let lost = 0
    pair.loses = ({ from, name }) => from === 'client' && name === 'ack' && lost++ < 1
    down.finish(pair.nowMs)
    pair.run(100)
    expect([pair.client.streams.count, pair.agent.streams.count]).toEqual([0, 1])
    pair.run(2_000)
    expect(pair.kinds('agent').at(-1)).toBe('closed')
  })

  it('answers for a closed stream with ACK and FIN, and ignores ACK and PONG (8.4)', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    up.write(Buffer.from('abc'), pair.nowMs)
    up.finish(pair.nowMs)
    down.finish(pair.nowMs)
    pair.run(100)
    expect(pair.agent.streams.count).toBe(0)
    pair.frames.length = 0
    for (const type of [FrameType.data, FrameType.resume, FrameType.ping, FrameType.ack, FrameType.pong]) {
      pair.inject('agent', { type, stream: up.id }, type === FrameType.data ? Buffer.alloc(1) : undefined)
    }
    pair.inject('agent', { type: FrameType.open, stream: up.id }, encodeOpen({ token: token(0) }))
    pair.run()
    const answers = pair.sent('agent').map(({ name, flags, offset, acked }) => [name, flags, offset, acked])
    expect(answers).toEqual(Array.from({ length: 4 }, () => ['ack', FrameFlag.fin, 1, 4]))
  })

  it('answers for a reset stream with the same RESET, for resumeTimeout (8.4)', () => {
    const pair = new TunnelPair()
    const { up, down } = pair.opened()
    down.reset(ResetCode.idle, 'bored', pair.nowMs)
    pair.run()
    pair.frames.length = 0
    pair.inject('agent', { type: FrameType.ping, stream: up.id })
    pair.run(121_000)
    pair.inject('agent', { type: FrameType.ping, stream: up.id })
    pair.run()
    expect(resets(pair, 'agent')).toEqual([ResetCode.idle, ResetCode.unknownStream])
  })

  it('answers DATA, RESUME, PING and ACCEPT of a stream that it does not know with unknown-stream (8.5)', () => {
    const pair = new TunnelPair()
    for (const type of [
      FrameType.data,
      FrameType.resume,
      FrameType.ping,
      FrameType.accept,
      FrameType.ack,
      FrameType.pong,
    ]) {
      pair.inject('client', { type, stream: 9 }, type === FrameType.data ? Buffer.alloc(1) : undefined)
    }
    pair.inject('client', { type: FrameType.reset, stream: 9 }, Buffer.alloc(2))
    pair.run()
    expect(resets(pair, 'client')).toEqual(Array(4).fill(ResetCode.unknownStream))
  })

  it('learns from unknown-stream that its peer has started anew', () => {
    const pair = new TunnelPair()
    const { down } = pair.opened()
    const fresh = new TunnelPair()
    pair.run(60_000)
    pair.cut('agent')
    pair.connect('agent')
    const [, resume] = [pair.run(), pair.sent('agent', 'resume')[0]!]
    fresh.inject('client', resume)
    fresh.run()
    pair.deliver('agent', Buffer.concat([header(down.id), fresh.sent('client', 'reset')[0]!.payload]))
    pair.run()
    expect(pair.agent.events.at(-1)).toMatchObject({
      kind: 'reset',
      code: ResetCode.unknownStream,
      by: 'peer',
    })
  })

  it('asks an agent that was restarted just behind the ACCEPT once more, when the answer can be believed (5.3)', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    const acceptedAtMs = pair.nowMs
    const reset = (): void =>
      pair.inject(
        'client',
        { type: FrameType.reset, stream: up.id },
        encodeReset(ResetCode.unknownStream, ''),
      )
    pair.run(500)
    pair.frames.length = 0
    pair.loses = ({ from }) => from === 'agent'
    reset()
    expect(up.phase).toBe('open')
    pair.run(20_000)
    expect(pair.sent('client', 'ping')[0]?.atMs).toBe(acceptedAtMs + 8_000)
    reset()
    pair.run()
    expect(pair.client.events.at(-1)).toMatchObject({ kind: 'reset', code: ResetCode.unknownStream })
  })

  it('passes RESET on with its reason, once', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    up.reset(ResetCode.reset, 'connection reset', pair.nowMs)
    up.reset(ResetCode.reset, 'again', pair.nowMs)
    pair.run(1_000)
    expect(pair.agent.events.at(-1)).toMatchObject({
      kind: 'reset',
      code: ResetCode.reset,
      reason: 'connection reset',
      by: 'peer',
    })
    expect(pair.kinds('client')).toEqual(['accepted'])
    expect(pair.sent('client', 'reset')).toHaveLength(1)
    expect(pair.sent('agent', 'reset')).toEqual([])
  })

  it('tells of a reset that happened while the link was down, when it is up again', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.cut('client')
    up.reset(ResetCode.reset, '', pair.nowMs)
    pair.run(1_000)
    pair.connect('client')
    pair.run()
    expect(pair.kinds('agent')).toEqual(['opened', 'reset'])
  })

  it('keeps at most 1,024 answers waiting', () => {
    const pair = new TunnelPair()
    pair.client.isBlocked = true
    for (let id = 0; id < 3_000; id++) pair.inject('client', { type: FrameType.ping, stream: id })
    pair.client.isBlocked = false
    pair.run()
    expect(pair.sent('client', 'reset')).toHaveLength(1_024)
    expect(pair.sent('client', 'reset')[0]!.stream).toBe(3_000 - 1_024)
  })

  it('asks with PING after 30 s of silence, and is content with PONG (8.6)', () => {
    const pair = new TunnelPair()
    pair.opened()
    pair.run(100)
    pair.frames.length = 0
    pair.run(300_000)
    expect(pair.sent('client', 'ping').length).toBeGreaterThan(3)
    expect(pair.sent('client', 'ping').length + pair.sent('agent', 'ping').length).toBeLessThan(22)
    expect(pair.client.streams.count).toBe(1)
  })

  it('gives up when nothing comes for resumeTimeout behind the PING (8.6)', () => {
    const pair = new TunnelPair()
    pair.opened()
    pair.run(100)
    pair.loses = () => true
    pair.run(149_000)
    expect(pair.client.streams.count).toBe(1)
    pair.run(2_000)
    expect(pair.client.events.at(-1)).toMatchObject({ kind: 'reset', code: ResetCode.timeout })
  })

  it('ignores a PONG that it has not asked for (9.5)', () => {
    const pair = new TunnelPair()
    const { up } = pair.opened()
    pair.loses = () => true
    for (let minute = 0; minute < 6; minute++) {
      pair.run(30_000)
      pair.inject('client', { type: FrameType.pong, stream: up.id, offset: 7 })
    }
    expect(pair.client.streams.count).toBe(0)
  })
})

function header(stream: number): Buffer {
  const bytes = Buffer.alloc(24)
  bytes[0] = FrameType.reset
  bytes.writeUInt32BE(stream, 2)
  return bytes
}
