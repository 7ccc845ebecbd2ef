import { randomBytes } from 'node:crypto'
import { clusterSchema, type ClusterConfig, redisSchema } from '../../src/config/cluster-schema.ts'
import { createSilentLog } from '../../src/log.ts'
import type { ReplicaListener, StoreLimits } from '../../src/store/contract.ts'
import type { RedisLink, RedisStore } from '../../src/store/redis/contract.ts'
import { createRedisLink } from '../../src/store/redis/link.ts'
import { createRedisStore } from '../../src/store/redis/store.ts'
import { testLimits } from './store-fixtures.ts'

export interface RedisPodOptions {
  readonly url: string
  /** Default: one of its own. */
  readonly keyPrefix?: string
  readonly limits?: Partial<StoreLimits>
  readonly cluster?: Partial<ClusterConfig>
  readonly now?: () => number
  readonly listener?: ReplicaListener
}

/** The store of one pod. `open` also starts its link, as the cluster does in a broker. */
export function createRedisPod(options: RedisPodOptions): {
  link: RedisLink
  store: RedisStore
  open(): Promise<void>
} {
  const log = createSilentLog()
  const link = createRedisLink({
    config: redisSchema.parse({ url: options.url, keyPrefix: options.keyPrefix ?? newPrefix() }),
    cluster: clusterSchema.parse({ ...options.cluster }),
    log,
  })
  const store = createRedisStore({
    link,
    limits: { ...testLimits, ...options.limits },
    log,
    ...(options.now !== undefined && { now: options.now }),
  })
  if (options.listener !== undefined) store.listen(options.listener)
  return {
    link,
    store,
    async open() {
      await store.open()
      link.start()
    },
  }
}

export function newPrefix(): string {
  return `{test-${randomBytes(4).toString('hex')}}:`
}
