/** Gathers what a turn of the event loop has to write, so that each socket is written once a turn. */

export interface Flushable {
  /** Whether it is in the list; kept by {@link TurnEnd}. */
  isDue: boolean
  flush(): void
}

export class TurnEnd {
  #due: Flushable[] = []

  /** Calls `flush` once, after all sockets that are readable now have been read. */
  add(item: Flushable): void {
    if (item.isDue) return
    item.isDue = true
    if (this.#due.push(item) === 1) setImmediate(this.#flushAll)
  }

  readonly #flushAll = (): void => {
    const due = this.#due
    this.#due = []
    for (const item of due) {
      item.isDue = false
      item.flush()
    }
  }
}
