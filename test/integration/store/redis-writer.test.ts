import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { RedisLink, ScriptReply } from '../../../src/store/redis/contract.ts'
import { countKey, submitCount, submitOp, testLink, type TestLinkOptions } from '../../support/redis-link.ts'
import { eventually } from '../../support/eventually.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'

let redis: RedisServer
let link: RedisLink

beforeEach(async () => {
  redis = await startRedis({ args: ['--appendfsync', 'always'] })
})

afterEach(async () => {
  redis.thaw()
  await link.close()
  await redis.remove()
})

const quick = { commandTimeoutMs: 500, connectTimeoutMs: 500, holdMs: 1_000 }

async function open(options: TestLinkOptions = { redis: quick }): Promise<void> {
  link = testLink(redis.url, options)
  await link.open()
  link.start()
  await eventually(() => link.failure).toBeUndefined()
}

const counted = async (name: string): Promise<number> => Number(await redis.command('GET', countKey(name)))
const batchOf = (number: number, name: string): Promise<ScriptReply> =>
  link.script('apply', link.pod, number, 4, 'refused', name, 1_000_000, 600_000, 1)

describe('the writer', () => {
  it('answers in the order of submitting, with many ops in a few batches', async () => {
    await open()
    const order: number[] = []
    const before = link.writer.commits
    const all = Array.from({ length: 1_000 }, async (_, index) => {
      const count = await submitCount(link, 'a')
      order.push(index)
      return count
    })
    expect(link.writer.pendingWrites).toBe(1_000)
    expect(await Promise.all(all)).toEqual(Array.from({ length: 1_000 }, (_, index) => index + 1))
    expect(order).toEqual(Array.from({ length: 1_000 }, (_, index) => index))
    expect(link.writer.commits - before).toBe(5)
    expect(link.writer.pendingWrites).toBe(0)
    expect(link.writer.pendingBytes).toBe(0)
  })

  it('tells one op what is wrong with it, and executes the others of its batch', async () => {
    await open()
    await redis.command('SET', countKey('text'), 'text')
    const results = await Promise.allSettled([
      submitCount(link, 'a'),
      submitCount(link, 'text'),
      submitOp(link, 'no-such-op', ['1', '2']),
      submitCount(link, 'a'),
    ])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
    expect(await counted('a')).toBe(2)
  })

  it('calls barriers after what was submitted before them, and not within the call', async () => {
    await open()
    const order: string[] = []
    const barrier = (name: string): Promise<void> =>
      new Promise((resolve) => {
        link.writer.barrier(() => {
          order.push(name)
          resolve()
        })
      })
    const idle = barrier('idle')
    expect(order).toEqual([])
    await idle
    const write = (name: string): void =>
      link.writer.submit({
        name: 'refused',
        args: ['a', 1_000_000, 600_000, 1],
        bytes: 10,
        patience: 'wait',
        settle: () => order.push(name),
      })
    write('first')
    const between = barrier('between')
    write('second')
    await Promise.all([between, barrier('last')])
    expect(order).toEqual(['idle', 'first', 'between', 'second', 'last'])
    write('third')
    // The batch is on its way now.
    await new Promise((resolve) => setImmediate(resolve))
    await barrier('behind it')
    expect(order.slice(5)).toEqual(['third', 'behind it'])
  })

  it('executes a batch that comes twice once, with the same answer, and a late one not at all', async () => {
    await open()
    const first = await batchOf(5_000, 'a')
    expect(await batchOf(5_000, 'a')).toEqual(first)
    expect(await counted('a')).toBe(1)
    await expect(batchOf(4_999, 'a')).rejects.toThrow('STALE')
    expect(await counted('a')).toBe(1)
    // Somebody has written under our name: the writer goes on above that.
    expect(await submitCount(link, 'a')).toBe(2)
  })

  it('executes nothing of a batch of a pod that Redis does not know', async () => {
    await open()
    await expect(
      link.script('apply', 'f'.repeat(16), 1, 4, 'refused', 'a', 1_000_000, 600_000, 1),
    ).rejects.toThrow('EXPELLED')
    expect(await redis.command('GET', countKey('a'))).toBeNull()
  })

  it('never executes a batch that was cancelled', async () => {
    await open()
    expect(await link.script('cancel', link.pod, 5_000)).toBeNull()
    expect(await batchOf(5_000, 'a')).toEqual([])
    expect(await redis.command('GET', countKey('a'))).toBeNull()
    const reply = await batchOf(5_001, 'a')
    expect(await link.script('cancel', link.pod, 5_001)).toEqual(reply)
  })

  it('fails what does not wait at once, what waits in time, and keeps the rest, while Redis is frozen', async () => {
    await open()
    redis.freeze()
    const sentAtMs = performance.now()
    const inFlight = submitCount(link, 'a')
    const kept = submitCount(link, 'b', { patience: 'keep' })
    await expect(inFlight).rejects.toMatchObject({ code: 'TMQ_STORE_UNAVAILABLE' })
    expect(performance.now() - sentAtMs).toBeGreaterThan(950)
    expect(performance.now() - sentAtMs).toBeLessThan(6_000)
    await expect(submitCount(link, 'a', { patience: 'now' })).rejects.toThrow('Redis does not answer')
    const late = submitCount(link, 'c')
    await expect(late).rejects.toThrow('Redis does not answer')
    expect(link.writer.pendingWrites).toBeGreaterThan(0)
    redis.thaw()
    expect(await kept).toBe(1)
    // It was with the one that is kept, in a batch that must not change.
    expect(await counted('a')).toBe(1)
    expect(await redis.command('GET', countKey('c'))).toBeNull()
  })

  it('does not execute late what was given up, once something else was written', async () => {
    await open()
    redis.freeze()
    await expect(submitCount(link, 'a')).rejects.toThrow('Redis does not answer')
    expect(link.writer.pendingWrites).toBe(0)
    redis.thaw()
    expect(await submitCount(link, 'b')).toBe(1)
    const executed = await redis.command('GET', countKey('a'))
    expect(await submitCount(link, 'b')).toBe(2)
    expect(await redis.command('GET', countKey('a'))).toBe(executed)
  })

  it('executes each write once while its connection is cut again and again', async () => {
    await open()
    for (let round = 1; round <= 20; round++) {
      const writes = Array.from({ length: 300 }, () => submitCount(link, 'a', { patience: 'keep' }))
      await redis.command('CLIENT', 'KILL', 'TYPE', 'normal')
      await Promise.all(writes)
      expect(await counted('a')).toBe(round * 300)
    }
  })

  it('executes once what was executed before memory ran out, and whose answer was lost', async () => {
    await open()
    for (let round = 1; round <= 3; round++) {
      redis.freeze()
      const write = submitCount(link, 'a', { patience: 'keep' })
      await eventually(() => link.failure).toBe('Redis does not answer')
      // Both wait in Redis' sockets; the writer comes again when memory is out.
      const full = redis.command('CONFIG', 'SET', 'maxmemory', '1mb')
      redis.thaw()
      await full
      await eventually(() => link.failure).not.toBe('Redis does not answer')
      await redis.command('CONFIG', 'SET', 'maxmemory', '0')
      expect(await write).toBe(round)
      await eventually(() => link.failure).toBeUndefined()
    }
    expect(await counted('a')).toBe(3)
  })

  it('refuses above its bound of bytes, at once, beside what is kept', async () => {
    await open({ redis: { ...quick, maxPendingBytes: 250 } })
    const results = await Promise.allSettled([
      submitCount(link, 'a'),
      submitCount(link, 'a'),
      submitCount(link, 'a'),
      submitCount(link, 'a', { patience: 'keep' }),
    ])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
    expect(String((results[2] as PromiseRejectedResult).reason)).toContain('maxPendingBytes')
  })

  it('goes on with what frees memory when there is none, and with everything when there is some', async () => {
    await open()
    await redis.command('CONFIG', 'SET', 'maxmemory', '1mb')
    const [waiting, frees, none] = await Promise.allSettled([
      submitCount(link, 'a'),
      submitCount(link, 'b', { frees: true }),
      submitCount(link, 'a', { patience: 'now' }),
    ])
    expect(waiting).toMatchObject({ status: 'rejected', reason: { message: 'Redis is out of memory' } })
    expect(none).toMatchObject({ status: 'rejected', reason: { message: 'Redis is out of memory' } })
    expect(frees).toMatchObject({ status: 'fulfilled', value: 1 })
    expect(link.failure).toBe('Redis is out of memory')
    expect(link.writer.failure).toBe('Redis is out of memory')
    const kept = submitCount(link, 'a', { patience: 'keep' })
    expect(await submitCount(link, 'b', { frees: true, patience: 'now' })).toBe(2)
    // What only reads goes on, too: else nothing could be delivered and freed.
    await link.script('read-queue', link.pod, 'cx', 0, 10, 1_000)
    await link.script('load-sessions', link.pod, 0, 10)
    link.reload('of the test')
    await eventually(() => link.reloads).toBe(1)
    await eventually(() => link.failure).toBe('Redis is out of memory')
    await redis.command('CONFIG', 'SET', 'maxmemory', '0')
    expect(await kept).toBe(1)
    await eventually(() => link.failure).toBeUndefined()
  })

  it('is well again after memory was out and nothing waits', async () => {
    await open()
    await redis.command('CONFIG', 'SET', 'maxmemory', '1mb')
    await expect(submitCount(link, 'a', { patience: 'now' })).rejects.toThrow('out of memory')
    await redis.command('CONFIG', 'SET', 'maxmemory', '0')
    await eventually(() => link.failure).toBeUndefined()
  })

  it('says that a write has too few replicas', async () => {
    // Slow is not away: only the replicas are late here.
    const patient = { commandTimeoutMs: 10_000, connectTimeoutMs: 10_000, holdMs: 20_000 }
    await open({ redis: { ...patient, waitReplicas: 1, waitTimeoutMs: 200 } })
    await expect(submitCount(link, 'a')).rejects.toThrow('Too few replicas')
    expect(await submitCount(link, 'a', { patience: 'keep' })).toBe(2)
    const replica = await startRedis({ args: ['--replicaof', `127.0.0.1 ${redis.port}`] })
    try {
      await eventually(() => replica.command('INFO', 'replication')).toContain('master_link_status:up')
      await eventually(() => submitCount(link, 'b').catch(() => 0)).toBeGreaterThan(0)
      expect(Number(await replica.command('GET', countKey('b')))).toBeGreaterThan(0)
    } finally {
      await replica.remove()
    }
  })

  it('loads its scripts again when Redis has forgotten them', async () => {
    await open()
    await redis.command('SCRIPT', 'FLUSH')
    expect(await submitCount(link, 'a')).toBe(1)
  })

  it('logs what an answer throws, and goes on with the others', async () => {
    await open()
    link.writer.submit({
      name: 'refused',
      args: ['a', 1_000_000, 600_000, 1],
      bytes: 10,
      patience: 'wait',
      settle: () => {
        throw new Error('of the test')
      },
    })
    expect(await submitCount(link, 'a')).toBe(2)
  })

  it('makes pending writes before it closes', async () => {
    await open()
    const write = submitCount(link, 'a')
    await link.close()
    expect(await write).toBe(1)
    await expect(submitCount(link, 'a', { patience: 'keep' })).rejects.toThrow('is closed')
  })
})
