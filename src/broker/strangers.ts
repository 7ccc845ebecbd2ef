import { PacketType } from './packets/types.ts'

/** What a stranger speaks instead: nearly always two configurations that do not agree. */
export function notConnect(chunk: Buffer): string {
  const said = STRANGERS.find(({ begins }) => chunk.subarray(0, begins.length).equals(begins))
  if (said !== undefined) return said.detail
  return chunk[0]! >> 4 === PacketType.connect ? 'reserved flags are not 0' : 'first packet is not CONNECT'
}

const STRANGERS: readonly { readonly begins: Buffer; readonly detail: string }[] = [
  { begins: Buffer.of(0x16, 0x03), detail: 'a TLS handshake, on a listener without TLS' }, // RFC 8446, 5.1
  { begins: Buffer.from('GET '), detail: 'an HTTP request, on a listener for MQTT without WebSocket' },
  { begins: Buffer.from('PROXY '), detail: 'a PROXY header, from an address that is not to send one' },
  {
    begins: Buffer.from('0d0a0d0a000d0a515549540a', 'hex'),
    detail: 'a PROXY header, from an address that is not to send one',
  },
]
