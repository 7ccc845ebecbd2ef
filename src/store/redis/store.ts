import type { Log } from '../../log.ts'
import type { StoredSession, StoredSubscription, StoreLimits, StoreStats, SessionKind } from '../contract.ts'
import { encodeSubscription } from '../codec.ts'
import { isExpired } from '../retained-index.ts'
import { Claims } from './claims.ts'
import type { RedisLink, RedisStore, ScriptArgument } from './contract.ts'
import { RedisIdentities } from './identities.ts'
import { loadSessions } from './load.ts'
import { Publishes } from './publishes.ts'
import { RedisQueues } from './queues.ts'
import { Replica } from './replica.ts'
import { numberIn } from './reply.ts'
import { Requests } from './requests.ts'
import { RetainedReplica } from './retained.ts'
import { createIncarnation, RedisSession, redisSessionOf } from './session.ts'
import { Sweep } from './sweep.ts'
import { Wills } from './wills.ts'

/** The group was not removed: other pods' members, perhaps, read from it. */
const HAS_MEMBERS = 3

export interface RedisStoreOptions {
  /** Not opened yet. `open` and `close` of the store open and close it; `start` is the caller's. */
  readonly link: RedisLink
  readonly limits: StoreLimits
  /** Of sessions that have none of their own, ms; 0: never. */
  readonly sessionExpiryMs: number
  readonly log: Log
  /** Default: Date.now */
  readonly now?: () => number
}

/**
 * The store that several pods share. What is written here is an op of lua/, and what it changes for all pods comes
 * back through the log; so whoever waits for a change waits for that, and `link.start()` has to be called.
 */
export function createRedisStore({
  link,
  limits,
  sessionExpiryMs,
  log,
  now = Date.now,
}: RedisStoreOptions): RedisStore {
  const requests = new Requests(link)
  const replica = new Replica(link)
  const retained = new RetainedReplica(link, limits)
  const queues = new RedisQueues(link, requests, replica)
  const wills = new Wills(requests)
  const identities = new RedisIdentities(link, requests)
  const claims = new Claims({ requests, wills, replica, queues, limits, sessionExpiryMs, now })
  const publishes = new Publishes({ requests, replica, retained, queues, claims, wills, limits })
  const sweeper = new Sweep(link, requests, replica)
  let corruptValues = 0
  let isLoaded = false

  link.onExpelled(() => claims.expelled())
  link.onLoad(async (position) => {
    const startedMs = performance.now()
    corruptValues += await loadSessions(requests, replica, position, !isLoaded)
    await retained.load()
    await identities.load()
    isLoaded = true
    const tookMs = Math.round(performance.now() - startedMs)
    log.info({ sessions: replica.index.size, retained: retained.index.size, tookMs }, 'loaded from redis')
  })

  async function createSession(kind: SessionKind, id: string): Promise<StoredSession> {
    const existing = replica.find(kind, id)
    const session = existing ?? new RedisSession(kind, id, now(), createIncarnation())
    if (existing === undefined) replica.expect(session)
    const args = [session.kid, session.createdAtMs, session.incarnation]
    try {
      const reply = await requests.ask('session-create', args, { patience: 'wait' })
      replica.expected(session, numberIn(reply[0]))
      await requests.applied(reply[6])
    } catch (error) {
      if (existing === undefined) replica.expected(session, undefined)
      throw error
    }
    return replica.find(kind, id) ?? session
  }

  async function removeSession(handle: StoredSession): Promise<void> {
    const session = redisSessionOf(handle)
    if (session.removed) return answered()
    replica.hide(session)
    const args = [session.kid, session.claim, session.incarnation]
    try {
      const reply = await requests.askFenced(session.id, 'session-remove', args, {
        patience: 'wait',
        frees: true,
      })
      if (reply[0] === HAS_MEMBERS) replica.unhide(session)
      else await requests.applied(reply[1])
    } catch (error) {
      replica.unhide(session)
      throw error
    }
  }

  /** As any write would be: after those before it. */
  async function answered(): Promise<void> {
    const { refusal } = requests
    await requests.settled()
    if (refusal !== undefined) throw refusal
  }

  async function sessionConnected(handle: StoredSession, expirySeconds?: number): Promise<void> {
    const session = redisSessionOf(handle)
    if (session.removed) return answered()
    const args = [session.kid, session.claim, expirySeconds ?? '']
    await requests.askFenced(session.id, 'session-connected', args, { patience: 'now' })
    session.connected = true
    session.expiresAtMs = 0
    session.expirySeconds = expirySeconds
  }

  async function sessionDisconnected(
    handle: StoredSession,
    { expiresAtMs, sentUpToSeq }: { expiresAtMs: number; sentUpToSeq: number },
  ): Promise<void> {
    const session = redisSessionOf(handle)
    if (session.removed) return answered()
    session.connected = false
    session.expiresAtMs = expiresAtMs
    session.sentUpToSeq = Math.max(session.sentUpToSeq, sentUpToSeq)
    session.readUpToSeq = 0
    queues.submitAcknowledged(session)
    const args = [session.kid, session.claim, expiresAtMs, sentUpToSeq]
    await requests.askFenced(session.id, 'session-disconnected', args, { patience: 'keep', frees: true })
  }

  async function changeSubscriptions(
    session: RedisSession,
    args: ScriptArgument[],
    frees: boolean,
  ): Promise<void> {
    if (session.removed) return answered()
    const bytes = args.reduce<number>((sum, arg) => sum + (typeof arg === 'number' ? 16 : arg.length), 0)
    const options = { patience: 'wait', bytes, frees } as const
    const reply = await requests.askFenced(
      session.id,
      'subscriptions',
      [session.kid, session.claim, ...args],
      options,
    )
    await requests.applied(reply[1])
  }

  function stats(): StoreStats {
    const { index } = replica
    return {
      sessions: index.size,
      subscriptions: index.subscriptionCount,
      queuedMessages: index.queuedCount,
      queuedBytes: index.queuedBytes,
      retainedMessages: retained.index.size,
      retainedBytes: retained.index.bytes,
      wills: wills.of.size,
      droppedMessages: publishes.droppedMessages,
      droppedRetained: publishes.droppedRetained,
      corruptValues: corruptValues + queues.corruptValues + retained.corruptValues + identities.corruptValues,
      pendingWrites: link.writer.pendingWrites,
      pendingBytes: link.writer.pendingBytes,
      commits: link.writer.commits,
      failure: link.failure ?? '',
      expiredSessions: sweeper.expiredSessions,
    }
  }

  return {
    kind: 'redis',
    link,
    async open() {
      requests.opened()
      await link.open()
    },
    async close() {
      queues.submitAllAcknowledged()
      requests.closed()
      await link.close()
    },
    get failure() {
      return link.failure
    },
    sessions: replica.index.clients,
    groups: replica.index.groups,
    createSession,
    removeSession,
    sessionConnected,
    sessionDisconnected,
    putSubscriptions: (handle, subscriptions) =>
      changeSubscriptions(redisSessionOf(handle), subscriptions.flatMap(setArgs), false),
    removeSubscriptions: (handle, filters) =>
      changeSubscriptions(
        redisSessionOf(handle),
        filters.flatMap((filter) => [filter, '', '', '']),
        true,
      ),
    publish: (write, done) => publishes.publish(write, done),
    readQueue: (...args) => queues.readQueue(...args),
    browseQueue: (...args) => queues.browseQueue(...args),
    handedOut: (session, seq) => queues.handedOut(session, seq),
    acknowledge: (...args) => queues.acknowledge(...args),
    release: (...args) => queues.release(...args),
    releaseIncoming: (...args) => queues.releaseIncoming(...args),
    putWill: (will) => wills.put(will, claims.numberOf(will.clientId) ?? 0),
    deleteWill: (clientId) => wills.delete(clientId),
    wills: wills.of,
    identities,
    retained(topic) {
      const message = retained.index.get(topic)
      return message !== undefined && isExpired(message, now()) ? undefined : message
    },
    retainedMatching: (filter) => retained.index.matching(filter, now()),
    allRetained: () => retained.index.values(),
    sweep: (nowMs) => sweeper.sweep(nowMs),
    giveBack: (group, seqs) => queues.giveBack(group, seqs),
    listen: (listener) => replica.listen(listener),
    stats,
    claim: (request) => claims.claim(request),
    putClaimedWill: (...args) => claims.putClaimedWill(...args),
    releaseClaim: (...args) => claims.releaseClaim(...args),
    reclaim: (held) => claims.reclaim(held),
    claimOf: (sessionId) => claims.numberOf(sessionId),
    get claimedCount() {
      return claims.count
    },
    get fencedWrites() {
      return requests.fencedWrites
    },
    onFenced: (listener) => requests.onFenced(listener),
  }
}

function setArgs(subscription: StoredSubscription): ScriptArgument[] {
  const { filter, shareGroup, matchFilter } = subscription
  const isShared = shareGroup !== undefined
  const group = isShared ? `${shareGroup}/${matchFilter}` : ''
  return [filter, encodeSubscription(subscription), group, isShared ? createIncarnation() : '']
}
