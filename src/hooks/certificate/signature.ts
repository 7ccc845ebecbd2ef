import { constants, verify, type KeyObject, type VerifyKeyObjectInput } from 'node:crypto'
import { AlgorithmIdentifier, RSASSAPSSParams } from 'pkijs'

const HASH_OF: Readonly<Record<string, string>> = {
  // RSASSA-PKCS1-v1_5: RFC 4055, 5
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  // ECDSA: RFC 5758, 3.2
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
}
/** Ed25519 and Ed448 hash themselves: RFC 8410, 3. */
const EDWARDS = new Set(['1.3.101.112', '1.3.101.113'])
const RSA_PSS = '1.2.840.113549.1.1.10'
const SHA2: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}

export interface Signed {
  /** What is signed, as it was encoded. */
  readonly tbs: Uint8Array
  readonly signature: Uint8Array
  readonly algorithm: AlgorithmIdentifier
}

/** Whether the key has signed it. Algorithms that are unknown or broken (MD5, SHA-1): no. */
export function isSignedBy({ tbs, signature, algorithm }: Signed, key: KeyObject): boolean {
  try {
    const { algorithmId } = algorithm
    if (algorithmId === RSA_PSS) return isSignedByPss({ tbs, signature, algorithm }, key)
    const isEdwards = EDWARDS.has(algorithmId)
    const hash = HASH_OF[algorithmId]
    if (!isEdwards && hash === undefined) return false
    return verify(isEdwards ? null : hash, tbs, key, signature)
  } catch {
    // A key of another kind than the algorithm's.
    return false
  }
}

function isSignedByPss({ tbs, signature, algorithm }: Signed, key: KeyObject): boolean {
  const { hashAlgorithm, saltLength } = new RSASSAPSSParams({ schema: algorithm.algorithmParams })
  const hash = SHA2[hashAlgorithm.algorithmId]
  if (hash === undefined) return false
  const input: VerifyKeyObjectInput = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }
  return verify(hash, tbs, input, signature)
}
