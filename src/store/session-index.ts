import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { SessionKind, StoredSession, StoredSubscription } from './contract.ts'

/**
 * Sequence numbers are reserved on disk in blocks of this size, ahead of use: message ids on the wire derive
 * from them, so one must never be given out twice. Costs one session record for as many publishes, and a gap
 * of at most this size after an unclean stop.
 */
export const SEQ_BLOCK = 1_000

/** The store's own side of a {@link StoredSession}. */
export class SessionHandle implements StoredSession {
  readonly kind: SessionKind
  readonly id: string
  /** Short name of the session in keys; never used again in one store. */
  readonly number: number
  createdAtMs: number
  readonly subscriptions = new Map<string, StoredSubscription>()
  readonly incomingIds = new Set<number>()
  /** Entries in state `pubrel`: their payload is accounted for no more. */
  readonly releasedSeqs = new Set<number>()
  /** Entries that are forgotten, and whose deletion may not be seen by a read yet. */
  readonly deletedSeqs = new Set<number>()
  /** Deletions that were committed while a read was under way: the read may still show them. */
  readonly deletedDuringRead: number[] = []
  queuedCount = 0
  queuedBytes = 0
  lastSeq = 0
  /** Highest sequence number that is reserved on disk. */
  seqMark = 0
  sentUpToSeq = 0
  /** Highest sequence number that was handed out to the connection. */
  readUpToSeq = 0
  expiresAtMs = 0
  expirySeconds: number | undefined
  /** No queue entry expires before this. */
  earliestExpiryMs = Number.POSITIVE_INFINITY
  connected = false
  removed = false
  readsUnderWay = 0
  /** Set while expired entries are taken out: reads wait for it. */
  sweeping: Promise<void> | undefined

  constructor(kind: SessionKind, id: string, number: number, createdAtMs: number) {
    this.kind = kind
    this.id = id
    this.number = number
    this.createdAtMs = createdAtMs
  }

  /** Gives out a sequence number; true in `reserved` when the block on disk has to be moved up with it. */
  nextSeq(): { seq: number; reserved: boolean } {
    const seq = ++this.lastSeq
    const reserved = seq > this.seqMark
    if (reserved) this.seqMark = seq + SEQ_BLOCK
    return { seq, reserved }
  }
}

/** All sessions, and the sums over them. */
export class SessionIndex {
  readonly clients = new Map<string, SessionHandle>()
  readonly groups = new Map<string, SessionHandle>()
  subscriptionCount = 0
  queuedCount = 0
  queuedBytes = 0
  #nextNumber = 1

  get size(): number {
    return this.clients.size + this.groups.size
  }

  *all(): Generator<SessionHandle> {
    yield* this.clients.values()
    yield* this.groups.values()
  }

  find(kind: SessionKind, id: string): SessionHandle | undefined {
    return this.#mapOf(kind).get(id)
  }

  create(kind: SessionKind, id: string, createdAtMs: number): SessionHandle {
    const session = new SessionHandle(kind, id, this.#nextNumber++, createdAtMs)
    this.#mapOf(kind).set(id, session)
    return session
  }

  /** Adds a session that was removed before, or was read from the disk. */
  restore(session: SessionHandle): void {
    this.reserveNumber(session.number)
    session.removed = false
    this.#mapOf(session.kind).set(session.id, session)
    this.#addToSums(session, 1)
  }

  remove(session: SessionHandle): void {
    session.removed = true
    this.#mapOf(session.kind).delete(session.id)
    this.#addToSums(session, -1)
  }

  /** No session to come gets this number. */
  reserveNumber(number: number): void {
    this.#nextNumber = Math.max(this.#nextNumber, number + 1)
  }

  enqueue(session: SessionHandle, count: number, bytes: number): void {
    session.queuedCount += count
    session.queuedBytes += bytes
    if (session.removed) return
    this.queuedCount += count
    this.queuedBytes += bytes
  }

  /** Never below zero, whatever a caller claims an entry has weighed. */
  dequeue(session: SessionHandle, count: number, bytes: number): void {
    this.enqueue(session, -Math.min(count, session.queuedCount), -Math.min(bytes, session.queuedBytes))
  }

  setSubscription(session: SessionHandle, filter: string, value: StoredSubscription | undefined): void {
    const before = session.subscriptions.size
    if (value === undefined) session.subscriptions.delete(filter)
    else session.subscriptions.set(filter, value)
    if (!session.removed) this.subscriptionCount += session.subscriptions.size - before
  }

  #mapOf(kind: SessionKind): Map<string, SessionHandle> {
    return kind === 'client' ? this.clients : this.groups
  }

  #addToSums(session: SessionHandle, sign: 1 | -1): void {
    this.subscriptionCount += sign * session.subscriptions.size
    this.queuedCount += sign * session.queuedCount
    this.queuedBytes += sign * session.queuedBytes
  }
}

/** The handle behind a session that a caller hands in. */
export function handleOf(session: StoredSession): SessionHandle {
  if (session instanceof SessionHandle) return session
  throw new TunnelMQError(ErrorCode.usage, 'The session was not given out by this store')
}
