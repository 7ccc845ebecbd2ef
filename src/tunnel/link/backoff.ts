/** The first wait is between this and twice as much. */
const MIN_MS = 500
const MAX_MS = 30_000
/** A connection that stood for this long was a good one: the next wait is a short one again. */
const STABLE_MS = 10_000
/**
 * Failures that count behind a shorter one: the bound is 4 s then. The broker was there and has taken us, and streams
 * wait; yet two clients with one id, or a broker that breaks down under its load, shall not have it every half second.
 */
const COUNT_AFTER_SHORT_LIFE = 2

/**
 * How long to wait before the next attempt to connect: at random, up to a bound that doubles.
 * At random, so that a thousand agents do not come back to a restarted broker in the same instant.
 */
export class Backoff {
  #failureCount = 0

  /** `random` is at least 0 and below 1. */
  next(random: number): number {
    const bound = Math.min(MAX_MS, MIN_MS * 2 ** ++this.#failureCount)
    return Math.round(MIN_MS + random * (bound - MIN_MS))
  }

  /** A connection has ended that was up for so long. */
  stood(forMs: number): void {
    this.#failureCount = forMs >= STABLE_MS ? 0 : Math.min(this.#failureCount, COUNT_AFTER_SHORT_LIFE)
  }
}
