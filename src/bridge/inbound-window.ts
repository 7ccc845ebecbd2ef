interface Arrived {
  /** 0 at QoS 0, which is not acknowledged. */
  readonly messageId: number
  isTaken: boolean
}

/**
 * Messages at QoS 0 and 1 that came from the other broker and are being stored here. PUBACKs go in the order of their
 * PUBLISH packets [MQTT-4.6.0-2], and when the window is full, nothing more is read.
 */
export class InboundWindow {
  readonly #maxCount: number
  readonly #acknowledge: (messageId: number) => void
  readonly #arrived: Arrived[] = []
  #waiting: (() => void) | undefined

  constructor(maxCount: number, acknowledge: (messageId: number) => void) {
    this.#maxCount = maxCount
    this.#acknowledge = acknowledge
  }

  /** Returns what is to be called when it is safe. */
  add(messageId: number): () => void {
    const arrived = { messageId, isTaken: false }
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
    while (this.#arrived[0]?.isTaken === true) {
      const { messageId } = this.#arrived.shift()!
      if (messageId !== 0) this.#acknowledge(messageId)
    }
    if (this.#waiting === undefined || this.#arrived.length >= this.#maxCount) return
    const next = this.#waiting
    this.#waiting = undefined
    next()
  }
}
