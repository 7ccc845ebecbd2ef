import { createHmac, randomBytes } from 'node:crypto'
import { verifyPassword, type PasswordHash } from './password-hash.ts'
import { createSlots } from './slots.ts'
import { AuthError, RefuseReason, type Awaitable } from './types.ts'

export interface VerifyRequest {
  readonly username: string
  readonly hash: PasswordHash
  readonly password: Buffer
  /** Fires when nobody wants the answer any more. */
  readonly signal: AbortSignal
}

/** Checks passwords against slow hashes so that a storm of reconnecting clients stays bearable. */
export interface PasswordVerifier {
  verify(request: VerifyRequest): Awaitable<boolean>
  /** Forgets what was verified. */
  clear(): void
}

interface Job {
  readonly hash: PasswordHash
  /** A copy: the session's own is wiped when its deadline passes, others may still wait for this job. */
  readonly password: Buffer
  readonly signals: AbortSignal[]
  readonly result: Promise<boolean>
}

/** Half of libuv's thread pool: the store syncs to the disk through the same four threads. */
const maxParallelHashes = 2
const maxWaitingHashes = 10_000
const maxHashWaitMs = 60_000
/** About 100 bytes each. */
const maxRemembered = 10_000

export function createPasswordVerifier(check = verifyPassword): PasswordVerifier {
  // Keyed by a random key of this process: what is kept says nothing about a password, here or elsewhere.
  const processKey = randomBytes(32)
  const slots = createSlots({ maxTaken: maxParallelHashes, maxWaiting: maxWaitingHashes })
  const verified = new Set<string>()
  const jobs = new Map<string, Job>()

  function keyOf({ username, hash, password }: VerifyRequest): string {
    const name = Buffer.from(username)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(name.length)
    // The stored digest is part of the key: a changed password is never answered from memory.
    const mac = createHmac('sha256', processKey).update(length).update(name)
    return mac.update(hash.salt).update(hash.digest).update(password).digest('base64')
  }

  function remember(key: string): void {
    const [oldest] = verified
    if (verified.size >= maxRemembered && oldest !== undefined) verified.delete(oldest)
    verified.add(key)
  }

  async function run(key: string, job: Omit<Job, 'result'>): Promise<boolean> {
    const outcome = await slots.wait(maxHashWaitMs)
    try {
      if (outcome !== 'taken') {
        throw new AuthError('too many passwords are being checked', RefuseReason.unavailable)
      }
      if (job.signals.every((signal) => signal.aborted)) return false
      const right = await check(job.hash, job.password)
      if (right) remember(key)
      return right
    } finally {
      if (outcome === 'taken') slots.release()
      jobs.delete(key)
      job.password.fill(0)
    }
  }

  return {
    verify(request) {
      // A microsecond: cheaper than anything that would remember it.
      if (request.hash.scheme === 'sha512') return check(request.hash, request.password)
      const key = keyOf(request)
      if (verified.has(key)) return true
      const running = jobs.get(key)
      if (running !== undefined) {
        // Many devices with one name and password: one hash answers them all.
        running.signals.push(request.signal)
        return running.result
      }
      const job = {
        hash: request.hash,
        password: Buffer.from(request.password),
        signals: [request.signal],
      }
      const result = run(key, job)
      jobs.set(key, { ...job, result })
      return result
    },
    clear() {
      verified.clear()
    },
  }
}
