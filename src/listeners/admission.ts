import type { Limits } from '../config/schema.ts'
import { tally } from '../tally.ts'
import { createBanBook, type Ban } from './bans.ts'
import { createTokenBucket, type TokenBucket } from './token-bucket.ts'

/** Why a connection is not let in. */
export const AdmissionRefusal = {
  banned: 'banned',
  maxConnections: 'max-connections',
  listenerMaxConnections: 'listener-max-connections',
  addressMaxConnections: 'address-max-connections',
  addressConnectRate: 'address-connect-rate',
  connectRate: 'connect-rate',
} as const
export type AdmissionRefusal = (typeof AdmissionRefusal)[keyof typeof AdmissionRefusal]

export type AdmissionLimits = Pick<
  Limits,
  | 'maxConnections'
  | 'maxConnectionsPerAddress'
  | 'connectionsPerSecond'
  | 'connectionsPerSecondPerAddress'
  | 'banFailures'
  | 'banWindowMs'
  | 'banMs'
>

/** A listener as admission sees it; counted by identity, so that two of one name are two. */
export interface AdmissionListener {
  readonly name: string
  readonly maxConnections: number
}

export type AdmissionVerdict =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: AdmissionRefusal }

export interface AdmissionCounts {
  readonly connections: number
  /** Different addresses among them. */
  readonly addresses: number
  /** Listeners of one name are added up. */
  readonly byListener: ReadonlyMap<string, number>
}

/** The door of the broker, one for all listeners: how many, how fast, and who not. */
export interface Admission {
  /** Asks for one more connection from the client's real address; if granted, {@link release} must follow once. */
  admit(address: string, listener: AdmissionListener): AdmissionVerdict
  release(address: string, listener: AdmissionListener): void
  /** Asked again at CONNECT: who opens many connections first must not have a guess on each of them. */
  isBanned(address: string): boolean
  /** From now on, for `forMs`: others have seen it guess. A ban that is there already is not made shorter. */
  ban(address: string, forMs: number): void
  /** The ban is over, and nothing is counted towards the next. False: there was none. */
  unban(address: string): boolean
  /** Counts towards a ban. True if it brought one. */
  credentialsRefused(address: string): boolean
  /** The same, where the address may be forged: nobody is banned for what others do in his name. */
  forgeableCredentialsRefused(address: string): boolean
  /** So much was guessed in the name of this address that it has to be known whose guess the next one is. */
  isSuspect(address: string): boolean
  bans(): Ban[]
  counts(): AdmissionCounts
}

/** Peers on a unix socket are all this one "address": limits and bans per address would hit them all at once. */
export const UNIX_ADDRESS = 'unix'

/** Buckets kept for addresses that were seen lately, about 200 bytes each. */
const MAX_BUCKETS = 65_536

/** Builds the admission of one broker. `now` gives milliseconds, from any fixed point. */
export function createAdmission(limits: AdmissionLimits, now: () => number): Admission {
  const bans = createBanBook(limits)
  const suspects = createBanBook(limits)
  const everyone = createTokenBucket(limits.connectionsPerSecond, now())
  /** Least recently used first. */
  const buckets = new Map<string, TokenBucket>()
  const byAddress = new Map<string, number>()
  const byListener = new Map<AdmissionListener, number>()
  let connections = 0

  function bucketOf(address: string, nowMs: number): TokenBucket | undefined {
    if (limits.connectionsPerSecondPerAddress === 0 || address === UNIX_ADDRESS) return undefined
    const bucket = buckets.get(address) ?? createTokenBucket(limits.connectionsPerSecondPerAddress, nowMs)
    buckets.delete(address)
    forgetOld(nowMs)
    buckets.set(address, bucket)
    return bucket
  }

  // Two looks at the old end for each new bucket: the map shrinks as fast as it grows, without a timer.
  function forgetOld(nowMs: number): void {
    let looks = 2
    for (const [address, bucket] of buckets) {
      if (looks-- === 0) return
      if (buckets.size >= MAX_BUCKETS || bucket.isFull(nowMs)) buckets.delete(address)
    }
  }

  function refusal(address: string, listener: AdmissionListener): AdmissionRefusal | undefined {
    const perAddress = limits.maxConnectionsPerAddress
    if (connections >= limits.maxConnections) return AdmissionRefusal.maxConnections
    if ((byListener.get(listener) ?? 0) >= listener.maxConnections)
      return AdmissionRefusal.listenerMaxConnections
    if (perAddress > 0 && address !== UNIX_ADDRESS && (byAddress.get(address) ?? 0) >= perAddress) {
      return AdmissionRefusal.addressMaxConnections
    }
    return undefined
  }

  return {
    admit(address, listener) {
      const nowMs = now()
      if (bans.isBanned(address, nowMs)) return { ok: false, reason: AdmissionRefusal.banned }
      const reason = refusal(address, listener)
      if (reason !== undefined) return { ok: false, reason }

      // The address' own bucket first: one address that floods must not use up what is there for all.
      const bucket = bucketOf(address, nowMs)
      if (bucket?.has(nowMs) === false) return { ok: false, reason: AdmissionRefusal.addressConnectRate }
      if (!everyone.has(nowMs)) return { ok: false, reason: AdmissionRefusal.connectRate }
      bucket?.take(nowMs)
      everyone.take(nowMs)

      connections++
      tally(byAddress, address, 1)
      tally(byListener, listener, 1)
      return { ok: true }
    },
    release(address, listener) {
      connections--
      tally(byAddress, address, -1)
      tally(byListener, listener, -1)
    },
    isBanned: (address) => bans.isBanned(address, now()),
    ban(address, forMs) {
      if (address !== UNIX_ADDRESS) bans.ban(address, now() + forMs)
    },
    unban(address) {
      suspects.unban(address, now())
      return bans.unban(address, now())
    },
    credentialsRefused(address) {
      return address !== UNIX_ADDRESS && bans.recordFailure(address, now())
    },
    forgeableCredentialsRefused: (address) => suspects.recordFailure(address, now()),
    isSuspect: (address) => suspects.isBanned(address, now()),
    bans: () => bans.list(now()),
    counts() {
      const named = new Map<string, number>()
      for (const [{ name }, count] of byListener) named.set(name, (named.get(name) ?? 0) + count)
      return { connections, addresses: byAddress.size, byListener: named }
    },
  }
}
