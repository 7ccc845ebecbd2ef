import { isIP, isIPv6 } from 'node:net'

/** `10.0.0.0/8`, `fd00::/8`, or an address alone. */
export function isCidrOrAddress(text: string): boolean {
  const slash = text.indexOf('/')
  const address = slash < 0 ? text : text.slice(0, slash)
  const version = isIP(address)
  if (version === 0 || address.includes('%')) return false
  if (slash < 0) return true
  const bits = text.slice(slash + 1)
  return /^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)
}

/** An address or a host name, without port, brackets or scheme. */
export function isHost(text: string): boolean {
  if (isIP(text) !== 0) return true
  return (
    text.length <= 253 && text.split('.').every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})$/.test(label))
  )
}

/** True when only programs of this machine can reach a listener there. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase()
  if (name === 'localhost') return true
  if (isIPv6(name)) return name === '::1' || name.startsWith('::ffff:127.')
  return isIP(name) === 4 && name.startsWith('127.')
}

/** An origin as browsers send it: `https://example.com:8443`, in lower case and without a path. */
export function isOrigin(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\/(\[[0-9a-f:.]+\]|[^/?#\s:@A-Z*]+)(:\d{1,5})?$/.test(text)
}

/** Whether two listeners on one port would take each other's connections. */
export function hostsOverlap(a: string, b: string): boolean {
  return a === b || isWildcard(a) || isWildcard(b)
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** The parts of `host:port`, `[IPv6]:port` or `:port`; the host of the last is empty: all addresses. */
export function splitHostPort(text: string): { readonly host: string; readonly port: number } {
  const colon = text.lastIndexOf(':')
  return { host: text.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(colon + 1)) }
}
