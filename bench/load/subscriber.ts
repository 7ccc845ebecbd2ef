import type { Connection, Role } from './connection.ts'
import type { Ledger } from './ledger.ts'
import { PacketType, propertyBytes, readPublisher, readSentMs, readSequence, readUint16 } from './packets.ts'

/** Enters every message in the ledger and acknowledges it as its QoS asks. */
export class Subscriber implements Role {
  readonly #index: number
  readonly #ledger: Ledger
  readonly #onSentMs: ((sentMs: number) => void) | undefined

  /** `onSentMs` is told of the time in each message, for latencies. */
  constructor(index: number, ledger: Ledger, onSentMs?: (sentMs: number) => void) {
    this.#index = index
    this.#ledger = ledger
    this.#onSentMs = onSentMs
  }

  publish(connection: Connection, header: number, bytes: Buffer, bodyStart: number): void {
    let payloadAt = bodyStart + 2 + readUint16(bytes, bodyStart)
    const qos = (header >> 1) & 3
    if (qos > 0) {
      connection.queueAck(qos === 1 ? PacketType.puback : PacketType.pubrec, readUint16(bytes, payloadAt))
      payloadAt += 2
    }
    if (connection.version === 5) payloadAt += propertyBytes(bytes, payloadAt)
    this.#onSentMs?.(readSentMs(bytes, payloadAt))
    this.#ledger.receive(this.#index, readPublisher(bytes, payloadAt), readSequence(bytes, payloadAt))
  }

  acknowledge(connection: Connection, type: PacketType, packetId: number): void {
    if (type === PacketType.pubrel) connection.queueAck(PacketType.pubcomp, packetId)
  }
}
