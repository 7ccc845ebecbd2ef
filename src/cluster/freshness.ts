import { TunnelMQError } from '../errors.ts'
import type { Follower } from '../store/redis/contract.ts'

/**
 * Why a SUBACK may be given after a while without an answer of every pod, and nobody uses older routes after it.
 *
 * A change is in the log at the true time `w`. The pod that made it learns its position at `k >= w`, and gives the
 * SUBACK at `k + SETTLE_PART * freshMs` at the latest, by its own clock. Another pod that has not applied the change
 * was told, by Redis, that there was nothing new in the log, at a true time before `w`: `freshAtMs` is not later than
 * that. It dispatches for DISPATCH_PART * freshMs from then on, by its own clock, so until `w + DISPATCH_PART *
 * freshMs` at most. Between the two is a sixth of freshMs: that is for clocks that do not run at one rate (steady
 * ones differ by less than a thousandth), and for the turn between the question and the match. A message whose pod
 * is stopped within that turn was read from its socket before the SUBACK, and may be matched with either.
 *
 * Not covered: a machine that is frozen together with its steady clock, for longer than the margin, and goes on.
 */
export const DISPATCH_PART = 0.8
export const SETTLE_PART = 0.95

/** How often it is looked whether what waits may go on: answers of Redis that hold nothing new are not told. */
const LOOK_EVERY_MS = 5
/** Publishers are bounded by connections, each of which waits for one message; this is for what else may ask. */
const MAX_WAITING = 100_000

export interface Freshness {
  readonly isFresh: boolean
  /** `done` is called later, never within this call, and at most `holdMs` later. */
  onceFresh(done: (error: Error | undefined) => void): void
  /** Whoever waits is told that it is over. */
  close(): void
}

interface Waiting {
  readonly done: (error: Error | undefined) => void
  readonly untilMs: number
}

export interface FreshnessOptions {
  readonly follower: Pick<Follower, 'freshAtMs'>
  readonly freshMs: number
  readonly holdMs: number
}

export function createFreshness({ follower, freshMs, holdMs }: FreshnessOptions): Freshness {
  const youngMs = freshMs * DISPATCH_PART
  let waiting: Waiting[] = []
  let timer: NodeJS.Timeout | undefined

  const isFresh = (): boolean => performance.now() - follower.freshAtMs < youngMs

  const look = (): void => {
    timer = undefined
    if (isFresh()) {
      const fresh = waiting
      waiting = []
      for (const { done } of fresh) done(undefined)
    } else {
      const nowMs = performance.now()
      const late = waiting.findIndex(({ untilMs }) => untilMs > nowMs)
      for (const { done } of waiting.splice(0, late === -1 ? waiting.length : late)) done(unavailable())
    }
    if (waiting.length > 0) timer ??= setTimeout(look, LOOK_EVERY_MS)
  }

  return {
    get isFresh() {
      return isFresh()
    },
    onceFresh(done) {
      if (waiting.length >= MAX_WAITING) {
        setImmediate(done, unavailable())
        return
      }
      waiting.push({ done, untilMs: performance.now() + holdMs })
      timer ??= setTimeout(look, 0)
    },
    close() {
      clearTimeout(timer)
      timer = undefined
      const left = waiting
      waiting = []
      for (const { done } of left) done(unavailable())
    },
  }
}

function unavailable(): TunnelMQError {
  return new TunnelMQError('TMQ_STORE_UNAVAILABLE', 'not heard from Redis for too long')
}
