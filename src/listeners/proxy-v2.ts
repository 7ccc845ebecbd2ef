import { canonicalAddress } from './cidr.ts'
import { readTlvs } from './proxy-tlv.ts'
import { invalid, needMore, type ProxyReading } from './proxy-header.ts'

/** doc/proxy-protocol.txt, 2.2. */
export const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
/** Signature, version and command, family and protocol, length. */
export const V2_FIXED_BYTES = 16

const VERSION = 2
const Command = { local: 0, proxy: 1 } as const
const Family = { unspec: 0, inet: 1, inet6: 2, unix: 3 } as const
type Family = (typeof Family)[keyof typeof Family]
const Protocol = { unspec: 0, stream: 1 } as const

/** Source and destination, addresses and ports. */
const addressBytes: Record<Family, number> = {
  [Family.unspec]: 0,
  [Family.inet]: 12,
  [Family.inet6]: 36,
  [Family.unix]: 216,
}

/** Reads the binary header; a claimed length above the bound is refused before its bytes are kept. */
export function readV2(bytes: Buffer, maxHeaderBytes: number): ProxyReading {
  const known = Math.min(bytes.length, V2_SIGNATURE.length)
  if (!bytes.subarray(0, known).equals(V2_SIGNATURE.subarray(0, known))) return invalid('no PROXY header')
  if (bytes.length < V2_FIXED_BYTES) return needMore

  const versionAndCommand = bytes.readUInt8(12)
  const command = versionAndCommand & 0x0f
  if (versionAndCommand >> 4 !== VERSION) return invalid('v2: unknown version')
  if (command !== Command.local && command !== Command.proxy) return invalid('v2: unknown command')
  const headerBytes = V2_FIXED_BYTES + bytes.readUInt16BE(14)
  if (headerBytes > maxHeaderBytes) return invalid(`v2: longer than ${maxHeaderBytes} bytes`)
  if (bytes.length < headerBytes) return needMore
  if (command === Command.local) {
    // "must use the real connection endpoints and must discard the protocol block including the family"
    return {
      kind: 'header',
      headerBytes,
      header: { version: 2, source: undefined, certificateName: undefined },
    }
  }
  return readProxied(bytes.subarray(0, headerBytes))
}

function readProxied(header: Buffer): ProxyReading {
  const family = header.readUInt8(13) >> 4
  const protocol = header.readUInt8(13) & 0x0f
  if (!isFamily(family)) return invalid('v2: unknown address family')
  if (protocol !== Protocol.stream && protocol !== Protocol.unspec) return invalid('v2: not a stream')
  const tlvStart = V2_FIXED_BYTES + addressBytes[family]
  if (header.length < tlvStart) return invalid('v2: shorter than its addresses')
  const tlvs = readTlvs(header, tlvStart)
  if (tlvs.kind === 'invalid') return tlvs
  return {
    kind: 'header',
    headerBytes: header.length,
    header: { version: 2, source: readSource(header, family), certificateName: tlvs.certificateName },
  }
}

function readSource(header: Buffer, family: Family): { address: string; port: number } | undefined {
  switch (family) {
    case Family.inet: {
      const address = [...header.subarray(16, 20)].join('.')
      return { address, port: header.readUInt16BE(24) }
    }
    case Family.inet6: {
      const groups = Array.from({ length: 8 }, (_, i) => header.readUInt16BE(16 + 2 * i).toString(16))
      return { address: canonicalAddress(groups.join(':')), port: header.readUInt16BE(48) }
    }
    case Family.unspec:
    case Family.unix: // a client on the proxy's own host: it has no address but the proxy's
      return undefined
    default:
      return family satisfies never
  }
}

function isFamily(value: number): value is Family {
  return value in addressBytes
}
