import type { Connection, Role } from './connection.ts'
import type { Ledger } from './ledger.ts'
import {
  packetIdOf,
  PacketType,
  type PublishFields,
  publishTemplate,
  writeSentMs,
  writeSequence,
} from './packets.ts'
import type { Flushable } from './turn-end.ts'

export interface PublisherOptions {
  readonly index: number
  readonly ledger: Ledger
  readonly windowCount: number
  readonly message: PublishFields
  /** Called with the index when an acknowledgement may have made room. */
  readonly onRoom: (publisher: number) => void
}

/**
 * Sends numbered messages, as many as its window has room for. Under way is a message until the last subscriber has
 * it and, at QoS 1 and 2, until the broker has finished the handshake with us.
 */
export class Publisher implements Role, Flushable {
  isDue = false
  readonly #options: PublisherOptions
  readonly #template
  /** Twice the window of ready packets: a slot's bytes have left long before its turn comes again, so no copying. */
  readonly #ring: Buffer
  readonly #slotCount: number
  #connection: Connection | undefined
  #acknowledgedCount = 0
  #isStopped = true

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#template = publishTemplate(options.message, options.index)
    this.#slotCount = options.windowCount * 2
    const { bytes } = this.#template
    this.#ring = Buffer.concat(Array.from({ length: this.#slotCount }, () => bytes))
  }

  /** Messages whose handshake with the broker is not finished. */
  get unacknowledgedCount(): number {
    if (this.#options.message.qos === 0) return 0
    return this.#options.ledger.sentCount(this.#options.index) - this.#acknowledgedCount
  }

  /** Sends from now on whenever {@link flush} finds room. */
  start(connection: Connection): void {
    this.#connection = connection
    this.#isStopped = false
  }

  stop(): void {
    this.#isStopped = true
  }

  /** Fills the window. */
  flush(): void {
    if (this.#isStopped) return
    const underWay = this.#options.ledger.underWayCount(this.#options.index)
    this.#send(this.#options.windowCount - Math.max(underWay, this.unacknowledgedCount))
  }

  /** Sends one message with the time in it, unless the window is full. Returns whether it was sent. */
  sendStamped(nowMs: number): boolean {
    const { index, ledger, windowCount } = this.#options
    if (Math.max(ledger.underWayCount(index), this.unacknowledgedCount) >= windowCount) return false
    const slot = ledger.sentCount(index) % this.#slotCount
    writeSentMs(this.#ring, slot * this.#template.bytes.length + this.#template.payloadAt, nowMs)
    this.#send(1)
    return true
  }

  publish(): void {
    throw new Error('a publisher subscribes to nothing, yet the broker sent it a message')
  }

  acknowledge(connection: Connection, type: PacketType, packetId: number): void {
    if (type === PacketType.pubrec) return connection.queueAck(PacketType.pubrel, packetId)
    this.#acknowledgedCount++
    this.#options.onRoom(this.#options.index)
  }

  #send(count: number): void {
    const connection = this.#connection
    if (count <= 0 || connection === undefined) return
    const { index, ledger, message } = this.#options
    const { bytes, packetIdAt, payloadAt } = this.#template
    const first = ledger.sentCount(index)
    for (let sequence = first; sequence < first + count; sequence++) {
      const at = (sequence % this.#slotCount) * bytes.length
      writeSequence(this.#ring, at + payloadAt, sequence)
      if (message.qos === 0) continue
      const packetId = packetIdOf(sequence)
      this.#ring[at + packetIdAt] = packetId >> 8
      this.#ring[at + packetIdAt + 1] = packetId
    }
    ledger.send(index, count)
    const start = first % this.#slotCount
    const end = start + count
    if (end <= this.#slotCount) connection.write(this.#slots(start, end))
    else connection.writeBoth(this.#slots(start, this.#slotCount), this.#slots(0, end - this.#slotCount))
  }

  #slots(start: number, end: number): Buffer {
    const slotBytes = this.#template.bytes.length
    return this.#ring.subarray(start * slotBytes, end * slotBytes)
  }
}
