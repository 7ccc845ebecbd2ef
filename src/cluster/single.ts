import { randomBytes } from 'node:crypto'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Store, StoredSession, StoredWill } from '../store/contract.ts'
import type { Claim, ClaimRequest, Cluster, ClusterEvents, ClusterStats } from './contract.ts'
import { answerOfSelf } from './self-answer.ts'

export interface SingleOptions {
  /** A session whose client never came in, after all, ends after this long; 0: never. */
  readonly expiryMs: number
}

const NOTHING: ClusterStats = {
  pods: 1,
  logLag: 0,
  logPosition: 0,
  logGaps: 0,
  inboxGaps: 0,
  reloads: 0,
  claims: 0,
  takeovers: 0,
  lostClaims: 0,
  fencedWrites: 0,
  owned: 0,
  routed: { out: { qos0: 0, stored: 0, frame: 0 }, in: { qos0: 0, stored: 0, frame: 0 } },
  routedDropped: 0,
  waitingBytes: 0,
  garbage: 0,
  deadPods: 0,
  willsDue: 0,
  lateSettles: 0,
  fresh: 1,
  emptied: 0,
}

/** A broker that is alone with its store: who claims has it, and there is nobody else to hear from or to tell. */
export function createSingleCluster(store: Store, { expiryMs }: SingleOptions): Cluster {
  const pod = randomBytes(8).toString('hex')
  /** By session id, those that were not released; and of them, those whose connections were told to close. */
  const claims = new Map<string, ClaimRequest>()
  const lost = new WeakSet<ClaimRequest>()
  let made = 0
  let events: ClusterEvents | undefined

  async function claim(request: ClaimRequest): Promise<Claim> {
    const { sessionId, clean, will } = request
    const found = store.sessions.get(sessionId)
    if (clean && found !== undefined) await store.removeSession(found)
    const stored = clean ? undefined : await obtain(request, found)
    try {
      if (stored !== undefined) await store.sessionConnected(stored)
      await putWill(sessionId, will)
    } catch (error) {
      // It goes on waiting for its client.
      if (stored !== undefined) await leave(stored, expiryFromNow(), stored.sentUpToSeq).catch(() => {})
      throw error
    }
    made++
    claims.set(sessionId, request)
    return {
      stored,
      present: stored !== undefined && stored === found,
      async release(end) {
        // A later connection has it.
        if (claims.get(sessionId) !== request) return
        claims.delete(sessionId)
        const left = stored && leave(stored, end.expiresAtMs, end.sentUpToSeq)
        // One that is kept stays where it is, for the next start of the broker.
        const isOver = end.willDueAtMs === 0 && store.wills.has(sessionId)
        await Promise.all([left, isOver && store.deleteWill(sessionId)])
      },
    }
  }

  async function obtain(request: ClaimRequest, found: StoredSession | undefined): Promise<StoredSession> {
    if (found !== undefined) return found
    const { maxSessions } = request
    if (store.sessions.size < maxSessions) return await store.createSession('client', request.sessionId)
    throw new TunnelMQError(ErrorCode.limit, `${maxSessions} sessions are stored (session.maxSessions)`)
  }

  async function putWill(sessionId: string, will: StoredWill | undefined): Promise<void> {
    if (will !== undefined) await store.putWill(will)
    else if (store.wills.has(sessionId)) await store.deleteWill(sessionId)
  }

  function expiryFromNow(): number {
    return expiryMs === 0 ? 0 : Date.now() + expiryMs
  }

  function leave(stored: StoredSession, expiresAtMs: number, sentUpToSeq: number): Promise<void> {
    return store.sessionDisconnected(stored, { expiresAtMs, sentUpToSeq })
  }

  return {
    pod,
    isShared: false,
    failure: undefined,
    start(given) {
      events = given
      return Promise.resolve()
    },
    leave() {
      events = undefined
      return Promise.resolve()
    },
    claim,
    kick(sessionId) {
      const request = claims.get(sessionId)
      if (request === undefined || lost.has(request)) return Promise.resolve(false)
      lost.add(request)
      request.onLost('kicked')
      return Promise.resolve(true)
    },
    elsewhere: () => Promise.resolve(new Map()),
    want() {},
    unwant() {},
    joinGroup() {},
    quitGroup() {},
    settled: () => Promise.resolve(),
    isFresh: true,
    onceFresh: (done) => queueMicrotask(() => done(undefined)),
    send() {},
    sendToGroup() {},
    announceSeat() {},
    withdrawSeat() {},
    sendFrame() {},
    pendingBytes: 0,
    onceDrained: (listener) => queueMicrotask(listener),
    ban() {},
    unban: () => Promise.resolve(false),
    ask(asked, question, timeoutMs) {
      if (asked !== pod)
        return failed(ErrorCode.unreachable, `there is no pod ${asked}: this broker is alone`)
      const answerer = events
      if (answerer === undefined) return failed(ErrorCode.stopped, 'the pod is not started, or stops')
      return answerOfSelf(() => answerer.asked(pod, question), timeoutMs)
    },
    credentialsRefused() {},
    pods: () => [{ id: pod, isSelf: true, silentMs: 0, figures: undefined }],
    stats: () => ({ ...NOTHING, claims: made, owned: claims.size }),
  }
}

function failed(code: ErrorCode, message: string): Promise<never> {
  return Promise.reject(new TunnelMQError(code, message))
}
