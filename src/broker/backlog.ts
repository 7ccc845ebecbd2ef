import { ErrorCode, TunnelMQError } from '../errors.ts'
import { countedBytes } from '../store/counted-bytes.ts'
import type { Store, StoredSession } from '../store/contract.ts'
import { Message } from './message.ts'

/** A message on its way to one receiver. */
export interface Entry {
  /** Place in the receiver's queue; 0 for what is not queued (QoS 0). */
  readonly seq: number
  readonly qos: 0 | 1 | 2
  /** `releasing`: PUBREC came and is being stored. `pubrel`: it is, and PUBCOMP is awaited. */
  state: 'publish' | 'releasing' | 'pubrel'
  /** Given up when it has been sent: a redelivery reads it from the store. */
  message: Message | undefined
  readonly payloadBytes: number
  /** Packet identifier while in flight, else 0. */
  messageId: number
  /** It may have been sent before. [MQTT-3.3.1-1] */
  dup: boolean
  /** Lent by a shared subscription: asked when it is acknowledged or given back. */
  readonly lease: Lease | undefined
}

export interface Lease {
  settled(entry: Entry): void
  returned(entry: Entry): void
}

/** Entries that one read of the store brings into memory at most. */
const READ_COUNT = 200
const READ_BYTES = 262_144
/** Entries that wait in memory beside the store; beyond that they are read when it is their turn. */
const MEMORY_COUNT = 200
/** The store is away, and comes back by itself: its readers stay, and ask again. */
const READ_AGAIN_MS = 200

/**
 * The front of a queue in memory, in order; the rest, if the queue is stored, is read when it is needed.
 * So 200,000 waiting messages cost no more memory than 200.
 */
export class Backlog {
  readonly #isGapless: boolean
  readonly #store: Store
  readonly #onReadFailure: (error: unknown) => void
  #stored: StoredSession | undefined
  #ready: Entry[] = []
  #head = 0
  #bytes = 0
  /** Everything that is stored is also in memory, or was. */
  #complete = true
  #reading = false
  /** Something was stored while we were reading. */
  #arrived = false
  #loadedSeq = 0
  /** The highest that was ever in memory, also for an earlier connection. */
  #seenSeq = 0
  /** Reads of an earlier connection are thrown away. */
  #generation = 0

  /**
   * `gapless`: sequence numbers have no gaps, and may be told of out of order, because others write as well. `gaps`:
   * they come in order, and some may be missing.
   */
  constructor(store: Store, onReadFailure: (error: unknown) => void, numbers: 'gapless' | 'gaps' = 'gaps') {
    this.#isGapless = numbers === 'gapless'
    this.#store = store
    this.#onReadFailure = onReadFailure
  }

  get count(): number {
    return this.#ready.length - this.#head
  }

  /** Bytes in memory, of payloads and properties. */
  get bytes(): number {
    return this.#bytes
  }

  peek(): Entry | undefined {
    return this.#ready[this.#head]
  }

  shift(): void {
    const entry = this.#ready[this.#head]
    if (entry === undefined) return
    this.#bytes -= entry.payloadBytes
    this.#head++
    if (this.#head > 1_024 || this.#head === this.#ready.length) {
      this.#ready = this.#ready.slice(this.#head)
      this.#head = 0
    }
  }

  push(entry: Entry): void {
    this.#ready.push(entry)
    this.#bytes += entry.payloadBytes
  }

  /** What was lent comes back, to be next. */
  unshift(entry: Entry): void {
    if (this.#head > 0) this.#ready[--this.#head] = entry
    else this.#ready.unshift(entry)
    this.#bytes += entry.payloadBytes
  }

  takeAll(): Entry[] {
    const all = this.#ready.slice(this.#head)
    this.clear()
    return all
  }

  /** An entry has been stored: it is kept in memory too if there is room and nothing is missing before it. */
  stored(entry: Entry): void {
    if (entry.seq <= this.#loadedSeq) return
    if (this.#reading) this.#arrived = true
    else if (this.#complete && this.#isNext(entry.seq) && this.count < MEMORY_COUNT) {
      this.#loadedSeq = this.#seenSeq = entry.seq
      if (this.#stored !== undefined) this.#store.handedOut(this.#stored, entry.seq)
      this.push(entry)
      return
    }
    this.#complete = false
  }

  #isNext(seq: number): boolean {
    // One that was seen before may be acknowledged by now: the store knows.
    return this.#isGapless ? seq === this.#loadedSeq + 1 : seq > this.#seenSeq
  }

  /** More may be stored than was told of. */
  rescan(): void {
    if (this.#reading) this.#arrived = true
    this.#complete = false
  }

  /** Starts at the front of a stored queue (or of none), forgetting what was in memory. */
  restart(stored: StoredSession | undefined): void {
    this.clear()
    this.#stored = stored
    this.#complete = stored === undefined || stored.queuedCount === 0
    this.#loadedSeq = this.#isGapless && this.#complete ? (stored?.lastSeq ?? 0) : 0
  }

  clear(): void {
    this.#generation++
    this.#ready = []
    this.#head = 0
    this.#bytes = 0
    this.#complete = false
    this.#reading = false
    this.#arrived = false
  }

  /** Reads on when memory is empty and something may be stored; `then` is called when entries have come. */
  refill(sentUpToSeq: number, lease: Lease | undefined, then: () => void): void {
    if (this.count > 0 || this.#complete || this.#reading || this.#stored === undefined) return
    this.#reading = true
    this.#arrived = false
    const generation = this.#generation
    this.#store.readQueue(this.#stored, this.#loadedSeq, READ_COUNT, READ_BYTES).then(
      (entries) => {
        if (generation !== this.#generation) return
        this.#reading = false
        for (const { seq, qos, state, message } of entries) {
          this.#loadedSeq = seq
          if (seq > this.#seenSeq) this.#seenSeq = seq
          this.push({
            seq,
            qos,
            state,
            message: message && Message.from(message),
            payloadBytes: message === undefined ? 0 : countedBytes(message),
            messageId: 0,
            dup: seq <= sentUpToSeq,
            lease,
          })
        }
        if (entries.length === 0 && !this.#arrived) this.#complete = true
        then()
      },
      (error: unknown) => {
        if (generation !== this.#generation) return
        if (isUnavailable(error)) return this.#refillLater(sentUpToSeq, lease, then)
        this.#reading = false
        this.#onReadFailure(error)
      },
    )
  }

  #refillLater(sentUpToSeq: number, lease: Lease | undefined, then: () => void): void {
    const generation = this.#generation
    setTimeout(() => {
      if (generation !== this.#generation) return
      this.#reading = false
      this.refill(sentUpToSeq, lease, then)
    }, READ_AGAIN_MS).unref()
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof TunnelMQError && error.code === ErrorCode.storeUnavailable
}
