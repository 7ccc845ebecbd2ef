import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/**
 * The text of a key of an identity: `tmqi_<id>_<43 characters base64url>`. 256 random bits, so nobody guesses one, and
 * SHA-256 is hash enough at rest (decisions/0010).
 */

const KEY = /^tmqi_([0-9a-f]{16})_[A-Za-z0-9_-]{43}$/
const LONGEST_KEY_BYTES = 65
const ID_BYTES = 8
const SECRET_BYTES = 32
/** 144 bits. */
const PASSWORD_BYTES = 18

export function createKeyText(): { readonly id: string; readonly text: string; readonly hash: string } {
  const id = randomBytes(ID_BYTES).toString('hex')
  const text = `tmqi_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`
  return { id, text, hash: hashKey(Buffer.from(text)) }
}

/** The id in what a client has sent as its password; undefined: that is no key. */
export function keyIdIn(password: Buffer): string | undefined {
  if (password.length !== LONGEST_KEY_BYTES) return undefined
  return KEY.exec(password.toString('latin1'))?.[1]
}

/** Hex. */
export function hashKey(text: Buffer): string {
  return createHash('sha256').update(text).digest('hex')
}

/** In constant time, also when there is no such key: which there are is not told by the time it takes. */
export function isRightKey(text: Buffer, hash: string | undefined): boolean {
  const right = timingSafeEqual(Buffer.from(hashKey(text), 'hex'), Buffer.from(hash ?? NO_HASH, 'hex'))
  return right && hash !== undefined
}

const NO_HASH = '0'.repeat(64)

/** For those who want the broker to make one. */
export function createPassword(): string {
  return randomBytes(PASSWORD_BYTES).toString('base64url')
}
