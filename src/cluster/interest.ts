import type { Announcer } from './announcer.ts'

/** A filter that nobody here has any more is withdrawn after this time: clients that reconnect cost no log. */
const WITHDRAW_AFTER_MS = 30_000
const LOOK_EVERY_MS = 10_000

export interface InterestOptions {
  readonly wants: Announcer
  readonly groups: Announcer
  /** For tests. */
  readonly withdrawAfterMs?: number
  readonly lookEveryMs?: number
}

/** What connected sessions of this pod have subscribed to, counted, and told to other pods. */
export interface Interest {
  want(matchFilter: string): void
  unwant(matchFilter: string): void
  joinGroup(key: string, matchFilter: string): void
  quitGroup(key: string): void
  close(): void
}

interface Want {
  count: number
  /** `performance.now()` since which nobody has it. */
  idleSinceMs: number
}

export function createInterest(options: InterestOptions): Interest {
  const { wants, groups, withdrawAfterMs = WITHDRAW_AFTER_MS, lookEveryMs = LOOK_EVERY_MS } = options
  const wanted = new Map<string, Want>()
  /** Filters without anybody: those that must be looked at. */
  const idle = new Set<string>()
  const members = new Map<string, number>()

  const withdraw = (): void => {
    const beforeMs = performance.now() - withdrawAfterMs
    for (const matchFilter of idle) {
      if ((wanted.get(matchFilter)?.idleSinceMs ?? 0) > beforeMs) continue
      idle.delete(matchFilter)
      wanted.delete(matchFilter)
      wants.remove(matchFilter)
    }
  }
  const timer = setInterval(withdraw, lookEveryMs).unref()

  return {
    want(matchFilter) {
      const want = wanted.get(matchFilter)
      if (want === undefined) {
        wanted.set(matchFilter, { count: 1, idleSinceMs: 0 })
        wants.set(matchFilter, '1')
      } else if (want.count++ === 0) idle.delete(matchFilter)
    },
    unwant(matchFilter) {
      const want = wanted.get(matchFilter)
      if (want === undefined || want.count === 0 || --want.count > 0) return
      want.idleSinceMs = performance.now()
      idle.add(matchFilter)
    },
    joinGroup(key, matchFilter) {
      const count = members.get(key) ?? 0
      members.set(key, count + 1)
      if (count === 0) groups.set(key, matchFilter)
    },
    quitGroup(key) {
      const count = members.get(key) ?? 0
      if (count > 1) members.set(key, count - 1)
      // At once: what is sent to a group here without a member is lost to the members elsewhere.
      else if (members.delete(key)) groups.remove(key)
    },
    close() {
      clearInterval(timer)
    },
  }
}
