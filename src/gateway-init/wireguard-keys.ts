import { generateKeyPairSync } from 'node:crypto'

/** As `wg genkey` and `wg pubkey` write them: base64 of 32 bytes. */
export interface WireguardKeys {
  readonly privateKey: string
  readonly publicKey: string
}

/** WireGuard's keys are those of X25519 (RFC 7748 section 5). */
export function createWireguardKeys(): WireguardKeys {
  const { privateKey, publicKey } = generateKeyPairSync('x25519')
  const { d = '' } = privateKey.export({ format: 'jwk' })
  const { x = '' } = publicKey.export({ format: 'jwk' })
  return { privateKey: toBase64(d), publicKey: toBase64(x) }
}

function toBase64(base64url: string): string {
  return Buffer.from(base64url, 'base64url').toString('base64')
}
