import type {
  PublishDone,
  PublishWrite,
  SessionKind,
  Store,
  StoredMessage,
  StoredSession,
  StoredSubscription,
  StoredWill,
  StoreLimits,
  StoreStats,
} from './contract.ts'
import { LocalIdentities } from './identities.ts'
import type { Journal, JournalWrite } from './journal.ts'
import { PendingPublish, withOwnPayload } from './pending-publish.ts'
import { createSessionQueues } from './session-queues.ts'
import { isExpired } from './retained-index.ts'
import { NEVER_EXPIRES } from './session-expiry.ts'
import { handleOf, type SessionHandle } from './session-index.ts'
import { createState } from './state.ts'

type Change = Omit<JournalWrite, 'settle'>

/** The contract's meaning, over a journal: what is the same in every store on one machine. */
export function createStore(journal: Journal, limits: StoreLimits, now: () => number): Store {
  const state = createState(limits)
  const { sessions, retained, wills } = state
  const queues = createSessionQueues(journal, sessions)
  const identities = new LocalIdentities(journal)

  function commit(change: Change): Promise<void> {
    return new Promise((resolve, reject) => {
      journal.write({ ...change, settle: (error) => (error === undefined ? resolve() : reject(error)) })
    })
  }

  function barrier(): Promise<void> {
    return new Promise((resolve, reject) => {
      journal.answer((error) => (error === undefined ? resolve() : reject(error)))
    })
  }

  /** Runs `change`, which changes the memory, unless the write would be refused. */
  async function commitUnlessRefused(change: () => Change): Promise<void> {
    const refusal = journal.refusal()
    if (refusal === undefined) return commit(change())
    await barrier().catch(() => {})
    throw refusal
  }

  async function createSession(kind: SessionKind, id: string): Promise<StoredSession> {
    const existing = sessions.find(kind, id)
    if (existing !== undefined) {
      await barrier()
      return existing
    }
    let created: SessionHandle | undefined
    await commitUnlessRefused(() => {
      const session = sessions.create(kind, id, now())
      created = session
      return {
        durable: true,
        putInto: (records) => records.putSession(session),
        rollback: () => sessions.remove(session),
        revert: (records) => records.deleteSession(session),
      }
    })
    return created as SessionHandle
  }

  async function removeSession(handle: StoredSession): Promise<void> {
    const session = handleOf(handle)
    if (session.removed) return barrier()
    await commitUnlessRefused(() => {
      sessions.remove(session)
      return {
        durable: true,
        putInto(records) {
          records.deleteSession(session)
          for (const filter of session.subscriptions.keys()) records.deleteSubscription(session, filter)
          for (const messageId of session.incomingIds) records.deleteIncoming(session, messageId)
        },
        rollback: () => sessions.restore(session),
        revert(records) {
          records.putSession(session)
          for (const subscription of session.subscriptions.values()) {
            records.putSubscription(session, subscription)
          }
          for (const messageId of session.incomingIds) records.putIncoming(session, messageId)
        },
      }
    })
    journal.dropQueue(session)
  }

  async function sessionConnected(handle: StoredSession, expiry?: number): Promise<void> {
    const session = handleOf(handle)
    if (session.removed) return barrier()
    await commitUnlessRefused(() => {
      const { connected, expiresAtMs, expirySeconds } = session
      session.connected = true
      session.expiresAtMs = 0
      session.expirySeconds = expiry
      return {
        durable: true,
        putInto: (records) => records.putSession(session),
        rollback: () => Object.assign(session, { connected, expiresAtMs, expirySeconds }),
        revert: (records) => records.putSession(session),
      }
    })
  }

  function sessionDisconnected(
    handle: StoredSession,
    { expiresAtMs, sentUpToSeq }: { expiresAtMs: number; sentUpToSeq: number },
  ): Promise<void> {
    const session = handleOf(handle)
    if (session.removed) return barrier() // its name may be another session's by now
    session.connected = false
    session.expiresAtMs = expiresAtMs
    // DISCONNECT may have made it so: the next start is not to give it an end.
    if (expiresAtMs === 0 && session.expirySeconds !== undefined) session.expirySeconds = NEVER_EXPIRES
    session.sentUpToSeq = Math.max(session.sentUpToSeq, sentUpToSeq)
    session.readUpToSeq = 0
    // What was given out is now certain: after a clean stop numbering goes on without a gap.
    session.seqMark = Math.min(session.seqMark, session.lastSeq)
    return commit({ durable: false, putInto: (records) => records.putSession(session) })
  }

  /** Sets (or with undefined removes) subscriptions, all in one write. */
  async function changeSubscriptions(
    handle: StoredSession,
    changes: ReadonlyMap<string, StoredSubscription | undefined>,
  ): Promise<void> {
    const session = handleOf(handle)
    if (session.removed) return barrier()
    await commitUnlessRefused(() => {
      const before = new Map([...changes.keys()].map((filter) => [filter, session.subscriptions.get(filter)]))
      const apply = (values: ReadonlyMap<string, StoredSubscription | undefined>): void => {
        for (const [filter, value] of values) sessions.setSubscription(session, filter, value)
      }
      const write: Change['putInto'] = (records) => {
        for (const filter of changes.keys()) {
          const subscription = session.subscriptions.get(filter)
          if (subscription === undefined || session.removed) records.deleteSubscription(session, filter)
          else records.putSubscription(session, subscription)
        }
      }
      apply(changes)
      return { durable: true, putInto: write, rollback: () => apply(before), revert: write }
    })
  }

  function publish(write: PublishWrite, done: PublishDone): void {
    const refusal = journal.refusal()
    const none = write.targets.map(() => 0)
    if (refusal !== undefined) return journal.answer(() => done(refusal, none, false))
    const { incoming, willOf } = write
    const isTaken = incoming !== undefined && handleOf(incoming.session).incomingIds.has(incoming.messageId)
    // Method A of [MQTT-4.3.3-2]; if the first one fails, so does this one.
    if (isTaken || (willOf !== undefined && !wills.has(willOf))) {
      return journal.answer((error) => done(error, none, error === undefined))
    }
    journal.write(new PendingPublish(state, write, done))
  }

  function releaseIncoming(
    handle: StoredSession,
    messageId: number,
    done: (error: Error | undefined) => void,
  ): void {
    const session = handleOf(handle)
    const refusal = journal.refusal()
    if (refusal !== undefined) return journal.answer(() => done(refusal))
    if (!session.incomingIds.delete(messageId)) return journal.answer(done)
    journal.write({
      durable: true,
      putInto: (records) => records.deleteIncoming(session, messageId),
      rollback: () => session.incomingIds.add(messageId),
      revert: (records) => {
        if (!session.removed) records.putIncoming(session, messageId)
      },
      settle: done,
    })
  }

  /** Sets the will of a client, or with undefined removes it. */
  async function changeWill(clientId: string, will: StoredWill | undefined): Promise<void> {
    const before = wills.get(clientId)
    if (before === undefined && will === undefined) return barrier()
    await commitUnlessRefused(() => {
      const apply = (value: StoredWill | undefined): void => {
        if (value === undefined) wills.delete(clientId)
        else wills.set(clientId, value)
      }
      const write: Change['putInto'] = (records) => {
        const current = wills.get(clientId)
        if (current === undefined) records.deleteWill(clientId)
        else records.putWill(current)
      }
      apply(will)
      return { durable: true, putInto: write, rollback: () => apply(before), revert: write }
    })
  }

  function sweepRetained(nowMs: number): Promise<void> | undefined {
    const topics = retained.expired(nowMs)
    if (topics.length === 0 || journal.refusal() !== undefined) return undefined
    const before = topics.map((topic) => ({ topic, message: retained.get(topic) }))
    for (const topic of topics) retained.delete(topic)
    return commit({
      durable: false,
      putInto: (records) => {
        for (const topic of topics) records.deleteRetained(topic)
      },
      rollback: () => {
        for (const { topic, message } of before) retained.restore(topic, message)
      },
      revert: (records) => {
        for (const { message } of before) if (message !== undefined) records.putRetained(message)
      },
    })
  }

  async function sweep(nowMs: number): Promise<void> {
    const retainedSwept = sweepRetained(nowMs)
    await queues.sweep(nowMs)
    await retainedSwept
    await barrier()
  }

  function stats(): StoreStats {
    return {
      sessions: sessions.size,
      subscriptions: sessions.subscriptionCount,
      queuedMessages: sessions.queuedCount,
      queuedBytes: sessions.queuedBytes,
      retainedMessages: retained.size,
      retainedBytes: retained.bytes,
      wills: wills.size,
      droppedMessages: state.droppedMessages,
      droppedRetained: state.droppedRetained,
      corruptValues: journal.corruptValues,
      pendingWrites: journal.pendingWrites,
      pendingBytes: journal.pendingBytes,
      commits: journal.commits,
      failure: journal.failure ?? '',
      expiredSessions: 0,
    }
  }

  function retainedMessage(topic: string): StoredMessage | undefined {
    const message = retained.get(topic)
    return message !== undefined && isExpired(message, now()) ? undefined : message
  }

  return {
    kind: journal.kind,
    async open() {
      await journal.open(state)
      identities.loaded(state.identities.splice(0), state.identityRevision)
    },
    close: () => journal.close(),
    get failure() {
      return journal.failure
    },
    sessions: sessions.clients,
    groups: sessions.groups,
    createSession,
    removeSession,
    sessionConnected,
    sessionDisconnected,
    putSubscriptions: (session, subscriptions) =>
      changeSubscriptions(session, new Map(subscriptions.map((one) => [one.filter, one]))),
    removeSubscriptions: (session, filters) =>
      changeSubscriptions(session, new Map(filters.map((filter) => [filter, undefined]))),
    publish,
    readQueue: queues.read,
    browseQueue: queues.browse,
    handedOut: queues.handedOut,
    acknowledge: queues.acknowledge,
    release: queues.release,
    releaseIncoming,
    putWill: (will) => changeWill(will.clientId, { ...will, message: withOwnPayload(will.message) }),
    deleteWill: (clientId) => changeWill(clientId, undefined),
    wills,
    identities,
    retained: retainedMessage,
    retainedMatching: (filter) => retained.matching(filter, now()),
    allRetained: () => retained.values(),
    sweep,
    giveBack() {},
    listen() {},
    stats,
  }
}
