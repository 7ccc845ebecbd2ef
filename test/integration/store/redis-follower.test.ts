import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ErrorCode, TunnelMQError } from '../../../src/errors.ts'
import type { RedisLink } from '../../../src/store/redis/contract.ts'
import { eventually } from '../../support/eventually.ts'
import { submitOp, testLink, type TestLinkOptions } from '../../support/redis-link.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'

let redis: RedisServer
const links: RedisLink[] = []

beforeEach(async () => {
  redis = await startRedis()
})

afterEach(async () => {
  await Promise.all(links.splice(0).map((link) => link.close()))
  await redis.remove()
})

const prefix = '{tunnelmq}:'

async function open(options: TestLinkOptions = {}): Promise<RedisLink> {
  const link = testLink(redis.url, { ...options, redis: { commandTimeoutMs: 500, connectTimeoutMs: 500 } })
  links.push(link)
  await link.open()
  return link
}

/** Writes one entry into the log, with an address of this number. */
const ban = (link: RedisLink, number: number): Promise<unknown> =>
  submitOp(link, 'ban', [`10.0.0.${number}`, Date.now() + 1_000_000])

const INBOX = `
  local position = redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
  redis.call('HINCRBY', KEYS[2], ARGV[1], #ARGV[2] + #(ARGV[3] or ''))
  redis.call('XADD', KEYS[3], position .. '-0', 'e', unpack(ARGV[3] and { ARGV[2], 'm', ARGV[3] } or { ARGV[2] }))
`

/** In one piece, as lib.lua does it. */
async function putIntoInbox(pod: string, header: unknown[], message?: string): Promise<void> {
  const keys = [`${prefix}inboxpos`, `${prefix}inboxbytes`, `${prefix}inbox:${pod}`]
  const rest = message === undefined ? [] : [message]
  await redis.command('EVAL', INBOX, keys.length, ...keys, pod, JSON.stringify(header), ...rest)
}

describe('the follower', () => {
  it('hands the log over in order, and waits for all handlers of a read before the position moves', async () => {
    const link = await open()
    const seen: unknown[] = []
    let running = 0
    link.follower.onLog('ban', async (entry, position) => {
      seen.push(entry[2])
      running++
      expect(link.follower.position).toBeLessThan(position)
      await new Promise((resolve) => setImmediate(resolve))
      running--
    })
    const progress: number[] = []
    link.follower.onProgress((position) => {
      expect(running).toBe(0)
      progress.push(position)
    })
    link.start()
    for (let number = 1; number <= 50; number++) await ban(link, number)
    await link.follower.reached(51, 10_000)
    expect(seen).toEqual(Array.from({ length: 50 }, (_, index) => `10.0.0.${index + 1}`))
    expect(progress).toEqual([...progress].toSorted((a, b) => a - b))
    expect(link.follower.garbage).toBe(0)
    expect(link.follower.head).toBe(51)
    await expect(link.follower.reached(60, 20)).rejects.toMatchObject({ code: 'TMQ_TIMEOUT' })
  })

  it('reads everything that was written before it began, more than one read holds', async () => {
    const first = await open()
    const second = await open()
    await Promise.all(Array.from({ length: 2_500 }, (_, number) => ban(first, number)))
    let count = 0
    second.follower.onLog('ban', () => void count++)
    second.start()
    await second.follower.reached(2_502, 15_000)
    expect(count).toBe(2_500)
  })

  it('is fresh from the sending of a read that showed the end of the log, once all of it was applied', async () => {
    const link = await open()
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => (release = resolve))
    link.follower.onLog('ban', () => held)
    expect(link.follower.freshAtMs).toBe(-Infinity)
    link.start()
    await eventually(() => link.follower.freshAtMs).toBeGreaterThan(0)
    expect(link.follower.freshAtMs).toBeLessThanOrEqual(performance.now())
    const writtenAtMs = performance.now()
    await ban(link, 1)
    const grownAtMs = writtenAtMs + 700
    await eventually(() => performance.now()).toBeGreaterThan(grownAtMs)
    expect(link.follower.freshAtMs).toBeLessThan(writtenAtMs)
    release()
    await eventually(() => link.follower.freshAtMs).toBeGreaterThan(writtenAtMs)
  })

  it('counts what it does not understand, and goes on', async () => {
    const link = await open()
    const seen: unknown[] = []
    link.follower.onLog('ban', (entry) => {
      if (entry[2] === '10.0.0.1') throw new Error('of the test')
      seen.push(entry[2])
    })
    link.start()
    await ban(link, 1)
    for (const text of ['not JSON', '{}', '[]', '[1]', '["unknown","x"]', '["ban"]']) {
      const position = Number(await redis.command('INCR', `${prefix}logpos`))
      await redis.command('XADD', `${prefix}log`, `${position}-0`, 'e', text)
    }
    await ban(link, 2)
    await eventually(() => seen).toEqual(['10.0.0.2'])
    // One that threw, and six that mean nothing.
    expect(link.follower.garbage).toBe(7)
  })

  it('applies an entry again whose handler could not reach Redis', async () => {
    const link = await open()
    let attempts = 0
    link.follower.onLog('ban', () =>
      ++attempts < 3
        ? Promise.reject(new TunnelMQError(ErrorCode.storeUnavailable, 'of the test'))
        : Promise.resolve(),
    )
    link.start()
    await ban(link, 1)
    await link.follower.reached(2, 10_000)
    expect(attempts).toBe(3)
    expect(link.follower.garbage).toBe(0)
  })

  it('loads again when entries of the log are gone, or foreign ones are in it', async () => {
    const link = await open()
    const seen: unknown[] = []
    link.follower.onLog('ban', (entry) => void seen.push(entry[2]))
    link.start()
    await redis.command('INCR', `${prefix}logpos`)
    await ban(link, 1)
    await eventually(() => link.reloads).toBe(1)
    expect(link.follower.logGaps).toBe(1)
    await ban(link, 2)
    await eventually(() => seen).toEqual(['10.0.0.2'])
    await redis.command('XADD', `${prefix}log`, '*', 'foreign', 'entry')
    await eventually(() => link.reloads).toBe(2)
    await ban(link, 3)
    await eventually(() => seen).toContain('10.0.0.3')
    await redis.command('SET', `${prefix}log`, 'of another type')
    await eventually(() => link.reloads).toBeGreaterThan(2)
    await eventually(() => link.failure).toBeUndefined()
    await ban(link, 4)
    await eventually(() => seen).toContain('10.0.0.4')
  })

  it('hands the inbox over after the log, and takes away what was handled', async () => {
    const link = await open()
    const seen: unknown[] = []
    link.follower.onLog('ban', () => void seen.push('log'))
    link.follower.onInbox('message', (entry, message) => seen.push([entry[1], message?.toString()]))
    link.follower.onInbox('kick', () => {
      throw new Error('of the test')
    })
    await ban(link, 1)
    await putIntoInbox(link.pod, ['message', 1], 'payload')
    await putIntoInbox(link.pod, ['kick', 'x'])
    await putIntoInbox(link.pod, ['message', 2])
    link.start()
    await eventually(() => seen).toEqual(['log', [1, 'payload'], [2, undefined]])
    await eventually(() => redis.command('XLEN', `${prefix}inbox:${link.pod}`)).toBe(0)
    expect(await redis.command('HGET', `${prefix}inboxbytes`, link.pod)).toBeNull()
    expect(link.follower.inboxGaps).toBe(0)
  })

  it('tells of a gap in the inbox: in the middle, and at its end', async () => {
    const link = await open()
    const seen: unknown[] = []
    let gaps = 0
    link.follower.onInbox('message', (entry) => seen.push(entry[1]))
    link.follower.onInboxGap(() => gaps++)
    await putIntoInbox(link.pod, ['message', 1])
    await redis.command('HINCRBY', `${prefix}inboxpos`, link.pod, 1)
    await putIntoInbox(link.pod, ['message', 2])
    await redis.command('HINCRBY', `${prefix}inboxpos`, link.pod, 1)
    link.start()
    await eventually(() => gaps).toBe(2)
    expect(seen).toEqual([1, 2])
    await putIntoInbox(link.pod, ['message', 3])
    await eventually(() => seen).toEqual([1, 2, 3])
    expect(link.follower.inboxGaps).toBe(2)
  })

  it('reads on in the inbox over an outage and a reload, without loss and without repetition', async () => {
    const link = await open()
    const seen: unknown[] = []
    link.follower.onInbox('message', (entry) => seen.push(entry[1]))
    link.start()
    for (let number = 0; number < 20; number++) {
      await putIntoInbox(link.pod, ['message', number])
      if (number % 5 === 2) link.reload('of the test')
      if (number % 5 === 4) await redis.command('CLIENT', 'KILL', 'TYPE', 'normal')
    }
    await eventually(() => seen).toEqual(Array.from({ length: 20 }, (_, index) => index))
    expect(link.follower.inboxGaps).toBe(0)
  })
})
