/** A message on its way to the other broker. */
export interface OutgoingMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 1 | 2
  readonly retain: boolean
  readonly messageId: number
  /** It may have been sent before, in an earlier run. */
  readonly dup: boolean
  /** The other broker has it, or never will: this one may forget it. */
  readonly settled: () => void
}

interface Entry {
  readonly message: OutgoingMessage
  /** When it was last sent; undefined: it waits. */
  sentAtMs: number | undefined
  wasSent: boolean
}

/**
 * Hands a message to the other broker; `done` when that has taken it over. Never calls back within the call.
 * `again`: it may have it already.
 */
export type SendOutgoing = (message: OutgoingMessage, again: boolean, done: () => void) => void

/**
 * What this broker has handed to the bridge at QoS 1 and 2 and the other broker has not acknowledged, in order. A lost
 * connection sends all of it again on the next one, before anything newer. Its number is bounded by the window of the
 * session here, as nothing is acknowledged to this broker before it is settled.
 */
export class Outgoing {
  readonly #entries = new Set<Entry>()
  #send: SendOutgoing | undefined
  #maxInflight = 0
  #inflightCount = 0
  /** Answers to what an earlier connection has sent say nothing. */
  #generation = 0

  get count(): number {
    return this.#entries.size
  }

  /** When the oldest that is not acknowledged was sent; undefined: nothing is under way. */
  get oldestSentAtMs(): number | undefined {
    for (const { sentAtMs } of this.#entries) if (sentAtMs !== undefined) return sentAtMs
    return undefined
  }

  add(message: OutgoingMessage): void {
    this.#entries.add({ message, sentAtMs: undefined, wasSent: false })
    this.#pump()
  }

  /** The other broker is there. */
  connected(send: SendOutgoing, maxInflight: number): void {
    this.#send = send
    this.#maxInflight = maxInflight
    this.#pump()
  }

  /** It is gone: what it has not acknowledged waits to be sent again. */
  disconnected(): void {
    this.#send = undefined
    this.#generation++
    this.#inflightCount = 0
    for (const entry of this.#entries) entry.sentAtMs = undefined
  }

  /** The session here is gone, and keeps all of it in its queue. */
  clear(): void {
    this.#generation++
    this.#inflightCount = 0
    this.#entries.clear()
  }

  #pump(): void {
    const send = this.#send
    if (send === undefined) return
    for (const entry of this.#entries) {
      if (this.#inflightCount >= this.#maxInflight) return
      if (entry.sentAtMs !== undefined) continue
      entry.sentAtMs = performance.now()
      this.#inflightCount++
      const generation = this.#generation
      const again = entry.wasSent || entry.message.dup
      entry.wasSent = true
      send(entry.message, again, () => {
        if (generation !== this.#generation) return
        this.#inflightCount--
        this.#entries.delete(entry)
        entry.message.settled()
        this.#pump()
      })
    }
  }
}
