import type { QueueEntry, Store, StoredSession } from './contract.ts'
import { countedBytes } from './counted-bytes.ts'
import type { Journal } from './journal.ts'
import { isExpired } from './retained-index.ts'
import { handleOf, type SessionHandle, type SessionIndex } from './session-index.ts'

/** Entries and bytes that a sweep looks at in one read. */
const SWEEP_COUNT = 500
const SWEEP_BYTES = 1024 * 1024

export interface SessionQueues {
  readonly read: Store['readQueue']
  readonly browse: Store['browseQueue']
  readonly handedOut: Store['handedOut']
  readonly acknowledge: Store['acknowledge']
  readonly release: Store['release']
  /** Takes out expired entries that nobody can have seen. */
  sweep(nowMs: number): Promise<void>
}

/**
 * The queues of sessions, on the side of delivery. A read shows what the medium had when it began; what was
 * acknowledged or released meanwhile, or is still on its way to the medium, is taken into account here.
 */
export function createSessionQueues(journal: Journal, sessions: SessionIndex): SessionQueues {
  async function read(
    handle: StoredSession,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]> {
    const session = handleOf(handle)
    // Before the read is over: a sweep that begins right after it must know.
    return await entriesOf(session, afterSeq, maxCount, maxBytes, (seq) => handedOut(session, seq))
  }

  async function browse(
    handle: StoredSession,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]> {
    return await entriesOf(handleOf(handle), afterSeq, maxCount, maxBytes, () => {})
  }

  /** `found` is told up to where was looked, entries that are gone included, if there is something. */
  async function entriesOf(
    session: SessionHandle,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
    found: (upToSeq: number) => void,
  ): Promise<readonly QueueEntry[]> {
    if (session.sweeping !== undefined) await session.sweeping.catch(() => {})
    if (session.removed || session.queuedCount === 0) return []
    session.readsUnderWay++
    try {
      for (let from = afterSeq; ;) {
        const stored = await journal.readEntries(session, from, maxCount, maxBytes)
        const last = stored.at(-1)
        if (last === undefined || session.removed) return []
        const current = stored.filter((entry) => !session.deletedSeqs.has(entry.seq))
        if (current.length > 0) {
          found(last.seq)
          return current.map((entry) => asReleased(session, entry))
        }
        from = last.seq
      }
    } finally {
      session.readsUnderWay--
      if (session.readsUnderWay === 0) {
        for (const seq of session.deletedDuringRead.splice(0)) session.deletedSeqs.delete(seq)
      }
    }
  }

  function handedOut(handle: StoredSession, seq: number): void {
    const session = handleOf(handle)
    session.readUpToSeq = Math.max(session.readUpToSeq, seq)
  }

  function acknowledge(
    handle: StoredSession,
    seq: number,
    payloadBytes: number,
    forgotten?: () => void,
  ): boolean {
    const session = handleOf(handle)
    if (session.removed || session.deletedSeqs.has(seq)) return false
    const released = session.releasedSeqs.delete(seq)
    sessions.dequeue(session, 1, released ? 0 : payloadBytes)
    session.deletedSeqs.add(seq)
    journal.write({
      durable: false,
      putInto: (records) => records.deleteEntry(session, seq),
      settle(error) {
        if (error !== undefined) return // kept by the journal: a read must go on hiding the entry
        if (session.readsUnderWay > 0) session.deletedDuringRead.push(seq)
        else session.deletedSeqs.delete(seq)
        forgotten?.()
      },
    })
    return true
  }

  function release(
    handle: StoredSession,
    seq: number,
    payloadBytes: number,
    done: (error: Error | undefined) => void,
  ): void {
    const session = handleOf(handle)
    const refusal = journal.refusal()
    if (refusal !== undefined) return journal.answer(() => done(refusal))
    if (session.removed || session.deletedSeqs.has(seq)) return journal.answer(done)
    if (!session.releasedSeqs.has(seq)) {
      session.releasedSeqs.add(seq)
      sessions.dequeue(session, 0, payloadBytes)
    }
    let answered = false
    journal.write({
      durable: true,
      putInto: (records) => records.putReleased(session, seq),
      settle(error) {
        if (answered) return
        answered = true
        done(error)
      },
    })
  }

  async function sweepQueue(session: SessionHandle, nowMs: number): Promise<void> {
    session.earliestExpiryMs = Number.POSITIVE_INFINITY
    for (let from = Math.max(session.readUpToSeq, session.sentUpToSeq); ;) {
      const entries = await journal.readEntries(session, from, SWEEP_COUNT, SWEEP_BYTES)
      const last = entries.at(-1)
      if (last === undefined || session.removed) return
      for (const { seq, message } of entries) {
        if (message === undefined || message.expiresAtMs === 0) continue
        if (isExpired(message, nowMs)) acknowledge(session, seq, countedBytes(message))
        else session.earliestExpiryMs = Math.min(session.earliestExpiryMs, message.expiresAtMs)
      }
      from = last.seq
    }
  }

  async function sweep(nowMs: number): Promise<void> {
    for (const session of sessions.all()) {
      if (session.earliestExpiryMs > nowMs || session.readsUnderWay > 0 || session.sweeping) continue
      session.sweeping = sweepQueue(session, nowMs)
      try {
        await session.sweeping
      } catch (error) {
        session.earliestExpiryMs = nowMs // the next sweep tries again
        throw error
      } finally {
        session.sweeping = undefined
      }
    }
  }

  return { read, browse, handedOut, acknowledge, release, sweep }
}

/** An entry whose release is not in what was read yet. */
function asReleased(session: SessionHandle, entry: QueueEntry): QueueEntry {
  if (entry.state === 'pubrel' || !session.releasedSeqs.has(entry.seq)) return entry
  return { seq: entry.seq, qos: entry.qos, state: 'pubrel', message: undefined }
}
