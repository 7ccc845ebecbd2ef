import { decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose'
import type { JwtConfig } from '../../config/jwt-schema.ts'
import { AuthError, RefuseReason } from '../types.ts'
import { candidates, type VerificationKey } from './key-set.ts'
import type { KeySource } from './key-source.ts'

/** A token that has been verified. */
export interface VerifiedToken {
  readonly claims: JWTPayload
  readonly key: VerificationKey
}

const bad = (message: string): AuthError => new AuthError(message, RefuseReason.badCredentials)

/** Shared: a flood of bad tokens must not cost a stack trace each. The texts are for the log. */
export const tokenRefusals = {
  missing: bad('no token'),
  tooLong: bad('the token is too long'),
  malformed: bad('the token cannot be read'),
  algorithm: bad('the algorithm of the token is not allowed'),
  unknownKey: bad('the key of the token is not known'),
  signature: bad('the signature of the token is wrong'),
  expired: bad('the token has expired'),
  notYetValid: bad('the token is not yet valid'),
  noExpiry: bad('the token has no exp'),
  issuer: bad('the token is from another issuer'),
  audience: bad('the token is for another audience'),
  claims: bad('a claim of the token does not fit the client'),
  names: bad('the token has no fitting name for the client'),
  rights: bad('the rights in the token cannot be read'),
  noKeys: new AuthError('there are no keys to check tokens with', RefuseReason.unavailable),
} as const

/** Three parts of base64url (RFC 7515 3.1), of which the last is empty in tokens without a signature. */
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/

/**
 * The text, if it is a token or wants to be one; undefined: it is something else, such as a password. Throws when it
 * is longer than `maxBytes`.
 */
export function tokenIn(field: Buffer | string | undefined, maxBytes: number): string | undefined {
  if (field === undefined) return undefined
  if (field.length > maxBytes) {
    // The first letter of an object in base64url.
    if (/^e[yw].*\./.test(field.toString().slice(0, maxBytes))) throw tokenRefusals.tooLong
    return undefined
  }
  const text = field.toString()
  return COMPACT.test(text) && isObject(text.slice(0, text.indexOf('.'))) ? text : undefined
}

/** The beginning of an object in base64url, and at least two further parts: signed, encrypted, or with something around it. */
const TOKEN_WITHIN = /(?:^|[^\w-])e[yw][\w-]*\.[\w-]+\.[\w-]*/

/** Is it, or has it in it, what must not be seen? Also of what {@link tokenIn} does not take for one. */
export function holdsToken(text: string | undefined): boolean {
  return text !== undefined && TOKEN_WITHIN.test(text)
}

function isObject(part: string): boolean {
  return /^\s*\{/.test(Buffer.from(part, 'base64url').toString('latin1'))
}

/** Signature, time, issuer and audience. Rejects with one of {@link tokenRefusals}. */
export async function verifyToken(token: string, config: JwtConfig, keys: KeySource): Promise<VerifiedToken> {
  const header = headerOf(token)
  if (!config.algorithms.some((algorithm) => algorithm === header.alg)) throw tokenRefusals.algorithm
  let found = keysFor(header, keys)
  if (found === undefined || found.length === 0) {
    await keys.renew?.()
    found = keysFor(header, keys)
  }
  if (found === undefined) throw tokenRefusals.noKeys
  if (found.length === 0) throw tokenRefusals.unknownKey
  for (const key of found) {
    const claims = await verifyWith(key, token, header.alg, config)
    if (claims !== undefined) return { claims, key }
  }
  throw tokenRefusals.signature
}

interface Header {
  readonly alg: string
  readonly kid?: string
}

function headerOf(token: string): Header {
  try {
    const { alg, kid } = decodeProtectedHeader(token)
    if (typeof alg !== 'string') throw tokenRefusals.malformed
    return typeof kid === 'string' ? { alg, kid } : { alg }
  } catch {
    throw tokenRefusals.malformed
  }
}

function keysFor(header: Header, keys: KeySource): readonly VerificationKey[] | undefined {
  const current = keys.current()
  return current && candidates(current, header)
}

/** Undefined: it is not signed with this key. */
async function verifyWith(
  { key }: VerificationKey,
  token: string,
  algorithm: string,
  { issuer, audience, clockToleranceMs, requireExpiry }: JwtConfig,
): Promise<JWTPayload | undefined> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [algorithm],
      clockTolerance: clockToleranceMs / 1_000,
      ...(issuer.length > 0 && { issuer }),
      ...(audience.length > 0 && { audience }),
      ...(requireExpiry && { requiredClaims: ['exp'] }),
    })
    return payload
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) return undefined
    throw refusalOf(error)
  }
}

function refusalOf(error: unknown): AuthError {
  if (error instanceof errors.JWTExpired) return tokenRefusals.expired
  if (!(error instanceof errors.JWTClaimValidationFailed)) return tokenRefusals.malformed
  switch (error.claim) {
    case 'iss':
      return tokenRefusals.issuer
    case 'aud':
      return tokenRefusals.audience
    case 'nbf':
      return tokenRefusals.notYetValid
    case 'exp':
      return tokenRefusals.noExpiry
    default:
      return tokenRefusals.malformed
  }
}
