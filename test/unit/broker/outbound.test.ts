import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { encodeIdentifiers, encodePublish, encodePublish5 } from '../../../src/broker/publish-wire.ts'
import { Outbound } from '../../../src/broker/outbound.ts'
import { FakeTransport } from '../../support/fake-transport.ts'
import { publishPacket } from '../../support/wire.ts'

let transport: FakeTransport
let outbound: Outbound
let nowMs: number

function open(): void {
  transport = new FakeTransport()
  outbound = new Outbound(transport)
  nowMs = 1_000
  transport.attach({ data: () => {}, closed: () => {}, drained: () => outbound.drained(nowMs) })
}

beforeEach(open)

function endOfTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

describe('writing to a peer that reads', () => {
  it('gathers all of one turn of the event loop into one write', async () => {
    for (let i = 0; i < 100; i++) outbound.write(Buffer.of(i))
    outbound.writePublish(encodePublish('a', Buffer.alloc(20_000, 7), false), 0x30, 0)
    outbound.write(Buffer.of(255))
    expect(transport.writes).toEqual([])
    const pendingBytes = outbound.pendingBytes
    await endOfTurn()
    expect(transport.writes).toHaveLength(1)
    expect(transport.writes[0]).toHaveLength(pendingBytes)
    expect(outbound.pendingBytes).toBe(0)
    expect(outbound.waiting).toBe(false)

    outbound.write(Buffer.of(1))
    await endOfTurn()
    expect(transport.writes).toHaveLength(2)
  })

  it('writes nothing when nothing was written', async () => {
    outbound.flush()
    await endOfTurn()
    expect(transport.writes).toEqual([])
  })

  it('sets type, flags and packet identifier for each receiver, and leaves the shared packet as it is', () => {
    const wire = encodePublish('a/b', Buffer.from('x'), true)
    const before = Buffer.from(wire.bytes)
    outbound.writePublish(wire, 0x32, 0x1234)
    outbound.writePublish(wire, 0x3d, 0xffff)
    outbound.flush()
    expect(transport.written).toEqual(
      Buffer.concat([
        publishPacket({ topic: 'a/b', payload: 'x', qos: 1, messageId: 0x1234 }),
        publishPacket({ topic: 'a/b', payload: 'x', qos: 2, messageId: 0xffff, dup: true, retain: true }),
      ]),
    )
    expect(wire.bytes).toEqual(before)
  })
})

describe('a PUBLISH of MQTT 5 that is encoded in place', () => {
  it('is, byte for byte, the one that would be shared', () => {
    const topic = fc.oneof(fc.string({ maxLength: 140 }), fc.string({ unit: 'grapheme', maxLength: 60 }))
    const payloadBytes = fc.oneof(fc.nat(200), fc.constantFrom(8_192, 8_193, 17_000))
    const properties = fc.uint8Array({ maxLength: 300 })
    const identifiers = fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 5 })
    const alias = fc.constantFrom(0, 1, 65_535)
    fc.assert(
      fc.property(
        topic,
        payloadBytes,
        properties,
        identifiers,
        alias,
        fc.nat(2),
        (name, size, list, ids, number, qos) => {
          const payload = Buffer.alloc(size, 7)
          const shared = Buffer.from(list)
          const own = { hasAlias: number > 0, identifiers: encodeIdentifiers(ids) }
          const [first, messageId] = [0x30 | (qos << 1), qos > 0 ? 0x1234 : 0]
          open()
          const wire = encodePublish5(name, payload, qos > 0, shared, own)
          const sharedBytes = outbound.writePublish(wire, first, messageId, number)
          outbound.finish()
          const expected = transport.written
          open()
          const parts = { topic: name, payload, withId: qos > 0, shared, own }
          expect(outbound.encodePublish(parts, first, messageId, number)).toBe(sharedBytes)
          outbound.finish()
          expect(transport.written.equals(expected)).toBe(true)
          expect(expected).toHaveLength(sharedBytes)
        },
      ),
    )
  })
})

describe('writing to a slow peer', () => {
  it('hands over nothing more until it has taken what it was given', () => {
    transport.isSlow = true
    outbound.write(Buffer.from('first'))
    outbound.flush()
    expect(outbound.waiting).toBe(true)
    outbound.write(Buffer.from('second'))
    outbound.flush()
    expect(transport.written.toString()).toBe('first')
    expect(outbound.pendingBytes).toBe('firstsecond'.length)
    nowMs = 7_000
    transport.take()
    expect(transport.written.toString()).toBe('firstsecond')
    expect(outbound.waiting).toBe(true)
    transport.isSlow = false
    transport.take()
    expect(outbound.waiting).toBe(false)
    expect(outbound.lastProgressMs).toBe(7_000)
  })

  it('hands over pieces of a bounded size, so that progress can be seen', () => {
    transport.isSlow = true
    outbound.write(Buffer.of(0))
    outbound.flush()
    for (let i = 0; i < 2_000; i++) outbound.write(Buffer.alloc(1_000, i))
    while (outbound.pendingBytes > 0) transport.take()
    const sizes = transport.writes.map((one) => one.length)
    expect(sizes.length).toBeGreaterThan(9)
    // The bound, and what is left of the page that goes beyond it.
    expect(Math.max(...sizes)).toBeLessThan(131_072 + 65_536)
    expect(transport.written).toHaveLength(2_000_001)
  })

  it('goes on by itself when the peer has caught up within one piece', async () => {
    transport.isSlow = true
    outbound.write(Buffer.of(0))
    outbound.flush()
    for (let i = 0; i < 500; i++) outbound.write(Buffer.alloc(1_000))
    await endOfTurn()
    transport.isSlow = false
    transport.take()
    expect(outbound.pendingBytes).toBeGreaterThan(0)
    await endOfTurn()
    expect(outbound.pendingBytes).toBe(0)
    expect(transport.written).toHaveLength(500_001)
  })
})

describe('the pages that small writes are gathered in', () => {
  it('are filled to their last byte, and not beyond', () => {
    for (const pageBytes of [1_024, 4_096, 16_384, 65_536]) {
      for (let size = pageBytes - 2; size <= pageBytes + 2; size++) {
        open()
        const bytes = Buffer.from(Array.from({ length: size }, (_, index) => index % 251))
        for (let from = 0; from < size - 1; from += 1_000)
          outbound.write(bytes.subarray(from, Math.min(from + 1_000, size - 1)))
        outbound.write(bytes.subarray(size - 1))
        outbound.flush()
        expect(transport.written.equals(bytes)).toBe(true)
      }
    }
  })
})

describe('the end', () => {
  it('hands over all that is left, also to a slow peer, and takes nothing more', async () => {
    transport.isSlow = true
    outbound.write(Buffer.from('a'))
    outbound.flush()
    outbound.write(Buffer.from('b'))
    outbound.finish()
    expect(transport.written.toString()).toBe('ab')
    outbound.write(Buffer.from('c'))
    outbound.writePublish(encodePublish('t', Buffer.alloc(0), false), 0x30, 0)
    outbound.flush()
    transport.take()
    await endOfTurn()
    expect(transport.written.toString()).toBe('ab')
  })
})

describe('the order of bytes', () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('write' as const), size: fc.nat(3_000) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        size: fc.constantFrom(0, 1_024, 16_384, 16_385, 70_000),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('publish' as const),
        size: fc.oneof(fc.nat(200), fc.constantFrom(8_192, 8_193, 200_000)),
        qos: fc.nat(2),
        isShared: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('take' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('slow' as const), isSlow: fc.boolean() }) },
  )

  it('is that of the writes, however the peer reads', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        open()
        const twin: Buffer[] = []
        let mark = 0
        for (const one of steps) {
          mark++
          if (one.kind === 'write') {
            const bytes = Buffer.alloc(one.size, mark)
            twin.push(Buffer.from(bytes))
            outbound.write(bytes)
            // Small writes are copied: the caller may go on using its buffer.
            if (one.size <= 16_384) bytes.fill(0xee)
          } else if (one.kind === 'publish') {
            const { size, qos, isShared } = one
            const payload = Buffer.alloc(size, mark)
            twin.push(publishPacket({ topic: 'tö', payload, qos, messageId: mark }))
            const [first, messageId] = [0x30 | (qos << 1), qos > 0 ? mark : 0]
            if (isShared) outbound.writePublish(encodePublish('tö', payload, qos > 0), first, messageId)
            else {
              const parts = { topic: 'tö', payload, withId: qos > 0, shared: undefined, own: undefined }
              outbound.encodePublish(parts, first, messageId)
            }
          } else if (one.kind === 'flush') outbound.flush()
          else if (one.kind === 'slow') transport.isSlow = one.isSlow
          else if (transport.pendingBytes > 0) transport.take()
          const writtenBytes = transport.written.length - transport.pendingBytes
          const twinBytes = twin.reduce((sum, bytes) => sum + bytes.length, 0)
          expect(outbound.pendingBytes).toBe(twinBytes - writtenBytes)
        }
        outbound.finish()
        expect(transport.written.equals(Buffer.concat(twin))).toBe(true)
      }),
    )
  })
})
