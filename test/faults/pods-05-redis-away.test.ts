import { it } from 'vitest'
import { startPods } from '../support/pods.ts'
import { redisOutage } from './redis-outage.ts'

it('loses nothing when Redis is stopped for 10 s', async () => {
  const pods = await startPods(2)
  await redisOutage(pods, {
    test: '5 (Redis stopped)',
    begin: () => Promise.resolve(pods.redis.freeze()),
    lastsMs: 8_000,
    end: () => Promise.resolve(pods.redis.thaw()),
  })
})

it('loses nothing when Redis is killed, and comes back after 3 s', async () => {
  // What Redis has answered must survive its own death, to the last command.
  const pods = await startPods(2, { redis: { args: ['--appendfsync', 'always'] } })
  await redisOutage(pods, {
    test: '5 (Redis killed)',
    begin: () => pods.redis.kill(),
    lastsMs: 2_500,
    end: () => pods.redis.start(),
  })
})
