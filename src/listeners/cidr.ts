import { BlockList, SocketAddress, isIP } from 'node:net'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/** A set of networks. */
export interface CidrList {
  /** True if the address, IPv4 or IPv6 in any spelling, lies in one of the networks. */
  contains(address: string): boolean
}

/** `a.b.c.d` inside `::ffff:0:0/96`: the same host seen through a dual-stack socket. */
const MAPPED_PREFIX = '::ffff:'
const MAPPED_PREFIX_BITS = 96

/**
 * One spelling for each host: IPv6 in canonical form, without zone, and IPv4-mapped IPv6 as IPv4.
 * Anything that is no address comes back as it was.
 */
export function canonicalAddress(address: string): string {
  if (isIP(address) !== 6) return address
  const zone = address.indexOf('%')
  const bare = zone === -1 ? address : address.slice(0, zone)
  const canonical = new SocketAddress({ address: bare, family: 'ipv6' }).address
  if (!canonical.startsWith(MAPPED_PREFIX)) return canonical
  const embedded = canonical.slice(MAPPED_PREFIX.length)
  return isIP(embedded) === 4 ? embedded : canonical
}

/**
 * Reads CIDRs (`10.0.0.0/8`, `fd00::/8`) and single addresses.
 * @throws {TunnelMQError} TMQ_CONFIG, naming the entry that is neither.
 */
export function createCidrList(entries: readonly string[]): CidrList {
  // One list per family: in a common BlockList `::/0` would match IPv4 too.
  const ipv4 = new BlockList()
  const ipv6 = new BlockList()
  for (const entry of entries) {
    const { address, family, prefixBits } = parseCidr(entry)
    if (family === 4) ipv4.addSubnet(address, prefixBits, 'ipv4')
    else ipv6.addSubnet(address, prefixBits, 'ipv6')
  }
  return {
    contains(address) {
      const canonical = canonicalAddress(address)
      const family = isIP(canonical)
      if (family === 4) return ipv4.check(canonical, 'ipv4')
      return family === 6 && ipv6.check(canonical, 'ipv6')
    },
  }
}

function parseCidr(entry: string): { address: string; family: 4 | 6; prefixBits: number } {
  const match = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(entry.trim())
  const written = match?.[1] ?? ''
  const family = isIP(written)
  if (match === null || family === 0) throw notACidr(entry)
  const bits = family === 4 ? 32 : 128
  const prefixBits = match[2] === undefined ? bits : Number(match[2])
  if (prefixBits > bits) throw notACidr(entry)

  const address = canonicalAddress(written)
  if (family === 6 && isIP(address) === 4) {
    // Peers are compared as IPv4, so a mapped network must be one of IPv4 as well.
    if (prefixBits < MAPPED_PREFIX_BITS) throw notACidr(entry)
    return { address, family: 4, prefixBits: prefixBits - MAPPED_PREFIX_BITS }
  }
  return { address, family: family === 4 ? 4 : 6, prefixBits }
}

function notACidr(entry: string): TunnelMQError {
  return new TunnelMQError(
    ErrorCode.config,
    `'${entry}' is neither an IP address nor a CIDR such as 10.0.0.0/8 or fd00::/8`,
  )
}
