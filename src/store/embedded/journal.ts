import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { countedBytes } from '../counted-bytes.ts'
import type { Log } from '../../log.ts'
import type { QueueEntry } from '../contract.ts'
import type { Journal, JournalWrite } from '../journal.ts'
import type { SessionHandle } from '../session-index.ts'
import type { StoreState } from '../state.ts'
import { decodeEntry, VERSION } from '../codec.ts'
import { GroupCommit } from './group-commit.ts'
import { parseKey, probeKey, queueRange } from './keys.ts'
import type { Level } from './level.ts'
import { takeLayout } from './layout.ts'
import { loadStore, setAside } from './load.ts'
import { RecordBatch } from './record-batch.ts'

/** Bytes that may wait for the disk. Above it writes are refused, until the disk has caught up. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024

/** Entries that one step of a read takes out of LevelDB. */
const READ_COUNT = 1_000

export interface EmbeddedJournalOptions {
  readonly path: string
  readonly sync: boolean
  readonly log: Log
  /** Between attempts to come back after a failure. */
  readonly retryMs: number
  readonly openLevel: (createIfMissing: boolean) => Promise<Level>
}

/**
 * The journal on LevelDB.
 *
 *   closed ──open──▶ open ──a commit failed──▶ failed ──reopened, mended and probed──▶ open   (close from any)
 *
 * After a failed commit the log file may end in half a record, and LevelDB may or may not have the batch:
 * so it is closed and opened again, which reads the log as a start does, and the records of the failed
 * writes are then set to what memory says. Only when that is synced are new writes taken.
 */
export class EmbeddedJournal implements Journal {
  readonly kind = 'embedded'
  corruptValues = 0
  readonly #options: EmbeddedJournalOptions
  readonly #commit: GroupCommit<RecordBatch, JournalWrite>
  #phase: 'closed' | 'open' | 'failed' = 'closed'
  #failure: string | undefined
  #level: Level | undefined
  #state: StoreState | undefined
  /** Failed writes whose records may be on the disk all the same. At most what was pending. */
  #toRevert: JournalWrite[] = []
  /** Writes to be made when the store is back: acknowledgements of what was in flight, at most. */
  #kept: JournalWrite[] = []
  #refused: (() => void)[] = []
  #retryTimer: NodeJS.Timeout | undefined
  #recovery: Promise<void> | undefined
  readonly #drops = new Set<Promise<void>>()

  constructor(options: EmbeddedJournalOptions) {
    this.#options = options
    this.#commit = new GroupCommit<RecordBatch, JournalWrite>({
      sync: options.sync,
      begin: () => new RecordBatch(this.#openLevel().begin()),
      onFailure: (error, writes) => this.#fail(error, writes),
      onFault: (error) => options.log.error({ err: error }, 'an answer of the store was not handled'),
    })
  }

  get failure(): string | undefined {
    return this.#phase === 'closed' ? 'the store is closed' : this.#failure
  }

  get pendingWrites(): number {
    return this.#commit.pendingWrites
  }

  get pendingBytes(): number {
    return this.#commit.pendingBytes
  }

  get commits(): number {
    return this.#commit.commits
  }

  async open(state: StoreState): Promise<void> {
    const { path, log, openLevel } = this.#options
    if (this.#state !== undefined) throw new TunnelMQError(ErrorCode.usage, 'A store is opened once')
    const startedAt = performance.now()
    const level = await openLevel(true)
    try {
      await takeLayout(level, path, log)
      this.#state = state
      const { corruptValues, orphans } = await loadStore(level, state, log)
      this.corruptValues = corruptValues
      const { sessions, retained } = state
      const ms = Math.round(performance.now() - startedAt)
      const counts = { sessions: sessions.size, queued: sessions.queuedCount, retained: retained.size }
      log.info({ path, ...counts, corruptValues, orphans, ms }, 'store opened')
    } catch (error) {
      await level.close()
      throw damaged(path, error)
    }
    this.#level = level
    this.#phase = 'open'
  }

  async close(): Promise<void> {
    const wasOpen = this.#phase === 'open'
    this.#phase = 'closed'
    clearTimeout(this.#retryTimer)
    if (wasOpen) await new Promise<void>((resolve) => this.#commit.add(answerWrite(() => resolve())))
    await this.#recovery
    await Promise.all(this.#drops)
    const level = this.#level
    this.#level = undefined
    await level?.close()
  }

  refusal(): TunnelMQError | undefined {
    if (this.#phase !== 'open') return unavailable(this.failure ?? '')
    if (this.pendingBytes > MAX_PENDING_BYTES) return unavailable('too much is waiting for the disk')
    return undefined
  }

  write(write: JournalWrite): void {
    if (this.#phase === 'open') {
      try {
        this.#commit.add(write)
      } catch (error) {
        write.rollback?.()
        this.answer(() => write.settle(asError(error)))
      }
      return
    }
    if (write.rollback !== undefined) write.rollback()
    else if (this.#phase === 'failed') this.#kept.push(write)
    const refusal = unavailable(this.failure ?? '')
    this.answer(() => write.settle(refusal))
  }

  answer(settle: (error: Error | undefined) => void): void {
    if (this.#phase === 'open') return this.#commit.add(answerWrite(settle))
    if (this.#refused.push(() => settle(undefined)) > 1) return
    setImmediate(() => {
      const refused = this.#refused
      this.#refused = []
      for (const one of refused) one()
    })
  }

  async readEntries(
    session: SessionHandle,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]> {
    const level = this.#openLevel()
    const found: QueueEntry[] = []
    let bytes = 0
    const portion = { maxCount: Math.min(maxCount, READ_COUNT), maxBytes }
    try {
      for await (const stored of level.scan(queueRange(session.number, afterSeq), portion)) {
        for (const [key, value] of stored) {
          const entry = decodeQueued(key, value)
          if (entry === undefined) {
            await this.#setEntryAside(level, session, key, value)
            continue
          }
          bytes += entry.message === undefined ? 0 : countedBytes(entry.message)
          if (found.length > 0 && bytes > maxBytes) return found
          found.push(entry)
          if (found.length >= maxCount) return found
        }
      }
    } catch (error) {
      if (this.#level !== level) throw unavailable(this.failure ?? 'the store was reopened')
      throw damaged(this.#options.path, error)
    }
    return found
  }

  dropQueue(session: SessionHandle): void {
    const level = this.#level
    if (level === undefined) return
    const drop: Promise<void> = level
      .clear(queueRange(session.number, 0))
      .catch((error: unknown) => {
        // They have no owner any more: the next start removes them.
        this.#options.log.warn({ err: error, session: session.id }, 'queue of a removed session was left')
      })
      .finally(() => this.#drops.delete(drop))
    this.#drops.add(drop)
  }

  #openLevel(): Level {
    if (this.#level === undefined) throw unavailable(this.failure ?? 'the store is being reopened')
    return this.#level
  }

  async #setEntryAside(level: Level, session: SessionHandle, key: Buffer, value: Buffer): Promise<void> {
    this.corruptValues++
    this.#state?.sessions.dequeue(session, 1, 0)
    await setAside(level, [{ key, value }], this.#options.log)
  }

  #fail(error: Error, writes: readonly JournalWrite[]): void {
    const cause = error.cause instanceof Error ? error.cause : error
    this.#failure = cause.message
    this.#options.log.error(
      { err: cause, path: this.#options.path, writes: writes.length },
      'the store cannot write; nothing is acknowledged until it can',
    )
    if (this.#phase === 'open') this.#phase = 'failed'
    for (const write of writes.toReversed()) write.rollback?.()
    for (const write of writes) (write.revert === undefined ? this.#kept : this.#toRevert).push(write)
    const refusal = unavailable(cause.message, cause)
    for (const write of writes) this.#settle(write, refusal)
    this.#retryLater()
  }

  #settle(write: JournalWrite, error: Error | undefined): void {
    try {
      write.settle(error)
    } catch (fault) {
      this.#options.log.error({ err: fault }, 'an answer of the store was not handled')
    }
  }

  #retryLater(): void {
    if (this.#phase !== 'failed') return
    this.#retryTimer = setTimeout(() => {
      this.#recovery = this.#recover().then(
        () => this.#options.log.info({ path: this.#options.path }, 'the store works again'),
        (error: unknown) => {
          this.#failure = asError(error).message
          this.#retryLater()
        },
      )
    }, this.#options.retryMs)
  }

  async #recover(): Promise<void> {
    const broken = this.#level
    this.#level = undefined
    // A database that failed may fail to close, too; if it then still holds the lock, opening says so.
    await broken?.close().catch(() => {})
    const level = await this.#options.openLevel(false)
    this.#level = level
    await takeLayout(level, this.#options.path)
    const batch = new RecordBatch(level.begin())
    const keptNow = this.#kept.length
    // Backwards, as a stack: the record of a session may have been deleted, and made anew under the same name.
    for (const write of this.#toRevert.toReversed()) write.revert?.(batch)
    for (const write of this.#kept) write.putInto(batch)
    batch.raw.put(probeKey, Buffer.of(VERSION))
    await batch.write(true)
    this.#toRevert = []
    const made = this.#kept.splice(0, keptNow)
    const since = this.#kept.splice(0)
    this.#failure = undefined
    if (this.#phase === 'failed') {
      this.#phase = 'open'
      this.#commit.resume()
      for (const write of since) this.#commit.add(write)
    }
    for (const write of made) this.#settle(write, undefined)
  }
}

/** A write of nothing, for its place in the order of answers. */
function answerWrite(settle: (error: Error | undefined) => void): JournalWrite {
  return { durable: false, putInto() {}, rollback() {}, revert() {}, settle }
}

function decodeQueued(key: Buffer, value: Buffer): QueueEntry | undefined {
  const parsed = parseKey(key)
  return parsed?.kind === 'queue' ? decodeEntry(parsed.seq, value) : undefined
}

function unavailable(reason: string, cause?: Error): TunnelMQError {
  return new TunnelMQError(ErrorCode.storeUnavailable, `The store is not available: ${reason}`, { cause })
}

function damaged(path: string, error: unknown): TunnelMQError {
  if (error instanceof TunnelMQError) return error
  const cause = asError(error)
  return new TunnelMQError(
    ErrorCode.store,
    `The store ${path} cannot be read: ${cause.message}. Make a copy of the folder, then run \`tunnelmq store check --repair --path ${path}\``,
    { cause },
  )
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
