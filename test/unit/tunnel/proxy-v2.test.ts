import { describe, expect, it } from 'vitest'
import { readV2 } from '../../../src/listeners/proxy-v2.ts'
import { encodeProxyV2 } from '../../../src/tunnel/proxy-v2.ts'

const target = { address: '127.0.0.1', port: 22 }

/** What the broker's own decoder makes of it. */
function sourceIn(header: Buffer): unknown {
  const reading = readV2(header, 536)
  if (reading.kind !== 'header') throw new Error(`not a header: ${JSON.stringify(reading)}`)
  expect(reading.headerBytes).toBe(header.length)
  return reading.header.source
}

describe('a PROXY protocol v2 header', () => {
  it('is these bytes for an IPv4 client', () => {
    const header = encodeProxyV2({ address: '192.0.2.7', port: 40_112 }, target)
    const fields = ['0d0a0d0a000d0a515549540a', '21', '11', '000c', 'c0000207', '7f000001', '9cb0', '0016']
    expect(header.toString('hex')).toBe(fields.join(''))
  })

  it.each(['192.0.2.7', '2001:db8::7', '::1', '::', '2001:db8:1:2:3:4:5:6', 'fe80::1:0:2'])(
    'names %s',
    (address) => {
      expect(sourceIn(encodeProxyV2({ address, port: 65_535 }, target))).toEqual({ address, port: 65_535 })
    },
  )

  it('writes an IPv4 address inside IPv6 as its 16 bytes', () => {
    const header = encodeProxyV2({ address: '::ffff:192.0.2.7', port: 1 }, undefined)
    expect(header.subarray(16, 32).toString('hex')).toBe('00000000000000000000ffffc0000207')
  })

  it('leaves the zone out', () => {
    const source = sourceIn(encodeProxyV2({ address: 'fe80::1%eth0', port: 1 }, undefined))
    expect(source).toEqual({ address: 'fe80::1', port: 1 })
  })

  it.each([undefined, { address: 'unix', port: 0 }, { address: 'a.example', port: 80 }])(
    'is LOCAL for %o, which is no address',
    (client) => {
      const header = encodeProxyV2(client, target)
      expect(header.toString('hex')).toBe('0d0a0d0a000d0a515549540a20000000')
      expect(sourceIn(header)).toBeUndefined()
    },
  )
})
