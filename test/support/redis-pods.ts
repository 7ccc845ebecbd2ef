import { randomBytes } from 'node:crypto'
import {
  clusterSchema,
  type ClusterConfig,
  type RedisConfig,
  redisSchema,
} from '../../src/config/cluster-schema.ts'
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
  /** Default: 0, never. */
  readonly sessionExpiryMs?: number
  readonly cluster?: Partial<ClusterConfig>
  readonly redis?: Partial<RedisConfig>
  readonly now?: () => number
  readonly listener?: ReplicaListener
}

export interface RedisPod {
  readonly link: RedisLink
  readonly store: RedisStore
  /** Also starts its link, as the cluster does in a broker. */
  open(): Promise<void>
}

/** The store of one pod, without a broker. */
export function createRedisPod(options: RedisPodOptions): RedisPod {
  const log = createSilentLog()
  const link = createRedisLink({
    config: redisSchema.parse({
      url: options.url,
      keyPrefix: options.keyPrefix ?? newPrefix(),
      ...options.redis,
    }),
    cluster: clusterSchema.parse({ ...options.cluster }),
    log,
  })
  const store = createRedisStore({
    link,
    limits: { ...testLimits, ...options.limits },
    sessionExpiryMs: options.sessionExpiryMs ?? 0,
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

/** Ends what a pod that is gone has held, as the others do. */
export async function bury(by: RedisPod, pod: string, expiryMs = 0): Promise<void> {
  let isMore = true
  while (isMore) isMore = (await ask(by, 'bury', pod, expiryMs, 100)) === 1
}

export function ask({ link }: RedisPod, name: string, ...args: (string | number)[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    link.writer.submit({
      name,
      args,
      bytes: 100,
      patience: 'wait',
      settle: (error, reply) => (error === undefined ? resolve(reply) : reject(error)),
    })
  })
}
