import type { JwtConfig } from '../../config/jwt-schema.ts'
import type { KeySetCounters } from '../../counters.ts'
import { createHttpClient } from '../http-client.ts'
import type { HandlerLog } from '../log.ts'
import { parseJwks, type KeySet } from './key-set.ts'
import type { KeySource } from './key-source.ts'

export interface RemoteKeysOptions {
  readonly url: string
  readonly config: Pick<
    JwtConfig,
    'refreshMs' | 'cooldownMs' | 'keepMs' | 'timeoutMs' | 'maxResponseBytes' | 'tls'
  >
  readonly counters: KeySetCounters
  readonly log: HandlerLog
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

/**
 * The key set of an identity provider. Fetched at the start (nobody waits for that), every `refreshMs`, and when a token
 * names a key that is not in it; never more often than `cooldownMs`. What was fetched goes on while the provider is away.
 */
export async function openRemoteKeys(options: RemoteKeysOptions): Promise<KeySource> {
  const { config, counters, log } = options
  const now = options.now ?? (() => performance.now())
  const url = new URL(options.url)
  // Its credentials are the request's, and nobody else's.
  const name = url.origin + url.pathname
  const client = await createHttpClient({ ...config, maxSockets: 1, keepAliveMs: 10_000 })
  const listeners: (() => void)[] = []
  let keys: KeySet = []
  let fetchedAtMs = -Infinity
  let askedAtMs = -Infinity
  let fetching: Promise<void> | undefined

  async function fetch(): Promise<void> {
    askedAtMs = now()
    try {
      const { status, body } = await client.request(url, {
        method: 'GET',
        headers: { accept: 'application/jwk-set+json, application/json' },
      })
      if (status !== 200) throw new Error(`it answered with status ${status}`)
      const found = parseJwks(body.toString())
      fetchedAtMs = now()
      counters.fetched++
      take(found)
    } catch (error) {
      counters.failed++
      const why = error instanceof Error ? error.message : String(error)
      log.error({ url: name, why }, 'key set not fetched; the keys from before go on')
    }
  }

  function take(found: KeySet): void {
    const before = keys
    keys = found
    const isSame = (a: KeySet, b: KeySet) =>
      a.every(({ fingerprint }) => b.some((key) => key.fingerprint === fingerprint))
    const hasGone = !isSame(before, found)
    if (!hasGone && isSame(found, before)) return
    log.info({ url: name, keys: found.length }, 'key set changed')
    if (hasGone) for (const listener of listeners) listener()
  }

  function fetchOnce(): Promise<void> {
    return (fetching ??= fetch().finally(() => (fetching = undefined)))
  }

  const timer = setInterval(() => void fetchOnce(), config.refreshMs).unref()
  void fetchOnce()

  return {
    name,
    current: () => (now() - fetchedAtMs <= config.keepMs ? keys : undefined),
    renew() {
      if (fetching === undefined && now() - askedAtMs < config.cooldownMs) return Promise.resolve()
      return fetchOnce()
    },
    onChange: (listener) => void listeners.push(listener),
    async reload() {
      await client.reload()
      await fetchOnce()
    },
    close() {
      clearInterval(timer)
      client.close()
    },
  }
}
