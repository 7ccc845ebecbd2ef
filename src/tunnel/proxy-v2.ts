import { isIPv4, isIPv6 } from 'node:net'
import type { OpenSource } from './protocol/open-payload.ts'

/** doc/proxy-protocol.txt, 2.2. */
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const VERSION_2_PROXY = 0x21
const VERSION_2_LOCAL = 0x20
const TCP_OVER_IPV4 = 0x11
const TCP_OVER_IPV6 = 0x21

/**
 * A PROXY protocol v2 header that names `client` as the source. Without one, or one that is no address, it is LOCAL: the
 * target then takes our own address.
 */
export function encodeProxyV2(client: OpenSource | undefined, target: OpenSource | undefined): Buffer {
  if (client !== undefined && isIPv4(client.address)) {
    const to = target !== undefined && isIPv4(target.address) ? target : { address: '0.0.0.0', port: 0 }
    return header(VERSION_2_PROXY, TCP_OVER_IPV4, ipv4Bytes(client), ipv4Bytes(to), client, to)
  }
  if (client !== undefined && isIPv6(client.address)) {
    const to = target !== undefined && isIPv6(target.address) ? target : { address: '::', port: 0 }
    return header(VERSION_2_PROXY, TCP_OVER_IPV6, ipv6Bytes(client), ipv6Bytes(to), client, to)
  }
  return Buffer.concat([SIGNATURE, Buffer.from([VERSION_2_LOCAL, 0, 0, 0])])
}

function header(
  command: number,
  family: number,
  from: Buffer,
  to: Buffer,
  { port: fromPort }: OpenSource,
  { port: toPort }: OpenSource,
): Buffer {
  const fixed = Buffer.from([command, family, 0, from.length + to.length + 4])
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(fromPort, 0)
  ports.writeUInt16BE(toPort, 2)
  return Buffer.concat([SIGNATURE, fixed, from, to, ports])
}

function ipv4Bytes({ address }: OpenSource): Buffer {
  return Buffer.from(address.split('.').map(Number))
}

/** RFC 4291, 2.2: `::` stands for the zeros that are missing; the last 32 bits may be written as IPv4. */
function ipv6Bytes({ address }: OpenSource): Buffer {
  const text = (address.split('%')[0] ?? '').replace(/[^:]+\.[^:]+$/, (v4) => {
    const bytes = ipv4Bytes({ address: v4, port: 0 })
    return `${bytes.readUInt16BE(0).toString(16)}:${bytes.readUInt16BE(2).toString(16)}`
  })
  const [head = '', tail] = text.split('::')
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'))
  const first = groups(head)
  const last = groups(tail ?? '')
  const zeros = Array<string>(8 - first.length - last.length).fill('0')
  const bytes = Buffer.alloc(16)
  for (const [index, group] of [...first, ...zeros, ...last].entries())
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * index)
  return bytes
}
