import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { saslprep } from './saslprep.ts'

/**
 * What the broker keeps of a password for SCRAM-SHA-256 (RFC 5802, 3): enough to know who has it, not enough to be that.
 * Stored as RFC 5803 writes it: SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
 */
export interface StoredKeys {
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

export const SCRAM_SHA_256 = 'SCRAM-SHA-256'

/** RFC 7677, 4. */
export const MIN_ITERATIONS = 4_096
/** What an entry may make each client spend. */
export const MAX_ITERATIONS = 10_000_000
/** Done by the client at each connection, so that small devices count; about 10 ms on a Raspberry Pi 4. */
export const DEFAULT_ITERATIONS = 10_000

const KEY_BYTES = 32
const SALT_BYTES = 16

const pbkdf2Async = promisify(pbkdf2)

/** Throws an Error that says what of the password is not allowed, and not what it is. */
export async function deriveKeys(
  password: string,
  { iterations, salt = randomBytes(SALT_BYTES) }: { readonly iterations: number; readonly salt?: Buffer },
): Promise<StoredKeys> {
  const prepared = saslprep(password)
  if ('fault' in prepared) throw new Error(prepared.fault)
  const salted = await pbkdf2Async(prepared.text, salt, iterations, KEY_BYTES, 'sha256')
  const storedKey = sha256(hmac(salted, 'Client Key'))
  const serverKey = hmac(salted, 'Server Key')
  salted.fill(0)
  return { iterations, salt, storedKey, serverKey }
}

export function formatStoredKeys({ iterations, salt, storedKey, serverKey }: StoredKeys): string {
  const [saltText, stored, server] = [salt, storedKey, serverKey].map((bytes) => bytes.toString('base64'))
  return `${SCRAM_SHA_256}$${iterations}:${saltText}$${stored}:${server}`
}

/** A string says what is wrong with the text, and never repeats it. */
export function parseStoredKeys(text: string): StoredKeys | string {
  if (!text.startsWith(`${SCRAM_SHA_256}$`))
    return `no entry of the form ${SCRAM_SHA_256}$<iterations>:<salt>$<StoredKey>:<ServerKey> (\`tunnelmq passwd --scram\` makes them)`
  const match = /^[^$]+\$(\d{1,9}):([^$:]+)\$([^$:]+):([^$:]+)$/.exec(text)
  const salt = fromBase64(match?.[2])
  const storedKey = fromBase64(match?.[3])
  const serverKey = fromBase64(match?.[4])
  if (salt === undefined || storedKey?.length !== KEY_BYTES || serverKey?.length !== KEY_BYTES)
    return `damaged ${SCRAM_SHA_256} entry`
  const iterations = Number(match![1])
  if (iterations < MIN_ITERATIONS || iterations > MAX_ITERATIONS)
    return `${iterations} iterations; at least ${MIN_ITERATIONS} (RFC 7677) and at most ${MAX_ITERATIONS}`
  return { iterations, salt, storedKey, serverKey }
}

export function hmac(key: Buffer, data: string | Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest()
}

export function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest()
}

/** Strict: one text for each value. */
export function fromBase64(text: string | undefined): Buffer | undefined {
  if (text === undefined || text === '') return undefined
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
