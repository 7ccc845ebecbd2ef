import { isIP } from 'node:net'
import { canonicalAddress, type CidrList } from './cidr.ts'

/**
 * The client's address from X-Forwarded-For, which each proxy extends on the right: the right-most entry that is
 * not a trusted proxy. What stands left of it was written by the client and is worth nothing.
 * Call it only when the header came from a trusted proxy. Undefined: the header names nobody.
 */
export function forwardedClient(
  header: string | undefined,
  trusted: CidrList,
): { address: string; port: number } | undefined {
  if (header === undefined) return undefined
  let nearest: { address: string; port: number } | undefined
  for (const entry of header.split(',').reverse()) {
    const hop = parseHop(entry.trim())
    if (hop === undefined) return nearest
    nearest = hop
    if (!trusted.contains(hop.address)) return hop
  }
  return nearest
}

/** `192.0.2.1`, `192.0.2.1:5000`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5000`; port 0: not told. */
function parseHop(text: string): { address: string; port: number } | undefined {
  if (isIP(text) !== 0) return { address: canonicalAddress(text), port: 0 }
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text)
  const address = match?.[1] ?? match?.[2] ?? ''
  if (isIP(address) === 0) return undefined
  const port = Number(match?.[3] ?? 0)
  return port <= 65_535 ? { address: canonicalAddress(address), port } : undefined
}
