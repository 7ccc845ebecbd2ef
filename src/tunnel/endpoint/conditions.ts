import { withinTimer } from '../../timer.ts'

interface Waiter {
  holds(): boolean
  done(held: boolean): void
}

/** Waiting, each under a deadline, until something holds that `check` is told of. */
export class Conditions {
  readonly #waiters = new Set<Waiter>()

  /** False: not within the time, or {@link end} was first. */
  until(holds: () => boolean, timeoutMs: number): Promise<boolean> {
    if (holds()) return Promise.resolve(true)
    return new Promise((resolve) => {
      const timer = setTimeout(() => waiter.done(false), withinTimer(timeoutMs))
      const waiter: Waiter = {
        holds,
        done: (held) => {
          clearTimeout(timer)
          this.#waiters.delete(waiter)
          resolve(held)
        },
      }
      this.#waiters.add(waiter)
    })
  }

  /** Something has changed. */
  check(): void {
    for (const waiter of this.#waiters) if (waiter.holds()) waiter.done(true)
  }

  end(): void {
    for (const waiter of this.#waiters) waiter.done(waiter.holds())
  }
}
