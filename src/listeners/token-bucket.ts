/** So many a second, in bursts of at most one second's worth. Pure: the time is given. */
export interface TokenBucket {
  /** True if a token is there. */
  has(nowMs: number): boolean
  /** Takes one; call it after {@link has}. */
  take(nowMs: number): void
  /** True if the bucket is as good as new, so that it need not be kept. */
  isFull(nowMs: number): boolean
}

/** A full bucket. `perSecond` 0: no limit. */
export function createTokenBucket(perSecond: number, nowMs: number): TokenBucket {
  let tokens = perSecond
  let filledAtMs = nowMs

  function refill(now: number): void {
    if (now <= filledAtMs) return
    tokens = Math.min(perSecond, tokens + ((now - filledAtMs) * perSecond) / 1000)
    filledAtMs = now
  }
  return {
    has(now) {
      refill(now)
      return perSecond === 0 || tokens >= 1
    },
    take(now) {
      refill(now)
      if (perSecond > 0) tokens -= 1
    },
    isFull(now) {
      refill(now)
      return tokens >= perSecond
    },
  }
}
