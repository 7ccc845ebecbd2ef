import type { QueueEntry, Store, StoredSession } from '../store/contract.ts'

/** Bytes of one read, about. */
const READ_BYTES = 262_144

/**
 * The queue of a shared subscription in a store that several pods read: each leases as many entries as its members
 * have room for, and gives back what it cannot lend.
 */
export class LeasedQueue {
  readonly stored: StoredSession
  readonly #store: Store
  readonly #room: () => number
  readonly #take: (entries: readonly QueueEntry[]) => void
  readonly #onFailure: (error: unknown) => void
  #isReading = false
  /** There may be entries that nobody has leased. */
  #mayHaveMore = true
  #isEnded = false

  /** `take` gets what was leased. `room`: for so many entries, now. */
  constructor(
    stored: StoredSession,
    context: {
      store: Store
      room: () => number
      take: (entries: readonly QueueEntry[]) => void
      onFailure: (error: unknown) => void
    },
  ) {
    this.stored = stored
    this.#store = context.store
    this.#room = context.room
    this.#take = context.take
    this.#onFailure = context.onFailure
  }

  /** Something was queued, or may have been. */
  filled(): void {
    this.#mayHaveMore = true
  }

  /** Leases what there is room for. */
  pull(): void {
    if (this.#isReading || this.#isEnded || !this.#mayHaveMore) return
    const room = this.#room()
    if (room === 0) return
    this.#isReading = true
    // Until the answer: what is queued meanwhile says so.
    this.#mayHaveMore = false
    this.#store.readQueue(this.stored, 0, room, READ_BYTES).then(
      (entries) => {
        this.#isReading = false
        if (entries.length > 0) {
          this.#mayHaveMore = true
          this.#take(entries)
        } else this.pull()
      },
      (error: unknown) => {
        this.#isReading = false
        // Tried again with the next message, or when a member has room again.
        this.#mayHaveMore = true
        this.#onFailure(error)
      },
    )
  }

  /** Nobody here can take them now. */
  giveBack(seqs: readonly number[]): void {
    this.#mayHaveMore = true
    this.#store.giveBack(this.stored, seqs)
  }

  /** It is gone. */
  end(): void {
    this.#isEnded = true
  }
}
