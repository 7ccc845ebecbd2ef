import {
  clusterSchema,
  redisSchema,
  type ClusterConfig,
  type RedisConfig,
} from '../../src/config/cluster-schema.ts'
import { createSilentLog, type Log } from '../../src/log.ts'
import type { RedisLink } from '../../src/store/redis/contract.ts'
import { createRedisLink } from '../../src/store/redis/link.ts'

export interface TestLinkOptions {
  readonly redis?: Partial<RedisConfig>
  readonly cluster?: Partial<ClusterConfig>
  readonly log?: Log
}

/** A link with the defaults of the configuration, beside what is said; not open yet. */
export function testLink(url: string, options: TestLinkOptions = {}): RedisLink {
  return createRedisLink({
    config: { ...redisSchema.parse({ url }), ...options.redis },
    cluster: { ...clusterSchema.parse({}), ...options.cluster },
    log: options.log ?? createSilentLog(),
  })
}
