import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createStreams } from '../../../../src/tunnel/protocol/create-streams.ts'
import {
  FrameFlag,
  FrameType,
  FrameView,
  encodeFrame,
  readUInt48,
  type FrameHeader,
} from '../../../../src/tunnel/protocol/frame.ts'
import { Routes } from '../../../../src/tunnel/protocol/names.ts'
import { encodeOpen } from '../../../../src/tunnel/protocol/open-payload.ts'
import type { Stream, StreamEvent, Streams } from '../../../../src/tunnel/protocol/streams.ts'

const RUNS = 2000
const TOTAL_BYTES = 2000
const ID = 9
const route = new Routes('tunnel').get('pi7', 'ssh', 'laptop')
const content = Buffer.from(
  Array.from({ length: TOTAL_BYTES }, (_, index) => (index * 7 + (index >> 8)) & 255),
)
const none = { flags: 0, stream: ID, offset: 0, acked: 0, limit: 100_000 }

function openAgent(nowMs: number): { streams: Streams; stream: Stream } {
  const streams = createStreams({ role: 'agent', firstStreamId: 0 })
  streams.linkUp(nowMs)
  const open = encodeOpen({ token: '0123456789abcdef' })
  streams.receive(route, encodeFrame({ ...none, type: FrameType.open }, open), nowMs)
  const [opened] = streams.takeEvents()
  const stream = opened!.stream
  stream.accept(nowMs)
  return { streams, stream }
}

/** Everything that wants to go out. */
function sent(streams: Streams, nowMs: number): { header: FrameHeader; payload: Buffer | undefined }[] {
  const frames: { header: FrameHeader; payload: Buffer | undefined }[] = []
  streams.transmit(nowMs, (_, header, payload) => {
    const view = new FrameView()
    view.read(encodeFrame(header))
    frames.push({ header: view, payload })
    return true
  })
  return frames
}

const data = (from: number, to: number): Buffer =>
  encodeFrame(
    { ...none, type: FrameType.data, flags: to === TOTAL_BYTES ? FrameFlag.fin : 0, offset: from },
    content.subarray(from, to),
  )

const piece = fc
  .tuple(fc.nat(TOTAL_BYTES - 1), fc.integer({ min: 1, max: 700 }))
  .map(([from, size]) => [from, Math.min(from + size, TOTAL_BYTES)] as const)

describe('the receiver, beside one that marks each byte in a list', () => {
  it('has told, acknowledged and reported as a gap the same', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        let nowMs = 1
        const { streams } = openAgent(nowMs)
        sent(streams, nowMs)
        const marks = new Set<number>()
        let told = Buffer.alloc(0)
        let isEnded = false
        for (const [from, to] of [...pieces, [0, 1000] as const, [900, TOTAL_BYTES] as const]) {
          streams.receive(route, data(from, to), ++nowMs)
          for (let at = from; at < to; at++) marks.add(at)
          if (to === TOTAL_BYTES) marks.add(TOTAL_BYTES)
          for (const event of streams.takeEvents()) {
            if (event.kind === 'data') told = Buffer.concat([told, event.bytes])
            isEnded ||= event.kind === 'end'
          }
          let inOrder = 0
          while (marks.has(inOrder)) inOrder++
          const gap = [...marks].filter((at) => at > inOrder).toSorted((one, other) => one - other)[0]
          expect(told.length).toBe(Math.min(inOrder, TOTAL_BYTES))
          expect(isEnded).toBe(inOrder > TOTAL_BYTES)
          // The ACK may wait for 20 ms.
          nowMs += 25
          streams.advance(nowMs)
          const ack = sent(streams, nowMs).filter(({ header }) => header.type === FrameType.ack)[0]!
          expect(ack.header.acked).toBe(inOrder)
          const hasGap = (ack.header.flags & FrameFlag.gap) !== 0
          expect(hasGap ? readUInt48(ack.payload!, 0) : undefined).toBe(gap)
        }
        expect(told.equals(content)).toBe(true)
      }),
      { numRuns: RUNS },
    )
  })
})

const u48 = fc.oneof(fc.nat(300), fc.nat(200_000), fc.constantFrom(0, 1_048_576, 2 ** 47, 2 ** 48 - 1))
/** Frames with a sound header and anything in it, and what is no frame at all. */
const anyFrame = fc.oneof(
  {
    weight: 10,
    arbitrary: fc
      .record({
        type: fc.integer({ min: 1, max: 8 }),
        flags: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(3)),
        stream: fc.oneof({ weight: 6, arbitrary: fc.constant(ID) }, fc.nat(20)),
        offset: u48,
        acked: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, u48),
        limit: u48,
        payload: fc.oneof(
          fc.constant(Buffer.alloc(0)),
          fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
          fc.constantFrom(1, 6, 1000, 65_536).map((size) => Buffer.alloc(size, 1)),
          fc.constantFrom('0123456789abcdef', 'fedcba9876543210').map((token) => encodeOpen({ token })),
        ),
      })
      .map(({ payload, ...header }) => encodeFrame(header as FrameHeader, payload)),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
)

describe('an end whose peer sends anything at all', () => {
  it.each(['agent', 'client'] as const)('as %s throws nothing, and ends each stream once', (role) => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 60 }), (frames) => {
        let nowMs = 1
        const limits = { maxStreams: 5, resumeTimeoutMs: 120_000 }
        const streams = createStreams({ role, limits, firstStreamId: ID })
        streams.linkUp(nowMs)
        const ended = new Set<Stream>()
        const unread = new Map<Stream, number>()
        const handle = (event: StreamEvent): void => {
          const { stream } = event
          expect(ended.has(stream)).toBe(false)
          if (event.kind === 'closed' || event.kind === 'reset') ended.add(stream)
          if (event.kind === 'opened') stream.accept(nowMs)
          if (event.kind !== 'data') return
          unread.set(stream, (unread.get(stream) ?? 0) + event.bytes.length)
          expect(unread.get(stream)).toBeLessThanOrEqual(1_048_576)
        }
        if (role === 'client') {
          const stream = streams.open(route, { token: '0123456789abcdef' }, nowMs)
          stream.write(Buffer.alloc(1000), nowMs)
        }
        for (const frame of frames) {
          nowMs += 7
          streams.receive(route, frame, nowMs)
          streams.advance(nowMs)
          for (const event of streams.takeEvents()) handle(event)
          expect(streams.count).toBeLessThanOrEqual(limits.maxStreams)
          // One frame does not make a flood.
          expect(sent(streams, nowMs).length).toBeLessThanOrEqual(20)
        }
        // Who is not heard again is given up.
        for (let round = 0; round < 5000 && streams.count > 0; round++) {
          nowMs = Math.max(nowMs + 1, streams.nextDeadlineMs)
          streams.advance(nowMs)
          sent(streams, nowMs)
          for (const event of streams.takeEvents()) handle(event)
        }
        expect(streams.count).toBe(0)
        const { opened, closed, reset } = streams.counters
        expect(opened).toBe(closed + reset)
      }),
      { numRuns: RUNS },
    )
  })
})
