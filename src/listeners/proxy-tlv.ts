import { crc32c } from './crc32c.ts'
import { invalid } from './proxy-header.ts'

/** Type-length-value vectors of a PROXY v2 header: doc/proxy-protocol.txt, 2.2.1 to 2.2.6. */
const TlvType = { crc32c: 0x03, ssl: 0x20 } as const
const SslSubtype = { commonName: 0x22 } as const
/** Bits of the `client` field of PP2_TYPE_SSL. */
const SslClient = { certificateInConnection: 0x02, certificateInSession: 0x04 } as const

const TLV_HEAD_BYTES = 3
const CRC_BYTES = 4
/** `client` (1) and `verify` (4). */
const SSL_HEAD_BYTES = 5

export type TlvReading =
  | { readonly kind: 'tlvs'; readonly certificateName: string | undefined }
  | { readonly kind: 'invalid'; readonly reason: string }

interface Tlv {
  readonly type: number
  /** Where the value begins and ends, in the header. */
  readonly start: number
  readonly end: number
}

/** Reads all vectors from `start` to the end of the header. Unknown ones are skipped, their lengths are not trusted. */
export function readTlvs(header: Buffer, start: number): TlvReading {
  const tlvs = split(header, start, header.length)
  if (tlvs === undefined) return invalid('v2: a TLV is longer than the header')
  const checksums = tlvs.filter((tlv) => tlv.type === TlvType.crc32c)
  if (!checksums.every((tlv) => tlv.end - tlv.start === CRC_BYTES)) return invalid('v2: bad CRC32C TLV')
  if (checksums.length > 1) return invalid('v2: more than one CRC32C TLV')
  const [checksum] = checksums
  if (checksum !== undefined && !checksumHolds(header, checksum)) return invalid('v2: CRC32C does not match')

  const ssl = tlvs.filter((tlv) => tlv.type === TlvType.ssl)
  const [first] = ssl
  if (first === undefined) return { kind: 'tlvs', certificateName: undefined }
  // Two answers to "who is it" must not be a matter of which is read first.
  if (ssl.length > 1) return invalid('v2: more than one SSL TLV')
  return readSsl(header, first)
}

function split(header: Buffer, start: number, end: number): Tlv[] | undefined {
  const tlvs: Tlv[] = []
  let at = start
  while (at < end) {
    if (end - at < TLV_HEAD_BYTES) return undefined
    const valueStart = at + TLV_HEAD_BYTES
    const valueEnd = valueStart + header.readUInt16BE(at + 1)
    if (valueEnd > end) return undefined
    tlvs.push({ type: header.readUInt8(at), start: valueStart, end: valueEnd })
    at = valueEnd
  }
  return tlvs
}

/** 2.2.3: over the whole header, with the checksum's own field as zeroes. */
function checksumHolds(header: Buffer, checksum: Tlv): boolean {
  const zeroed = Buffer.from(header)
  zeroed.fill(0, checksum.start, checksum.end)
  return crc32c(zeroed) === header.readUInt32BE(checksum.start)
}

function readSsl(header: Buffer, ssl: Tlv): TlvReading {
  if (ssl.end - ssl.start < SSL_HEAD_BYTES) return invalid('v2: SSL TLV too short')
  const client = header.readUInt8(ssl.start)
  const verify = header.readUInt32BE(ssl.start + 1)
  const subs = split(header, ssl.start + SSL_HEAD_BYTES, ssl.end)
  if (subs === undefined) return invalid('v2: an SSL sub-TLV is longer than its TLV')
  const names = subs.filter((sub) => sub.type === SslSubtype.commonName)
  if (names.length > 1) return invalid('v2: more than one certificate name')
  const [name] = names

  const sawCertificate = (client & (SslClient.certificateInConnection | SslClient.certificateInSession)) !== 0
  // A proxy set to accept bad certificates still sends their CN: only `verify` 0 makes it an identity.
  if (name === undefined || !sawCertificate || verify !== 0)
    return { kind: 'tlvs', certificateName: undefined }
  const certificateName = decodeUtf8(header.subarray(name.start, name.end))
  if (certificateName === undefined) return invalid('v2: certificate name is not UTF-8')
  return { kind: 'tlvs', certificateName }
}

/** 2.2.6: "the string representation (in UTF8)"; a NUL would let two names look alike. */
function decodeUtf8(bytes: Buffer): string | undefined {
  if (bytes.length === 0 || bytes.includes(0)) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
