import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import type { Store } from '../../../src/store/contract.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { redisCall } from '../../support/redis-call.ts'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'
import { askStore, runStore } from '../../support/store-command.ts'
import { message, publish, release, testLimits, to } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'
import { snapshot } from '../../support/store-snapshot.ts'

let redis: RedisServer
let folder: Awaited<ReturnType<typeof temporaryFolder>>
let url: string

beforeAll(async () => {
  redis = await startRedis()
  url = `${redis.url}/0`
})
afterAll(() => redis.remove())

beforeEach(async () => {
  folder = await temporaryFolder()
})
afterEach(async () => {
  process.exitCode = undefined
  await redis.flush()
  await folder.remove()
})

const pathOf = (name: string): string => join(folder.path, name)

async function open(name: string): Promise<Store> {
  const options = { path: pathOf(name), sync: false, cacheBytes: 1_000_000, limits: testLimits }
  const store = createEmbeddedStore({ ...options, log: createSilentLog() })
  await store.open()
  return store
}

/** One of everything that a store can hold. */
async function fill(store: Store): Promise<void> {
  const pump = await store.createSession('client', 'pump')
  const odd = await store.createSession('client', 'site\0a "b" \u{1f600} %{}')
  const idle = await store.createSession('client', 'idle')
  const group = await store.createSession('group', 'workers/jobs/#')
  await store.putSubscriptions(pump, [
    { filter: 'a/#', matchFilter: 'a/#', qos: 2 },
    { filter: '$share/workers/jobs/#', matchFilter: 'jobs/#', shareGroup: 'workers', qos: 1 },
  ])
  await store.putSubscriptions(odd, [{ filter: '+/b', matchFilter: 'site/+/b', qos: 1, noLocal: true }])
  for (let n = 1; n <= 12; n++) {
    const targets = [...to(pump, odd), { session: group, qos: 1 as const }]
    await publish(store, { message: message('a/b', `n${n}`), targets })
  }
  const exact = message('a/twice', 'once', { qos: 2, expiresAtMs: 4_000_000_000_000 })
  const incoming = { session: odd, messageId: 65_535 }
  await publish(store, { message: exact, targets: [{ session: pump, qos: 2 }], incoming, retain: true })
  await publish(store, { message: message('a/ü/ret', 'kept', { retain: true }), retain: true })
  // Gaps: acknowledged at the front and in the middle, one released.
  await store.readQueue(pump, 0, 100, 1_000_000)
  for (const seq of [1, 2, 5]) store.acknowledge(pump, seq, 2)
  await release(store, pump, 13, 4)
  const role = { kind: 'role', name: 'ü/%{} "b"', json: '{"name":"ü"}', before: undefined } as const
  await store.identities.write([role, { ...role, kind: 'group' }], 0)
  await store.identities.write([{ ...role, kind: 'identity', name: 'pump' }], 1)
  await store.putWill({ clientId: 'pump', message: message('gone', 'pump') })
  await store.sessionDisconnected(pump, { expiresAtMs: 5_000_000_000_000, sentUpToSeq: 9 })
  for (const session of [idle, odd]) {
    await store.sessionDisconnected(session, { expiresAtMs: 5_000_000_000_001, sentUpToSeq: 0 })
  }
}

async function filled(name: string): Promise<Awaited<ReturnType<typeof snapshot>>> {
  const store = await open(name)
  await fill(store)
  await store.close()
  return contentOf(name)
}

async function contentOf(name: string): Promise<Awaited<ReturnType<typeof snapshot>>> {
  const store = await open(name)
  const content = await snapshot(store)
  await store.close()
  return content
}

describe('tunnelmq store migrate', () => {
  it('moves everything to Redis, and back: the same, with every sequence number', async () => {
    const before = await filled('old')
    const there = await askStore('migrate', '--from', pathOf('old'), '--to', url)
    expect(there).toEqual({
      sessions: 4,
      subscriptions: 3,
      incomingIds: 1,
      queuedMessages: 9 + 1 + 12 + 12,
      queuedBytes: expect.any(Number) as number,
      retainedMessages: 2,
      wills: 1,
      identities: 3,
      skipped: 0,
      unreadable: 0,
    })
    expect(await runStore('check', '--redis', url)).toBe('0 problems, 0 mended, 4 sessions\n')
    expect(await askStore('migrate', '--from', url, '--to', pathOf('new'))).toEqual(there)
    expect(await contentOf('new')).toEqual(before)
    expect(await contentOf('old')).toEqual(before)
    const store = await open('new')
    // Revisions go on where they were.
    expect(await store.identities.write([], 1)).toBeUndefined()
    expect(await store.identities.write([], 2)).toBe(3)
    await store.close()
  })

  it('keeps what may have been sent: it comes again with DUP', async () => {
    await filled('old')
    await runStore('migrate', '--from', pathOf('old'), '--to', url)
    await runStore('migrate', '--from', url, '--to', pathOf('new'))
    const store = await open('new')
    expect(store.sessions.get('pump')).toMatchObject({ sentUpToSeq: 9, lastSeq: 13 })
    expect(store.sessions.get('pump')?.createdAtMs).toBeGreaterThan(1_700_000_000_000)
    await store.close()
  })

  it('shows the same of both stores', async () => {
    await filled('old')
    await runStore('migrate', '--from', pathOf('old'), '--to', url)
    const { diskBytes: _disk, ...embedded } = await askStore('stats', '--path', pathOf('old'))
    const { memoryBytes: _memory, ...inRedis } = await askStore('stats', '--redis', url)
    expect(inRedis).toEqual(embedded)
    const byId = (rows: { id: string }[]) => rows.toSorted((a, b) => (a.id < b.id ? -1 : 1))
    expect(byId(await askStore('sessions', '--redis', url))).toEqual(
      byId(await askStore('sessions', '--path', pathOf('old'))),
    )
    for (const client of ['pump', 'site\0a "b" \u{1f600} %{}', 'idle']) {
      expect(await runStore('queue', client, '--redis', url)).toBe(
        await runStore('queue', client, '--path', pathOf('old')),
      )
    }
    expect(await runStore('queue', 'workers/jobs/#', '--group', '--redis', url)).toContain('n12')
  })

  it('sets an end to sessions whose broker was killed, and marks what may have been sent', async () => {
    const store = await open('old')
    const pump = await store.createSession('client', 'pump')
    await store.sessionConnected(pump)
    // Of MQTT 5, with a time of its own, and a will that waits.
    await store.sessionConnected(await store.createSession('client', 'own'), 60)
    await store.putWill({ clientId: 'own', message: message('w', 'bye'), delaySeconds: 700 })
    for (let n = 1; n <= 3; n++) await publish(store, { message: message('a', `${n}`), targets: to(pump) })
    await store.close()
    const before = Date.now()
    await runStore('migrate', '--from', pathOf('old'), '--to', url)
    const all = await askStore<{ id: string; expires: string; connected: boolean }[]>(
      'sessions',
      '--redis',
      url,
    )
    const session = all.find(({ id }) => id === 'pump')
    const own = all.find(({ id }) => id === 'own')
    expect(Date.parse(own?.expires ?? '')).toBeGreaterThanOrEqual(before + 60_000)
    expect(Date.parse(own?.expires ?? '')).toBeLessThan(before + 2_592_000_000)
    expect(await redis.command('HGET', '{tunnelmq}:s:cown', 'expiry')).toBe('60')
    const due = Number(await redis.command('ZSCORE', '{tunnelmq}:willdue', 'own'))
    expect(due).toBeGreaterThanOrEqual(before + 700_000)
    expect(session).toMatchObject({ connected: false })
    expect(Date.parse(session?.expires ?? '')).toBeGreaterThanOrEqual(before + 2_592_000_000)
    expect(await redis.command('HGET', '{tunnelmq}:s:cpump', 'sent')).toBe('3')
  })

  it('refuses a target that holds something, unless it is to be merged; then what is there wins', async () => {
    await filled('old')
    const other = await open('other')
    const pump = await other.createSession('client', 'pump')
    await publish(other, { message: message('mine', 'stays'), targets: to(pump) })
    await publish(other, { message: message('a/ü/ret', 'mine', { retain: true }), retain: true })
    await other.createSession('client', 'only here')
    await other.close()
    await runStore('migrate', '--from', pathOf('old'), '--to', url)
    await expect(runStore('migrate', '--from', pathOf('other'), '--to', url)).rejects.toThrow('is not empty')
    await expect(runStore('migrate', '--from', url, '--to', pathOf('other'))).rejects.toThrow('is not empty')
    const merged = await askStore('migrate', '--from', url, '--to', pathOf('other'), '--merge')
    expect(merged).toMatchObject({ sessions: 3, retainedMessages: 1, wills: 1, skipped: 2 })
    const content = await contentOf('other')
    expect(Object.keys(content.sessions)).toHaveLength(5)
    expect(content.sessions['client pump']).toMatchObject({ queue: ['1 1 stays'] })
    expect(content.retained).toContain('a/ü/ret mine')
  })

  it('goes on after it was cut short; until then nobody starts on half of it', async () => {
    await filled('old')
    await runStore('migrate', '--from', pathOf('old'), '--to', url)
    const whole = await askStore('stats', '--redis', url)
    // As if it had ended in the middle: one session without its record, the mark still there.
    await redis.command('HDEL', '{tunnelmq}:sessions', 'cpump')
    await redis.command('DEL', '{tunnelmq}:s:cpump')
    await redis.command('SET', '{tunnelmq}:format', 'migrating')
    await expect(runStore('migrate', '--from', url, '--to', pathOf('x'))).rejects.toThrow(
      'is not finished: run it again',
    )
    expect(await runStore('check', '--redis', url)).toContain('a migration into this store is not finished')
    expect(await askStore('migrate', '--from', pathOf('old'), '--to', url)).toMatchObject({ sessions: 1 })
    const { memoryBytes: _a, ...now } = await askStore('stats', '--redis', url)
    const { memoryBytes: _b, ...then } = whole
    expect(now).toEqual(then)
    process.exitCode = undefined
    expect(await runStore('check', '--redis', url)).toBe('0 problems, 0 mended, 4 sessions\n')
  })

  it('marks a folder, too', async () => {
    await filled('old')
    const { openEmbeddedTarget } = await import('../../../src/store/embedded/migration-target.ts')
    const half = await openEmbeddedTarget(pathOf('half'))
    await half.begin(false)
    await half.close()
    await expect(open('half')).rejects.toThrow('run `tunnelmq store migrate` again')
    await runStore('migrate', '--from', pathOf('old'), '--to', pathOf('half'))
    expect(await contentOf('half')).toEqual(await contentOf('old'))
  })

  it('leaves stores alone that brokers use', async () => {
    await filled('old')
    const running = await open('old')
    await expect(runStore('migrate', '--from', pathOf('old'), '--to', url)).rejects.toThrow(
      'in use by another',
    )
    await expect(runStore('migrate', '--from', url, '--to', pathOf('old'))).rejects.toThrow(
      'There is no store at',
    )
    await running.close()
    await runStore('migrate', '--from', pathOf('old'), '--to', url)
    await redis.command('HSET', '{tunnelmq}:pods', '0123456789abcdef', Date.now() - 7_000)
    const inUse = 'is in use by 1 broker (0123456789abcdef): stop them first'
    await expect(runStore('migrate', '--from', url, '--to', pathOf('new'))).rejects.toThrow(inUse)
    await expect(runStore('migrate', '--from', pathOf('old'), '--to', url, '--merge')).rejects.toThrow(inUse)
    await redis.command('HSET', '{tunnelmq}:pods', '0123456789abcdef', Date.now() - 9_000)
    await runStore('migrate', '--from', url, '--to', pathOf('new'))
  })

  it('moves a long queue in bounded portions', async () => {
    const store = await open('old')
    const pump = await store.createSession('client', 'pump')
    const published = []
    for (let n = 1; n <= 1_000; n++) {
      published.push(publish(store, { message: message('a', `${n}`), targets: to(pump) }))
    }
    await Promise.all(published)
    await store.sessionDisconnected(pump, { expiresAtMs: 5_000_000_000_000, sentUpToSeq: 0 })
    await store.close()
    await runStore('migrate', '--from', pathOf('old'), '--to', `${redis.url}/3`, '--to-prefix', 'site-a:')
    expect(await runStore('check', '--redis', `${redis.url}/3`, '--prefix', 'site-a:')).toContain(
      '0 problems',
    )
    await runStore('migrate', '--from', `${redis.url}/3`, '--from-prefix', 'site-a:', '--to', pathOf('new'))
    expect(await contentOf('new')).toEqual(await contentOf('old'))
  })

  it('says what is wrong with its arguments', async () => {
    const failing: [string[], string][] = [
      [['--from', 'x', '--to', 'x'], 'the same store'],
      [['--from', 'http://x', '--to', 'x'], 'a store is a folder'],
      [['--from', 'x', '--to', 'aedes+redis://h'], 'There is no store at x'],
      [['--from', 'redis://h/x', '--to', 'x'], 'store.redis.url: ends with "/x"'],
      [['--from', 'redis://127.0.0.1:1/0', '--to', 'x'], 'redis://127.0.0.1:1/0: '],
      [['--from', url, '--to', pathOf('x')], 'There is no store at redis://'],
    ]
    for (const [args, words] of failing) await expect(runStore('migrate', ...args)).rejects.toThrow(words)
    await expect(redisCall(redis.port, ['DBSIZE'])).resolves.toBe(0)
  })
})
