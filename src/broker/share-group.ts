import type { Cluster, PodId } from '../cluster/contract.ts'
import { countedBytes } from '../store/counted-bytes.ts'
import type { BrokerCounters } from '../counters.ts'
import type { QueueEntry, Store, StoredSession } from '../store/contract.ts'
import { Backlog, type Entry, type Lease } from './backlog.ts'
import type { Subscription } from './client-session.ts'
import { LeasedQueue } from './leased-queue.ts'
import { Message } from './message.ts'

export interface GroupLimits {
  readonly queueMaxMessages: number
  readonly cleanQueueMaxBytes: number
}

export interface GroupContext {
  readonly store: Store
  readonly cluster: Pick<Cluster, 'isShared' | 'sendToGroup'>
  readonly counters: BrokerCounters
  readonly limits: GroupLimits
  readonly onStoreFailure: (group: ShareGroup, error: unknown) => void
}

/**
 * The members of `$share/<group>/<filter>`, and the queue from which each message goes to one of them.
 *
 * A message at QoS 1 stays in the group's queue and is lent to a connected member, in turn; it is settled by
 * that member's PUBACK, and given to another when the member goes. With a member whose session is stored the
 * queue is stored too, and waits while nobody is connected. The granted QoS is at most 1: the exactly-once
 * handshake of QoS 2 cannot be moved between members (docs/decisions/0005).
 *
 * With several pods the queue is always stored, and each pod leases from it (leased-queue.ts).
 */
export class ShareGroup {
  readonly kind = 'group'
  readonly key: string
  readonly matchFilter: string
  /** Of all pods, those with stored sessions; of this one, the others as well. */
  readonly members: Subscription[] = []
  /** Other pods with connected members. */
  readonly pods: PodId[] = []
  readonly #context: GroupContext
  readonly #backlog: Backlog
  #stored: StoredSession | undefined
  #leased: LeasedQueue | undefined
  /** Of what is read from the queue, or was in memory before there was one. */
  #lease: Lease
  #next = 0
  #nextPod = 0
  #pumping = false
  /** What waits is for a member here that has no room yet: the others take no packets of its size. */
  #isAwaited = false

  constructor(key: string, matchFilter: string, context: GroupContext) {
    this.key = key
    this.matchFilter = matchFilter
    this.#context = context
    this.#backlog = new Backlog(context.store, (error) => context.onStoreFailure(this, error))
    this.#lease = this.#createLease(undefined)
  }

  /** The stored queue; undefined while every member is a clean session. */
  get stored(): StoredSession | undefined {
    return this.#stored
  }

  get waitingCount(): number {
    return this.#backlog.count
  }

  /** The first member with a stored session has come (or the broker has started): the queue is on disk from now on. */
  keepIn(stored: StoredSession): void {
    this.#leave()
    const waiting = this.#backlog.takeAll()
    this.#stored = stored
    this.#lease = this.#createLease(stored)
    if (this.#context.cluster.isShared) this.#leased = this.#createLeased(stored)
    else this.#backlog.restart(stored)
    for (const entry of waiting) this.#backlog.push(entry)
  }

  /** The stored queue is gone. */
  unkeep(): void {
    this.#leave()
    this.#stored = undefined
    this.#lease = this.#createLease(undefined)
    this.#backlog.clear()
  }

  #leave(): void {
    this.#leased?.end()
    this.#leased = undefined
  }

  #createLeased(stored: StoredSession): LeasedQueue {
    return new LeasedQueue(stored, {
      store: this.#context.store,
      room: () => this.#room(),
      take: (entries) => this.#take(stored, entries),
      onFailure: (error) => this.#context.onStoreFailure(this, error),
    })
  }

  #createLease(stored: StoredSession | undefined): Lease {
    return {
      settled: (entry) => {
        // Not if the queue is another by now: the number is another message's there.
        if (stored === undefined || stored !== this.#stored || entry.seq === 0) return
        this.#context.store.acknowledge(stored, entry.seq, entry.payloadBytes)
      },
      returned: (entry) => {
        if (this.members.length === 0 && this.#stored === undefined) return
        const seq = stored === this.#stored ? entry.seq : 0
        this.#backlog.unshift({ ...entry, seq, messageId: 0 })
      },
    }
  }

  /** QoS 0: to one connected member, in turn; with several pods, in turn among those that have members. */
  deliver0(message: Message): void {
    const count = this.pods.length + 1
    for (let i = 0; i < count; i++) {
      const place = (this.#nextPod + i) % count
      if (place > 0) this.#context.cluster.sendToGroup(this.pods[place - 1]!, this.key, message)
      else if (!this.#deliverHere(message)) continue
      this.#nextPod = place + 1
      return
    }
    this.#context.counters.dropped['not-delivered']++
  }

  /** QoS 0, sent by another pod. */
  deliverHere(message: Message): void {
    if (!this.#deliverHere(message)) this.#context.counters.dropped['not-delivered']++
  }

  /** QoS 0, of what each pod tells its own clients. */
  deliverOwn(message: Message): void {
    if (this.#hasOnlineMember()) this.deliverHere(message)
  }

  #deliverHere(message: Message): boolean {
    const member = this.#nextMember(message, 0, ({ session }) => session.connection!.hasRoom)
    member?.session.deliver0(message, member)
    return member !== undefined
  }

  /** What needs no stored queue. */
  deliver(message: Message): void {
    if (message.qos === 0) this.deliver0(message)
    else this.enqueue(message)
  }

  /** QoS 1, while the queue is in memory only. */
  enqueue(message: Message): void {
    if (
      this.#backlog.count >= this.#context.limits.queueMaxMessages ||
      this.#backlog.bytes + countedBytes(message) > this.#context.limits.cleanQueueMaxBytes
    ) {
      this.#context.counters.dropped['queue-full']++
      return
    }
    this.#backlog.push(this.#entry(0, message))
    this.pump()
    if (this.#backlog.count > 0) message.detach()
  }

  /** QoS 1: the message is in the group's stored queue. */
  committed(seq: number, message: Message): void {
    if (this.#leased !== undefined) {
      this.filled()
      return
    }
    message.detach()
    this.#backlog.stored(this.#entry(seq, message))
    this.pump()
  }

  /** Something is in the queue that several pods share, or may be. */
  filled(): void {
    this.#leased?.filled()
    this.pump()
  }

  #take(stored: StoredSession, entries: readonly QueueEntry[]): void {
    if (stored !== this.#stored) return
    for (const { seq, message } of entries) {
      if (message !== undefined) this.#backlog.push(this.#entry(seq, Message.from(message)))
    }
    this.pump()
  }

  #entry(seq: number, message: Message): Entry {
    return {
      seq,
      qos: 1,
      state: 'publish',
      message,
      payloadBytes: countedBytes(message),
      messageId: 0,
      dup: false,
      lease: this.#lease,
    }
  }

  /** Lends what waits to members that have room. */
  pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    let entry: Entry | undefined
    while ((entry = this.#backlog.peek()) !== undefined) {
      const message = entry.message
      if (message === undefined) {
        this.#backlog.shift()
        continue
      }
      const member = this.#nextMember(
        message,
        1,
        ({ session }) => session.outbox.hasWindow && session.connection!.hasRoom,
      )
      if (member === undefined) break
      this.#backlog.shift()
      const lease = entry.lease ?? this.#lease
      if (member.qos === 0) {
        member.session.deliver0(message, member)
        lease.settled(entry)
      } else member.session.outbox.lend(message, lease, entry.seq, member)
    }
    this.#pumping = false
    if (this.#leased !== undefined) {
      // It would be leased again at once, for those who cannot take it.
      if (!this.#isAwaited) this.#trade(this.#leased)
    } else if (this.#hasOnlineMember()) this.#backlog.refill(0, this.#lease, () => this.pump())
  }

  /** What nobody here has room for may be for somebody at another pod; and the other way round. */
  #trade(leased: LeasedQueue): void {
    if (this.#backlog.count > 0) {
      const seqs: number[] = []
      for (const entry of this.#backlog.takeAll()) {
        if (entry.seq > 0) seqs.push(entry.seq)
        else this.#keep(leased.stored, entry)
      }
      if (seqs.length > 0) leased.giveBack(seqs)
    }
    leased.pull()
  }

  /** It came before the queue did. Members elsewhere can have it from there. */
  #keep(stored: StoredSession, entry: Entry): void {
    const { message } = entry
    if (message === undefined) return
    const targets = [{ session: stored, qos: 1 }] as const
    this.#context.store.publish({ message, targets, retain: false }, (error) => {
      if (error === undefined) this.filled()
      // With the next message, or when a member has room.
      else if (stored === this.#stored) this.#backlog.push(entry)
    })
  }

  /** Entries that connected members here can take. */
  #room(): number {
    let room = 0
    for (const { session } of this.members) {
      if (session.online && session.connection!.hasRoom) room += session.outbox.window
    }
    return room
  }

  /**
   * In turn among the connected members that pass. Those whose clients take no packets of its size do not, unless there
   * is nobody else: who gets it then drops it [MQTT-3.1.2-25].
   */
  #nextMember(
    message: Message,
    qos: 0 | 1,
    passes: (member: Subscription) => boolean,
  ): Subscription | undefined {
    const count = this.members.length
    let unfit: number | undefined
    let isAwaited = false
    this.#isAwaited = false
    for (let i = 0; i < count; i++) {
      const at = (this.#next + i) % count
      const member = this.members[at]!
      if (!member.session.online) continue
      const takes = member.session.takes(message, qos, member)
      if (!passes(member)) isAwaited ||= takes
      else if (takes) {
        this.#next = (at + 1) % count
        return member
      } else unfit ??= at
    }
    if (unfit === undefined) return undefined
    if (isAwaited) {
      this.#isAwaited = true
      return undefined
    }
    this.#next = (unfit + 1) % count
    return this.members[unfit]
  }

  #hasOnlineMember(): boolean {
    return this.members.some((member) => member.session.online)
  }
}
