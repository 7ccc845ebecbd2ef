import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalAddress } from '../../../src/listeners/cidr.ts'
import { crc32c } from '../../../src/listeners/crc32c.ts'
import type { ProxyHeader } from '../../../src/listeners/proxy-header.ts'
import { createProxyDecoder, type ProxyOutcome } from '../../../src/listeners/proxy-protocol.ts'
import { SIGNATURE, encodeV2, inet, inet6, sslTlv, tlv } from './proxy-encoder.ts'

function decode(...chunks: Buffer[]): ProxyOutcome {
  const decoder = createProxyDecoder()
  for (const [i, chunk] of chunks.entries()) {
    const outcome = decoder.receive(chunk)
    if (outcome.kind === 'header') {
      return { ...outcome, rest: Buffer.concat([outcome.rest, ...chunks.slice(i + 1)]) }
    }
    if (outcome.kind === 'invalid') return outcome
  }
  return { kind: 'needMore' }
}

function header(bytes: Buffer): ProxyHeader {
  const outcome = decode(bytes)
  if (outcome.kind !== 'header') throw new Error(`no header: ${JSON.stringify(outcome)}`)
  return outcome.header
}

function reason(bytes: Buffer | string): string {
  const outcome = decode(Buffer.from(bytes))
  return outcome.kind === 'invalid' ? outcome.reason : `(${outcome.kind})`
}

const ports = fc.integer({ min: 0, max: 65_535 })
const octets = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 4, maxLength: 4 })
const groups = fc.array(fc.integer({ min: 0, max: 65_535 }), { minLength: 8, maxLength: 8 })
const unknownTlvs = fc.array(
  fc
    .tuple(
      fc.integer({ min: 0, max: 255 }).filter((type) => type !== 0x03 && type !== 0x20),
      fc.uint8Array({ maxLength: 40 }),
    )
    .map(([type, value]) => tlv(type, Buffer.from(value))),
  { maxLength: 5 },
)

/** A good header, and what it says. */
const goodHeaders: fc.Arbitrary<{ bytes: Buffer; said: ProxyHeader }> = fc.oneof(
  fc.tuple(octets, ports).map(([source, port]) => ({
    bytes: Buffer.from(`PROXY TCP4 ${source.join('.')} 10.0.0.1 ${port} 1883\r\n`),
    said: { version: 1 as const, source: { address: source.join('.'), port }, certificateName: undefined },
  })),
  fc.tuple(groups, ports).map(([source, port]) => {
    const text = source.map((group) => group.toString(16)).join(':')
    return {
      bytes: Buffer.from(`PROXY TCP6 ${text} ::1 ${port} 1883\r\n`),
      said: {
        version: 1 as const,
        source: { address: canonicalAddress(text), port },
        certificateName: undefined,
      },
    }
  }),
  fc.tuple(octets, ports, unknownTlvs, fc.boolean()).map(([source, port, tlvs, checksum]) => ({
    bytes: encodeV2({ addresses: inet(source, port), tlvs, checksum }),
    said: { version: 2 as const, source: { address: source.join('.'), port }, certificateName: undefined },
  })),
  fc
    .tuple(groups, ports, unknownTlvs, fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }))
    .filter(([, , , name]) => !name.includes('\0') && Buffer.from(name).toString() === name)
    .map(([source, port, tlvs, certificateName]) => ({
      bytes: encodeV2({
        familyAndProtocol: 0x21,
        addresses: inet6(source, port),
        tlvs: [...tlvs, sslTlv(Buffer.from(certificateName))],
        checksum: true,
      }),
      said: {
        version: 2 as const,
        source: { address: canonicalAddress(source.map((group) => group.toString(16)).join(':')), port },
        certificateName,
      },
    })),
)

describe('the PROXY decoder', () => {
  it('reads the same header and gives back the same rest wherever the bytes are cut', () => {
    fc.assert(
      fc.property(goodHeaders, fc.uint8Array({ maxLength: 50 }), ({ bytes, said }, payload) => {
        const stream = Buffer.concat([bytes, payload])
        for (let cut = 0; cut <= stream.length; cut++) {
          const outcome = decode(stream.subarray(0, cut), stream.subarray(cut))
          expect(outcome).toEqual({ kind: 'header', header: said, rest: Buffer.from(payload) })
        }
      }),
      { numRuns: 60 },
    )
  })

  it('reads a header that comes byte by byte', () => {
    fc.assert(
      fc.property(goodHeaders, ({ bytes, said }) => {
        expect(decode(...[...bytes].map((byte) => Buffer.from([byte])))).toMatchObject({
          kind: 'header',
          header: said,
        })
      }),
      { numRuns: 60 },
    )
  })

  it('asks for more as long as a good header is not complete', () => {
    fc.assert(
      fc.property(goodHeaders, fc.nat(), ({ bytes }, at) => {
        expect(decode(bytes.subarray(0, at % bytes.length)).kind).toBe('needMore')
      }),
    )
  })

  it('never throws, and never keeps asking beyond the bound, whatever a mutated header says', () => {
    const mutation = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(goodHeaders, fc.array(mutation, { minLength: 1, maxLength: 4 }), ({ bytes }, mutations) => {
        const mutated = Buffer.from(bytes)
        for (const [at, byte] of mutations) mutated[at % mutated.length] = byte
        const outcome = decode(mutated, Buffer.alloc(8_192, 0x20))
        expect(outcome.kind).not.toBe('needMore')
      }),
      { numRuns: 1_000 },
    )
  })

  it('notices every single flipped bit of a header with a checksum, or refuses it for another reason', () => {
    const bytes = encodeV2({
      addresses: inet([192, 0, 2, 1], 5000),
      tlvs: [tlv(0x04, Buffer.alloc(9))],
      checksum: true,
    })
    const accepted: number[] = []
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      if (decode(flipped).kind === 'header') accepted.push(bit)
    }
    // PROXY and LOCAL differ in one bit, and the block of LOCAL is to be discarded; and a checksum TLV whose type
    // is changed is one of an unknown type.
    const commandBit = 12 * 8
    const typeBits = Array.from({ length: 8 }, (_, i) => (bytes.length - 7) * 8 + i)
    expect(accepted.every((bit) => bit === commandBit || typeBits.includes(bit))).toBe(true)
  })
})

describe('version 1', () => {
  it.each([
    ['UNKNOWN alone', 'PROXY UNKNOWN\r\n'],
    ['UNKNOWN with addresses', 'PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n'],
  ])('takes %s, and leaves the address to the socket', (_, line) => {
    expect(header(Buffer.from(line))).toEqual({ version: 1, source: undefined, certificateName: undefined })
  })

  it('takes an IPv4 address written as IPv6 for the IPv4 address that it is', () => {
    expect(header(Buffer.from('PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n')).source).toEqual({
      address: '192.0.2.7',
      port: 1,
    })
  })

  it.each([
    ['PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n', 'v1: bad port'],
    ['PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n', 'v1: bad port'],
    ['PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n', 'v1: bad port'],
    ['PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n', 'v1: bad port'],
    ['PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n', 'v1: bad TCP4 address'],
    ['PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n', 'v1: bad TCP4 address'],
    ['PROXY TCP4 ::1 ::1 1 2\r\n', 'v1: bad TCP4 address'],
    ['PROXY TCP6 192.0.2.1 ::1 1 2\r\n', 'v1: bad TCP6 address'],
    ['PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n', 'v1: bad TCP6 address'],
    ['PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n', 'v1: more than four fields'],
    ['PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n', 'v1: more than four fields'],
    ['PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n', 'v1: neither TCP4, TCP6 nor UNKNOWN'],
    ['PROXY\r\n', 'no PROXY header'],
    ['proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n', 'no PROXY header'],
    [`PROXY UNKNOWN ${'x'.repeat(93)}`, 'v1: no CRLF within 107 bytes'],
    [`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`, 'v1: no CRLF within 107 bytes'],
  ])('refuses %j: %s', (line, why) => {
    expect(reason(line)).toBe(why)
  })

  it('takes a line of exactly 107 bytes', () => {
    expect(header(Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`)).version).toBe(1)
  })

  it('knows from the first byte that MQTT, TLS and HTTP are no PROXY header', () => {
    for (const first of ['\x10', '\x16', 'G']) expect(reason(first)).toBe('no PROXY header')
  })
})

describe('version 2', () => {
  const addresses = inet([192, 0, 2, 1], 5000)

  it('leaves the address to the socket for LOCAL, and does not look into its block', () => {
    const local = encodeV2({
      command: 0,
      familyAndProtocol: 0xff,
      addresses: Buffer.from('\xff\xff\xff', 'latin1'),
    })
    expect(header(local)).toEqual({ version: 2, source: undefined, certificateName: undefined })
  })

  it('leaves the address to the socket for UNSPEC and for a unix socket of the proxy', () => {
    expect(header(encodeV2({ familyAndProtocol: 0x00 })).source).toBeUndefined()
    expect(header(encodeV2({ familyAndProtocol: 0x31, addresses: Buffer.alloc(216) })).source).toBeUndefined()
  })

  it.each([
    ['verified', { client: 0x03, verify: 0 }, 'alice'],
    ['verified earlier in the TLS session', { client: 0x05, verify: 0 }, 'alice'],
    ['not verified', { client: 0x03, verify: 18 }, undefined],
    ['not sent at all', { client: 0x01, verify: 0 }, undefined],
  ])('exposes the name of a client certificate that was %s', (_, ssl, name) => {
    const bytes = encodeV2({ addresses, tlvs: [sslTlv(Buffer.from('alice'), ssl)] })
    expect(header(bytes).certificateName).toBe(name)
  })

  const cases: [string, Buffer][] = [
    ['v2: unknown version', Buffer.concat([SIGNATURE, Buffer.from([0x31, 0x11, 0, 0])])],
    ['v2: unknown command', Buffer.concat([SIGNATURE, Buffer.from([0x22, 0x11, 0, 0])])],
    ['v2: unknown address family', encodeV2({ familyAndProtocol: 0x41 })],
    ['v2: not a stream', encodeV2({ familyAndProtocol: 0x12, addresses })],
    ['v2: shorter than its addresses', encodeV2({ addresses: addresses.subarray(1) })],
    ['v2: shorter than its addresses', encodeV2({ familyAndProtocol: 0x21, addresses })],
    ['v2: longer than 8192 bytes', Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11, 0xff, 0xff])])],
    ['v2: a TLV is longer than the header', encodeV2({ addresses, tlvs: [Buffer.from([0x04, 0, 2, 1])] })],
    ['v2: a TLV is longer than the header', encodeV2({ addresses, tlvs: [Buffer.from([0x04, 0])] })],
    ['v2: bad CRC32C TLV', encodeV2({ addresses, tlvs: [tlv(0x03, Buffer.alloc(3))] })],
    ['v2: CRC32C does not match', encodeV2({ addresses, tlvs: [tlv(0x03, Buffer.alloc(4))] })],
    [
      'v2: more than one CRC32C TLV',
      encodeV2({ addresses, tlvs: [tlv(0x03, Buffer.alloc(4))], checksum: true }),
    ],
    ['v2: SSL TLV too short', encodeV2({ addresses, tlvs: [tlv(0x20, Buffer.alloc(4))] })],
    [
      'v2: an SSL sub-TLV is longer than its TLV',
      encodeV2({ addresses, tlvs: [tlv(0x20, Buffer.from([3, 0, 0, 0, 0, 0x22, 0, 9]))] }),
    ],
    [
      'v2: more than one SSL TLV',
      encodeV2({ addresses, tlvs: [sslTlv(Buffer.from('a')), sslTlv(Buffer.from('b'))] }),
    ],
    ['v2: certificate name is not UTF-8', encodeV2({ addresses, tlvs: [sslTlv(Buffer.from([0xff]))] })],
    ['v2: certificate name is not UTF-8', encodeV2({ addresses, tlvs: [sslTlv(Buffer.from('root\0.x'))] })],
    ['no PROXY header', Buffer.from('\r\n\r\nGET')],
  ]
  it.each(cases)('refuses: %s', (why, bytes) => {
    expect(reason(bytes)).toBe(why)
  })
})

describe('CRC-32C', () => {
  it('gives the check value of the catalogue for "123456789"', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  })
})
