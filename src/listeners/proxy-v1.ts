import { isIPv4, isIPv6 } from 'node:net'
import { canonicalAddress } from './cidr.ts'
import { invalid, needMore, type ProxyReading } from './proxy-header.ts'

/** doc/proxy-protocol.txt, 2.1: the longest line, CRLF included. */
export const V1_MAX_BYTES = 107

const PREFIX = Buffer.from('PROXY ')
export const V1_FIRST_BYTE = PREFIX.readUInt8(0)
const CRLF = Buffer.from('\r\n')

/** Reads the text line: `PROXY TCP4 192.0.2.1 192.0.2.9 56324 1883\r\n`. */
export function readV1(bytes: Buffer): ProxyReading {
  const known = Math.min(bytes.length, PREFIX.length)
  if (!bytes.subarray(0, known).equals(PREFIX.subarray(0, known))) return invalid('no PROXY header')
  const end = bytes.subarray(0, V1_MAX_BYTES).indexOf(CRLF)
  if (end === -1) return bytes.length < V1_MAX_BYTES ? needMore : invalid('v1: no CRLF within 107 bytes')

  const headerBytes = end + CRLF.length
  const [, protocol, source, destination, sourcePort, destinationPort, ...excess] = bytes
    .toString('latin1', 0, end)
    .split(' ')
  if (protocol === 'UNKNOWN') {
    // "the receiver must ignore anything presented before the CRLF is found"
    return {
      kind: 'header',
      headerBytes,
      header: { version: 1, source: undefined, certificateName: undefined },
    }
  }
  if (protocol !== 'TCP4' && protocol !== 'TCP6') return invalid('v1: neither TCP4, TCP6 nor UNKNOWN')
  if (excess.length > 0) return invalid('v1: more than four fields')
  const isAddress = protocol === 'TCP4' ? isIPv4 : isBareIPv6
  if (!isAddress(source ?? '') || !isAddress(destination ?? '')) return invalid(`v1: bad ${protocol} address`)
  const port = parsePort(sourcePort)
  if (port === undefined || parsePort(destinationPort) === undefined) return invalid('v1: bad port')
  return {
    kind: 'header',
    headerBytes,
    header: {
      version: 1,
      source: { address: canonicalAddress(source ?? ''), port },
      certificateName: undefined,
    },
  }
}

// A zone (`fe80::1%eth0`) means nothing on another host, and the specification knows none.
function isBareIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%')
}

/** "a decimal integer in the range [0..65535] inclusive", without leading zeroes. */
function parsePort(text: string | undefined): number | undefined {
  if (text === undefined || !/^(?:0|[1-9]\d{0,4})$/.test(text)) return undefined
  const port = Number(text)
  return port <= 65_535 ? port : undefined
}
