import type { PacketType } from './packets/types.ts'

export interface PendingAck {
  readonly type: PacketType
  readonly messageId: number
  /** Of the message. */
  readonly payloadBytes: number
  ready: boolean
}

/**
 * PUBACK and PUBREC leave in the order in which the PUBLISH packets came [MQTT-4.6.0-2],
 * though some wait for the store and others do not.
 */
export class PendingAcks {
  readonly #connection: { sendAck(type: PacketType, messageId: number): void }
  #queue: PendingAck[] = []
  #bytes = 0

  constructor(connection: { sendAck(type: PacketType, messageId: number): void }) {
    this.#connection = connection
  }

  /** Since when nothing has moved though something waits; Infinity: nothing waits. */
  waitingSinceMs = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#queue.length
  }

  /** Payload that is not acknowledged. */
  get bytes(): number {
    return this.#bytes
  }

  /** Nothing has to be waited for but what came before. */
  now(type: PacketType, messageId: number): void {
    if (this.#queue.length === 0) this.#connection.sendAck(type, messageId)
    else this.#queue.push({ type, messageId, payloadBytes: 0, ready: true })
  }

  /** To be sent after `settle` was called with what this returns. */
  later(type: PacketType, messageId: number, payloadBytes: number): PendingAck {
    const pending = { type, messageId, payloadBytes, ready: false }
    this.#bytes += payloadBytes
    if (this.#queue.length === 0) this.waitingSinceMs = Date.now()
    this.#queue.push(pending)
    return pending
  }

  settle(pending: PendingAck): void {
    pending.ready = true
    let sent = 0
    while (sent < this.#queue.length && this.#queue[sent]!.ready) {
      const { type, messageId, payloadBytes } = this.#queue[sent++]!
      this.#bytes -= payloadBytes
      this.#connection.sendAck(type, messageId)
    }
    if (sent === 0) return
    this.#queue.splice(0, sent)
    this.waitingSinceMs = this.#queue.length === 0 ? Number.POSITIVE_INFINITY : Date.now()
  }
}
