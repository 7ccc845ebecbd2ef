export interface BreakerOptions {
  /** In a row. */
  readonly failures: number
  readonly cooldownMs: number
  /** Left out (true), or back (false). */
  readonly onChange: (isOpen: boolean) => void
}

/**
 * Leaves an endpoint out that fails again and again. Pure: the caller knows the time.
 *
 *   closed ──failures in a row──▶ open ──cooldownMs──▶ trying ──success──▶ closed
 *                                  ▲                      │ failure
 *                                  └──────────────────────┘
 */
export class Breaker {
  readonly #options: BreakerOptions
  #state: 'closed' | 'open' | 'trying' = 'closed'
  #failures = 0
  #openUntilMs = 0

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  /** May it be asked? While it is tried, by one request alone; whoever was let through says how it went. */
  enter(nowMs: number): boolean {
    if (this.#state === 'closed') return true
    if (this.#state === 'trying' || nowMs < this.#openUntilMs) return false
    this.#state = 'trying'
    return true
  }

  succeeded(): void {
    this.#failures = 0
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#options.onChange(false)
  }

  /** It was not asked after all, and somebody else may try it. */
  notAsked(): void {
    if (this.#state === 'trying') this.#state = 'open'
  }

  failed(nowMs: number): void {
    this.#failures++
    if (this.#state === 'open') return
    if (this.#state === 'closed' && this.#failures < this.#options.failures) return
    const wasClosed = this.#state === 'closed'
    this.#state = 'open'
    this.#openUntilMs = nowMs + this.#options.cooldownMs
    if (wasClosed) this.#options.onChange(true)
  }
}
