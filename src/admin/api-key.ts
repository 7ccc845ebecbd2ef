import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/**
 * The text of an API key: `tmq_<name>_<43 characters base64url>`. 256 random bits, so nobody guesses one, and SHA-256 is
 * hash enough at rest (decisions/0010).
 */

const NAME = /^[A-Za-z0-9][A-Za-z0-9.-]{0,31}$/
const KEY = /^tmq_([A-Za-z0-9][A-Za-z0-9.-]{0,31})_[A-Za-z0-9_-]{43}$/
const SECRET_BYTES = 32

/** Of the key that a broker writes for its own machine (local-key.ts). */
export const LOCAL_KEY_NAME = 'local'

/** What is wrong with the name of a key, or undefined. */
export function keyNameFault(name: string): string | undefined {
  if (!NAME.test(name))
    return `"${name}" is no name of a key: 1 to 32 letters, digits, dots and hyphens, beginning with a letter or digit`
  if (name === LOCAL_KEY_NAME) return `"${LOCAL_KEY_NAME}" is the key that the broker makes itself`
  return undefined
}

export function createKeyText(name: string): string {
  return `tmq_${name}_${randomBytes(SECRET_BYTES).toString('base64url')}`
}

/** The name in a key's text; undefined: it is no key. */
export function nameInKey(text: string): string | undefined {
  return KEY.exec(text)?.[1]
}

/** 32 bytes. */
export function hashKey(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** In constant time. */
export function isSameHash(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
