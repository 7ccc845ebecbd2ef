import { TunnelMQError } from '../errors.ts'
import type { RedisLink } from '../store/redis/contract.ts'
import type { PodId } from './contract.ts'
import { SETTLE_PART } from './freshness.ts'
import type { OtherPods } from './other-pods.ts'

export interface SettlingOptions {
  readonly link: RedisLink
  readonly freshMs: number
  readonly holdMs: number
  readonly others: OtherPods
  /** Up to which position another pod has applied the log, as far as it has said so. */
  readonly appliedBy: (pod: PodId) => number
  /** Submits what has not been told yet. */
  readonly tell: () => void
  /** Why some of it is not known to others. */
  readonly untold: () => Error | undefined
}

/**
 * Waits until every pod that can act knows what was stored and wanted. A round:
 *
 *   gathering ──one question at a time──▶ asked ──position──▶ the log is applied here ──▶ others have said so, or the time is over
 *
 * freshness.ts has the reason why the time may decide.
 */
export interface Settling {
  settled(): Promise<void>
  /** Somebody has applied more. */
  check(): void
  close(): void
  /** Calls that were answered because the time was over. */
  readonly lateCount: number
}

interface Caller {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
  readonly untilMs: number
}

interface Round {
  readonly callers: Caller[]
  readonly position: number
  readonly knownAtMs: number
  /** Who has not said that it has applied it; undefined before it is applied here. */
  waitingFor: Set<PodId> | undefined
}

export function createSettling(options: SettlingOptions): Settling {
  const { link, freshMs, holdMs, others, appliedBy, tell, untold } = options
  const { follower, writer } = link
  const lateAfterMs = freshMs * SETTLE_PART
  let gathering: Caller[] = []
  let isAsking = false
  let willAsk = false
  let rounds: Round[] = []
  /** Pods that were declared dead, until when they may be fresh. */
  const dying = new Map<PodId, number>()
  let timer: NodeJS.Timeout | undefined
  let timerAtMs = 0
  let lateCount = 0

  function ask(): void {
    willAsk = false
    if (gathering.length === 0 || isAsking) return
    const callers = gathering
    gathering = []
    isAsking = true
    tell()
    writer.submit({
      name: 'position',
      args: [],
      bytes: 64,
      frees: true,
      patience: 'wait',
      settle(error, reply) {
        isAsking = false
        const failure = error ?? untold() ?? (typeof reply === 'number' ? undefined : noPosition())
        if (failure !== undefined) for (const { reject } of callers) reject(unavailable(failure))
        else
          rounds.push({
            callers,
            position: Number(reply),
            knownAtMs: performance.now(),
            waitingFor: undefined,
          })
        check()
        ask()
      },
    })
  }

  /** Those that may act on older routes: whoever has joined later has loaded newer ones. */
  function notYet(nowMs: number): Set<PodId> {
    for (const [pod, untilMs] of dying) if (untilMs <= nowMs) dying.delete(pod)
    return new Set([...others.ids, ...dying.keys()])
  }

  function check(): void {
    const nowMs = performance.now()
    for (let round = rounds[0]; round !== undefined; round = rounds[0]) {
      if (follower.position < round.position) {
        if (nowMs < round.knownAtMs + holdMs) break
        for (const { reject } of round.callers) reject(unavailable(undefined))
      } else {
        round.waitingFor ??= notYet(nowMs)
        for (const pod of round.waitingFor) if (appliedBy(pod) >= round.position) round.waitingFor.delete(pod)
        const isLate = round.waitingFor.size > 0
        if (isLate && nowMs < round.knownAtMs + lateAfterMs) break
        if (isLate) lateCount += round.callers.length
        for (const { resolve } of round.callers) resolve()
      }
      rounds.shift()
    }
    plan(nowMs)
  }

  /** Looks again when the time of the first round is over; too early costs nothing. */
  function plan(nowMs: number): void {
    const [first] = rounds
    if (first === undefined) return
    const atMs = first.knownAtMs + (first.waitingFor === undefined ? holdMs : lateAfterMs)
    if (timer !== undefined && timerAtMs <= atMs) return
    clearTimeout(timer)
    timerAtMs = atMs
    timer = setTimeout(
      () => {
        timer = undefined
        check()
      },
      Math.ceil(Math.max(1, atMs - nowMs)),
    )
  }

  /** Positions of another log mean nothing in this one. */
  function askAgain(): void {
    const nowMs = performance.now()
    const callers = rounds.flatMap((round) => round.callers)
    rounds = []
    for (const caller of callers)
      if (caller.untilMs <= nowMs) caller.reject(unavailable(undefined))
      else gathering.push(caller)
    ask()
  }

  // One that was declared dead may not know that yet: it is waited for until it cannot be fresh any more. One that
  // has left in order does not dispatch.
  others.onGone((pod, how) => {
    if (how === 'dead') dying.set(pod, performance.now() + lateAfterMs)
    else for (const round of rounds) round.waitingFor?.delete(pod)
    check()
  })
  link.onEmptied(askAgain)
  link.onReloaded(askAgain)

  return {
    settled() {
      return new Promise((resolve, reject) => {
        gathering.push({ resolve, reject, untilMs: performance.now() + holdMs })
        if (willAsk || isAsking) return
        willAsk = true
        // After the code that runs now, which may have more of them; before the writer sends what it has.
        queueMicrotask(ask)
      })
    },
    check,
    close() {
      clearTimeout(timer)
      timer = undefined
      const callers = [...gathering, ...rounds.flatMap((round) => round.callers)]
      gathering = []
      rounds = []
      for (const { reject } of callers) reject(unavailable(undefined))
    },
    get lateCount() {
      return lateCount
    },
  }
}

function noPosition(): TunnelMQError {
  return new TunnelMQError('TMQ_STORE_UNAVAILABLE', 'Redis has no position of the log')
}

function unavailable(cause: Error | undefined): TunnelMQError {
  if (cause instanceof TunnelMQError && cause.code === 'TMQ_STORE_UNAVAILABLE') return cause
  return new TunnelMQError(
    'TMQ_STORE_UNAVAILABLE',
    'not known whether every pod knows of the change',
    cause === undefined ? {} : { cause },
  )
}
