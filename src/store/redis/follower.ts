import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { Follower } from './contract.ts'
import { EntryHandlers, type InboxHandler, type LogHandler } from './entry-handlers.ts'
import { Refusal } from './refusal.ts'
import { READ_COUNT, type ReadStreams, type StreamEntry } from './stream-entries.ts'

/** How long a read waits for something new, at most: it says how old our knowledge is. */
const BLOCK_MAX_MS = 200
/** After a handler could not do its work for now. */
const AGAIN_MS = 50

/** What was handled already. */
export interface ReadAfter {
  readonly position: number
  readonly inboxPosition: number
}

export interface FollowerOptions {
  /** A shorter one makes reads that end more often. */
  readonly freshMs: number
  readonly log: Log
  /** XREAD of log and inbox, after these positions, at most {@link READ_COUNT} of each, on the blocking connection. */
  read(after: ReadAfter, blockMs: number): Promise<ReadStreams>
  /**
   * The inbox is handled up to there. Resolves to the last number that was given out if nothing is left, and to undefined
   * if something is, or if that is not known.
   */
  handled(inboxPosition: number, bytes: number): Promise<number | undefined>
  /** Entries of the log are missing, or it is not what it was. */
  onLogGap(reason: string): void
}

interface Waiter {
  readonly position: number
  readonly resolve: () => void
}

/**
 * Reads the log and the inbox of this pod in one loop, which waits for handlers.
 *
 *   stopped ──follow──▶ reading ──entries──▶ applying ──▶ reading
 *      ▲───────stop, after what is being applied───────────┘
 */
export class StreamFollower implements Follower {
  readonly #options: FollowerOptions
  readonly #blockMs: number
  readonly #handlers: EntryHandlers
  readonly #progressListeners: ((position: number) => void)[] = []
  readonly #gapListeners: (() => void)[] = []
  readonly #waiters = new Set<Waiter>()
  #loop: Promise<void> | undefined
  #isWanted = false
  #position = 0
  #head = 0
  #inboxPosition = 0
  /** Nothing was left in the inbox when it was asked last. */
  #isTrimmed = true
  #freshAtMs = -Infinity
  #logGaps = 0
  #inboxGaps = 0

  constructor(options: FollowerOptions) {
    this.#options = options
    this.#handlers = new EntryHandlers(options.log)
    this.#blockMs = Math.max(10, Math.min(BLOCK_MAX_MS, Math.floor(options.freshMs / 4)))
  }

  get position(): number {
    return this.#position
  }

  get head(): number {
    return this.#head
  }

  get freshAtMs(): number {
    return this.#freshAtMs
  }

  get inboxPosition(): number {
    return this.#inboxPosition
  }

  get garbage(): number {
    return this.#handlers.garbage
  }

  get logGaps(): number {
    return this.#logGaps
  }

  get inboxGaps(): number {
    return this.#inboxGaps
  }

  onLog(kind: string, handler: LogHandler): void {
    this.#handlers.onLog(kind, handler)
  }

  onInbox(kind: string, handler: InboxHandler): void {
    this.#handlers.onInbox(kind, handler)
  }

  onProgress(listener: (position: number) => void): void {
    this.#progressListeners.push(listener)
  }

  onInboxGap(listener: () => void): void {
    this.#gapListeners.push(listener)
  }

  /** Redis has said where the log is. */
  noteHead(head: number): void {
    this.#head = Math.max(this.#head, head)
  }

  reached(position: number, timeoutMs: number): Promise<void> {
    if (this.#position >= position) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        reject(new TunnelMQError(ErrorCode.timeout, 'What others have changed has not come in time'))
      }, timeoutMs)
      const waiter: Waiter = {
        position,
        resolve: () => {
          clearTimeout(timer)
          resolve()
        },
      }
      this.#waiters.add(waiter)
    })
  }

  /** What was loaded is as of this position. Not while following. */
  loaded(position: number, inboxPosition: number): void {
    this.#position = position
    this.#head = position
    this.#inboxPosition = inboxPosition
    this.#freshAtMs = -Infinity
    this.#progressed()
  }

  /** Reads on, as soon as the connection is there. */
  follow(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    const previous = this.#loop ?? Promise.resolve()
    this.#loop = previous.then(() => this.#run())
  }

  /** Resolves when nothing is being applied any more. */
  async stop(): Promise<void> {
    this.#isWanted = false
    await this.#loop
  }

  /** What is known is not known to be true any more. Nothing is read until `follow`. */
  doubt(): void {
    this.#isWanted = false
    this.#freshAtMs = -Infinity
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      const sentAtMs = performance.now()
      const head = this.#head
      let streams: ReadStreams
      try {
        streams = await this.#options.read(this, this.#blockMs)
      } catch (error) {
        if (error instanceof Refusal && error.kind === 'WRONGTYPE')
          return this.#gap('the log or the inbox is something else')
        // The connection says why; whoever looks after it calls `stop`, and `follow` when it is back.
        await pause(AGAIN_MS)
        continue
      }
      if (!this.#isWanted) return
      if (!(await this.#take(streams, sentAtMs, head))) await pause(AGAIN_MS)
    }
  }

  /** False: to be tried again in a moment, from the position. `head`: where the log was known to be before the read. */
  async #take({ log, inbox }: ReadStreams, sentAtMs: number, head: number): Promise<boolean> {
    if (!(await this.#applyLog(log))) return false
    if (log.length >= READ_COUNT) return true
    if (this.#position < head) {
      this.#gap(`entries up to ${head} of the log are gone`)
      return false
    }
    if (!this.#isWanted) return false
    this.#freshAtMs = sentAtMs
    // Only then: what is in the inbox may speak of what is in the log.
    if (inbox.length > 0 || !this.#isTrimmed) await this.#applyInbox(inbox)
    return true
  }

  /** False: a handler could not reach Redis, or there is a gap. */
  async #applyLog(entries: readonly StreamEntry[]): Promise<boolean> {
    const first = this.#position + 1
    const gapAt = entries.findIndex(({ number }, index) => number !== first + index)
    const consecutive = gapAt < 0 ? entries : entries.slice(0, gapAt)
    if (!(await this.#handlers.log(consecutive))) return false
    if (consecutive.length > 0) {
      this.#position += consecutive.length
      this.#head = Math.max(this.#head, this.#position)
      this.#progressed()
    }
    if (gapAt < 0) return true
    this.#gap(`entry ${first + gapAt} of the log is gone, and ${entries[gapAt]?.number} is there`)
    return false
  }

  async #applyInbox(entries: readonly StreamEntry[]): Promise<void> {
    let bytes = 0
    for (const entry of entries) {
      if (entry.number !== this.#inboxPosition + 1) this.#inboxGap()
      this.#inboxPosition = entry.number
      bytes += entry.bytes
      this.#handlers.inbox(entry)
    }
    const last = await this.#options.handled(this.#inboxPosition, bytes)
    this.#isTrimmed = last !== undefined
    // Above it: some found no room. Below it: an entry with a number that was never given out, and is not ours.
    if (last !== undefined && last !== this.#inboxPosition) {
      this.#inboxPosition = last
      this.#inboxGap()
    }
  }

  #gap(reason: string): void {
    this.#logGaps++
    this.doubt()
    this.#options.onLogGap(reason)
  }

  #inboxGap(): void {
    this.#inboxGaps++
    for (const listener of this.#gapListeners) this.#guarded(listener)
  }

  #progressed(): void {
    for (const listener of this.#progressListeners) this.#guarded(() => listener(this.#position))
    for (const waiter of this.#waiters)
      if (waiter.position <= this.#position) {
        this.#waiters.delete(waiter)
        waiter.resolve()
      }
  }

  #guarded(call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#options.log.error({ err: error }, 'a listener of the log failed')
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
