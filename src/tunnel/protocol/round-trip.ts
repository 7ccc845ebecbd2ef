/** The least round trip is remembered for one to two of these, so that a path that became longer is believed. */
const MEMORY_MS = 20_000
/** While a path is crowded, its queue is let run empty so often: otherwise the least round trip would creep up. */
const DRAIN_EVERY_MS = 10_000
const MAX_DRAIN_MS = 1_000

/** How long the way to the other end takes without queues: shared by all streams between two ends. */
export class RoundTrip {
  #leastMs = Infinity
  #earlierLeastMs = Infinity
  #memorySinceMs = -Infinity
  #drainFromMs = -Infinity
  #drainToMs = -Infinity

  /** Infinity: not known. */
  get leastMs(): number {
    return Math.min(this.#leastMs, this.#earlierLeastMs)
  }

  sample(ms: number, nowMs: number): void {
    if (nowMs - this.#memorySinceMs >= MEMORY_MS) {
      const isRecent = nowMs - this.#memorySinceMs < 2 * MEMORY_MS
      this.#earlierLeastMs = isRecent ? this.#leastMs : Infinity
      this.#leastMs = Infinity
      this.#memorySinceMs = nowMs
    }
    this.#leastMs = Math.min(this.#leastMs, ms)
  }

  /** A sender has found a queue: it takes `roundTripMs` now. */
  crowded(roundTripMs: number, nowMs: number): void {
    if (nowMs - this.#drainFromMs < DRAIN_EVERY_MS) return
    const isFirst = nowMs - this.#drainFromMs >= 2 * DRAIN_EVERY_MS
    this.#drainFromMs = nowMs
    // The first time the queue is young, and the least round trip as well.
    if (!isFirst) this.#drainToMs = nowMs + Math.min(roundTripMs, MAX_DRAIN_MS)
  }

  /** Senders hold back, for a moment. */
  isDraining(nowMs: number): boolean {
    return nowMs < this.#drainToMs
  }

  /** The connection is another one, and so may be the way. */
  forget(): void {
    this.#leastMs = Infinity
    this.#earlierLeastMs = Infinity
    this.#memorySinceMs = -Infinity
    this.#drainFromMs = -Infinity
    this.#drainToMs = -Infinity
  }
}
