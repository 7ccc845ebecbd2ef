import type { BrokerCounters } from '../counters.ts'
import type { Store, StoredSession } from '../store/contract.ts'
import { Backlog, type Entry, type Lease } from './backlog.ts'
import type { Subscription } from './client-session.ts'
import { Message } from './message.ts'

/**
 * The members of `$share/<group>/<filter>`, and the queue from which each message goes to one of them.
 *
 * A message at QoS 1 stays in the group's queue and is lent to a connected member, in turn; it is settled by
 * that member's PUBACK, and given to another when the member goes. With a member whose session is stored the
 * queue is stored too, and waits while nobody is connected. The granted QoS is at most 1: the exactly-once
 * handshake of QoS 2 cannot be moved between members (docs/decisions/0005).
 */
export class ShareGroup implements Lease {
  readonly kind = 'group'
  readonly key: string
  readonly matchFilter: string
  readonly members: Subscription[] = []
  /** The stored queue; undefined while every member is a clean session. */
  stored: StoredSession | undefined
  readonly #store: Store
  readonly #counters: BrokerCounters
  readonly #limits: { readonly queueMaxMessages: number; readonly cleanQueueMaxBytes: number }
  readonly #backlog: Backlog
  #next = 0
  #pumping = false

  constructor(
    key: string,
    matchFilter: string,
    context: {
      store: Store
      counters: BrokerCounters
      limits: { readonly queueMaxMessages: number; readonly cleanQueueMaxBytes: number }
      onStoreFailure: (group: ShareGroup, error: unknown) => void
    },
  ) {
    this.key = key
    this.matchFilter = matchFilter
    this.#store = context.store
    this.#counters = context.counters
    this.#limits = context.limits
    this.#backlog = new Backlog(context.store, (error) => context.onStoreFailure(this, error))
  }

  get waitingCount(): number {
    return this.#backlog.count
  }

  /** The first member with a stored session has come (or the broker has started): the queue is on disk from now on. */
  keepIn(stored: StoredSession): void {
    const waiting = this.#backlog.takeAll()
    this.stored = stored
    this.#backlog.restart(stored)
    for (const entry of waiting) this.#backlog.push(entry)
  }

  /** QoS 0: to one connected member, in turn. */
  deliver0(message: Message): void {
    const member = this.#nextMember((candidate) => candidate.session.connection!.hasRoom)
    if (member === undefined) this.#counters.dropped['not-delivered']++
    else member.session.deliver0(message)
  }

  /** QoS 1, while the queue is in memory only. */
  enqueue(message: Message): void {
    if (
      this.#backlog.count >= this.#limits.queueMaxMessages ||
      this.#backlog.bytes + message.payload.length > this.#limits.cleanQueueMaxBytes
    ) {
      this.#counters.dropped['queue-full']++
      return
    }
    this.#backlog.push(this.#entry(0, message))
    this.pump()
    if (this.#backlog.count > 0) message.detach()
  }

  /** QoS 1: the message is in the group's stored queue. */
  committed(seq: number, message: Message): void {
    message.detach()
    this.#backlog.stored(this.#entry(seq, message))
    this.pump()
  }

  #entry(seq: number, message: Message): Entry {
    return {
      seq,
      qos: 1,
      state: 'publish',
      message,
      payloadBytes: message.payload.length,
      messageId: 0,
      dup: false,
      lease: this,
    }
  }

  /** Lends what waits to members that have room. */
  pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    let entry: Entry | undefined
    while ((entry = this.#backlog.peek()) !== undefined) {
      const member = this.#nextMember(
        (candidate) => candidate.session.outbox.hasWindow && candidate.session.connection!.hasRoom,
      )
      if (member === undefined) break
      this.#backlog.shift()
      const message = entry.message
      if (message === undefined) continue
      if (member.qos === 0) {
        member.session.deliver0(message)
        this.settled(entry)
      } else member.session.outbox.lend(message, this, entry.seq)
    }
    this.#pumping = false
    if (this.#hasOnlineMember()) this.#backlog.refill(0, this, () => this.pump())
  }

  settled(entry: Entry): void {
    if (this.stored !== undefined && entry.seq > 0) {
      this.#store.acknowledge(this.stored, entry.seq, entry.payloadBytes)
    }
  }

  returned(entry: Entry): void {
    if (this.members.length === 0 && this.stored === undefined) return
    this.#backlog.unshift({ ...entry, messageId: 0 })
  }

  /** In turn among the connected members that pass. */
  #nextMember(passes: (member: Subscription) => boolean): Subscription | undefined {
    const count = this.members.length
    for (let i = 0; i < count; i++) {
      const member = this.members[(this.#next + i) % count]!
      if (member.session.online && passes(member)) {
        this.#next = (this.#next + i + 1) % count
        return member
      }
    }
    return undefined
  }

  #hasOnlineMember(): boolean {
    return this.members.some((member) => member.session.online)
  }
}
