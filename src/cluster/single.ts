import { randomBytes } from 'node:crypto'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Store, StoredSession, StoredWill } from '../store/contract.ts'
import type { Claim, ClaimEnd, ClaimRequest, Cluster, ClusterEvents, ClusterStats } from './contract.ts'
import { isToBeStored, sessionEndsAtMs } from '../store/session-expiry.ts'
import { answerOfSelf } from './self-answer.ts'

/** How a session was away, until a claim came. */
type Before = Pick<StoredSession, 'expiresAtMs' | 'expirySeconds'>

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
    const { sessionId, clean, expirySeconds, will } = request
    const found = store.sessions.get(sessionId)
    const goesOn = found !== undefined && !clean && !isExpired(found)
    const before: Before | undefined = goesOn
      ? { expiresAtMs: found.expiresAtMs, expirySeconds: found.expirySeconds }
      : undefined
    if (found !== undefined && !goesOn) await store.removeSession(found)
    if (!goesOn) publishWaitingWill(sessionId)
    const stored = goesOn ? found : await create(request)
    try {
      if (stored !== undefined) await store.sessionConnected(stored, expirySeconds)
      await putWill(sessionId, will)
    } catch (error) {
      // It goes on waiting for its client.
      const expiresAtMs = sessionEndsAtMs(Date.now(), expirySeconds, expiryMs)
      const end = { expiresAtMs, sentUpToSeq: stored?.sentUpToSeq ?? 0, willDueAtMs: 0, isRefused: true }
      if (stored !== undefined) await endOf(stored, end, before).catch(() => {})
      throw error
    }
    made++
    claims.set(sessionId, request)
    return {
      stored,
      present: goesOn,
      async release(end) {
        // A later connection has it.
        if (claims.get(sessionId) !== request) return
        claims.delete(sessionId)
        const left = stored && endOf(stored, end, before)
        // One that is kept stays where it is, for the next start of the broker.
        const isOver = end.willDueAtMs === 0 && store.wills.has(sessionId)
        await Promise.all([left, isOver && store.deleteWill(sessionId)])
      },
    }
  }

  /** Its time may be over, although no sweep has seen it yet. */
  function isExpired({ expiresAtMs }: StoredSession): boolean {
    return expiresAtMs > 0 && expiresAtMs <= Date.now()
  }

  /** It waited for the end of the session, and this is it [MQTT-3.1.3-9]. */
  function publishWaitingWill(sessionId: string): void {
    const will = store.wills.get(sessionId)
    if ((will?.delaySeconds ?? 0) > 0) events?.willDue(will!, 0)
  }

  async function create(request: ClaimRequest): Promise<StoredSession | undefined> {
    const { maxSessions } = request
    if (!isToBeStored(request.clean, request.expirySeconds)) return undefined
    if (store.sessions.size < maxSessions) return await store.createSession('client', request.sessionId)
    throw new TunnelMQError(ErrorCode.limit, `${maxSessions} sessions are stored (session.maxSessions)`)
  }

  async function putWill(sessionId: string, will: StoredWill | undefined): Promise<void> {
    if (will !== undefined) await store.putWill(will)
    else if (store.wills.has(sessionId)) await store.deleteWill(sessionId)
  }

  function leave(stored: StoredSession, expiresAtMs: number, sentUpToSeq: number): Promise<void> {
    return store.sessionDisconnected(stored, { expiresAtMs, sentUpToSeq })
  }

  function endOf(stored: StoredSession, end: ClaimEnd, before: Before | undefined): Promise<unknown> {
    const { expiresAtMs, sentUpToSeq } = end
    if (end.isRefused === true && before !== undefined) {
      // One after the other, and both before anything of a later claim: nothing is waited for in between.
      const again = store.sessionConnected(stored, before.expirySeconds)
      return Promise.all([again, leave(stored, before.expiresAtMs, sentUpToSeq)])
    }
    return end.isOver === true ? remove(stored, end) : leave(stored, expiresAtMs, sentUpToSeq)
  }

  /** If that fails, the next sweep does it. */
  function remove(stored: StoredSession, { sentUpToSeq }: ClaimEnd): Promise<void> {
    return store.removeSession(stored).catch(() => leave(stored, Date.now(), sentUpToSeq))
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
