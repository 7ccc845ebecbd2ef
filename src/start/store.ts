import { randomUUID } from 'node:crypto'
import type { Config } from '../config/schema.ts'
import { createSingleCluster } from '../cluster/single.ts'
import type { Cluster } from '../cluster/contract.ts'
import type { Log } from '../log.ts'
import type { Store, StoreLimits } from '../store/contract.ts'
import type { Tracing } from '../tracing/contract.ts'
import { createEmbeddedStore } from '../store/embedded/store.ts'
import { createMemoryStore } from '../store/memory.ts'
import { version } from '../version.ts'

/** Not opened yet. */
export async function createStoreAndCluster(
  config: Config,
  log: Log,
): Promise<{ store: Store; cluster: Cluster }> {
  const limits: StoreLimits = {
    queueMaxMessages: config.session.queueMaxMessages,
    queueMaxBytes: config.session.queueMaxBytes,
    retainedMaxMessages: config.retained.maxMessages,
    retainedMaxBytes: config.retained.maxBytes,
    maxInflight: config.limits.maxInflight,
  }
  const { path, sync, cacheBytes, redis } = config.store
  if (config.store.type === 'redis') {
    // Only now: who has no Redis has none of its code in memory.
    const [{ createRedisLink }, { createRedisStore }, { createCluster }] = await Promise.all([
      import('../store/redis/link.ts'),
      import('../store/redis/store.ts'),
      import('../cluster/cluster.ts'),
    ])
    const link = createRedisLink({ config: redis, cluster: config.cluster, log })
    const store = createRedisStore({ link, limits, sessionExpiryMs: config.session.expiryMs, log })
    return { store, cluster: createCluster({ store, config, log }) }
  }
  const store =
    config.store.type === 'memory'
      ? createMemoryStore(limits)
      : createEmbeddedStore({ path, sync, cacheBytes, limits, log })
  return { store, cluster: createSingleCluster(store, { expiryMs: config.session.expiryMs }) }
}

/** Undefined, and none of its code in memory, without `tracing.endpoint`. */
export async function createTracing(
  { tracing: { endpoint, ...rest } }: Config,
  cluster: Cluster,
  log: Log,
): Promise<Tracing | undefined> {
  if (endpoint === undefined) return undefined
  const { createOtlpTracing } = await import('../tracing/otlp.ts')
  const instance = cluster.isShared ? cluster.pod : randomUUID()
  return createOtlpTracing({ config: { ...rest, endpoint }, version, instance, log })
}
