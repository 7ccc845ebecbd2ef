/** A token bucket: at most `perSecond` on average, `burst` at once. Pure. */
export class TokenBucket {
  readonly #perMs: number
  readonly #burst: number
  #tokens: number
  #lastMs: number

  constructor(perSecond: number, nowMs: number, burst = perSecond) {
    this.#perMs = perSecond / 1_000
    this.#burst = burst
    this.#tokens = burst
    this.#lastMs = nowMs
  }

  /** Takes tokens, into debt if it must; returns the ms to wait until the debt is paid, 0: none. */
  take(count: number, nowMs: number): number {
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#lastMs) * this.#perMs)
    this.#lastMs = nowMs
    this.#tokens -= count
    return this.#tokens >= 0 ? 0 : Math.ceil(-this.#tokens / this.#perMs)
  }
}
