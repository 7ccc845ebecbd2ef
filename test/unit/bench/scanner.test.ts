import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { publishTemplate, readSequence, subscribePacket, writeSequence } from '../../../bench/load/packets.ts'
import { PacketScanner } from '../../../bench/load/scanner.ts'

interface Seen {
  readonly header: number
  readonly body: string
}

function scan(chunks: readonly Buffer[]): Seen[] {
  const seen: Seen[] = []
  const scanner = new PacketScanner({
    packet: (header, bytes, bodyStart, bodyEnd) =>
      seen.push({ header, body: bytes.toString('latin1', bodyStart, bodyEnd) }),
  })
  for (const chunk of chunks) scanner.push(chunk, chunk.length)
  return seen
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const edges = [0, ...places.map((place) => place % bytes.length).toSorted((a, b) => a - b), bytes.length]
  return edges.slice(1).map((end, index) => bytes.subarray(edges[index], end))
}

describe('the scanner of the load generator', () => {
  it('finds the same packets however the bytes are split', () => {
    const sizes = fc.array(fc.oneof(fc.nat(200), fc.nat(20_000)), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(sizes, fc.array(fc.nat(), { maxLength: 40 }), (payloadSizes, places) => {
        const packets = payloadSizes.flatMap((payloadBytes, index) => [
          publishTemplate({ topic: `t/${index}`, qos: 1, retain: false, payloadBytes }, index).bytes,
          subscribePacket(index + 1, 'a/+', 0),
        ])
        const whole = scan([Buffer.concat(packets)])
        expect(whole).toHaveLength(packets.length)
        expect(scan(cut(Buffer.concat(packets), places))).toEqual(whole)
      }),
    )
  })

  it('finds the same packets when every byte comes alone', () => {
    const bytes = publishTemplate({ topic: 'a', qos: 0, retain: false, payloadBytes: 300 }, 7).bytes
    const single = Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))
    expect(scan(single)).toEqual(scan([bytes]))
  })

  it('does not take a remaining length of five bytes', () => {
    expect(() => scan([Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01])])).toThrow('remaining length')
  })

  it('reads the sequence that was written, up to the largest', () => {
    const { bytes, payloadAt } = publishTemplate({ topic: 'a', qos: 0, retain: false, payloadBytes: 16 }, 0)
    for (const sequence of [0, 1, 0xffff, 0x1_0000, 0xffff_ffff]) {
      writeSequence(bytes, payloadAt, sequence)
      expect(readSequence(bytes, payloadAt)).toBe(sequence)
    }
  })
})
