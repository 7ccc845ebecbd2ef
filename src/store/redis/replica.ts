import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { decodeSubscription, encodeSubscription } from '../codec.ts'
import type { ReplicaListener, SessionKind, StoredSubscription } from '../contract.ts'
import { SessionIndex } from '../session-index.ts'
import type { LogEntry, RedisLink } from './contract.ts'
import { RedisSession } from './session.ts'

/** A session as it was read from Redis. */
export interface LoadedSession {
  readonly kid: string
  readonly incarnation: number
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly expirySeconds: number | undefined
  readonly figures: QueueFigures
  readonly subscriptions: ReadonlyMap<string, StoredSubscription>
  readonly incomingIds: readonly number[]
}

export interface QueueFigures {
  readonly seq: number
  readonly sent: number
  readonly count: number
  readonly bytes: number
}

/** The sessions of all pods in memory, with their subscriptions: what the log says, and what was loaded before it. */
export class Replica {
  readonly index = new SessionIndex()
  readonly #byIncarnation = new Map<number, RedisSession>()
  #listener: ReplicaListener | undefined
  /** Position of the log of what was applied last: a read that has failed half-way comes again. */
  #appliedTo = 0

  constructor(link: RedisLink) {
    link.follower.onLog('session', (entry, position) => {
      if (this.#isNew(position)) this.#sessionLogged(entry)
    })
    link.follower.onLog('subscription', (entry, position) => {
      if (this.#isNew(position)) this.#subscriptionLogged(entry)
    })
  }

  listen(listener: ReplicaListener): void {
    this.#listener = listener
  }

  find(kind: SessionKind, id: string): RedisSession | undefined {
    return this.index.find(kind, id) as RedisSession | undefined
  }

  byKid(kid: string): RedisSession | undefined {
    return this.find(kid.startsWith('c') ? 'client' : 'group', kid.slice(1))
  }

  *all(): Generator<RedisSession> {
    yield* this.index.all() as Generator<RedisSession>
  }

  /** One that this pod has asked Redis for. */
  expect(session: RedisSession): void {
    this.index.restore(session)
    this.#byIncarnation.set(session.incarnation, session)
  }

  /** Redis had one of this name already, or has not made it (undefined). */
  expected(session: RedisSession, incarnation: number | undefined): void {
    if (session.told || session.incarnation === incarnation) return
    this.#forget(session)
    if (incarnation === undefined || session.removed) return
    // It is in the log, or will be.
    session.incarnation = incarnation
    this.expect(session)
  }

  /** Not to be found any more, although the log does not say so yet. */
  hide(session: RedisSession): void {
    if (!session.removed) this.index.remove(session)
  }

  /** It was not removed. */
  unhide(session: RedisSession): void {
    if (this.#byIncarnation.get(session.incarnation) !== session) return
    if (session.removed && this.find(session.kind, session.id) === undefined) this.index.restore(session)
  }

  /** The queue is as Redis says, less what we have acknowledged meanwhile. */
  setFigures(session: RedisSession, { seq, sent, count, bytes }: QueueFigures): void {
    const left = Math.max(0, count - session.unsettledCount)
    const leftBytes = Math.max(0, bytes - session.unsettledBytes)
    this.index.enqueue(session, left - session.queuedCount, leftBytes - session.queuedBytes)
    session.sentUpToSeq = sent
    session.countedTo(seq)
  }

  /** An entry that may be known already. */
  countEntry(session: RedisSession, seq: number, bytes: number): void {
    if (session.countEntry(seq)) this.index.enqueue(session, 1, bytes)
  }

  /** At a load: it is there, whatever the log has said. */
  load(loaded: LoadedSession): RedisSession {
    const session = this.#place(loaded.kid, loaded.incarnation, loaded.createdAtMs)
    session.expiresAtMs = loaded.expiresAtMs
    session.expirySeconds = loaded.expirySeconds
    for (const filter of session.subscriptions.keys()) {
      if (!loaded.subscriptions.has(filter)) this.index.setSubscription(session, filter, undefined)
    }
    for (const [filter, subscription] of loaded.subscriptions) {
      this.index.setSubscription(session, filter, subscription)
    }
    this.setFigures(session, loaded.figures)
    // While this pod holds the claim nobody else changes them, and it may have done so since they were read.
    if (session.claim === 0) {
      session.incomingIds.clear()
      for (const id of loaded.incomingIds) session.incomingIds.add(id)
    }
    session.told = true
    return session
  }

  /** After a load: those that were not there are gone. */
  loaded(present: ReadonlySet<RedisSession>, position: number, isFirst: boolean): void {
    this.#appliedTo = position
    for (const session of this.all()) if (session.told && !present.has(session)) this.#forget(session)
    for (const session of this.#byIncarnation.values()) {
      if (session.removed && session.told && !present.has(session)) this.#forget(session)
    }
    if (!isFirst) this.#listener?.reloaded()
  }

  #isNew(position: number): boolean {
    if (position <= this.#appliedTo) return false
    this.#appliedTo = position
    return true
  }

  #sessionLogged([, , kid, exists, createdAtMs, incarnation]: LogEntry): void {
    if (typeof kid !== 'string' || !/^[cg]/.test(kid)) throw notOurs()
    if (typeof createdAtMs !== 'number' || typeof incarnation !== 'number') throw notOurs()
    if (exists === 0) return this.#removed(incarnation)
    if (exists !== 1) throw notOurs()
    const session = this.#place(kid, incarnation, createdAtMs)
    if (session.told) return
    session.told = true
    if (!session.removed) this.#listener?.sessionAdded(session)
  }

  #removed(incarnation: number): void {
    const session = this.#byIncarnation.get(incarnation)
    if (session === undefined) return
    this.#forget(session)
    if (session.told) this.#listener?.sessionRemoved(session)
  }

  #subscriptionLogged([, , kid, changes]: LogEntry): void {
    if (typeof kid !== 'string' || !Array.isArray(changes)) throw notOurs()
    const session = this.byKid(kid)
    const filters: string[] = []
    for (const change of changes as unknown[]) {
      if (!Array.isArray(change) || typeof change[0] !== 'string') throw notOurs()
      const filter = change[0]
      const subscription = change[1] === null ? undefined : subscriptionOf(filter, change[1])
      if (session === undefined) continue
      this.index.setSubscription(session, filter, subscription)
      filters.push(filter)
    }
    if (session?.told === true) this.#listener?.subscriptionsChanged(session, filters)
  }

  /** The handle of a session that Redis has: that of its number, or ours that waits for one, or a new one. */
  #place(kid: string, incarnation: number, createdAtMs: number): RedisSession {
    const known = this.#byIncarnation.get(incarnation)
    if (known !== undefined) return known
    const named = this.byKid(kid)
    if (named !== undefined && !named.told) {
      this.#byIncarnation.delete(named.incarnation)
      named.incarnation = incarnation
      named.createdAtMs = createdAtMs
      this.#byIncarnation.set(incarnation, named)
      return named
    }
    if (named !== undefined) this.#forget(named)
    const session = new RedisSession(
      kid.startsWith('c') ? 'client' : 'group',
      kid.slice(1),
      createdAtMs,
      incarnation,
    )
    this.expect(session)
    return session
  }

  #forget(session: RedisSession): void {
    if (!session.removed) this.index.remove(session)
    if (this.#byIncarnation.get(session.incarnation) === session)
      this.#byIncarnation.delete(session.incarnation)
  }
}

function subscriptionOf(filter: string, value: unknown): StoredSubscription {
  const subscription = decodeSubscription(filter, encodeSubscription(value as StoredSubscription))
  if (subscription === undefined) throw notOurs()
  return subscription
}

function notOurs(): TunnelMQError {
  return new TunnelMQError(ErrorCode.store, 'Not an entry of the change log')
}
