import type { BrokerCounters } from '../counters.ts'
import { countedBytes } from '../store/counted-bytes.ts'
import { MAX_UNFORGOTTEN_COUNT, type Store } from '../store/contract.ts'
import { Backlog, type Entry, type Lease } from './backlog.ts'
import type { ClientSession, Subscription } from './client-session.ts'
import type { Message } from './message.ts'
import { isFailure, ReasonCode } from './packets/reason.ts'
import { PacketType } from './packets/types.ts'

export interface OutboxLimits {
  /** QoS 1 and 2 messages in flight at once. */
  readonly maxInflight: number
  /** What may wait in memory for a clean session. */
  readonly queueMaxMessages: number
  readonly cleanQueueMaxBytes: number
  /** What may wait in the store for a session. */
  readonly queueMaxBytes: number
}

export interface OutboxContext {
  readonly store: Store
  /** Other brokers write into the same queues. */
  readonly isShared: boolean
  readonly limits: OutboxLimits
  readonly counters: BrokerCounters
  readonly onStoreFailure: (session: ClientSession, error: unknown) => void
}

/**
 * What goes to one client at QoS 1 and 2 (and retained messages at QoS 0, which may be many):
 * pulled from its queue with a window, in order.
 *
 *   waiting ──PUBLISH──▶ in flight ──PUBACK──▶ gone
 *                            └──PUBREC──▶ (stored) ──PUBREL──▶ in flight as `pubrel` ──PUBCOMP──▶ gone
 *
 * The packet identifier of a stored entry follows from its sequence number, so that it is the same again
 * after a restart without having been written down [MQTT-4.4.0-1].
 */
export class Outbox {
  readonly #session: ClientSession
  readonly #context: OutboxContext
  readonly #backlog: Backlog
  readonly #inflight = new Map<number, Entry>()
  /** Sequence numbers of a clean session; a stored one has those of the store. */
  #nextSeq = 1
  #nextLeaseId = 65_535
  #sentSeq = 0
  /** Acknowledged entries that a crash would bring back. */
  #unforgotten = 0
  #pumping = false

  constructor(session: ClientSession, context: OutboxContext) {
    this.#session = session
    this.#context = context
    this.#backlog = new Backlog(
      context.store,
      (error) => context.onStoreFailure(session, error),
      context.isShared ? 'gapless' : 'gaps',
    )
    this.#sentSeq = session.stored?.sentUpToSeq ?? 0
  }

  get inflightCount(): number {
    return this.#inflight.size
  }

  get waitingCount(): number {
    return this.#backlog.count
  }

  /** Bytes of those that wait in memory, payloads and properties. */
  get waitingBytes(): number {
    return this.#backlog.bytes
  }

  /** Highest sequence number given out. */
  get lastSeq(): number {
    return this.#session.stored?.lastSeq ?? this.#nextSeq - 1
  }

  /** Entries up to here may have been sent. */
  get sentUpToSeq(): number {
    return this.#sentSeq
  }

  /** Room for one more that is lent by a shared subscription. */
  get hasWindow(): boolean {
    return this.window > 0
  }

  /** Room for so many that are lent. */
  get window(): number {
    if (this.#backlog.count > 0) return 0
    return Math.max(0, this.#maxInflight - this.#inflight.size)
  }

  /** The client of MQTT 5 may take fewer than we would send [MQTT-3.3.4-9]. */
  get #maxInflight(): number {
    const { maxInflight } = this.#context.limits
    const terms = this.#session.connection?.terms
    return terms === undefined ? maxInflight : Math.min(maxInflight, terms.receiveMaximum)
  }

  /** The message is in the session's stored queue. */
  stored(seq: number, message: Message, qos: 1 | 2): void {
    if (this.#session.connection === undefined) return
    this.#backlog.stored(createEntry(seq, message, qos, undefined))
    this.pump()
    if (this.#backlog.count > 0) message.detach()
  }

  /** Queues in memory, for a clean session. False: the bound is reached, and the message is dropped. */
  enqueue(message: Message, qos: 1 | 2): boolean {
    const limits = this.#context.limits
    if (
      this.#backlog.count >= limits.queueMaxMessages ||
      this.#backlog.bytes + countedBytes(message) > limits.cleanQueueMaxBytes
    ) {
      this.#context.counters.dropped['queue-full']++
      return false
    }
    this.#backlog.push(createEntry(this.#nextSeq++, message, qos, undefined))
    this.pump()
    // What was not sent at once must not keep a network buffer alive.
    if (this.#backlog.count > 0) message.detach()
    return true
  }

  /** Retained messages of a new subscription: not bounded, because the retained messages are. */
  replay(message: Message, qos: 0 | 1 | 2): void {
    this.#backlog.push(createEntry(qos === 0 ? 0 : this.#nextSeq++, message, qos, undefined))
  }

  /** A message of a shared subscription, `via`. Ask {@link hasWindow} first. */
  lend(message: Message, lease: Lease, seq: number, via: Subscription): Entry {
    const entry = createEntry(seq, message, 1, lease)
    message.detach()
    do {
      this.#nextLeaseId = this.#nextLeaseId <= 1 ? 65_535 : this.#nextLeaseId - 1
    } while (this.#inflight.has(this.#nextLeaseId))
    this.#send(entry, this.#nextLeaseId, via)
    return entry
  }

  /** A connection has come: from the front of the queue. */
  resume(): void {
    const { stored } = this.#session
    this.#inflight.clear()
    // Another pod may have had it meanwhile; what was not durable when it took over, will not be.
    if (stored !== undefined && stored.sentUpToSeq > this.#sentSeq) this.#sentSeq = stored.sentUpToSeq
    if (this.#context.isShared) this.#unforgotten = 0
    this.#backlog.restart(stored)
    this.pump()
  }

  /** Messages may have been stored that nobody has told of. */
  rescan(): void {
    this.#backlog.rescan()
    this.pump()
  }

  /** The connection is gone. What is stored stays there; what was lent goes back, oldest first. */
  suspend(): void {
    const lent = [...this.#inflight.values()].filter((entry) => entry.lease !== undefined)
    this.#inflight.clear()
    this.#backlog.clear()
    for (const entry of lent.reverse()) entry.lease!.returned(entry)
  }

  /** PUBACK, PUBREC or PUBCOMP. Those that fit nothing are answered as the specification asks, or ignored. */
  acknowledge(type: PacketType, messageId: number, reasonCode: number = ReasonCode.success): void {
    const entry = this.#inflight.get(messageId)
    if (type === PacketType.pubrec && !isFailure(reasonCode)) {
      this.#received(entry, messageId)
      return
    }
    if (entry === undefined) return
    const fits =
      type === PacketType.puback
        ? entry.qos === 1
        : // A PUBREC that fails ends the handshake at once. [MQTT-4.3.3-4]
          entry.qos === 2 && entry.state === (type === PacketType.pubrec ? 'publish' : 'pubrel')
    if (!fits) return
    this.#inflight.delete(messageId)
    if (entry.lease !== undefined) entry.lease.settled(entry)
    else this.#forget(entry)
    this.pump()
  }

  #received(entry: Entry | undefined, messageId: number): void {
    // PUBREL for an unknown identifier lets the client finish its side (MQTT 5, 3.6.2.1).
    if (entry === undefined) {
      const code = ReasonCode.packetIdentifierNotFound
      this.#session.connection?.sendAck(PacketType.pubrel, messageId, code)
      return
    }
    if (entry.qos !== 2) return
    const connection = this.#session.connection
    const stored = this.#session.stored
    if (entry.state === 'pubrel') {
      connection?.sendAck(PacketType.pubrel, messageId)
    } else if (stored === undefined) {
      entry.state = 'pubrel'
      connection?.sendAck(PacketType.pubrel, messageId)
    } else if (entry.state === 'publish') {
      entry.state = 'releasing'
      // Durable before PUBREL: after it the client forgets the identifier, and a PUBLISH would be a new message.
      this.#context.store.release(stored, entry.seq, entry.payloadBytes, (error) => {
        if (error !== undefined) {
          this.#context.onStoreFailure(this.#session, error)
          return
        }
        entry.state = 'pubrel'
        if (this.#session.connection === connection) connection?.sendAck(PacketType.pubrel, messageId)
      })
    }
  }

  /** Sends what the window and the peer's reading allow. */
  pump(): void {
    const connection = this.#session.connection
    if (connection === undefined || connection.phase !== 'open' || this.#pumping) return
    this.#pumping = true
    const maxInflight = this.#maxInflight
    let entry: Entry | undefined
    while ((entry = this.#backlog.peek()) !== undefined && connection.hasRoom) {
      let messageId = 0
      if (entry.qos > 0) {
        messageId = (entry.seq % 65_535) + 1
        // After a wrap-around the same identifier may still be in use.
        if (this.#inflight.size >= maxInflight || this.#inflight.has(messageId)) break
        if (this.#unforgotten >= MAX_UNFORGOTTEN_COUNT) break
      }
      this.#backlog.shift()
      this.#send(entry, messageId)
    }
    this.#pumping = false
    if (this.#backlog.count === 0) {
      this.#backlog.refill(this.#sentSeq, undefined, () => this.pump())
      this.#session.windowOpened()
    }
  }

  #send(entry: Entry, messageId: number, via?: Subscription): void {
    const connection = this.#session.connection!
    const message = entry.message
    if (message === undefined) {
      // PUBREC had come before the connection was lost.
      entry.messageId = messageId
      this.#inflight.set(messageId, entry)
      connection.sendAck(PacketType.pubrel, messageId)
      return
    }
    // Retained messages at QoS 0 wait without a number: as old as the oldest.
    const seq = entry.seq === 0 ? 1 : entry.seq
    if (connection.downward !== undefined) {
      if (entry.qos > 0) this.#takeOff(entry, messageId)
      const { qos, dup } = entry
      const withheld = (): void => this.#withholdInFlight(entry, messageId)
      connection.downward.deliver({ message, qos, messageId, dup, seq, via, withheld })
      return
    }
    if (!this.#session.mayReceive(message, seq, entry.dup) || !this.#session.fits(message, entry.qos, via)) {
      this.#withhold(entry, messageId)
      return
    }
    if (entry.qos > 0) this.#takeOff(entry, messageId)
    this.#session.transmit(message, entry.qos, messageId, entry.dup, via)
  }

  /** It is in flight from now on. */
  #takeOff(entry: Entry, messageId: number): void {
    entry.messageId = messageId
    this.#inflight.set(messageId, entry)
    if (entry.lease === undefined && entry.seq > this.#sentSeq) this.#sentSeq = entry.seq
    if (entry.dup) this.#context.counters.redelivered++
    // What is lent may have to go to somebody else.
    if (entry.lease === undefined) entry.message = undefined
  }

  /** What was asked of an interceptor is not sent, after all: as if it were acknowledged, so that the queue goes on. */
  #withholdInFlight(entry: Entry, messageId: number): void {
    if (entry.qos > 0) {
      if (this.#inflight.get(messageId) !== entry) return
      this.#inflight.delete(messageId)
      this.#withhold(entry, messageId)
    }
    this.pump()
  }

  /** It may not be delivered, or not any more. */
  #withhold(entry: Entry, messageId: number): void {
    if (entry.lease !== undefined) entry.lease.settled(entry)
    else if (entry.qos === 2 && entry.dup) {
      // Its receiver may have it, and hold the identifier until PUBREL: a later message would be taken for this one.
      entry.message = undefined
      entry.state = 'pubrel'
      entry.messageId = messageId
      this.#inflight.set(messageId, entry)
      this.#session.connection!.sendAck(PacketType.pubrel, messageId)
    } else this.#forget(entry)
  }

  #forget(entry: Entry): void {
    const stored = this.#session.stored
    if (stored === undefined || entry.seq === 0) return
    if (this.#context.store.acknowledge(stored, entry.seq, entry.payloadBytes, this.#forgotten)) {
      this.#unforgotten++
    }
  }

  // One function for all entries: it is on the hot path.
  readonly #forgotten = (): void => {
    // Those of an earlier connection are not counted any more.
    if (this.#unforgotten === 0) return
    if (this.#unforgotten-- === MAX_UNFORGOTTEN_COUNT) this.pump()
  }
}

function createEntry(seq: number, message: Message, qos: 0 | 1 | 2, lease: Lease | undefined): Entry {
  return {
    seq,
    qos,
    state: 'publish',
    message,
    payloadBytes: countedBytes(message),
    messageId: 0,
    dup: false,
    lease,
  }
}
