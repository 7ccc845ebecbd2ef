/** Looking for retained messages may take this long at a stretch; then everybody else has a turn. */
const STRETCH_MS = 10

/**
 * Subscriptions of one session whose retained messages have not been looked up yet.
 *
 * Each SUBSCRIBE asks for all that match, again and again if the client likes, and a client that reads none of
 * them would fill the memory: so they are looked up when what came before is nearly sent. A subscription that is
 * made again meanwhile is one.
 */
export class RetainedReplays {
  readonly #byFilter = new Map<string, () => void>()
  readonly #hasRoom: () => boolean
  #isRunning = false

  /** `hasRoom`: may more be queued for this session now? */
  constructor(hasRoom: () => boolean) {
    this.#hasRoom = hasRoom
  }

  /** `replay` queues the retained messages; it is called at once or later, unless the filter is removed before. */
  add(filter: string, replay: () => void): void {
    this.#byFilter.set(filter, replay)
    this.proceed()
  }

  remove(filter: string): void {
    this.#byFilter.delete(filter)
  }

  /** Something was sent. */
  proceed(): void {
    if (this.#isRunning || this.#byFilter.size === 0) return
    this.#isRunning = true
    const startedMs = performance.now()
    for (const [filter, replay] of this.#byFilter) {
      if (!this.#hasRoom()) break
      this.#byFilter.delete(filter)
      replay()
      // At least one: what a door client is sent first comes with the SUBACK, however busy the machine is.
      if (performance.now() - startedMs > STRETCH_MS) {
        setImmediate(() => this.proceed())
        break
      }
    }
    this.#isRunning = false
  }
}
