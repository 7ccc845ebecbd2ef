import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalAddress, createCidrList } from '../../../src/listeners/cidr.ts'

const octets = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 4, maxLength: 4 })
const groups = fc.array(fc.integer({ min: 0, max: 65_535 }), { minLength: 8, maxLength: 8 })

/** The slow, obvious twin: compares the first bits as text. */
function sharesPrefix(
  a: readonly number[],
  b: readonly number[],
  bitsEach: number,
  prefixBits: number,
): boolean {
  const bits = (parts: readonly number[]): string =>
    parts.map((part) => part.toString(2).padStart(bitsEach, '0')).join('')
  return bits(a).slice(0, prefixBits) === bits(b).slice(0, prefixBits)
}

const hex = (parts: readonly number[]): string => parts.map((part) => part.toString(16)).join(':')

describe('a list of CIDRs', () => {
  it('contains the IPv4 addresses that share the prefix, and no others', () => {
    fc.assert(
      fc.property(
        octets,
        octets,
        fc.integer({ min: 0, max: 32 }),
        fc.integer({ min: 0, max: 4 }),
        (net, other, prefix, kept) => {
          const address = [...net.slice(0, kept), ...other.slice(kept)]
          const list = createCidrList([`${net.join('.')}/${prefix}`])
          expect(list.contains(address.join('.'))).toBe(sharesPrefix(net, address, 8, prefix))
        },
      ),
    )
  })

  it('contains the IPv6 addresses that share the prefix, and no others', () => {
    fc.assert(
      fc.property(
        groups,
        groups,
        fc.integer({ min: 0, max: 128 }),
        fc.integer({ min: 0, max: 8 }),
        (net, other, prefix, kept) => {
          fc.pre(net.slice(0, 6).join() !== '0,0,0,0,0,65535')
          const address = [...net.slice(0, kept), ...other.slice(kept)]
          fc.pre(address.slice(0, 6).join() !== '0,0,0,0,0,65535')
          const list = createCidrList([`${hex(net)}/${prefix}`])
          expect(list.contains(hex(address))).toBe(sharesPrefix(net, address, 16, prefix))
        },
      ),
    )
  })

  it('takes a single address for a network of one', () => {
    const list = createCidrList(['127.0.0.1', '::1'])
    expect(['127.0.0.1', '::1', '127.0.0.2', '::2'].map((address) => list.contains(address))).toEqual([
      true,
      true,
      false,
      false,
    ])
  })

  it('sees the same host behind an IPv4-mapped address, on either side', () => {
    expect(createCidrList(['10.0.0.0/8']).contains('::ffff:10.1.2.3')).toBe(true)
    expect(createCidrList(['10.0.0.0/8']).contains('::ffff:a01:203')).toBe(true)
    expect(createCidrList(['::ffff:10.0.0.0/104']).contains('10.1.2.3')).toBe(true)
    expect(createCidrList(['::ffff:10.0.0.0/104']).contains('11.1.2.3')).toBe(false)
  })

  it('does not let all of IPv6 stand for IPv4, or the other way round', () => {
    expect(createCidrList(['::/0']).contains('192.0.2.1')).toBe(false)
    expect(createCidrList(['0.0.0.0/0']).contains('2001:db8::1')).toBe(false)
  })

  it('contains nothing that is no address', () => {
    const list = createCidrList(['0.0.0.0/0', '::/0'])
    expect(['', 'unix', 'localhost', '1.2.3'].some((text) => list.contains(text))).toBe(false)
  })

  it.each([
    '',
    'localhost',
    '10.0.0.0/33',
    '::1/129',
    '10.0.0.0/',
    '10.0.0/8',
    '::ffff:10.0.0.0/95',
    'fe80::1%eth0',
  ])('refuses %j and names it', (entry) => {
    expect(() => createCidrList([entry])).toThrow(`'${entry}' is neither an IP address nor a CIDR`)
  })
})

describe('the canonical spelling of an address', () => {
  it.each([
    ['2001:0DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['192.0.2.1', '192.0.2.1'],
    ['unix', 'unix'],
  ])('of %s is %s', (address, canonical) => {
    expect(canonicalAddress(address)).toBe(canonical)
  })
})
