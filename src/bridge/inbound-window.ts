interface Arrived {
  readonly acknowledge: () => void
  isTaken: boolean
}

/**
 * Messages that came from the other broker and are being stored here. They are acknowledged in the order in which they
 * came [MQTT-4.6.0-2], and when the window is full, nothing more is read.
 */
export class InboundWindow {
  readonly #maxCount: number
  readonly #arrived: Arrived[] = []
  #waiting: (() => void) | undefined

  constructor(maxCount: number) {
    this.#maxCount = maxCount
  }

  /** Returns what is to be called when it is safe; `acknowledge` is called when those before it are, too. */
  add(acknowledge: () => void): () => void {
    const arrived = { acknowledge, isTaken: false }
    this.#arrived.push(arrived)
    return () => {
      arrived.isTaken = true
      this.#settle()
    }
  }

  /** Calls back at once, or when there is room for one more. */
  onceRoom(next: () => void): void {
    if (this.#arrived.length < this.#maxCount) next()
    else this.#waiting = next
  }

  #settle(): void {
    while (this.#arrived[0]?.isTaken === true) this.#arrived.shift()!.acknowledge()
    if (this.#waiting === undefined || this.#arrived.length >= this.#maxCount) return
    const next = this.#waiting
    this.#waiting = undefined
    next()
  }
}
