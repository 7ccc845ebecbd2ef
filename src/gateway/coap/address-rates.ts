import { createTokenBucket, type TokenBucket } from '../../listeners/token-bucket.ts'

/** Addresses that are kept, about 200 bytes each. An attacker who forges many pushes out old ones. */
const MAX_BUCKETS = 65_536

/** So many datagrams a second for each address; 0: no limit. Pure: the time is given. */
export function createRateBook(perSecond: number): { take(address: string, nowMs: number): boolean } {
  /** Least recently used first. */
  const buckets = new Map<string, TokenBucket>()

  // Two looks at the old end for each datagram: the map shrinks as fast as it grows, without a timer.
  function forgetOld(nowMs: number): void {
    let looks = 2
    for (const [address, bucket] of buckets) {
      if (looks-- === 0) return
      if (buckets.size >= MAX_BUCKETS || bucket.isFull(nowMs)) buckets.delete(address)
    }
  }

  return {
    take(address, nowMs) {
      if (perSecond === 0) return true
      const bucket = buckets.get(address) ?? createTokenBucket(perSecond, nowMs)
      buckets.delete(address)
      forgetOld(nowMs)
      buckets.set(address, bucket)
      if (!bucket.has(nowMs)) return false
      bucket.take(nowMs)
      return true
    },
  }
}
