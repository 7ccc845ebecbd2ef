import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { countedBytes } from '../counted-bytes.ts'
import { MAX_UNFORGOTTEN_COUNT } from '../contract.ts'
import type { MovedSession, StoreSource, StoreTarget } from './contract.ts'
import { sessionEndsAtMs } from '../session-expiry.ts'
import { digestOfMessage, digestOfWill, SessionDigest } from './digest.ts'

export interface MigrationOptions {
  /** Into a store that holds something: what is there under the same name is left as it is. */
  readonly merge: boolean
  /** A client whose session has no end yet, as it was connected, has this long to come back, in ms; 0: for ever. */
  readonly expiryMs: number
  /** In-flight window of the broker that ended: so many entries may have been sent. */
  readonly maxInflight: number
  readonly nowMs: number
  /** About every second: what has been moved so far. */
  readonly onProgress: (counts: MovedCounts) => void
}

export interface MovedCounts {
  sessions: number
  subscriptions: number
  incomingIds: number
  queuedMessages: number
  queuedBytes: number
  retainedMessages: number
  wills: number
  /** With groups and roles. */
  identities: number
  /** Sessions, retained messages, wills and identities that were there already. */
  skipped: number
  /** Values of the source that could not be read. */
  unreadable: number
}

const PROGRESS_MS = 1_000

/**
 * Copies everything from one store into another, reads it back, compares, and only then lets brokers use it. Nothing
 * changes at the source. When it rejects, the target is still marked, and it can be run again.
 */
export async function migrate(
  source: StoreSource,
  target: StoreTarget,
  options: MigrationOptions,
): Promise<MovedCounts> {
  await target.begin(options.merge)
  const migration = new Migration(source, target, options)
  await migration.copy()
  await target.flush()
  await migration.verify()
  await target.finish()
  return migration.counts
}

class Migration {
  readonly counts: MovedCounts = {
    sessions: 0,
    subscriptions: 0,
    incomingIds: 0,
    queuedMessages: 0,
    queuedBytes: 0,
    retainedMessages: 0,
    wills: 0,
    identities: 0,
    skipped: 0,
    unreadable: 0,
  }
  readonly #source: StoreSource
  readonly #target: StoreTarget
  readonly #options: MigrationOptions
  /** By what it is and its name: what has been put, to be compared with what is read back. */
  readonly #put = new Map<string, string>()
  #nextProgressMs = performance.now() + PROGRESS_MS

  constructor(source: StoreSource, target: StoreTarget, options: MigrationOptions) {
    this.#source = source
    this.#target = target
    this.#options = options
  }

  async copy(): Promise<void> {
    for await (const session of this.#source.sessions()) {
      if (this.#target.hasSession(session.kind, session.id)) this.counts.skipped++
      else await this.#moveSession(session)
      this.#progress()
    }
    for await (const messages of this.#source.retained()) {
      for (const message of messages) {
        if (this.#target.hasRetained(message.topic)) {
          this.counts.skipped++
          continue
        }
        await this.#target.putRetained(message)
        this.#put.set(`retained ${message.topic}`, digestOfMessage(message))
        this.counts.retainedMessages++
      }
      this.#progress()
    }
    for await (const wills of this.#source.wills()) {
      for (const will of wills) {
        if (this.#target.hasWill(will.clientId)) {
          this.counts.skipped++
          continue
        }
        await this.#target.putWill(will)
        this.#put.set(`will ${will.clientId}`, digestOfWill(will))
        this.counts.wills++
      }
    }
    for await (const records of this.#source.identities()) {
      for (const record of records) {
        const { kind, name, json } = record
        if (this.#target.hasIdentity(kind, name)) {
          this.counts.skipped++
          continue
        }
        await this.#target.putIdentity(record)
        this.#put.set(`${kind} record ${name}`, json)
        this.counts.identities++
      }
      this.#progress()
    }
    this.counts.unreadable = this.#source.unreadable
  }

  /** Throws TMQ_STORE unless each thing that was put is read back as it was. */
  async verify(): Promise<void> {
    const { written } = this.#target
    const missing = new Map(this.#put)
    const compare = (name: string, digest: () => string): void => {
      const put = missing.get(name)
      if (put === undefined) return
      if (put !== digest()) throw notTheSame(name, 'is not what was written')
      missing.delete(name)
    }
    for await (const session of written.sessions()) {
      const name = `${session.kind} ${session.id}`
      if (!missing.has(name)) continue
      const digest = new SessionDigest(session)
      for await (const entries of written.queue(session)) for (const entry of entries) digest.add(entry)
      compare(name, () => digest.close())
      this.#progress()
    }
    for await (const messages of written.retained()) {
      for (const message of messages) compare(`retained ${message.topic}`, () => digestOfMessage(message))
    }
    for await (const wills of written.wills()) {
      for (const will of wills) compare(`will ${will.clientId}`, () => digestOfWill(will))
    }
    for await (const records of written.identities()) {
      for (const { kind, name, json } of records) compare(`${kind} record ${name}`, () => json)
    }
    for (const name of missing.keys()) throw notTheSame(name, 'is missing')
  }

  async #moveSession(session: MovedSession): Promise<void> {
    const { expiryMs, maxInflight, nowMs } = this.#options
    const digest = new SessionDigest(session)
    // As a start of the embedded store does it: so many of the oldest may have been on their way.
    const maySent = session.connected ? maxInflight + MAX_UNFORGOTTEN_COUNT : 0
    let { sentUpToSeq } = session
    let [queuedCount, queuedBytes, firstExpiryMs] = [0, 0, 0]
    for await (const entries of this.#source.queue(session)) {
      for (const entry of entries) {
        digest.add(entry)
        queuedCount++
        queuedBytes += entry.message === undefined ? 0 : countedBytes(entry.message)
        const endsMs = entry.message?.expiresAtMs ?? 0
        if (endsMs > 0 && (firstExpiryMs === 0 || endsMs < firstExpiryMs)) firstExpiryMs = endsMs
        if (queuedCount <= maySent) sentUpToSeq = Math.max(sentUpToSeq, entry.seq)
      }
      await this.#target.putEntries(session, entries)
      this.#progress()
    }
    // As brokers do it at their start.
    const endsLater = session.kind === 'client' && session.expiresAtMs === 0
    const expiresAtMs = endsLater
      ? sessionEndsAtMs(nowMs, session.expirySeconds, expiryMs)
      : session.expiresAtMs
    await this.#target.putSession({
      ...session,
      connected: false,
      expiresAtMs,
      sentUpToSeq,
      queuedCount,
      queuedBytes,
      firstExpiryMs,
    })
    this.#put.set(`${session.kind} ${session.id}`, digest.close())
    this.#count(session, queuedCount, queuedBytes)
  }

  #count(session: MovedSession, queuedCount: number, queuedBytes: number): void {
    this.counts.sessions++
    this.counts.subscriptions += session.subscriptions.length
    this.counts.incomingIds += session.incomingIds.length
    this.counts.queuedMessages += queuedCount
    this.counts.queuedBytes += queuedBytes
  }

  #progress(): void {
    if (performance.now() < this.#nextProgressMs) return
    this.#nextProgressMs = performance.now() + PROGRESS_MS
    this.#options.onProgress(this.counts)
  }
}

function notTheSame(name: string, what: string): TunnelMQError {
  return new TunnelMQError(
    ErrorCode.store,
    `Read back: ${JSON.stringify(name)} ${what}. Run the migration again`,
  )
}
