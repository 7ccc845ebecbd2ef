import type { PublishDone, PublishTarget, PublishWrite, StoredMessage, StoredWill } from './contract.ts'
import { countedBytes } from './counted-bytes.ts'
import type { JournalWrite, Records } from './journal.ts'
import { handleOf, type SessionHandle } from './session-index.ts'
import type { StoreState } from './state.ts'

/** The message with a payload of its own: a slice of a network chunk would keep the whole chunk in memory. */
export function withOwnPayload(message: StoredMessage): StoredMessage {
  return { ...message, payload: Buffer.from(message.payload) }
}

type RetainedChange = 'none' | 'put' | 'delete'

/** A publish between its accounting, which the constructor does, and its commit. */
export class PendingPublish implements JournalWrite {
  readonly durable = true
  readonly #state: StoreState
  readonly #write: PublishWrite
  readonly #done: PublishDone
  readonly #seqs: number[] = []
  /** Sessions whose block of sequence numbers moves up with this write, and where it was. */
  readonly #reserved: { session: SessionHandle; previousMark: number }[] = []
  #dropped = 0
  #retainedDropped = false
  #retained: RetainedChange = 'none'
  #retainedBefore: StoredMessage | undefined
  #willBefore: StoredWill | undefined

  constructor(state: StoreState, write: PublishWrite, done: PublishDone) {
    this.#state = state
    this.#write = write
    this.#done = done
    for (const target of write.targets) this.#seqs.push(this.#enqueue(target))
    if (write.retain) this.#changeRetained()
    if (write.incoming !== undefined) {
      handleOf(write.incoming.session).incomingIds.add(write.incoming.messageId)
    }
    if (write.willOf !== undefined) {
      this.#willBefore = state.wills.get(write.willOf)
      state.wills.delete(write.willOf)
    }
  }

  putInto(records: Records): void {
    const { message, targets, incoming, willOf } = this.#write
    for (const [i, target] of targets.entries()) {
      const seq = this.#seqs[i] ?? 0
      if (seq > 0) records.putEntry(handleOf(target.session), seq, target.qos, message)
    }
    if (this.#retained === 'put') records.putRetained(message)
    else if (this.#retained === 'delete') records.deleteRetained(message.topic)
    if (incoming !== undefined) records.putIncoming(handleOf(incoming.session), incoming.messageId)
    if (willOf !== undefined) records.deleteWill(willOf)
    for (const { session } of this.#reserved) records.putSession(session)
  }

  rollback(): void {
    const { message, targets, incoming, willOf } = this.#write
    for (const [i, target] of targets.entries()) {
      if (this.#seqs[i] !== 0) {
        this.#state.sessions.dequeue(handleOf(target.session), 1, countedBytes(message))
      }
    }
    // The numbers stay used, which leaves gaps. The mark must not be above what the disk is sure to have.
    for (const { session, previousMark } of this.#reserved) {
      session.seqMark = Math.min(session.seqMark, previousMark)
    }
    if (this.#retained !== 'none') this.#state.retained.restore(message.topic, this.#retainedBefore)
    if (incoming !== undefined) handleOf(incoming.session).incomingIds.delete(incoming.messageId)
    if (willOf !== undefined && this.#willBefore !== undefined) {
      this.#state.wills.set(willOf, this.#willBefore)
    }
    this.#state.droppedMessages -= this.#dropped
    if (this.#retainedDropped) this.#state.droppedRetained--
  }

  revert(records: Records): void {
    const { message, targets, incoming, willOf } = this.#write
    for (const [i, target] of targets.entries()) {
      const seq = this.#seqs[i] ?? 0
      if (seq > 0) records.deleteEntry(handleOf(target.session), seq)
    }
    if (this.#retained !== 'none') {
      const retained = this.#state.retained.get(message.topic)
      if (retained === undefined) records.deleteRetained(message.topic)
      else records.putRetained(retained)
    }
    if (incoming !== undefined) records.deleteIncoming(handleOf(incoming.session), incoming.messageId)
    const will = willOf === undefined ? undefined : this.#state.wills.get(willOf)
    if (will !== undefined) records.putWill(will)
  }

  settle(error: Error | undefined): void {
    this.#done(error, error === undefined ? this.#seqs : this.#seqs.map(() => 0), false)
  }

  #enqueue(target: PublishTarget): number {
    const session = handleOf(target.session)
    if (session.removed) return 0
    const { message } = this.#write
    const { queueMaxMessages, queueMaxBytes } = this.#state.limits
    const full =
      (session.queuedCount >= queueMaxMessages && target.unbounded !== true) ||
      session.queuedBytes + countedBytes(message) > queueMaxBytes
    if (full) {
      this.#dropped++
      this.#state.droppedMessages++
      return 0
    }
    const previousMark = session.seqMark
    const { seq, reserved } = session.nextSeq()
    if (reserved) this.#reserved.push({ session, previousMark })
    this.#state.sessions.enqueue(session, 1, countedBytes(message))
    if (message.expiresAtMs > 0) {
      session.earliestExpiryMs = Math.min(session.earliestExpiryMs, message.expiresAtMs)
    }
    return seq
  }

  #changeRetained(): void {
    const { message } = this.#write
    const { retained } = this.#state
    this.#retainedBefore = retained.get(message.topic)
    const empty = message.payload.length === 0 // [MQTT-3.3.1-10]
    if (!empty && retained.admits(message)) {
      this.#retained = 'put'
      retained.set(withOwnPayload(message))
      return
    }
    if (!empty) {
      this.#retainedDropped = true
      this.#state.droppedRetained++
    }
    if (this.#retainedBefore === undefined) return
    // Beyond the bound, too: an old value would be handed out as if it were the latest.
    this.#retained = 'delete'
    retained.delete(message.topic)
  }
}
