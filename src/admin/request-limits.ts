import { isIPv6 } from 'node:net'

/** A bucket of tokens: so many at once, and so many more a second. */
interface Bucket {
  tokens: number
  atMs: number
  /** Since it had a token last, one was asked for in vain. */
  isEmptyKnown: boolean
}

export interface RequestLimits {
  /** Undefined: go on. Else seconds until the next may come. */
  takeRequest(key: string): number | undefined
  /** A key was wrong. Answers whether there have been too many from there, and if so whether this is the first. */
  noteFailure(address: string): { readonly retryAfterSeconds: number; readonly isFirst: boolean } | undefined
}

export interface RequestLimitOptions {
  readonly requestsPerSecond: number
  readonly failuresPerMinute: number
  /** Monotonic ms. */
  readonly now: () => number
  /** Addresses that are remembered; the one that failed least lately is forgotten first. */
  readonly maxAddresses?: number
}

/**
 * Limits of requests. Wrong keys are counted by address (IPv6: by /64, which one person may have whole). Who has a good
 * key is let in however many wrong ones came from there: behind a proxy, and on one machine, all have one address, and
 * 256 bits are not guessed.
 */
export function createRequestLimits(options: RequestLimitOptions): RequestLimits {
  const { requestsPerSecond, failuresPerMinute, now, maxAddresses = 10_000 } = options
  // By names of keys that are good: as many as there are in the file.
  const requests = new Map<string, Bucket>()
  const failures = new Map<string, Bucket>()

  return {
    takeRequest(key) {
      const bucket = filled(requests, key, requestsPerSecond, requestsPerSecond, now())
      if (bucket.tokens < 1) return Math.ceil((1 - bucket.tokens) / requestsPerSecond)
      bucket.tokens -= 1
      return undefined
    },
    noteFailure(address) {
      const network = networkOf(address)
      const perSecond = failuresPerMinute / 60
      const bucket = filled(failures, network, failuresPerMinute, perSecond, now())
      // Set again at the end: the map is in the order of the last failure.
      failures.delete(network)
      failures.set(network, bucket)
      if (failures.size > maxAddresses) failures.delete(failures.keys().next().value ?? '')
      if (bucket.tokens >= 1) {
        bucket.tokens -= 1
        bucket.isEmptyKnown = false
        return undefined
      }
      const isFirst = !bucket.isEmptyKnown
      bucket.isEmptyKnown = true
      return { retryAfterSeconds: Math.ceil((1 - bucket.tokens) / perSecond), isFirst }
    },
  }
}

function filled(
  buckets: Map<string, Bucket>,
  name: string,
  size: number,
  perSecond: number,
  nowMs: number,
): Bucket {
  let bucket = buckets.get(name)
  if (bucket === undefined) buckets.set(name, (bucket = { tokens: size, atMs: nowMs, isEmptyKnown: false }))
  bucket.tokens = Math.min(size, bucket.tokens + ((nowMs - bucket.atMs) / 1_000) * perSecond)
  bucket.atMs = nowMs
  return bucket
}

function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address
  const [head = '', tail] = address.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [
    ...before,
    ...Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0'),
    ...after,
  ]
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
