import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SignJWT, type JWTPayload } from 'jose'

/** A pair of keys that signs tokens. */
export interface TokenKey {
  readonly kid: string
  readonly privateKey: KeyObject
  /** PEM of the public one. */
  readonly pem: string
  readonly jwk: Record<string, unknown>
}

export function createTokenKey(kid: string): TokenKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicKey = createPublicKey(privateKey)
  return {
    kid,
    privateKey,
    pem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig' },
  }
}

export interface TokenFacts {
  readonly algorithm?: string
  /** In the header; undefined: none. */
  readonly kid?: string
  /** From now; negative: it has expired. `null`: no exp. Default: an hour. */
  readonly lifetimeMs?: number | null
}

export async function signToken(
  key: KeyObject | Uint8Array,
  claims: JWTPayload = {},
  { algorithm = 'ES256', kid, lifetimeMs = 3_600_000 }: TokenFacts = {},
): Promise<string> {
  const header = { alg: algorithm, ...(kid !== undefined && { kid }) }
  const exp = lifetimeMs === null ? {} : { exp: (Date.now() + lifetimeMs) / 1_000 }
  return new SignJWT({ ...exp, ...claims }).setProtectedHeader(header).sign(key)
}
