import { it } from 'vitest'
import { redisOutage } from '../faults/redis-outage.ts'
import { startPods } from '../support/pods.ts'

it('loses nothing when Redis is down for 60 s', async () => {
  const pods = await startPods(2, { redis: { args: ['--appendfsync', 'always'] } })
  await redisOutage(pods, {
    test: '5 (Redis down for 60 s)',
    begin: () => pods.redis.kill(),
    lastsMs: 58_000,
    end: () => pods.redis.start(),
  })
}, 180_000)
