import { expect, onTestFinished } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import type { Handler } from '../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from './broker.ts'
import { type RedisServer, startRedis } from './redis-server.ts'

export type PodOverrides = Omit<Parameters<typeof startTestBroker>[0] & object, 'store'> & {
  /** `store.redis.holdMs` */
  readonly holdMs?: number
}

/** A broker on this Redis, with short leases; ended with the test. */
export async function startPod(
  redis: RedisServer,
  { holdMs, ...overrides }: PodOverrides = {},
  handlers: readonly Handler[] = [],
): Promise<TestBroker> {
  // As in cluster-pods.ts: a process that stands still for a moment kills none of its pods.
  const cluster: ConfigInput['cluster'] = { beatMs: 100, leaseMs: 2_500, ...overrides.cluster }
  const url = `${redis.url}/0`
  const store: ConfigInput['store'] = {
    type: 'redis',
    redis: holdMs === undefined ? { url } : { url, holdMs },
  }
  const pod = await startTestBroker(
    { ...overrides, cluster, store },
    handlers.length === 0 ? {} : { handlers },
  )
  onTestFinished(() => pod.stop())
  return pod
}

/** So many brokers in this process on a Redis of their own, each of which knows the others. */
export async function startPods(
  count: number,
  overrides: PodOverrides = {},
  handlers: readonly Handler[] = [],
): Promise<{ redis: RedisServer; pods: TestBroker[] }> {
  const redis = await startRedis()
  onTestFinished(() => redis.remove())
  const pods: TestBroker[] = []
  for (let i = 0; i < count; i++) pods.push(await startPod(redis, overrides, handlers))
  await expect.poll(async () => (await redis.command('HLEN', '{tunnelmq}:pods')) as number).toBe(count)
  return { redis, pods }
}
