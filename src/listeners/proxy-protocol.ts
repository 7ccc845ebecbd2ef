import type { ProxyHeader, ProxyReading } from './proxy-header.ts'
import { V1_FIRST_BYTE, readV1 } from './proxy-v1.ts'
import { V2_SIGNATURE, readV2 } from './proxy-v2.ts'

/**
 * PROXY protocol, versions 1 and 2, as a machine without IO: bytes in, header out.
 * Specification: haproxy.org, doc/proxy-protocol.txt (2.1 human-readable, 2.2 binary).
 */

export type ProxyOutcome =
  | { readonly kind: 'needMore' }
  /** `rest`: bytes that came behind the header and belong to the next protocol. */
  | { readonly kind: 'header'; readonly header: ProxyHeader; readonly rest: Buffer }
  | { readonly kind: 'invalid'; readonly reason: string }

export interface ProxyDecoder {
  /** Takes the next bytes, however they are split. After `header` or `invalid` it must not be called again. */
  receive(chunk: Buffer): ProxyOutcome
}

/** Version 2 may claim 65,551 bytes; what proxies send, TLVs included, is below 1 KiB. Held per waiting socket. */
export const DEFAULT_MAX_HEADER_BYTES = 8_192

/** A decoder for the header of one connection. */
export function createProxyDecoder(maxHeaderBytes = DEFAULT_MAX_HEADER_BYTES): ProxyDecoder {
  let held: Buffer = Buffer.alloc(0)
  return {
    receive(chunk) {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
      const reading = read(held, maxHeaderBytes)
      if (reading.kind !== 'header') return reading
      return { kind: 'header', header: reading.header, rest: held.subarray(reading.headerBytes) }
    },
  }
}

function read(bytes: Buffer, maxHeaderBytes: number): ProxyReading {
  const first = bytes[0]
  if (first === undefined) return { kind: 'needMore' }
  if (first === V1_FIRST_BYTE) return readV1(bytes)
  if (first === V2_SIGNATURE[0]) return readV2(bytes, maxHeaderBytes)
  return { kind: 'invalid', reason: 'no PROXY header' }
}
