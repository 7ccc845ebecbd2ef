import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { RedisLink } from '../../../src/store/redis/contract.ts'
import { countKey, submitCount, testLink, type TestLinkOptions } from '../../support/redis-link.ts'
import { eventually } from '../../support/eventually.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'

let redis: RedisServer
const links: RedisLink[] = []

beforeEach(async () => {
  redis = await startRedis({ args: ['--appendfsync', 'always'] })
})

afterEach(async () => {
  redis.thaw()
  await Promise.all(links.splice(0).map((link) => link.close()))
  await redis.remove()
})

/** Quick to notice, and quick to end. */
const quick = { redis: { commandTimeoutMs: 500, connectTimeoutMs: 500, holdMs: 1_000 } }

function create(options: TestLinkOptions = quick): RedisLink {
  const link = testLink(redis.url, options)
  links.push(link)
  return link
}

async function opened(options: TestLinkOptions = quick): Promise<RedisLink> {
  const link = create(options)
  await link.open()
  link.start()
  await eventually(() => link.failure).toBeUndefined()
  return link
}

/** What happens to a link, in order. */
function eventsOf(link: RedisLink): string[] {
  const events: string[] = []
  link.onEmptied(() => events.push('emptied'))
  link.onExpelled(() => events.push('expelled'))
  link.onReloaded(() => events.push('reloaded'))
  link.onLoad((position) => {
    events.push(`load ${position}`)
    return Promise.resolve()
  })
  return events
}

describe('a link to Redis', () => {
  it('joins the pods, beats, follows the log, and leaves', async () => {
    const first = await opened()
    const seen: unknown[] = []
    first.follower.onLog('pod', (entry) => void seen.push(entry))
    let beats: ReadonlyMap<string, number> = new Map()
    first.onBeat((_nowMs, all) => (beats = all))
    const second = await opened()
    await eventually(() => seen).toContainEqual(['pod', second.pod, second.pod, 'joined'])
    await eventually(() => first.follower.freshAtMs).toBeGreaterThan(0)
    await eventually(() => [...beats.keys()].toSorted()).toEqual([first.pod, second.pod].toSorted())
    await second.close()
    await eventually(() => seen).toContainEqual(['pod', second.pod, second.pod, 'left'])
    expect(await redis.command('HKEYS', '{tunnelmq}:pods')).toEqual([first.pod])
  })

  it('notices that Redis is frozen, and goes on where it was, without loading again', async () => {
    const link = await opened()
    const events = eventsOf(link)
    await submitCount(link, 'a')
    redis.freeze()
    const frozenAtMs = performance.now()
    const write = submitCount(link, 'a', { patience: 'keep' })
    await eventually(() => link.failure).toBe('Redis does not answer')
    // Two of its time-outs, and what a busy machine adds.
    expect(performance.now() - frozenAtMs).toBeLessThan(5_000)
    await expect(submitCount(link, 'a', { patience: 'now' })).rejects.toMatchObject({
      code: 'TMQ_STORE_UNAVAILABLE',
    })
    await expect(link.command('get', 'x')).rejects.toMatchObject({ code: 'TMQ_STORE_UNAVAILABLE' })
    await eventually(() => performance.now() - frozenAtMs).toBeGreaterThan(3_000)
    const thawedAtMs = performance.now()
    redis.thaw()
    expect(await write).toBe(2)
    await eventually(() => link.failure).toBeUndefined()
    await eventually(() => link.follower.freshAtMs).toBeGreaterThan(thawedAtMs)
    expect(events).toEqual([])
  })

  it('loads again after Redis was killed and started with its file, under the same name', async () => {
    const link = await opened()
    const events = eventsOf(link)
    const { pod } = link
    await submitCount(link, 'a')
    const { position } = link.follower
    await redis.kill()
    await eventually(() => link.failure).toBe('Redis is not there (connection refused)')
    const write = submitCount(link, 'a', { patience: 'keep' })
    await redis.start()
    expect(await write).toBe(2)
    await eventually(() => events).toEqual([`load ${position}`, 'reloaded'])
    expect(link.pod).toBe(pod)
    expect(link.reloads).toBe(1)
    expect(link.emptied).toBe(0)
    await eventually(() => link.failure).toBeUndefined()
  })

  it('notices that Redis was emptied, while it runs and over a restart', async () => {
    const link = await opened()
    const events = eventsOf(link)
    await redis.flush()
    await eventually(() => events).toEqual(['emptied', 'load 1', 'reloaded'])
    expect(await submitCount(link, 'a')).toBe(1)
    expect(link.emptied).toBe(1)
    events.length = 0
    await redis.flush()
    await redis.kill()
    await redis.start()
    await eventually(() => events).toEqual(['emptied', 'load 1', 'reloaded'])
    await eventually(() => link.failure).toBeUndefined()
  })

  it('joins under another name when it was declared dead; only what can be repeated is written', async () => {
    const link = await opened({ ...quick, cluster: { beatMs: 60_000 } })
    const events = eventsOf(link)
    const { pod } = link
    await redis.command('HDEL', '{tunnelmq}:pods', pod)
    const waits = submitCount(link, 'a')
    const kept = submitCount(link, 'a', { patience: 'keep' })
    await expect(waits).rejects.toThrow('declared dead')
    expect(await kept).toBe(1)
    expect(link.pod).not.toBe(pod)
    await eventually(() => events).toEqual(['expelled', 'load 2', 'reloaded'])
    expect(await redis.command('HKEYS', '{tunnelmq}:pods')).toEqual([link.pod])
    expect(await submitCount(link, 'a')).toBe(2)
  })

  it('learns from its beat that it was declared dead', async () => {
    const link = await opened()
    const events = eventsOf(link)
    await redis.command('HDEL', '{tunnelmq}:pods', link.pod)
    await eventually(() => events).toEqual(['expelled', 'load 2', 'reloaded'])
  })

  it('is well again after its connections were killed one by one and all at once', async () => {
    const link = await opened()
    const events = eventsOf(link)
    const heard: string[] = []
    link.prompt.subscribe('hints', (message) => heard.push(message.toString()))
    for (const type of ['normal', 'pubsub', 'normal']) {
      await redis.command('CLIENT', 'KILL', 'TYPE', type)
      await eventually(() => link.failure).toBeUndefined()
      await eventually(() => {
        link.prompt.publish('hints', Buffer.from(type))
        return heard.at(-1)
      }).toBe(type)
      await submitCount(link, 'a')
    }
    expect(await redis.command('GET', countKey('a'))).toBe('3')
    expect(events).toEqual([])
  })

  it('gives everybody a whole lease when nobody has beaten for two seconds', async () => {
    const link = await opened()
    const before = Number(await redis.command('GET', '{tunnelmq}:graceuntil'))
    const until = async (): Promise<number> => Number(await redis.command('GET', '{tunnelmq}:graceuntil'))
    await submitCount(link, 'a')
    expect(await until()).toBe(before)
    redis.freeze()
    await eventually(() => link.failure).toBeDefined()
    const frozenAtMs = performance.now()
    await eventually(() => performance.now() - frozenAtMs).toBeGreaterThan(2_500)
    redis.thaw()
    await eventually(until).toBeGreaterThan(before + 2_000)
  })

  it('bounds what is published, and says when some of it was taken', async () => {
    const link = await opened({ ...quick, cluster: { crossingMaxBytes: 1_000 } })
    let drained = 0
    link.bulk.onDrained(() => drained++)
    redis.freeze()
    expect(link.bulk.publish('x', Buffer.alloc(600))).toBe(true)
    expect(link.bulk.publish('x', Buffer.alloc(600))).toBe(false)
    expect(link.bulk.pendingBytes).toBe(600)
    // Another lane has its own.
    expect(link.prompt.publish('x', Buffer.alloc(600))).toBe(true)
    await eventually(() => link.bulk.pendingBytes).toBe(0)
    expect(drained).toBe(1)
    expect(link.bulk.publish('x', Buffer.alloc(600))).toBe(false)
  })

  it('is not ready while Redis is a replica, and waits', async () => {
    const link = await opened()
    // Nobody is there: what it has is not replaced by what another has, however long the test takes.
    await redis.command('REPLICAOF', '127.0.0.1', 1)
    await expect(submitCount(link, 'a')).rejects.toThrow('Redis is a replica')
    expect(link.failure).toContain('Redis is a replica')
    await redis.command('REPLICAOF', 'NO', 'ONE')
    await eventually(() => link.failure).toBeUndefined()
    await submitCount(link, 'a')
  })

  it('waits while Redis loads its data', async () => {
    const slow = await startRedis({
      args: ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024'],
    })
    const link = testLink(slow.url, quick)
    links.push(link)
    try {
      await link.open()
      link.start()
      await slow.command('DEBUG', 'POPULATE', 1_000)
      await slow.command('BGREWRITEAOF')
      await eventually(() => slow.command('INFO', 'persistence')).toMatch(
        /aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0/,
      )
      await slow.kill()
      const started = slow.start()
      await eventually(() => link.failure).toBe('Redis is loading its data')
      await started
      await eventually(() => link.failure).toBeUndefined()
      await submitCount(link, 'a')
      await link.close()
    } finally {
      await slow.remove()
    }
  })
})
