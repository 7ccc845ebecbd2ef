import { ReasonCode } from './packets/reason.ts'
import type { PacketType } from './packets/types.ts'

interface Sender {
  sendAck(type: PacketType, messageId: number, code?: ReasonCode, text?: string): void
}

export interface PendingAck {
  readonly type: PacketType
  readonly messageId: number
  /** Of the message. */
  readonly bytes: number
  readonly code: ReasonCode
  /** For people: why not. */
  readonly text: string | undefined
  ready: boolean
}

/**
 * PUBACK and PUBREC leave in the order in which the PUBLISH packets came [MQTT-4.6.0-2],
 * though some wait for the store and others do not.
 */
export class PendingAcks {
  readonly #connection: Sender
  #queue: PendingAck[] = []
  #bytes = 0

  constructor(connection: Sender) {
    this.#connection = connection
  }

  /** Since when nothing has moved though something waits; Infinity: nothing waits. */
  waitingSinceMs = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#queue.length
  }

  /** Payloads and properties that are not acknowledged. */
  get bytes(): number {
    return this.#bytes
  }

  /** Nothing has to be waited for but what came before. */
  now(type: PacketType, messageId: number, code: ReasonCode = ReasonCode.success, text?: string): void {
    if (this.#queue.length === 0) this.#connection.sendAck(type, messageId, code, text)
    else this.#queue.push({ type, messageId, bytes: 0, code, text, ready: true })
  }

  /** To be sent after `settle` was called with what this returns. */
  later(
    type: PacketType,
    messageId: number,
    bytes: number,
    code: ReasonCode = ReasonCode.success,
  ): PendingAck {
    const pending = { type, messageId, bytes, code, text: undefined, ready: false }
    this.#bytes += bytes
    if (this.#queue.length === 0) this.waitingSinceMs = Date.now()
    this.#queue.push(pending)
    return pending
  }

  settle(pending: PendingAck): void {
    pending.ready = true
    let sent = 0
    while (sent < this.#queue.length && this.#queue[sent]!.ready) {
      const { type, messageId, bytes, code, text } = this.#queue[sent++]!
      this.#bytes -= bytes
      this.#connection.sendAck(type, messageId, code, text)
    }
    if (sent === 0) return
    this.#queue.splice(0, sent)
    this.waitingSinceMs = this.#queue.length === 0 ? Number.POSITIVE_INFINITY : Date.now()
  }
}
