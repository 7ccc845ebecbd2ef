import { createHash } from 'node:crypto'

/** RFC 7252, 4.8.2: EXCHANGE_LIFETIME. A copy of a message may come for so long. */
export const EXCHANGE_LIFETIME_MS = 247_000

export interface DuplicateLimits {
  /** Messages that are remembered; the oldest go first. About 300 bytes each, with its answer. */
  readonly maxMessages: number
  /** Bytes of their answers. */
  readonly maxBytes: number
}

/** One request. */
export interface Exchange {
  /** What it was answered with last: an empty Acknowledgement, a response, or, while it is worked on, nothing. */
  reply: Buffer | undefined
  readonly expiresAtMs: number
}

/**
 * Which requests have been seen, and what they were answered with: a request that comes again, since its answer was
 * lost or is slow, is not done again (RFC 7252, 4.5). That holds from its arrival on, also while it is worked on.
 * Pure: the time is given.
 */
export class Duplicates {
  readonly #limits: DuplicateLimits
  /** Oldest first, as all live equally long. */
  readonly #exchanges = new Map<string, Exchange>()
  #bytes = 0

  constructor(limits: DuplicateLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#exchanges.size
  }

  /** The exchange of which this message is a copy; or undefined, and it is remembered as new. */
  seen(key: string, nowMs: number): Exchange | undefined {
    this.#forget(nowMs)
    const known = this.#exchanges.get(key)
    if (known !== undefined) return known
    this.#exchanges.set(key, { reply: undefined, expiresAtMs: nowMs + EXCHANGE_LIFETIME_MS })
    return undefined
  }

  answered(key: string, reply: Buffer): void {
    const exchange = this.#exchanges.get(key)
    if (exchange === undefined) return
    this.#bytes += reply.length - (exchange.reply?.length ?? 0)
    exchange.reply = reply
  }

  /** Of a request that may as well be done again (a GET): its answer need not be kept. */
  release(key: string): void {
    this.#delete(key)
  }

  clear(): void {
    this.#exchanges.clear()
    this.#bytes = 0
  }

  #forget(nowMs: number): void {
    const { maxMessages, maxBytes } = this.#limits
    for (const [key, { expiresAtMs }] of this.#exchanges) {
      const isOver = this.#exchanges.size >= maxMessages || this.#bytes > maxBytes
      if (!isOver && nowMs < expiresAtMs) return
      this.#delete(key)
    }
  }

  #delete(key: string): void {
    this.#bytes -= this.#exchanges.get(key)?.reply?.length ?? 0
    this.#exchanges.delete(key)
  }
}

/**
 * What a message is known by: its endpoint and all of it, the message id among it. A copy is the same bytes; a device
 * that was restarted, and counts its ids from the beginning again, says something new with an id that was there.
 */
export function exchangeKey(endpoint: string, datagram: Buffer): string {
  const hash = createHash('sha256').update(datagram).digest()
  return `${endpoint} ${hash.toString('base64url', 0, KEY_HASH_BYTES)}`
}

const KEY_HASH_BYTES = 12
