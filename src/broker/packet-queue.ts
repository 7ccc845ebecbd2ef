import { ErrorCode, TunnelMQError } from '../errors.ts'
import { countedBytes } from '../store/counted-bytes.ts'
import type { QueueEntry, Store, StoredMessage, StoredSession } from '../store/contract.ts'
import { toPacket, type EnginePacket } from './engine-packet.ts'

const READ_COUNT = 200
const READ_BYTES = 262_144

/** An entry of the queue, as Aedes can name it. */
interface Slot {
  readonly seq: number
  readonly payloadBytes: number
  /** Broker id and counter of the packet. */
  readonly origin: string | undefined
  messageId: number | undefined
}

/**
 * One stored queue with the names that Aedes has for its packets: broker id and counter, then the packet
 * identifier. Identifiers are kept in memory only: Aedes gives out new ones at each connection.
 */
export class PacketQueue {
  readonly session: StoredSession
  readonly #store: Store
  readonly #bySeq = new Map<number, Slot>()
  readonly #byOrigin = new Map<string, Slot>()
  readonly #byMessageId = new Map<number, Slot>()

  private constructor(store: Store, session: StoredSession) {
    this.#store = store
    this.session = session
  }

  /** The queue with what an earlier run has left in it. */
  static async load(store: Store, session: StoredSession): Promise<PacketQueue> {
    const queue = new PacketQueue(store, session)
    for await (const entries of queue.#pages(session.lastSeq)) {
      for (const { seq, message } of entries) {
        if (message !== undefined) queue.remember(seq, message)
        // The same identifier at each start, so that the client's PUBCOMP finds it.
        else queue.#keep({ seq, payloadBytes: 0, origin: undefined, messageId: (seq % 65_535) + 1 })
      }
    }
    return queue
  }

  /** The message has been stored under this sequence number; it takes the place of one with its identifier. */
  remember(seq: number, message: StoredMessage): void {
    const { brokerId, brokerCounter, messageId } = toPacket(message)
    const origin = originOf(brokerId, brokerCounter)
    this.forget(messageId)
    this.#keep({ seq, payloadBytes: countedBytes(message), origin, messageId })
  }

  #keep(slot: Slot): void {
    this.#bySeq.set(slot.seq, slot)
    if (slot.origin !== undefined) this.#byOrigin.set(slot.origin, slot)
    if (slot.messageId !== undefined) this.#byMessageId.set(slot.messageId, slot)
  }

  /** Gives the packet the identifier that it is sent with; PUBREL takes the place of the message. */
  async update(packet: EnginePacket): Promise<void> {
    const { messageId } = packet
    const slot =
      this.#byOrigin.get(originOf(packet.brokerId, packet.brokerCounter) ?? '') ?? this.#named(messageId)
    if (slot === undefined) throw new TunnelMQError(ErrorCode.store, 'no such packet')
    if (packet.cmd === 'pubrel') {
      await new Promise<void>((resolve, reject) =>
        this.#store.release(this.session, slot.seq, slot.payloadBytes, (error) =>
          error === undefined ? resolve() : reject(error),
        ),
      )
    }
    if (slot.messageId !== undefined && this.#named(slot.messageId) === slot)
      this.#byMessageId.delete(slot.messageId)
    slot.messageId = messageId
    if (messageId !== undefined) this.#byMessageId.set(messageId, slot)
  }

  #named(messageId: number | undefined): Slot | undefined {
    return messageId === undefined ? undefined : this.#byMessageId.get(messageId)
  }

  /** The packet of this identifier. */
  async find(messageId: number | undefined): Promise<EnginePacket | undefined> {
    const slot = this.#named(messageId)
    if (slot === undefined) return undefined
    const [entry] = await this.#store.readQueue(this.session, slot.seq - 1, 1, 1)
    return entry?.seq === slot.seq ? this.#packet(entry) : undefined
  }

  /** Forgets the packet of this identifier; false: there is none. */
  forget(messageId: number | undefined): boolean {
    const slot = this.#named(messageId)
    if (slot === undefined) return false
    this.#bySeq.delete(slot.seq)
    if (slot.origin !== undefined) this.#byOrigin.delete(slot.origin)
    this.#byMessageId.delete(slot.messageId!)
    return this.#store.acknowledge(this.session, slot.seq, slot.payloadBytes)
  }

  /** What is in the queue now, in order; not what comes while it is read, which Aedes delivers itself. */
  async *packets(): AsyncGenerator<EnginePacket> {
    for await (const entries of this.#pages(this.session.lastSeq)) {
      for (const entry of entries) yield this.#packet(entry)
    }
  }

  async *#pages(lastSeq: number): AsyncGenerator<readonly QueueEntry[]> {
    let seq = 0
    while (seq < lastSeq) {
      const entries = await this.#store.readQueue(this.session, seq, READ_COUNT, READ_BYTES)
      if (entries.length === 0) return
      seq = entries.at(-1)!.seq
      yield entries.filter((entry) => entry.seq <= lastSeq)
    }
  }

  #packet(entry: QueueEntry): EnginePacket {
    const messageId = this.#bySeq.get(entry.seq)?.messageId
    return entry.message === undefined
      ? { cmd: 'pubrel', messageId }
      : { ...toPacket(entry.message), messageId }
  }
}

function originOf(brokerId: string | undefined, counter: number | undefined): string | undefined {
  return brokerId === undefined || counter === undefined ? undefined : `${brokerId} ${counter}`
}
