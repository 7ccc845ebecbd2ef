import { clusterSchema, type RedisConfig, redisSchema } from './cluster-schema.ts'
import type { ConfigPath, Mistake } from './mistake.ts'
import { splitHostPort } from './network-names.ts'
import type { Config } from './schema.ts'

/** Beats that may go missing before a pod is declared dead: one lost answer must not cost all its connections. */
const MIN_BEATS_PER_LEASE = 4
/**
 * Redis without any beat for 2 s counts as frozen, and everybody gets a lease (beat of lua/lib.lua): the only pod that
 * is left has to beat more often than that, or it could never declare the others dead.
 */
const MAX_BEAT_MS = 1_000

/** What the schemas of `store.redis` and `cluster` cannot say. Nothing, while the store is another. */
export function checkCluster(config: Config): readonly Mistake[] {
  if (config.store.type !== 'redis') return []
  const { redis } = config.store
  return [...checkUrl(redis), ...checkSentinels(redis), ...checkTls(redis), ...checkTimes(config)]
}

function at(...keys: (string | number)[]): ConfigPath {
  return ['store', 'redis', ...keys]
}

function checkUrl({ url: written, username, password }: RedisConfig): Mistake[] {
  const path = at('url')
  const url = URL.canParse(written) ? new URL(written) : undefined
  // The value is not shown: a password may be in it.
  if (url === undefined) return [{ path, message: 'is not a URL: redis://user:password@host:6379/0' }]
  const mistakes: Mistake[] = []
  if (url.hostname === '') mistakes.push({ path, message: 'names no host' })
  if (!/^\/?\d*$/.test(url.pathname))
    mistakes.push({
      path,
      message: `ends with "${url.pathname}", which is not the number of a database, such as /0`,
    })
  if (url.search !== '' || url.hash !== '')
    mistakes.push({
      path,
      message:
        'has a "?" or "#": settings have keys of their own in store.redis, and in a password they are %3F and %23',
    })
  if (url.username !== '' && username !== undefined)
    mistakes.push({
      path: at('username'),
      message: 'is set, and store.redis.url has a user, too: leave one out',
    })
  if (url.password !== '' && password !== undefined)
    mistakes.push({
      path: at('password'),
      message: 'is set, and store.redis.url has one, too: leave one out',
    })
  const hasPassword = password !== undefined || url.password !== ''
  if (username !== undefined && !hasPassword)
    mistakes.push({ path: at('username'), message: 'needs store.redis.password' })
  if (url.username !== '' && !hasPassword)
    mistakes.push({
      path,
      message: 'has a user, and no password; one without a user is redis://:password@host',
    })
  return mistakes
}

function checkSentinels({ sentinel }: RedisConfig): Mistake[] {
  return (sentinel?.nodes ?? []).flatMap((node, index) => {
    const { port } = splitHostPort(node)
    if (port >= 1 && port <= 65_535) return []
    return [{ path: at('sentinel', 'nodes', index), message: `${port} is not a port: 1 to 65535` }]
  })
}

function checkTls({ url, tls, sentinel }: RedisConfig): Mistake[] {
  const mistakes: Mistake[] = []
  if (tls !== undefined && !url.startsWith('rediss:') && sentinel?.tls !== true)
    mistakes.push({
      path: at('tls'),
      message: 'is set, and store.redis.url begins with redis://: TLS is rediss://',
    })
  if (tls !== undefined && (tls.cert === undefined) !== (tls.key === undefined)) {
    const [there, missing] = tls.cert === undefined ? ['key', 'cert'] : ['cert', 'key']
    mistakes.push({ path: at('tls', there), message: `needs store.redis.tls.${missing}` })
  }
  return mistakes
}

function checkTimes({ cluster }: Config): Mistake[] {
  const { leaseMs, beatMs, freshMs } = cluster
  const mistakes: Mistake[] = []
  if (beatMs > MAX_BEAT_MS) {
    const message = `${beatMs} is more than ${MAX_BEAT_MS}: between two beats Redis would seem to be frozen`
    mistakes.push({ path: ['cluster', 'beatMs'], message })
  }
  if (leaseMs < MIN_BEATS_PER_LEASE * beatMs) {
    const message = `${leaseMs} is less than ${MIN_BEATS_PER_LEASE} beats of cluster.beatMs (${beatMs})`
    mistakes.push({ path: ['cluster', 'leaseMs'], message })
  }
  // Who is declared dead must have stopped to use what it knows: nobody waits for it any more.
  if (leaseMs <= freshMs) {
    const message = `${leaseMs} is not more than cluster.freshMs (${freshMs})`
    mistakes.push({ path: ['cluster', 'leaseMs'], message })
  }
  return mistakes
}

/** What is allowed, and yet hardly meant. */
export function warnOfCluster(config: Config): readonly Mistake[] {
  if (config.store.type !== 'redis') return warnOfNoEffect(config)
  const { cluster, store, limits, session } = config
  const warnings: Mistake[] = []
  const reconnectMs = store.redis.commandTimeoutMs + store.redis.connectTimeoutMs + cluster.beatMs
  if (cluster.leaseMs <= reconnectMs) {
    const message = `${cluster.leaseMs} is not more than store.redis.commandTimeoutMs, connectTimeoutMs and a beat together (${reconnectMs}): one connection that is made anew, and the pod is declared dead`
    warnings.push({ path: ['cluster', 'leaseMs'], message })
  }
  if (store.redis.holdMs >= limits.storeTimeoutMs) {
    const message = `is not less than limits.storeTimeoutMs (${limits.storeTimeoutMs}), which disconnects first`
    warnings.push({ path: at('holdMs'), message })
  }
  if (cluster.inboxMaxBytes < limits.maxPacketBytes || cluster.crossingMaxBytes < limits.maxPacketBytes) {
    const key = cluster.inboxMaxBytes < limits.maxPacketBytes ? 'inboxMaxBytes' : 'crossingMaxBytes'
    const message = `is less than limits.maxPacketBytes (${limits.maxPacketBytes}): the largest messages do not fit`
    warnings.push({ path: ['cluster', key], message })
  }
  if (session.expiryMs === 0) {
    const message =
      'is 0: sessions of clients that never come back fill the memory of Redis, which then takes no more messages'
    warnings.push({ path: ['session', 'expiryMs'], message })
  }
  return warnings
}

/** Settings of Redis and pods beside another store: sections that differ from what nobody has written. */
function warnOfNoEffect({ store, cluster }: Config): Mistake[] {
  const message = `has no effect while store.type is "${store.type}"`
  const warnings: Mistake[] = differing(store.redis, redisSchema.parse({})).map((key) => ({
    path: at(key),
    message,
  }))
  for (const key of differing(cluster, clusterSchema.parse({})))
    warnings.push({ path: ['cluster', key], message })
  return warnings
}

function differing(value: object, defaults: object): string[] {
  const usual = new Map(Object.entries(defaults))
  return Object.entries(value)
    .filter(([key, inner]) => JSON.stringify(inner) !== JSON.stringify(usual.get(key)))
    .map(([key]) => key)
}
