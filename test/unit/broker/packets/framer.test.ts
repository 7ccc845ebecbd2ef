import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PeerError } from '../../../../src/errors.ts'
import { Framer, type PacketSink } from '../../../../src/broker/packets/framer.ts'
import { packet, remainingLength } from '../../../support/wire.ts'

/** Keeps the packets; holds after every `holdEvery`th. */
class Sink implements PacketSink {
  readonly packets: string[] = []
  held = false
  maxPacketBytes = 300_000
  readonly #holdEvery: number

  constructor(holdEvery = 0) {
    this.#holdEvery = holdEvery
  }

  packet(bytes: Buffer, packetStart: number, bodyStart: number, end: number): void {
    // A packet of its own, from its parts: a wrong `bodyStart` shows as another length.
    this.packets.push(packet(bytes[packetStart]!, bytes.subarray(bodyStart, end)).toString('latin1'))
    expect(bytes.subarray(packetStart, end).toString('latin1')).toBe(this.packets.at(-1))
    if (this.#holdEvery > 0 && this.packets.length % this.#holdEvery === 0) this.held = true
  }
}

const legalFirstBytes = [
  0x10, 0x30, 0x31, 0x32, 0x3a, 0x3c, 0x3d, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0,
]

// Lengths on both sides of each border of the remaining length (MQTT 3.1.1, 2.2.3).
const bodyLength = fc.oneof(fc.nat(40), fc.constantFrom(0, 126, 127, 128, 16_383, 16_384))
const anyPacket = fc
  .tuple(fc.constantFrom(...legalFirstBytes), bodyLength, fc.nat(255))
  .map(([first, length, fill]) => packet(first, Buffer.alloc(length, fill)))

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return places.slice(1).map((place, index) => bytes.subarray(places[index], place))
}

describe('the framer', () => {
  it('gives the same packets however the stream is cut, and wherever it is held', () => {
    fc.assert(
      fc.property(
        fc.array(anyPacket, { maxLength: 8, size: 'max' }),
        fc.array(fc.nat(), { maxLength: 12, size: 'max' }),
        fc.nat(3),
        (packets, cuts, holdEvery) => {
          const sink = new Sink(holdEvery)
          const framer = new Framer(sink)
          for (const chunk of split(Buffer.concat(packets), cuts)) {
            framer.receive(chunk)
            while (sink.held && cuts.length % 2 === 0) {
              sink.held = false
              framer.resume()
            }
          }
          while (sink.held) {
            sink.held = false
            framer.resume()
          }
          expect(sink.packets).toEqual(packets.map((one) => one.toString('latin1')))
          expect(framer.waitingBytes).toBe(0)
        },
      ),
    )
  })

  it('takes a stream that comes byte by byte', () => {
    const sink = new Sink()
    const framer = new Framer(sink)
    const packets = [packet(0x30, Buffer.alloc(200, 1)), packet(0xc0), packet(0x82, Buffer.from('abc'))]
    for (const byte of Buffer.concat(packets)) framer.receive(Buffer.of(byte))
    expect(sink.packets).toEqual(packets.map((one) => one.toString('latin1')))
  })

  it('hands nothing over while it is held, and counts what waits', () => {
    const sink = new Sink(1)
    const framer = new Framer(sink)
    const one = packet(0x40, Buffer.from([0, 1]))
    framer.receive(Buffer.concat([one, one, one]))
    expect(sink.packets).toHaveLength(1)
    expect(framer.waitingBytes).toBe(8)
    framer.receive(one)
    framer.resume()
    expect(sink.packets).toHaveLength(1)
    expect(framer.waitingBytes).toBe(12)
    framer.discard()
    expect(framer.waitingBytes).toBe(0)
    sink.held = false
    framer.resume()
    expect(sink.packets).toHaveLength(1)
  })

  it('refuses a packet that is too large at the last byte of its fixed header, not before and not later', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 300_000 }),
        fc.integer({ min: 1, max: 200_000_000 }),
        (max, over) => {
          const sink = new Sink()
          sink.maxPacketBytes = max
          const framer = new Framer(sink)
          const claim = Math.min(max + over, 268_435_455)
          const header = Buffer.concat([Buffer.of(0x30), remainingLength(claim)])
          for (const byte of header.subarray(0, -1)) framer.receive(Buffer.of(byte))
          expect(() => framer.receive(header.subarray(-1))).toThrow(
            expect.objectContaining({ code: 'TMQ_LIMIT', name: 'PacketFault' }),
          )
          expect(sink.packets).toEqual([])
        },
      ),
    )
  })

  it('takes a packet of exactly the largest size, header included', () => {
    const sink = new Sink()
    sink.maxPacketBytes = 130
    const framer = new Framer(sink)
    framer.receive(packet(0x30, Buffer.alloc(127)))
    framer.receive(packet(0x30, Buffer.alloc(127)))
    expect(sink.packets).toHaveLength(2)
    expect(() => framer.receive(packet(0x30, Buffer.alloc(128)))).toThrow('131')
  })

  it.each([[[]], [[1]], [[2]], [[3]], [[4]], [[1, 2, 3, 4]]])(
    'refuses a remaining length of five bytes, cut at %j [MQTT-2.2.3]',
    (cuts) => {
      const sink = new Sink()
      sink.maxPacketBytes = Number.POSITIVE_INFINITY
      const framer = new Framer(sink)
      const claim = Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01])
      expect(() => {
        for (const chunk of split(claim, cuts)) framer.receive(chunk)
      }).toThrow(expect.objectContaining({ code: 'TMQ_PROTOCOL' }))
    },
  )

  it('does not wait for the fifth byte of a remaining length to refuse it', () => {
    const framer = new Framer(new Sink())
    expect(() => framer.receive(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80]))).toThrow(
      expect.objectContaining({ code: 'TMQ_PROTOCOL' }),
    )
  })

  it('takes exactly the first bytes that a client may send [MQTT-2.2.2-2]', () => {
    const accepted = Array.from({ length: 256 }, (_, first) => first).filter((first) => {
      try {
        new Framer(new Sink()).receive(Buffer.of(first, 0))
        return true
      } catch (error) {
        if (error instanceof PeerError && error.code === 'TMQ_PROTOCOL') return false
        throw error
      }
    })
    const publish = [0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d]
    expect(accepted).toEqual([0x10, ...publish, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0, 0xf0])
  })

  it('refuses a first byte before the length behind it is there', () => {
    expect(() => new Framer(new Sink()).receive(Buffer.of(0x20))).toThrow('packet type 2')
  })
})
