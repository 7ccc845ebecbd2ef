import { crc32c } from '../../../src/listeners/crc32c.ts'

/** The sender's side of the PROXY protocol, written from the specification, for tests. */
export interface V2Parts {
  readonly command?: number
  readonly familyAndProtocol?: number
  readonly addresses?: Buffer
  readonly tlvs?: readonly Buffer[]
  /** Adds a CRC32C TLV that holds. */
  readonly checksum?: boolean
}

export const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])

export function tlv(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(3)
  head.writeUInt8(type, 0)
  head.writeUInt16BE(value.length, 1)
  return Buffer.concat([head, value])
}

/** PP2_TYPE_SSL with a CN: a certificate was given in this connection. */
export function sslTlv(commonName: Buffer, { client = 0x03, verify = 0 } = {}): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt8(client, 0)
  head.writeUInt32BE(verify, 1)
  return tlv(0x20, Buffer.concat([head, tlv(0x21, Buffer.from('TLSv1.3')), tlv(0x22, commonName)]))
}

export function inet(source: readonly number[], port: number): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.set(source, 0)
  bytes.set([127, 0, 0, 1], 4)
  bytes.writeUInt16BE(port, 8)
  bytes.writeUInt16BE(1883, 10)
  return bytes
}

export function inet6(groups: readonly number[], port: number): Buffer {
  const bytes = Buffer.alloc(36)
  groups.forEach((group, i) => bytes.writeUInt16BE(group, 2 * i))
  bytes.writeUInt8(1, 31)
  bytes.writeUInt16BE(port, 32)
  bytes.writeUInt16BE(1883, 34)
  return bytes
}

export function encodeV2(parts: V2Parts): Buffer {
  const tlvs = [...(parts.tlvs ?? []), ...(parts.checksum === true ? [tlv(0x03, Buffer.alloc(4))] : [])]
  const body = Buffer.concat([parts.addresses ?? Buffer.alloc(0), ...tlvs])
  const head = Buffer.alloc(4)
  head.writeUInt8(0x20 | (parts.command ?? 1), 0)
  head.writeUInt8(parts.familyAndProtocol ?? 0x11, 1)
  head.writeUInt16BE(body.length, 2)
  const header = Buffer.concat([SIGNATURE, head, body])
  if (parts.checksum === true) header.writeUInt32BE(crc32c(header), header.length - 4)
  return header
}
