/** Turns of the event loop: more than a broker needs for a message that it does not store. */
const SLOW_TURNS = 20

/** Writes that wait. */
export interface Held {
  /** Resolves when the first of them waits. */
  readonly reached: Promise<void>
  /** Lets them happen, and all that follow. */
  release(): void
}

/**
 * Stands before every write of a store, and counts what the store looks at: so that a test decides when a write
 * happens, whether it fails, and between which two writes the broker dies.
 */
export class StoreBrake {
  /** Records read, written or compared so far. */
  stepCount = 0
  #isFailing = false
  #isUneven = false
  #writes = 0
  #writesLeft = Infinity
  #gate: Promise<void> = Promise.resolve()
  #reach: () => void = () => {}
  #release: () => void = () => {}

  /** To be awaited before each write; rejects when the write is to fail. */
  async pass(): Promise<void> {
    if (this.#isFailing) throw new Error('No space left on device')
    if (this.#isUneven && this.#writes++ % 2 === 0) await turns(SLOW_TURNS)
    if (this.#writesLeft-- > 0) return
    this.#reach()
    await this.#gate
  }

  /** `count` writes still happen; those after them wait. */
  holdAfter(count: number): Held {
    this.#writesLeft = count
    this.#gate = new Promise((resolve) => (this.#release = resolve))
    const reached = new Promise<void>((resolve) => (this.#reach = resolve))
    return { reached, release: () => this.release() }
  }

  /** Writes wait from now on. */
  hold(): Held {
    return this.holdAfter(0)
  }

  release(): void {
    this.#writesLeft = Infinity
    this.#release()
  }

  /** Every other write takes longer from now on, so that the next one may pass it. */
  makeUneven(): void {
    this.#isUneven = true
  }

  /** Writes fail from now on. */
  fail(): void {
    this.#isFailing = true
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}
