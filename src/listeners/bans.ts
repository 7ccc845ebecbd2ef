/** Addresses that are kept at most, for failures and for bans each; the oldest go first. About 200 bytes each. */
const MAX_TRACKED = 65_536

export interface BanLimits {
  /** Failures within the window that lead to a ban; 0: never. */
  readonly banFailures: number
  readonly banWindowMs: number
  readonly banMs: number
}

export interface Ban {
  readonly address: string
  readonly untilMs: number
}

/** Who guessed too often, in a sliding window. Pure: the time is given. */
export interface BanBook {
  isBanned(address: string, nowMs: number): boolean
  /** Credentials from this address were refused. True if that brought the ban. */
  recordFailure(address: string, nowMs: number): boolean
  /** Somebody else says so. One that lasts longer already stays. */
  ban(address: string, untilMs: number): void
  /** No ban, and nothing counted towards one. False: there was no ban. */
  unban(address: string, nowMs: number): boolean
  list(nowMs: number): Ban[]
}

/** An empty book. */
export function createBanBook(limits: BanLimits): BanBook {
  /** Times of the last failures, oldest first; never more than `banFailures` of them. */
  const failures = new Map<string, number[]>()
  const untilMs = new Map<string, number>()

  return {
    isBanned(address, nowMs) {
      const until = untilMs.get(address)
      if (until === undefined) return false
      if (nowMs < until) return true
      untilMs.delete(address)
      return false
    },
    recordFailure(address, nowMs) {
      if (limits.banFailures === 0) return false
      const recent = (failures.get(address) ?? []).filter((atMs) => nowMs - atMs < limits.banWindowMs)
      recent.push(nowMs)
      failures.delete(address)
      if (recent.length < limits.banFailures) {
        keep(failures, address, recent)
        return false
      }
      untilMs.delete(address)
      keep(untilMs, address, nowMs + limits.banMs)
      return true
    },
    ban(address, until) {
      if (until <= (untilMs.get(address) ?? 0)) return
      untilMs.delete(address)
      keep(untilMs, address, until)
    },
    unban(address, nowMs) {
      const wasBanned = nowMs < (untilMs.get(address) ?? 0)
      untilMs.delete(address)
      failures.delete(address)
      return wasBanned
    },
    list(nowMs) {
      return [...untilMs]
        .filter(([, until]) => nowMs < until)
        .map(([address, until]) => ({ address, untilMs: until }))
    },
  }
}

/** Adds at the young end; an attacker with many addresses pushes out old ones instead of filling the memory. */
function keep<T>(map: Map<string, T>, address: string, value: T): void {
  map.set(address, value)
  if (map.size <= MAX_TRACKED) return
  const oldest = map.keys().next()
  if (oldest.done !== true) map.delete(oldest.value)
}
