import { createHash, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** A key that signatures are checked with. */
export interface VerificationKey {
  readonly key: KeyObject
  readonly kid: string | undefined
  /** The only algorithm that it is for; undefined: any that fits its kind. */
  readonly algorithm: string | undefined
  /** Tells whether two keys are the same one. Of secrets, it must not leave the process. */
  readonly fingerprint: string
}

export type KeySet = readonly VerificationKey[]

/** Fewer bits are no protection: RFC 7518 3.3. */
const MIN_RSA_BITS = 2_048
/** Keys of a set that are looked at. */
const MAX_KEYS = 200
/** Signatures that one token may have checked, when it does not say which key it means. */
const MAX_CANDIDATES = 8

const CURVE_OF: Readonly<Record<string, string>> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
}
const HASH_BYTES: Readonly<Record<string, number>> = { HS256: 32, HS384: 48, HS512: 64 }

/** The keys that a token with this header may be signed with. */
export function candidates(keys: KeySet, header: { readonly alg: string; readonly kid?: string }): KeySet {
  return keys
    .filter(
      ({ key, kid, algorithm }) =>
        (header.kid === undefined || kid === undefined || kid === header.kid) &&
        (algorithm === undefined || algorithm === header.alg) &&
        isFor(header.alg, key),
    )
    .slice(0, MAX_CANDIDATES)
}

/** Each algorithm has its kind of key: a public key is never a secret, whatever a token says. */
function isFor(algorithm: string, key: KeyObject): boolean {
  if (algorithm.startsWith('HS')) return key.type === 'secret'
  if (key.type !== 'public') return false
  if (algorithm.startsWith('RS')) return key.asymmetricKeyType === 'rsa'
  if (algorithm.startsWith('PS')) return key.asymmetricKeyType === 'rsa'
  if (algorithm === 'EdDSA') return key.asymmetricKeyType === 'ed25519'
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === CURVE_OF[algorithm]
}

/** A JWK Set (RFC 7517) as text; keys in it that are not for public signatures are left out. Throws an Error. */
export function parseJwks(text: string): KeySet {
  const set = parseJson(text)
  const list: unknown = isRecord(set) ? set['keys'] : undefined
  if (!Array.isArray(list)) throw new Error('not a JWK Set: it has no list `keys`')
  const keys = list.slice(0, MAX_KEYS).flatMap((jwk: unknown) => {
    // Whatever else it holds is for somebody else: encryption, kinds that we do not know.
    try {
      return isForSignatures(jwk) ? [keyOfJwk(jwk)] : []
    } catch {
      return []
    }
  })
  if (keys.length === 0) throw new Error('no key in the set is for signatures')
  return keys
}

/** PEM (public keys, certificates), a JWK, or a JWK Set. Throws TMQ_FILE. */
export function parsePublicKeyFile(text: string, file: string): KeySet {
  const fail = (fault: string): TunnelMQError => new TunnelMQError(ErrorCode.file, `${file}: ${fault}`)
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text))
    throw fail('is a private key: give us the public one, and keep this where tokens are made')
  try {
    if (text.trimStart().startsWith('{')) {
      const json = parseJson(text)
      if (isRecord(json) && Array.isArray(json['keys'])) return parseJwks(text)
      if (isRecord(json) && 'd' in json) throw new Error('is a private key: give us the public one')
      return [keyOfJwk(json)]
    }
    const blocks = text.match(/-----BEGIN ([A-Z ]+)-----[\s\S]+?-----END \1-----/g) ?? []
    if (blocks.length === 0) throw new Error('is neither PEM nor a JSON Web Key')
    return blocks.map((pem) => publicKey(createPublicKey(pem)))
  } catch (error) {
    throw fail(error instanceof Error ? error.message : String(error))
  }
}

/** The one key of a shared secret. Throws an Error when it is too short for one of the algorithms: RFC 7518 3.2. */
export function secretKeySet(
  text: string,
  encoding: 'text' | 'base64',
  algorithms: readonly string[],
): KeySet {
  if (encoding === 'base64' && !/^[A-Za-z0-9+/_-]+={0,2}$/.test(text))
    throw new Error('the secret is not base64')
  const bytes = Buffer.from(text, encoding === 'base64' ? 'base64' : 'utf8')
  const needed = Math.max(...algorithms.map((algorithm) => HASH_BYTES[algorithm] ?? 0))
  if (bytes.length < needed)
    throw new Error(`the secret has ${bytes.length} bytes, and ${algorithms.join(', ')} needs ${needed}`)
  const fingerprint = createHash('sha256').update(bytes).digest('base64')
  return [{ key: createSecretKey(bytes), kid: undefined, algorithm: undefined, fingerprint }]
}

function keyOfJwk(jwk: unknown): VerificationKey {
  if (!isRecord(jwk)) throw new Error('is not a JSON Web Key')
  if (jwk['kty'] === 'oct') throw new Error('is a secret: use secretFile for it')
  const { kid, alg } = jwk
  return publicKey(createPublicKey({ key: jwk, format: 'jwk' }), {
    kid: typeof kid === 'string' ? kid : undefined,
    algorithm: typeof alg === 'string' ? alg : undefined,
  })
}

function publicKey(
  key: KeyObject,
  facts: Pick<VerificationKey, 'kid' | 'algorithm'> = { kid: undefined, algorithm: undefined },
): VerificationKey {
  const kind = key.asymmetricKeyType ?? ''
  if (!['rsa', 'ec', 'ed25519'].includes(kind)) throw new Error(`keys of kind ${kind} are not supported`)
  const bits = key.asymmetricKeyDetails?.modulusLength ?? MIN_RSA_BITS
  if (bits < MIN_RSA_BITS) throw new Error(`an RSA key of ${bits} bits is too weak: at least ${MIN_RSA_BITS}`)
  const der = key.export({ type: 'spki', format: 'der' })
  return { key, ...facts, fingerprint: createHash('sha256').update(der).digest('base64') }
}

/** RFC 7517 4.2 and 4.3. */
function isForSignatures(jwk: unknown): jwk is Record<string, unknown> {
  if (!isRecord(jwk)) return false
  const operations = jwk['key_ops']
  return (
    (jwk['use'] === undefined || jwk['use'] === 'sig') &&
    (!Array.isArray(operations) || operations.includes('verify'))
  )
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error('is not JSON')
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
