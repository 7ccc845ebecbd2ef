import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PeerError } from '../../../../src/errors.ts'
import { PacketReader, type PacketSink } from '../../../../src/tunnel/link/packet-reader.ts'
import * as wire from '../../../support/wire.ts'

/** Everything that the reader hands over, as text. */
class Notes implements PacketSink {
  readonly all: string[] = []
  connack(code: number): void {
    this.all.push(`connack ${code}`)
  }
  suback(packetId: number, code: number): void {
    this.all.push(`suback ${packetId} ${code}`)
  }
  publish(bytes: Buffer, topicStart: number, topicEnd: number, payloadStart: number, end: number): void {
    this.all.push(
      `publish ${bytes.toString('utf8', topicStart, topicEnd)} ${bytes.toString('hex', payloadStart, end)}`,
    )
  }
  mustAck(qos: number, packetId: number): void {
    this.all.push(`mustAck ${qos} ${packetId}`)
  }
  pubrel(packetId: number): void {
    this.all.push(`pubrel ${packetId}`)
  }
  pingresp(): void {
    this.all.push('pingresp')
  }
}

const pingresp = Buffer.of(0xd0, 0)
const connack = (code: number): Buffer => Buffer.of(0x20, 2, 0, code)
const suback = (id: number, code: number): Buffer => Buffer.of(0x90, 3, id >> 8, id & 0xff, code)

function read(...chunks: readonly Buffer[]): string[] {
  const notes = new Notes()
  const reader = new PacketReader(notes)
  for (const chunk of chunks) reader.receive(chunk)
  return notes.all
}

/** The slow and obvious twin. */
function readSlowly(bytes: Buffer): string[] {
  const notes: string[] = []
  const reader = new wire.PacketReader((first, body) => {
    const type = first >> 4
    if (type === wire.Packet.pingresp) notes.push('pingresp')
    else if (type === wire.Packet.connack) notes.push(`connack ${body[1]}`)
    else if (type === wire.Packet.suback) notes.push(`suback ${body.readUInt16BE(0)} ${body[2]}`)
    else if (type === wire.Packet.pubrel) notes.push(`pubrel ${body.readUInt16BE(0)}`)
    else {
      const qos = (first >> 1) & 3
      const topicEnd = 2 + body.readUInt16BE(0)
      const payload = body.subarray(topicEnd + (qos === 0 ? 0 : 2))
      notes.push(`publish ${body.toString('utf8', 2, topicEnd)} ${payload.toString('hex')}`)
      if (qos > 0) notes.push(`mustAck ${qos} ${body.readUInt16BE(topicEnd)}`)
    }
  })
  reader.receive(bytes)
  return notes
}

const id = fc.integer({ min: 1, max: 0xffff })
const anyPacket = fc.oneof(
  fc.constant(pingresp),
  fc.integer({ min: 0, max: 5 }).map(connack),
  fc.tuple(id, fc.constantFrom(0, 1, 2, 0x80)).map(([packetId, code]) => suback(packetId, code)),
  id.map((packetId) => wire.ackPacket(wire.Packet.pubrel, packetId)),
  fc
    .record({
      topic: fc.string({ minLength: 1, maxLength: 40 }),
      qos: fc.integer({ min: 0, max: 2 }),
      messageId: id,
      // Around the sizes at which the remaining length takes another byte.
      size: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 16_200, max: 16_500 })),
    })
    .map(({ size, ...fields }) => wire.publishPacket({ ...fields, payload: Buffer.alloc(size, size) })),
)

describe('what a broker sends', () => {
  it('means the same however it is cut', () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(fc.array(anyPacket, { maxLength: 12 }), cuts, (packets, sizes) => {
        const bytes = Buffer.concat(packets)
        const chunks: Buffer[] = []
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length]!
          chunks.push(Buffer.from(bytes.subarray(at, at + size)))
          at += size
        }
        expect(read(...chunks)).toEqual(readSlowly(bytes))
      }),
      { numRuns: 500 },
    )
  })

  it('means the same byte by byte', () => {
    const packets = [
      wire.publishPacket({ topic: 'a', payload: Buffer.alloc(20_000, 1) }),
      pingresp,
      connack(0),
    ]
    const bytes = Buffer.concat(packets)
    expect(read(...Array.from(bytes, (byte) => Buffer.of(byte)))).toEqual(readSlowly(bytes))
  })

  it('is not copied where a packet lies within a chunk', () => {
    const chunk = Buffer.concat([pingresp, wire.publishPacket({ topic: 'a', payload: 'payload' })])
    const seen: Buffer[] = []
    const notes = new Notes()
    notes.publish = (bytes, _start, _topicEnd, payloadStart, end) => {
      seen.push(bytes.subarray(payloadStart, end))
    }
    new PacketReader(notes).receive(chunk)
    expect(seen[0]!.toString()).toBe('payload')
    expect(seen[0]!.buffer).toBe(chunk.buffer)
  })

  it('is kept to packets of 256 KiB, judged by their fixed header', () => {
    const most = wire.publishPacket({ topic: 'a', payload: Buffer.alloc(262_144 - 4 - 3) })
    expect(most.length).toBe(262_144)
    expect(read(most)).toHaveLength(1)
    const header = Buffer.concat([Buffer.of(0x30), wire.remainingLength(262_141)])
    expect(() => read(header)).toThrow('packet of 262145 bytes')
    expect(() => read(...Array.from(header, (byte) => Buffer.of(byte)))).toThrow('packet of 262145 bytes')
  })

  it.each([
    ['a length of five bytes', '30ffffffffff'],
    ['a packet type that only clients send', 'c000'],
    ['an acknowledgement of what was not sent', '40020001'],
    ['a topic that reaches beyond its packet', '3003000561'],
    ['a PUBLISH without room for the length of its topic', '300100'],
    ['a PUBLISH without room for its identifier', '3203000161'],
    ['QoS 3', '36050001610001'],
    ['a CONNACK of three bytes', '2003000000'],
    ['a SUBACK for two filters', '900400010000'],
    ['a PUBREL of one byte', '620100'],
  ])('with %s is refused, however it is cut', (_what, hex) => {
    const bytes = Buffer.from(hex, 'hex')
    expect(() => read(bytes)).toThrow(/^the broker has sent a /)
    expect(() => read(...Array.from(bytes, (byte) => Buffer.of(byte)))).toThrow(/^the broker has sent a /)
  })

  it('is refused or understood, but nothing else, when it is noise', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 }), (chunks) => {
        try {
          read(...chunks.map((chunk) => Buffer.from(chunk)))
        } catch (error) {
          if (!(error instanceof PeerError)) throw error
        }
      }),
      { numRuns: 2_000 },
    )
  })

  it('is told no more once the reader is stopped, also not the rest of a chunk', () => {
    const notes = new Notes()
    const reader: PacketReader = new PacketReader(notes)
    notes.pingresp = () => {
      notes.all.push('pingresp')
      reader.stop()
    }
    reader.receive(Buffer.concat([connack(0), pingresp, pingresp, connack(0)]))
    reader.receive(connack(0))
    expect(notes.all).toEqual(['connack 0', 'pingresp'])
  })
})
