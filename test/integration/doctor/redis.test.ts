import { afterAll, beforeAll, expect, it } from 'vitest'
import { configSchema } from '../../../src/config/schema.ts'
import { checkRedis } from '../../../src/doctor/redis.ts'
import type { Finding } from '../../../src/doctor/finding.ts'
import { freePort } from '../../support/mosquitto.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.remove())

function look(url: string): Promise<readonly Finding[]> {
  return checkRedis(configSchema.parse({ store: { type: 'redis', redis: { url } } }))
}

/** How fast it is depends on what else this machine does. */
async function problems(url: string): Promise<readonly Finding[]> {
  return (await look(url)).filter(({ state, seen }) => state !== 'ok' && !seen.startsWith('round trip'))
}

it('is content with a Redis that is fit', async () => {
  expect(await problems(redis.url)).toEqual([])
  expect((await look(redis.url)).map(({ seen }) => seen)).toEqual([
    expect.stringMatching(/^redis:\/\/127\.0\.0\.1:\d+\/0: Redis \d/),
    expect.stringContaining('round trip'),
    expect.stringContaining('maxmemory-policy noeviction'),
    expect.stringContaining('appendfsync everysec'),
    expect.stringMatching(/^its clock is [\d.]+ ms/),
  ])
})

it('fails for one that may evict, and says which command mends it', async () => {
  await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
  expect(await problems(redis.url)).toMatchObject([
    { state: 'warn', seen: expect.stringContaining('allkeys-lru') },
  ])
  await redis.command('CONFIG', 'SET', 'maxmemory', '100mb')
  expect(await look(redis.url)).toEqual([
    {
      check: 'redis',
      state: 'fail',
      seen: expect.stringContaining('allkeys-lru'),
      todo: expect.stringContaining('CONFIG SET maxmemory-policy noeviction'),
    },
  ])
  await redis.command('CONFIG', 'SET', 'maxmemory', '0', 'maxmemory-policy', 'noeviction')
})

it('warns of one that keeps no append-only file', async () => {
  await redis.command('CONFIG', 'SET', 'appendonly', 'no')
  expect(await problems(redis.url)).toMatchObject([
    { state: 'warn', todo: expect.stringContaining('appendonly yes') },
  ])
})

it('fails for one that wants a password, and for none', async () => {
  await redis.command('CONFIG', 'SET', 'requirepass', 'secret')
  expect(await look(redis.url)).toMatchObject([
    { state: 'fail', todo: expect.stringContaining('store.redis.username') },
  ])
  const nobody = `redis://127.0.0.1:${await freePort()}`
  expect(await look(nobody)).toMatchObject([
    {
      state: 'fail',
      seen: expect.stringContaining(nobody),
      todo: expect.stringContaining('is Redis running'),
    },
  ])
})
