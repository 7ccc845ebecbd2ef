import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { RedisLink, ScriptReply } from '../../../src/store/redis/contract.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'
import { testLink, type TestLinkOptions } from '../../support/redis-link.ts'

let redis: RedisServer
const links: RedisLink[] = []

beforeEach(async () => {
  redis = await startRedis()
})

afterEach(async () => {
  await Promise.all(links.splice(0).map((link) => link.close()))
  await redis.remove()
})

function create(options: TestLinkOptions = {}): RedisLink {
  const link = testLink(redis.url, options)
  links.push(link)
  return link
}

async function opened(options: TestLinkOptions = {}): Promise<RedisLink> {
  const link = create(options)
  await link.open()
  link.start()
  return link
}

function submit(link: RedisLink, name: string, ...args: string[]): Promise<ScriptReply | undefined> {
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

describe('a link to Redis', () => {
  it('joins the pods, beats, follows the log, and leaves', async () => {
    const first = await opened()
    const seen: unknown[] = []
    first.follower.onLog('pod', (entry) => void seen.push(entry))
    const second = await opened()
    await expect.poll(() => seen).toContainEqual(['pod', second.pod, second.pod, 'joined'])
    expect(first.failure).toBeUndefined()
    await expect.poll(() => first.follower.freshAtMs).toBeGreaterThan(0)
    await expect(submit(first, 'no-such-op')).rejects.toThrow('no such op')
    expect(await redis.command('HKEYS', '{tunnelmq}:pods')).toHaveLength(2)
    await second.close()
    await expect.poll(() => seen).toContainEqual(['pod', second.pod, second.pod, 'left'])
    expect(await redis.command('HKEYS', '{tunnelmq}:pods')).toEqual([first.pod])
  })
})
