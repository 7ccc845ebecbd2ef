import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  encodeFrame,
  frameFault,
  FrameFlag,
  FrameType,
  FrameView,
  HEADER_BYTES,
  readUInt48,
  writeUInt48,
  type FrameHeader,
} from '../../../../src/tunnel/protocol/frame.ts'
import { TunnelPair } from '../../../support/tunnel-pair.ts'

const u48 = fc.integer({ min: 0, max: 2 ** 48 - 1 })
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const header: fc.Arbitrary<FrameHeader> = fc.record({
  type: fc.constantFrom(...Object.values(FrameType)),
  flags: fc.nat(255),
  stream: u32,
  offset: u48,
  acked: u48,
  limit: u48,
})

const frame = (type: number, flags: number, size: number): Buffer => {
  const bytes = Buffer.alloc(HEADER_BYTES + size)
  bytes[0] = type
  bytes[1] = flags
  return bytes
}

describe('the frame codec (4.1)', () => {
  it('reads what it wrote', () => {
    fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 100 }), (original, payload) => {
        const bytes = encodeFrame(original, Buffer.from(payload))
        const view = new FrameView()
        view.read(bytes)
        expect(view).toMatchObject(original)
        expect(bytes.subarray(HEADER_BYTES)).toEqual(Buffer.from(payload))
      }),
    )
  })

  it('writes 48 bits in network byte order', () => {
    fc.assert(
      fc.property(u48, (value) => {
        const bytes = Buffer.alloc(8)
        writeUInt48(bytes, 1, value)
        expect(bytes.readUIntBE(1, 6)).toBe(value)
        expect(readUInt48(bytes, 1)).toBe(value)
      }),
    )
  })
})

describe('what is a frame (4.3, 4.5)', () => {
  it.each([
    ['DATA', FrameType.data, 0, 1],
    ['DATA, the largest', FrameType.data, FrameFlag.fin, 65_536],
    ['DATA with FIN alone', FrameType.data, FrameFlag.fin, 0],
    ['ACK', FrameType.ack, FrameFlag.fin, 0],
    ['ACK with GAP', FrameType.ack, FrameFlag.gap, 6],
    ['RESUME', FrameType.resume, FrameFlag.fin, 0],
    ['RESET', FrameType.reset, 0, 2],
    ['PING', FrameType.ping, 0, 0],
    ['PONG', FrameType.pong, 0, 0],
  ])('%s, from either end', (_name, type, flags, size) => {
    expect(frameFault(frame(type, flags, size), 'client')).toBeUndefined()
    expect(frameFault(frame(type, flags, size), 'agent')).toBeUndefined()
  })

  it('OPEN from a client, ACCEPT from an agent', () => {
    expect(frameFault(frame(FrameType.open, 0, 1), 'client')).toBeUndefined()
    expect(frameFault(frame(FrameType.open, 0, 1), 'agent')).toMatch(/OPEN/)
    expect(frameFault(frame(FrameType.accept, 0, 0), 'agent')).toBeUndefined()
    expect(frameFault(frame(FrameType.accept, 0, 0), 'client')).toMatch(/ACCEPT/)
  })

  it.each([
    ['type 0', 0, 0, 0],
    ['type 9', 9, 0, 0],
    ['DATA without payload', FrameType.data, 0, 0],
    ['DATA that is too long', FrameType.data, 0, 65_537],
    ['DATA with GAP', FrameType.data, FrameFlag.gap, 1],
    ['ACK with GAP without payload', FrameType.ack, FrameFlag.gap, 0],
    ['ACK with payload', FrameType.ack, 0, 6],
    ['RESUME with payload', FrameType.resume, 0, 1],
    ['RESET without code', FrameType.reset, 0, 1],
    ['RESET that is too long', FrameType.reset, 0, 515],
    ['RESET with flags', FrameType.reset, 1, 2],
    ['PING with payload', FrameType.ping, 0, 1],
    ['PONG with flags', FrameType.pong, 4, 0],
    ['OPEN without payload', FrameType.open, 0, 0],
    ['OPEN that is too long', FrameType.open, 0, 2_049],
  ])('not %s', (_name, type, flags, size) => {
    expect(frameFault(frame(type, flags, size), type === FrameType.accept ? 'agent' : 'client')).toBeTypeOf(
      'string',
    )
  })

  it('not what is shorter than a header', () => {
    expect(frameFault(Buffer.alloc(23), 'client')).toBe('23 bytes are no frame')
  })
})

describe('a machine that is given anything', () => {
  const id = 0xffff_ffff
  /** Near enough to what is right to get far. */
  const plausible = fc
    .tuple(
      fc.record({
        type: fc.constantFrom(...Object.values(FrameType)),
        flags: fc.constantFrom(0, 0, 1, 2, 3),
        stream: fc.constantFrom(id, id, 0, 5),
        offset: fc.oneof(fc.nat(20), u48),
        acked: fc.oneof(fc.nat(20), u48),
        limit: fc.oneof(fc.nat(100), u48),
      }),
      fc.uint8Array({ maxLength: 30 }),
    )
    .map(([fields, payload]) => encodeFrame(fields, Buffer.from(payload)))
  const anything = fc.oneof(
    plausible,
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  )

  it('never throws, and stays bounded', () => {
    fc.assert(
      fc.property(
        fc.array(anything, { maxLength: 30 }),
        fc.constantFrom('client', 'agent'),
        (frames, role) => {
          const pair = new TunnelPair()
          const { up, down } = pair.opened()
          up.write(Buffer.alloc(10), pair.nowMs)
          down.write(Buffer.alloc(10), pair.nowMs)
          for (const bytes of frames) {
            pair.deliver(role, bytes)
            pair.run(5)
          }
          pair.run(200_000)
          expect(pair.client.streams.count).toBeLessThanOrEqual(1)
          expect(pair.agent.streams.count).toBeLessThanOrEqual(3)
        },
      ),
      { numRuns: 300 },
    )
  })
})
