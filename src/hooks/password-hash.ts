import { createHash, pbkdf2, randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Awaitable } from './types.ts'

/**
 * Formats of stored passwords:
 *
 *     $6$<salt>$<digest>                            SHA-512(password + salt): mosquitto 1.x, vmq-passwd
 *     $7$<iterations>$<salt>$<digest>               PBKDF2-HMAC-SHA512: mosquitto 2
 *     $scrypt$ln=14,r=8,p=1$<salt>$<digest>         ours, in PHC string format (base64 without padding)
 */
export type PasswordHash =
  | { readonly scheme: 'sha512'; readonly salt: Buffer; readonly digest: Buffer }
  | {
      readonly scheme: 'pbkdf2-sha512'
      readonly iterations: number
      readonly salt: Buffer
      readonly digest: Buffer
    }
  | {
      readonly scheme: 'scrypt'
      readonly log2N: number
      readonly r: number
      readonly p: number
      readonly salt: Buffer
      readonly digest: Buffer
    }

/** 16 MiB for each password that is not in the cache; what node:crypto takes by default, so that a fleet can come back after a restart. */
const scryptCost = { log2N: 14, r: 8, p: 1 }
const saltBytes = 16
const scryptDigestBytes = 32
const sha512Bytes = 64
/** What a line of the file may make us spend. */
const maxScryptMemoryBytes = 256 * 1024 * 1024
const maxScryptParallelism = 16
const maxPbkdf2Iterations = 10_000_000

const pbkdf2Async = promisify(pbkdf2)
const scryptAsync = promisify(scrypt) as (
  password: Buffer,
  salt: Buffer,
  digestBytes: number,
  options: { N: number; r: number; p: number; maxmem: number },
) => Promise<Buffer>

/** The stored form taken apart; a string says what is wrong with it (and never repeats it). */
export function parsePasswordHash(text: string): PasswordHash | string {
  if (!text.startsWith('$')) {
    return 'the password is not hashed (`mosquitto_passwd -U FILE` hashes a file of plain passwords)'
  }
  const [, scheme, ...fields] = text.split('$')
  switch (scheme) {
    case '6':
      return parseSha512(fields)
    case '7':
      return parsePbkdf2(fields)
    case 'scrypt':
      return parseScrypt(fields)
    case 'argon2id':
      return 'argon2 is not supported: set the password again with `tunnelmq passwd` or `mosquitto_passwd -H sha512-pbkdf2`'
    default:
      return 'unknown kind of password hash; known are $6$, $7$ and $scrypt$'
  }
}

function parseSha512(fields: readonly string[]): PasswordHash | string {
  if (fields.length !== 2) return 'a $6$ hash has the form $6$<salt>$<hash>'
  const salt = fromBase64(fields[0])
  const digest = fromBase64(fields[1])
  if (salt === undefined || digest?.length !== sha512Bytes) return 'damaged $6$ hash'
  return { scheme: 'sha512', salt, digest }
}

function parsePbkdf2(fields: readonly string[]): PasswordHash | string {
  if (fields.length !== 3) return 'a $7$ hash has the form $7$<iterations>$<salt>$<hash>'
  const iterations = toCount(fields[0])
  const salt = fromBase64(fields[1])
  const digest = fromBase64(fields[2])
  if (iterations === undefined || salt === undefined || digest?.length !== sha512Bytes) {
    return 'damaged $7$ hash'
  }
  if (iterations > maxPbkdf2Iterations) return `more than ${maxPbkdf2Iterations} iterations`
  return { scheme: 'pbkdf2-sha512', iterations, salt, digest }
}

function parseScrypt(fields: readonly string[]): PasswordHash | string {
  const cost = /^ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})$/.exec(fields[0] ?? '')
  if (fields.length !== 3 || cost === null) {
    return 'a $scrypt$ hash has the form $scrypt$ln=<n>,r=<n>,p=<n>$<salt>$<hash>'
  }
  const [log2N, r, p] = [toCount(cost[1]), toCount(cost[2]), toCount(cost[3])]
  const salt = fromBase64(fields[1])
  const digest = fromBase64(fields[2])
  if (log2N === undefined || r === undefined || p === undefined) return 'damaged $scrypt$ hash'
  if (salt === undefined || digest === undefined || digest.length < 16) return 'damaged $scrypt$ hash'
  if (128 * 2 ** log2N * r > maxScryptMemoryBytes || p > maxScryptParallelism) {
    return `scrypt with more than ${maxScryptMemoryBytes / 1024 / 1024} MiB or p > ${maxScryptParallelism}`
  }
  return { scheme: 'scrypt', log2N, r, p, salt, digest }
}

/** Compares in constant time. Everything but `sha512` runs in the thread pool. */
export function verifyPassword(hash: PasswordHash, password: Buffer): Awaitable<boolean> {
  const { salt, digest } = hash
  switch (hash.scheme) {
    case 'sha512':
      return timingSafeEqual(createHash('sha512').update(password).update(salt).digest(), digest)
    case 'pbkdf2-sha512':
      return pbkdf2Async(password, salt, hash.iterations, digest.length, 'sha512').then((made) =>
        timingSafeEqual(made, digest),
      )
    case 'scrypt':
      return scryptAsync(password, salt, digest.length, scryptOptions(hash)).then((made) =>
        timingSafeEqual(made, digest),
      )
    default:
      return hash satisfies never
  }
}

/** The stored form of a new password, with scrypt and a random salt. */
export async function hashPassword(password: Buffer): Promise<string> {
  const salt = randomBytes(saltBytes)
  const digest = await scryptAsync(password, salt, scryptDigestBytes, scryptOptions(scryptCost))
  const { log2N, r, p } = scryptCost
  return `$scrypt$ln=${log2N},r=${r},p=${p}$${unpaddedBase64(salt)}$${unpaddedBase64(digest)}`
}

/** A hash that costs as much as the given one, and that no password has. */
export function decoyOf(hash: PasswordHash): PasswordHash {
  return { ...hash, digest: randomBytes(hash.digest.length) }
}

/** A hash that costs as much as one of {@link hashPassword}, and that no password has. */
export function createDecoy(): PasswordHash {
  return {
    scheme: 'scrypt',
    ...scryptCost,
    salt: randomBytes(saltBytes),
    digest: randomBytes(scryptDigestBytes),
  }
}

function scryptOptions(cost: { log2N: number; r: number; p: number }) {
  const { log2N, r, p } = cost
  const N = 2 ** log2N
  // Node's default bound is exactly too small for 32 MiB.
  return { N, r, p, maxmem: 128 * r * (N + p) + 1024 * 1024 }
}

function toCount(digits: string | undefined): number | undefined {
  return digits !== undefined && /^[1-9]\d{0,9}$/.test(digits) ? Number(digits) : undefined
}

function fromBase64(text: string | undefined): Buffer | undefined {
  return text !== undefined && /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined
}

function unpaddedBase64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
