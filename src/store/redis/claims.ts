import { ErrorCode, PeerError, TunnelMQError } from '../../errors.ts'
import { MAX_UNFORGOTTEN_COUNT, type StoredWill, type StoreLimits } from '../contract.ts'
import type { RedisClaimReply, RedisStore, ScriptArgument, ScriptReply } from './contract.ts'
import type { RedisQueues } from './queues.ts'
import type { Replica } from './replica.ts'
import { unavailable } from './refusal.ts'
import { listIn, numberIn, textIn } from './reply.ts'
import type { Requests } from './requests.ts'
import { createIncarnation, kidOf, type RedisSession } from './session.ts'
import { isToBeStored, sessionEndsAtMs } from '../session-expiry.ts'
import { encodeWill } from '../will-codec.ts'
import { ownWill, type Wills } from './wills.ts'

/** Claims that are made again by one op. */
const RECLAIM_COUNT = 500
/** A client waits for its CONNACK. */
const CLAIM_WITHIN_MS = 2_000
const TOO_MANY_SESSIONS = 1
const TOO_MANY_CONNECTIONS = 2
const IS_PRESENT = 1
const IS_WILL_PUT = 2
const IS_STORED = 4
const IS_WILL_DUE = 8

export interface ClaimParts {
  readonly requests: Requests
  readonly wills: Wills
  readonly replica: Replica
  readonly queues: RedisQueues
  readonly limits: StoreLimits
  /** Of sessions that have none of their own, ms; 0: never. */
  readonly sessionExpiryMs: number
  readonly now: () => number
}

type ClaimRequest = Parameters<RedisStore['claim']>[0]
type ClaimEnd = Parameters<RedisStore['releaseClaim']>[2]

interface ClaimAnswer extends Omit<RedisClaimReply, 'stored'> {
  /** In place of any that was there. */
  readonly isWillPut: boolean
  readonly session: Promise<RedisSession | undefined>
}

/** Claims of client ids that this pod holds. See lua/op-claim.lua. */
export class Claims {
  readonly #held = new Map<string, number>()
  readonly #parts: ClaimParts

  constructor(parts: ClaimParts) {
    this.#parts = parts
    parts.requests.onFenced((sessionId, claim) => {
      if (this.#held.get(sessionId) === claim) this.#forget(sessionId)
    })
  }

  get count(): number {
    return this.#held.size
  }

  numberOf(sessionId: string): number | undefined {
    return this.#held.get(sessionId)
  }

  async claim(request: ClaimRequest): Promise<RedisClaimReply> {
    const { replica, queues, limits, now } = this.#parts
    const { sessionId, clean, expirySeconds, will } = request
    const value = will === undefined ? '' : encodeWill(will)
    const kept = will && ownWill(will)
    const known = replica.find('client', sessionId)
    if (known !== undefined) queues.submitAcknowledged(known)
    const args = [
      sessionId,
      clean ? 1 : 0,
      now(),
      createIncarnation(),
      value,
      request.maxSessions,
      replica.index.groups.size,
      request.username ?? '',
      request.maxConnectionsPerUser,
      limits.maxInflight + MAX_UNFORGOTTEN_COUNT,
      this.#held.get(sessionId) ?? 0,
      isToBeStored(clean, expirySeconds) ? 1 : 0,
      expirySeconds ?? '',
    ]
    const answer = await this.#ask(request, args, value.length)
    if (answer.isWillPut) this.#parts.wills.keep(sessionId, kept, answer.claim)
    const { isWillPut: _, session, ...reply } = answer
    return { ...reply, stored: await session }
  }

  async putClaimedWill(
    sessionId: string,
    claim: number,
    will: StoredWill | undefined,
    isSessionOver = false,
  ): Promise<boolean> {
    const value = will === undefined ? '' : encodeWill(will)
    const kept = will && ownWill(will)
    const options = { patience: 'wait', bytes: value.length } as const
    const args = [sessionId, claim, value, isSessionOver ? 1 : 0]
    const reply = await this.#parts.requests.askFenced(sessionId, 'claim-will', args, options)
    this.#parts.wills.keep(sessionId, kept, claim)
    return reply[1] === 1
  }

  async releaseClaim(sessionId: string, claim: number, end: ClaimEnd): Promise<void> {
    const { requests, replica, queues, wills } = this.#parts
    if (this.#held.get(sessionId) === claim) {
      const session = replica.find('client', sessionId)
      if (session?.claim === claim) {
        queues.submitAcknowledged(session)
        session.claim = 0
        session.connected = false
        session.expiresAtMs = end.expiresAtMs
        if (end.expiry !== undefined) session.expirySeconds = end.expiry.seconds
        session.sentUpToSeq = Math.max(session.sentUpToSeq, end.sentUpToSeq)
        session.readUpToSeq = 0
      }
      this.#held.delete(sessionId)
    }
    if (wills.numberOf(sessionId) === claim) wills.keep(sessionId, undefined, claim)
    const { expiresAtMs, sentUpToSeq, willDueAtMs, isOver = false, releasedTo = '' } = end
    const args = [sessionId, claim, expiresAtMs, sentUpToSeq, willDueAtMs, releasedTo, isOver ? 1 : 0]
    if (end.expiry !== undefined) args.push(end.expiry.seconds ?? '')
    await requests.ask('release-claim', args, { patience: 'keep', frees: true })
  }

  async reclaim(claims: ReadonlyMap<string, number>): Promise<readonly string[]> {
    const { wills } = this.#parts
    const all = [...claims]
    const lost: string[] = []
    for (let from = 0; from < all.length; from += RECLAIM_COUNT) {
      // Some may have ended while the portions before this one were on their way.
      const isHeld = ([sessionId, claim]: readonly [string, number]): boolean =>
        this.#held.get(sessionId) === claim
      const portion = all.slice(from, from + RECLAIM_COUNT).filter(isHeld)
      if (portion.length === 0) continue
      const args = portion.flatMap(([sessionId, claim]): ScriptArgument[] => {
        const kept = wills.numberOf(sessionId) === claim ? wills.of.get(sessionId) : undefined
        return [sessionId, claim, kept === undefined ? '' : encodeWill(kept)]
      })
      const bytes = args.reduce<number>((sum, arg) => sum + (Buffer.isBuffer(arg) ? arg.length : 16), 0)
      const reply = await this.#parts.requests.ask('reclaim', args, { patience: 'wait', bytes })
      for (const [at, [sessionId]] of portion.entries()) {
        if (reply[at] === 1) continue
        lost.push(sessionId)
        this.#forget(sessionId)
      }
    }
    return lost
  }

  /** What this pod held is another's, or nobody's: it has another name now. */
  expelled(): void {
    for (const sessionId of [...this.#held.keys()]) this.#forget(sessionId)
    this.#parts.wills.clear()
  }

  /** What was claimed is noted before the answer to any later write is. */
  #ask(request: ClaimRequest, args: readonly ScriptArgument[], bytes: number): Promise<ClaimAnswer> {
    const { requests, queues } = this.#parts
    const failure = requests.failureNow
    if (failure !== undefined) return Promise.reject(failure)
    const kid = kidOf('client', request.sessionId)
    queues.claimBegins(kid)
    return new Promise((resolve, reject) => {
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        reject(unavailable('Redis has not answered in time'))
      }, CLAIM_WITHIN_MS)
      // Kept, so that a claim whose answer was lost is known, and can be given up.
      requests.submit('claim', args, { patience: 'keep', bytes }, (error, reply) => {
        clearTimeout(timer)
        try {
          if (error !== undefined) throw error
          const answer = this.#answerIn(request, reply)
          void this.#endArrivals(kid, answer.session)
          if (isLate) void this.#giveUp(request, answer)
          else resolve(answer)
        } catch (refusal) {
          queues.claimEnds(kid, undefined)
          reject(refusal instanceof Error ? refusal : new Error(String(refusal)))
        }
      })
    })
  }

  /** Nobody waits for it any more: as it was before. */
  async #giveUp({ sessionId }: ClaimRequest, answer: ClaimAnswer): Promise<void> {
    const { claim, before } = answer
    try {
      const session = await answer.session
      const sentUpToSeq = session?.sentUpToSeq ?? 0
      if (session !== undefined && before === undefined) {
        const args = [session.kid, claim, session.incarnation]
        await this.#parts.requests.ask('session-remove', args, { patience: 'keep', frees: true })
      }
      await this.releaseClaim(sessionId, claim, {
        expiresAtMs: before?.expiresAtMs ?? 0,
        sentUpToSeq,
        willDueAtMs: 0,
        ...(before !== undefined && { expiry: { seconds: before.expirySeconds } }),
        releasedTo: undefined,
      })
    } catch {
      // The store was closed, or the log is stuck: others end the claims of a pod that is gone.
    }
  }

  #answerIn(request: ClaimRequest, reply: readonly ScriptReply[]): ClaimAnswer {
    const claim = this.#numberIn(request, reply)
    const previousPod = textIn(reply[2])
    const flags = numberIn(reply[4])
    return {
      claim,
      present: (flags & IS_PRESENT) !== 0,
      isWillPut: (flags & IS_WILL_PUT) !== 0,
      isWillDue: (flags & IS_WILL_DUE) !== 0,
      previousPod: previousPod === '' ? undefined : previousPod,
      previousClaim: numberIn(reply[3]),
      before: (flags & IS_PRESENT) !== 0 && !request.clean ? this.#beforeIn(reply) : undefined,
      session:
        (flags & IS_STORED) === 0
          ? this.#parts.requests.applied(reply[5]).then(() => undefined)
          : this.#claimed(request, claim, reply),
    }
  }

  #beforeIn(reply: readonly ScriptReply[]): NonNullable<RedisClaimReply['before']> {
    const interval = textIn(reply[13])
    const expirySeconds = interval === '' ? undefined : Number(interval)
    const { sessionExpiryMs, now } = this.#parts
    const wasConnected = numberIn(reply[3]) > 0
    const expiresAtMs = wasConnected
      ? sessionEndsAtMs(now(), expirySeconds, sessionExpiryMs)
      : numberIn(reply[11])
    return { expiresAtMs, expirySeconds }
  }

  async #endArrivals(kid: string, claimed: ClaimAnswer['session']): Promise<void> {
    const session = await claimed.catch(() => undefined)
    this.#parts.queues.claimEnds(kid, session)
  }

  #numberIn(
    { sessionId, maxSessions, maxConnectionsPerUser }: ClaimRequest,
    reply: readonly ScriptReply[],
  ): number {
    if (reply[0] === TOO_MANY_SESSIONS)
      throw limit(`${maxSessions} sessions are stored (session.maxSessions)`)
    if (reply[0] === TOO_MANY_CONNECTIONS)
      throw new PeerError(ErrorCode.limit, `${maxConnectionsPerUser} connections of this user`)
    const claim = numberIn(reply[1])
    this.#held.set(sessionId, Math.max(claim, this.#held.get(sessionId) ?? 0))
    return claim
  }

  /** At once, if the session is known here, as it is but for the first moments of its life. */
  #claimed(
    { sessionId, expirySeconds }: ClaimRequest,
    claim: number,
    reply: readonly ScriptReply[],
  ): Promise<RedisSession> {
    const { requests, replica } = this.#parts
    const [incarnation = 0, seq = 0, sent = 0, count = 0, bytes = 0] = reply.slice(6, 11).map(numberIn)
    const incomingIds = listIn(reply[12]).map(numberIn)
    const take = (session: RedisSession): RedisSession => {
      session.claim = Math.max(session.claim, claim)
      session.connected = true
      session.expiresAtMs = 0
      session.expirySeconds = expirySeconds
      session.readUpToSeq = 0
      session.releasedSeqs.clear()
      replica.setFigures(session, { seq, sent, count, bytes })
      session.incomingIds.clear()
      for (const id of incomingIds) session.incomingIds.add(id)
      return session
    }
    const known = replica.find('client', sessionId)
    if (known?.told === true && known.incarnation === incarnation) return Promise.resolve(take(known))
    return requests.applied(reply[5]).then(() => {
      const session = replica.find('client', sessionId)
      if (session !== undefined) return take(session)
      throw new TunnelMQError(ErrorCode.storeUnavailable, 'The session was removed while it was claimed')
    })
  }

  #forget(sessionId: string): void {
    this.#held.delete(sessionId)
    const session = this.#parts.replica.find('client', sessionId)
    if (session !== undefined) session.claim = 0
  }
}

function limit(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.limit, message)
}
