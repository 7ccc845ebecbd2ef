import type { MessageDescription } from '../broker/door/packet-properties.ts'

/** Closings in a row, each in answer to one message, before others are sent past it. */
const SUSPECT_CLOSINGS = 3

/** A message on its way to the other broker. */
export interface OutgoingMessage extends Omit<MessageDescription, 'expirySeconds'> {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 1 | 2
  readonly retain: boolean
  readonly messageId: number
  /** Unix time in ms; undefined: no end is known. */
  readonly expiresAtMs?: number
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
  /** It was sent alone, and the other broker has closed the connection instead of acknowledging it: so many times. */
  closings: number
}

/**
 * Hands a message to the other broker; `done` when nothing more is to be done for it, and whether because that broker has
 * acknowledged it. Never calls back within the call. `again`: it may have it already.
 */
export type SendOutgoing = (
  message: OutgoingMessage,
  again: boolean,
  done: (isAcknowledged: boolean) => void,
) => void

/**
 * What this broker has handed to the bridge at QoS 1 and 2 and the other broker has not acknowledged, in order. A lost
 * connection sends all of it again on the next one, before anything newer. Its number is bounded by the window of the
 * session here, as nothing is acknowledged to this broker before it is settled.
 *
 * MQTT 3.1.1 has no other way to refuse a message than to close the connection (too large, a topic that is not allowed),
 * and a message that is sent first on each connection would hold up all others for ever. So after a connection that the
 * other broker has closed without acknowledging anything, messages are sent one at a time. One that has it closed three
 * times is passed over for once: when one of another topic is acknowledged then, that broker works, and it is this
 * message that it does not take. Nothing is given up without that proof: a broker that takes nothing is waited for.
 */
export class Outgoing {
  readonly #entries = new Set<Entry>()
  #send: SendOutgoing | undefined
  #maxInflight = 0
  #inflightCount = 0
  /** Answers to what an earlier connection has sent say nothing. */
  #generation = 0
  #hasWorked = false
  #isOneAtATime = false
  /** What is not sent on this connection. */
  #suspects: readonly Entry[] = []
  readonly #refused: (message: OutgoingMessage) => void

  /** `refused`: told of each message that is given up, because the connection is closed whenever it comes. */
  constructor(refused: (message: OutgoingMessage) => void) {
    this.#refused = refused
  }

  get count(): number {
    return this.#entries.size
  }

  /** Something was acknowledged on this connection, or on the last one. */
  get hasWorked(): boolean {
    return this.#hasWorked
  }

  /** When the oldest that is not acknowledged was sent; undefined: nothing is under way. */
  get oldestSentAtMs(): number | undefined {
    for (const { sentAtMs } of this.#entries) if (sentAtMs !== undefined) return sentAtMs
    return undefined
  }

  add(message: OutgoingMessage): void {
    this.#entries.add({ message, sentAtMs: undefined, wasSent: false, closings: 0 })
    this.#pump()
  }

  /** The other broker is there. */
  connected(send: SendOutgoing, maxInflight: number): void {
    this.#send = send
    this.#maxInflight = maxInflight
    this.#hasWorked = false
    const suspects = [...this.#entries].filter(({ closings }) => closings >= SUSPECT_CLOSINGS)
    const topics = new Set(suspects.map(({ message }) => message.topic))
    // Not past one of the same topic: it may be taken yet, and they are in order.
    const hasOthers = [...this.#entries].some(({ message }) => !topics.has(message.topic))
    this.#suspects = hasOthers ? suspects : []
    this.#pump()
  }

  /** It is gone: what it has not acknowledged waits to be sent again. `isClosed`: the other broker has closed it. */
  disconnected({ isClosed = false } = {}): void {
    if (isClosed && !this.#hasWorked) this.#note()
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

  /** The connection was closed, and nothing on it acknowledged. */
  #note(): void {
    for (const entry of this.#entries) {
      if (entry.sentAtMs === undefined) continue
      if (this.#isOneAtATime) entry.closings++
      this.#isOneAtATime = true
      return
    }
  }

  #pump(): void {
    const send = this.#send
    if (send === undefined) return
    const maxInflight = this.#isOneAtATime ? 1 : this.#maxInflight
    for (const entry of this.#entries) {
      if (this.#inflightCount >= maxInflight) return
      if (entry.sentAtMs !== undefined || this.#isPassedOver(entry)) continue
      entry.sentAtMs = performance.now()
      this.#inflightCount++
      const generation = this.#generation
      const again = entry.wasSent || entry.message.dup
      entry.wasSent = true
      send(entry.message, again, (isAcknowledged) => {
        if (generation !== this.#generation) return
        this.#inflightCount--
        this.#entries.delete(entry)
        entry.message.settled()
        if (isAcknowledged) this.#works()
        this.#pump()
      })
    }
  }

  #isPassedOver({ message }: Entry): boolean {
    return this.#suspects.some((suspect) => suspect.message.topic === message.topic)
  }

  /** The other broker has acknowledged something. */
  #works(): void {
    this.#hasWorked = true
    this.#isOneAtATime = false
    const suspects = this.#suspects
    this.#suspects = []
    for (const suspect of suspects) {
      this.#entries.delete(suspect)
      this.#refused(suspect.message)
      suspect.message.settled()
    }
  }
}
