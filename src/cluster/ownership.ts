import { TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RedisClaimReply, RedisStore } from '../store/redis/contract.ts'
import { sessionEndsAtMs } from '../store/session-expiry.ts'
import type { Claim, ClaimEnd, ClaimLoss, ClaimRequest, PodId } from './contract.ts'
import { Hold } from './hold.ts'
import { MemoryOfLast } from './memory-of-last.ts'

/** Releases that are remembered, for a take-over that crossed one on its way: 100 bytes each. */
const REMEMBERED_RELEASES = 10_000
/** Sessions whose owners are asked for by one command. */
const LOOKED_UP_COUNT = 1_000
/** Pods that are remembered to be gone: their names are not used again. */
const REMEMBERED_PODS = 1_000

type StoreClaimEnd = Omit<Parameters<RedisStore['releaseClaim']>[2], 'releasedTo'>

export interface OwnershipOptions {
  readonly store: RedisStore
  readonly takeoverMs: number
  /** Of sessions that have none of their own, ms; 0: never. */
  readonly sessionExpiryMs: number
  /** Wills are due. */
  readonly onWillsDue: () => void
  readonly log: Log
}

/**
 * The client ids whose connections are here. Redis numbers the claims of a client id, and the highest is the owner
 * (docs/decisions/0009-pods.md); this is where a pod learns that it was outbid, and waits until the one that it has
 * outbid has closed its connection.
 */
export class Ownership {
  readonly #store: RedisStore
  readonly #takeoverMs: number
  readonly #sessionExpiryMs: number
  readonly #onWillsDue: () => void
  readonly #log: Log
  readonly #holds = new Map<string, Set<Hold>>()
  readonly #releases = new MemoryOfLast<string, number>(REMEMBERED_RELEASES)
  readonly #gonePods = new MemoryOfLast<PodId, true>(REMEMBERED_PODS)
  #claims = 0
  #takeovers = 0
  #lostClaims = 0
  /** Claims are to be made again, and were not yet. */
  #reclaims: 'done' | 'due' | 'asked' = 'done'
  /** Redis was loaded again while they were being made. */
  #reclaimAgain = false

  constructor(options: OwnershipOptions) {
    this.#store = options.store
    this.#takeoverMs = options.takeoverMs
    this.#sessionExpiryMs = options.sessionExpiryMs
    this.#onWillsDue = options.onWillsDue
    this.#log = options.log
    const { follower } = this.#store.link
    follower.onInbox('taken', ([, sessionId, number, pod]) => {
      if (typeof sessionId !== 'string' || typeof number !== 'number' || typeof pod !== 'string')
        throw new TunnelMQError('TMQ_STORE', 'not a take-over')
      this.#taken(sessionId, number, pod)
    })
    follower.onInbox('released', ([, sessionId, number]) => {
      if (typeof sessionId !== 'string' || typeof number !== 'number')
        throw new TunnelMQError('TMQ_STORE', 'not a release')
      for (const hold of this.#holdsOf(sessionId)) {
        hold.released.add(number)
        hold.recheck?.()
      }
    })
    follower.onInbox('kick', ([, sessionId, number]) => {
      if (typeof sessionId !== 'string' || typeof number !== 'number')
        throw new TunnelMQError('TMQ_STORE', 'not a kick')
      for (const hold of this.#holdsOf(sessionId)) if (hold.kicked(number)) this.#lostClaims++
    })
    // A write may be answered before the word of the take-over is here.
    this.#store.onFenced((sessionId, claim, isTaken) => {
      for (const hold of this.#holdsOf(sessionId))
        // Not a later one: the write was one of the connection before.
        if (hold.number !== undefined && hold.number <= claim)
          this.#lose(hold, isTaken ? 'taken-over' : 'fenced')
    })
  }

  async claim(request: ClaimRequest): Promise<Claim> {
    const hold = new Hold(request)
    this.#add(hold)
    // Then its will is not put by the claim, as that of the other one may be to be published.
    const isHeldHere = this.#store.claimOf(request.sessionId) !== undefined
    let reply: RedisClaimReply
    try {
      const { sessionId, clean, expirySeconds, will, username, maxSessions, maxConnectionsPerUser } = request
      reply = await this.#store.claim({
        sessionId,
        clean,
        expirySeconds,
        will,
        username,
        maxSessions,
        maxConnectionsPerUser,
      })
    } catch (error) {
      this.#releaseUnanswered(hold)
      throw error
    }
    this.#claims++
    if (hold.numbered(reply.claim)) this.#lostClaims++
    const { sessionId, clean, will } = request
    const present = reply.present && !clean
    let isWillDue = reply.isWillDue
    const tookOver = await this.#formerOwnersGone(hold, reply)
    // The will of the former connection was its former owner's to publish; what is there now is nobody's.
    if ((tookOver || isHeldHere) && hold.lost === undefined) {
      try {
        const isOlderDue = await this.#store.putClaimedWill(sessionId, reply.claim, will, !present)
        isWillDue ||= isOlderDue
      } catch (error) {
        void this.#giveUp(hold, reply)
        throw error
      }
    }
    if (hold.lost !== undefined) {
      void this.#giveUp(hold, reply)
      throw new TunnelMQError('TMQ_STOPPED', `client id claimed by another connection: ${hold.lost}`)
    }
    if (isWillDue) this.#onWillsDue()
    hold.give()
    return {
      stored: reply.stored,
      present,
      release: (end) => this.#release(hold, end.isRefused === true ? goingOn(reply, end) : end),
    }
  }

  /** Who has these, of the other pods. Claims of pods that have died are nobody's. */
  async elsewhere(sessionIds: readonly string[]): Promise<ReadonlyMap<string, PodId>> {
    const { link } = this.#store
    const found = new Map<string, PodId>()
    for (let from = 0; from < sessionIds.length; from += LOOKED_UP_COUNT) {
      const ids = sessionIds.slice(from, from + LOOKED_UP_COUNT)
      const reply = await link.command('HMGET', link.key('owner'), ...ids)
      if (!Array.isArray(reply)) continue
      for (const [at, id] of ids.entries()) {
        // Number of the claim, and pod: lua/op-claim.lua.
        const pod = Buffer.isBuffer(reply[at]) ? String(reply[at]).split(':')[1] : undefined
        if (pod !== undefined && pod !== link.pod && this.#gonePods.get(pod) !== true) found.set(id, pod)
      }
    }
    return found
  }

  /** It will not say `released` any more. */
  podGone(pod: PodId): void {
    this.#gonePods.set(pod, true)
    for (const holds of this.#holds.values()) for (const hold of holds) hold.recheck?.()
  }

  /** Declared dead: other pods own what was owned here. */
  expelled(): void {
    for (const hold of this.#all()) this.#lose(hold, 'fenced')
  }

  /** After a reload: Redis may have forgotten, or given to others, what is held here. Never rejects. */
  async reclaim(): Promise<void> {
    if (this.#reclaims === 'asked') {
      this.#reclaimAgain = true
      return
    }
    do {
      this.#reclaims = 'asked'
      this.#reclaimAgain = false
      this.#reclaims = (await this.#reclaimAll()) ? 'asked' : 'due'
    } while (this.#reclaimAgain)
    if (this.#reclaims === 'asked') this.#reclaims = 'done'
  }

  /** False: it is to be tried again. */
  async #reclaimAll(): Promise<boolean> {
    const numbers = new Map<string, number>()
    for (const hold of this.#all()) {
      if (hold.number === undefined || hold.lost !== undefined) continue
      numbers.set(hold.request.sessionId, Math.max(hold.number, numbers.get(hold.request.sessionId) ?? 0))
    }
    try {
      const lost = await this.#store.reclaim(numbers)
      for (const sessionId of lost)
        for (const hold of this.#holdsOf(sessionId))
          if (hold.number !== undefined && hold.number <= (numbers.get(sessionId) ?? 0))
            this.#lose(hold, 'taken-over')
      if (numbers.size > 0)
        this.#log.info({ claims: numbers.size, lost: lost.length }, 'sessions claimed again')
      return true
    } catch (error) {
      this.#log.warn({ err: error, claims: numbers.size }, 'sessions not claimed again yet')
      return false
    }
  }

  /** Now and then: what could not be done at once. */
  tick(): void {
    if (this.#reclaims === 'due') void this.reclaim()
  }

  /** Not all that is held here is known to be ours. */
  get isReclaiming(): boolean {
    return this.#reclaims !== 'done'
  }

  stats(): { claims: number; takeovers: number; lostClaims: number } {
    return { claims: this.#claims, takeovers: this.#takeovers, lostClaims: this.#lostClaims }
  }

  /**
   * Resolves when no earlier connection of this client id can be sent anything any more, or the time for that is
   * over; to false if there was none.
   */
  #formerOwnersGone(hold: Hold, reply: RedisClaimReply): Promise<boolean> {
    const { previousPod, previousClaim, claim } = reply
    const earlier = [...this.#holdsOf(hold.request.sessionId)].filter(
      (other) => other.number !== undefined && other.number < claim,
    )
    if (previousPod === undefined && earlier.length === 0) return Promise.resolve(false)
    this.#takeovers++
    for (const other of earlier) this.#lose(other, 'taken-over')
    const isGone = (): boolean =>
      earlier.every(({ state }) => state === 'ended') &&
      (previousPod === undefined ||
        hold.released.has(previousClaim) ||
        this.#gonePods.get(previousPod) === true)
    if (isGone()) return Promise.resolve(true)
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        hold.recheck = undefined
        resolve(true)
      }
      const timer = setTimeout(() => {
        this.#log.info(
          { previousPod, claim, waitedMs: this.#takeoverMs },
          'take-over without a word from the former owner',
        )
        done()
      }, this.#takeoverMs)
      // Also when it is lost meanwhile: whoever has outbid this one must not be told that the place is free
      // while the connection that this one has outbid may still be open.
      hold.recheck = () => {
        if (isGone()) done()
      }
    })
  }

  #taken(sessionId: string, number: number, pod: PodId): void {
    const holds = [...this.#holdsOf(sessionId)]
    let lostCount = 0
    for (const hold of holds) if (hold.taken(number, pod)) lostCount++
    this.#lostClaims += lostCount
    const released = this.#releases.get(sessionId)
    // The release and the claim of the other pod have crossed: it waits for a word.
    if (lostCount === 0 && released !== undefined && released < number) {
      const end = { expiresAtMs: 0, sentUpToSeq: 0, willDueAtMs: 0, releasedTo: pod }
      this.#store.releaseClaim(sessionId, released, end).catch((error: unknown) => this.#notReleased(error))
    }
  }

  /** The claim has failed, and may have been made for all that. */
  #releaseUnanswered(hold: Hold): void {
    const { sessionId } = hold.request
    const number = this.#store.claimOf(sessionId)
    const isAnothers = [...this.#holdsOf(sessionId)].some((other) => other.number === number)
    if (number === undefined || isAnothers) return this.#end(hold)
    hold.number = number
    void this.#release(hold, { expiresAtMs: this.#expiresAtMs(hold), sentUpToSeq: 0, willDueAtMs: 0 })
  }

  /** The connection never began. */
  #giveUp(hold: Hold, reply: RedisClaimReply): Promise<void> {
    const sentUpToSeq = reply.stored?.sentUpToSeq ?? 0
    const end = { expiresAtMs: this.#expiresAtMs(hold), sentUpToSeq, willDueAtMs: 0 }
    return this.#release(hold, goingOn(reply, end))
  }

  #expiresAtMs({ request }: Hold): number {
    return sessionEndsAtMs(Date.now(), request.expirySeconds, this.#sessionExpiryMs)
  }

  async #release(hold: Hold, end: StoreClaimEnd): Promise<void> {
    if (hold.state === 'ended' || hold.number === undefined) return
    const { sessionId } = hold.request
    const releasedTo = hold.takenBy?.pod
    const released = this.#store.releaseClaim(sessionId, hold.number, { ...end, releasedTo })
    this.#end(hold)
    // Told already, if it is known to whom.
    if (releasedTo === undefined) this.#releases.set(sessionId, hold.number)
    try {
      await released
    } catch (error) {
      this.#notReleased(error)
    }
  }

  #notReleased(error: unknown): void {
    this.#log.debug({ err: error }, 'claim not released')
  }

  #lose(hold: Hold, loss: ClaimLoss): void {
    if (hold.lose(loss)) this.#lostClaims++
  }

  #add(hold: Hold): void {
    const { sessionId } = hold.request
    const holds = this.#holds.get(sessionId)
    if (holds === undefined) this.#holds.set(sessionId, new Set([hold]))
    else holds.add(hold)
  }

  #end(hold: Hold): void {
    hold.state = 'ended'
    const { sessionId } = hold.request
    const holds = this.#holds.get(sessionId)
    holds?.delete(hold)
    if (holds?.size === 0) this.#holds.delete(sessionId)
    else for (const other of holds ?? []) other.recheck?.()
  }

  #holdsOf(sessionId: string): Iterable<Hold> {
    return this.#holds.get(sessionId) ?? []
  }

  #all(): Hold[] {
    return [...this.#holds.values()].flatMap((holds) => [...holds])
  }
}

/** Its session, if it was there before, goes on as if there had been no claim. */
function goingOn({ before }: RedisClaimReply, end: ClaimEnd): StoreClaimEnd {
  if (before === undefined) return end
  const { expiresAtMs, expirySeconds } = before
  return { ...end, expiresAtMs, expiry: { seconds: expirySeconds }, isOver: false }
}
