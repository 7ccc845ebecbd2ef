import { randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { startPods, startReady, waitReady } from '../support/pods.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { eventually, report } from './ledger.ts'
import { Mesh } from './mesh.ts'

const prefix = '{tunnelmq}:'

/** Nothing of it is ours; some of it looks as if. */
const garbage: readonly (string | Buffer)[] = [
  '',
  'x',
  '{}',
  '[]',
  'null',
  '-1',
  '1e999',
  '["message"]',
  '["session",1,2,3,4]',
  '["subscription","pod",{},[]]',
  '{"__proto__":{"a":1},"constructor":1}',
  '['.repeat(10_000),
  Buffer.from([0xff, 0xfe, 0]),
  randomBytes(20),
  randomBytes(100_000),
]

/** The families of keys of docs/decisions/0009-pods.md. */
const families = [
  's:c',
  'f:c',
  'q:c',
  'r:c',
  'i:c',
  's:g',
  'gr:',
  'gl:',
  'gm:',
  'inbox:',
  'wants:',
  'groups:',
  'seats:',
]
const names = ['batch:', 'owned:', 'failures:', 'unknown', 'unknown:']

async function onEveryChannel(redis: RedisServer): Promise<number> {
  const channels = (await redis.command('PUBSUB', 'CHANNELS')) as string[]
  for (const channel of channels) for (const bytes of garbage) await redis.command('PUBLISH', channel, bytes)
  return channels.length
}

/** Beside what is in it, as its type allows. */
async function intoKey(redis: RedisServer, key: string, bytes: string | Buffer): Promise<void> {
  const type = await redis.command('TYPE', key)
  if (type === 'stream') await redis.command('XADD', key, '*', 'e', bytes, 'm', bytes)
  if (type === 'hash') await redis.command('HSET', key, bytes, bytes)
  if (type === 'set') await redis.command('SADD', key, bytes)
  if (type === 'zset') await redis.command('ZADD', key, 1, bytes)
}

async function intoEveryKey(redis: RedisServer): Promise<number> {
  const keys = (await redis.command('KEYS', '*')) as string[]
  for (const key of keys) for (const bytes of garbage) await intoKey(redis, key, bytes)
  // Of sessions, groups and pods that are named somewhere, but are something else.
  for (const family of [...families, ...names]) await redis.command('SET', `${prefix}${family}ghost`, 'x')
  for (const [hash, field] of [
    ['sessions', 'cghost'],
    ['pods', 'ghost'],
    ['podinfo', 'ghost'],
    ['owner', 'ghost'],
    ['wills', 'ghost'],
  ] as const)
    await redis.command('HSET', `${prefix}${hash}`, field, 'x')
  for (const [zset, member] of [
    ['expiry', 'cghost'],
    ['qexpiry', 'cghost'],
    ['willdue', 'ghost'],
    ['rexpiry', 'ghost'],
  ] as const)
    await redis.command('ZADD', `${prefix}${zset}`, 1, member)
  return keys.length
}

it('garbage on every channel and in every key of ours is counted, and stops nothing', async () => {
  const pods = await startPods(2, { config: { session: { expiryMs: 60_000, messageExpiryMs: 60_000 } } })
  const mesh = new Mesh(pods)
  await mesh.open()
  await mesh.exchange([0, 1])
  const countOf = async (): Promise<number> =>
    (await pods.metric('tunnelmq_cluster_garbage_total')) +
    (await pods.metric('tunnelmq_store_corrupt_values_total'))

  const channelCount = await onEveryChannel(pods.redis)
  await mesh.exchange([0, 1])
  await mesh.trickle()
  const onChannels = await countOf()
  expect(onChannels).toBeGreaterThan(0)
  const keyCount = await intoEveryKey(pods.redis)
  await Promise.all(pods.all.map((pod) => waitReady(pod)))
  for (let round = 0; round < 5; round++) await mesh.exchange([0, 1])
  await mesh.trickle()
  const inKeys = await countOf()
  expect(inKeys).toBeGreaterThan(onChannels)

  // One that has to load all of it.
  await pods.all[1]!.kill()
  await startReady(pods.all[1]!)
  await mesh.publishers[1]!.connect()
  expect(await mesh.subscribers[1]!.connect()).toEqual({ code: 0, sessionPresent: true })
  for (let round = 0; round < 5; round++) await mesh.exchange([0, 1])
  await mesh.trickle()
  await eventually(() => pods.all.every(({ isRunning }) => isRunning))
  expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
  report(
    '10',
    mesh.check(),
    `all delivered to each of 2; ${channelCount} channels, ${keyCount} keys, ${onChannels} and ${inKeys - onChannels} pieces of garbage counted`,
  )
})
