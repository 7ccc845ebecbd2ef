import type { Log } from '../../log.ts'

/** While Redis is away, it is said again. */
const EVERY_MS = 10_000

/** Says that Redis is away, at once and then from time to time, and that it is back. */
export class OutageLog {
  readonly #log: Log
  readonly #url: string
  #sinceMs: number | undefined
  #saidAtMs = 0

  /** `url` without a password. */
  constructor(log: Log, url: string) {
    this.#log = log
    this.#url = url
  }

  /** To be called now and then: `failure` is undefined while all is well. */
  check(failure: string | undefined): void {
    const nowMs = performance.now()
    if (failure === undefined) {
      if (this.#sinceMs === undefined) return
      this.#log.info({ redis: this.#url, awayMs: Math.round(nowMs - this.#sinceMs) }, 'redis is back')
      this.#sinceMs = undefined
      return
    }
    if (this.#sinceMs !== undefined && nowMs - this.#saidAtMs < EVERY_MS) return
    this.#sinceMs ??= nowMs
    this.#saidAtMs = nowMs
    const awayMs = Math.round(nowMs - this.#sinceMs)
    this.#log.warn({ redis: this.#url, reason: failure, awayMs }, 'redis is away')
  }
}
