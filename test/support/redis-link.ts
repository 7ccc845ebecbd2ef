import {
  clusterSchema,
  redisSchema,
  type ClusterConfig,
  type RedisConfig,
} from '../../src/config/cluster-schema.ts'
import { createSilentLog, type Log } from '../../src/log.ts'
import type { Op, RedisLink, ScriptArgument, ScriptReply } from '../../src/store/redis/contract.ts'
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

/** One op, as the parts of the store submit it. */
export function submitOp(
  link: RedisLink,
  name: string,
  args: readonly ScriptArgument[],
  options: Partial<Pick<Op, 'patience' | 'frees' | 'bytes'>> = {},
): Promise<ScriptReply | undefined> {
  return new Promise((resolve, reject) => {
    link.writer.submit({
      name,
      args,
      bytes: 100,
      patience: 'wait',
      ...options,
      settle: (error, reply) => (error === undefined ? resolve(reply) : reject(error)),
    })
  })
}

/** An op that counts how often it was executed: `refused` of op-ban.lua. */
export function submitCount(
  link: RedisLink,
  name: string,
  options: Partial<Pick<Op, 'patience' | 'frees' | 'bytes'>> = {},
): Promise<ScriptReply | undefined> {
  return submitOp(link, 'refused', [name, 1_000_000, 600_000, 1], options)
}

/** The key that {@link submitCount} counts in. */
export function countKey(name: string): string {
  return `{tunnelmq}:failures:${name}`
}
