import { describe, expect, it } from 'vitest'
import type { ReplicaListener, StoredSession } from '../../../src/store/contract.ts'
import type { RedisStore } from '../../../src/store/redis/contract.ts'
import { useRedisPods } from '../../support/redis-pods-world.ts'
import { message, payloads, publish, settled, to } from '../../support/store-fixtures.ts'

const world = useRedisPods()
const { pod } = world

const key = (name: string): string => world.prefix + name
const plain = (filter: string) => ({ filter, matchFilter: filter, qos: 1 as const })
const shared = (filter = 'jobs') => ({
  filter: `$share/g/${filter}`,
  matchFilter: filter,
  shareGroup: 'g',
  qos: 1 as const,
})

async function subscribed(store: RedisStore, id: string, filter = 'jobs'): Promise<StoredSession> {
  const session = await store.createSession('client', id)
  await store.putSubscriptions(session, [shared(filter)])
  return session
}

describe('what one pod stores', () => {
  it('is told at the others, and here before its promise resolves', async () => {
    const told: string[] = []
    const tell = (name: string): ReplicaListener => ({
      sessionAdded: (session) => void told.push(`${name} added ${session.id}`),
      sessionRemoved: (session) => void told.push(`${name} removed ${session.id}`),
      subscriptionsChanged: (session, filters) =>
        void told.push(`${name} ${session.id} ${filters.join()} ${session.subscriptions.size}`),
      reloaded: () => void told.push(`${name} reloaded`),
    })
    const a = await pod({ listener: tell('a') })
    await pod({ listener: tell('b') })
    const expected: string[] = []
    const session = await a.store.createSession('client', 'c')
    expected.push('added c')
    expect(told).toContain('a added c')
    await a.store.putSubscriptions(session, [plain('x'), plain('y')])
    expected.push('c x,y 2')
    expect(told).toContain('a c x,y 2')
    await a.store.removeSubscriptions(session, ['x'])
    expected.push('c x 1')
    await a.store.putSubscriptions(session, [plain('y')]) // as it is: nothing to tell
    await a.store.removeSession(session)
    expected.push('removed c')
    expect(told.filter((one) => one.startsWith('a '))).toEqual(expected.map((one) => `a ${one}`))
    await expect
      .poll(() => told.filter((one) => one.startsWith('b ')))
      .toEqual(expected.map((one) => `b ${one}`))
  })

  it('is loaded by a pod that comes later, and again, with the same handles', async () => {
    const a = await pod()
    const one = await a.store.createSession('client', 'one')
    await a.store.createSession('client', 'two')
    await a.store.putSubscriptions(one, [plain('x'), plain('y')])
    await publish(a.store, { message: message('t', '123'), targets: to(one), retain: true })
    let reloads = 0
    const listener = {
      sessionAdded() {},
      sessionRemoved() {},
      subscriptionsChanged() {},
      reloaded: () => void reloads++,
    }
    const b = await pod({ listener })
    const [first, second] = [b.store.sessions.get('one')!, b.store.sessions.get('two')!]
    expect(first).toMatchObject({ queuedCount: 1, queuedBytes: 3, lastSeq: 1 })
    expect([...first.subscriptions.values()]).toEqual([plain('x'), plain('y')])
    expect(b.store.retained('t')?.payload.toString()).toBe('123')
    // What nobody has told, as after a log that was cut off.
    await world.server.command('HDEL', key('f:cone'), 'x')
    await world.server.command('HDEL', key('sessions'), 'ctwo')
    await world.server.command('HDEL', key('retained'), 't')
    expect(reloads).toBe(0)
    b.link.reload('asked for by a test')
    await expect.poll(() => reloads).toBe(1)
    expect(b.store.sessions.get('one')).toBe(first)
    expect([...first.subscriptions.keys()]).toEqual(['y'])
    expect(b.store.sessions.has('two')).toBe(false)
    expect(await payloads(b.store, second)).toEqual([])
    // Retained messages are loaded behind the sessions.
    await expect.poll(() => b.store.retained('t')).toBeUndefined()
  })

  it('has retained messages everywhere, the latest value of each topic', async () => {
    const [a, b] = [await pod(), await pod()]
    const retain = (store: RedisStore, topic: string, text: string) =>
      publish(store, { message: message(topic, text, { retain: true }), retain: true })
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => retain(i % 2 ? a.store : b.store, `t/${i % 50}`, `${i}`)),
    )
    await retain(a.store, 't/7', '')
    expect(a.store.retained('t/7')).toBeUndefined()
    const values = (store: RedisStore) =>
      Object.fromEntries(store.retainedMatching('t/+').map((one) => [one.topic, one.payload.toString()]))
    const latest = Array.from({ length: 50 }, (_, i) => [`t/${i}`, `${450 + i}`] as const)
    const expected = Object.fromEntries(latest.filter(([topic]) => topic !== 't/7'))
    for (const { store } of [a, b]) await expect.poll(() => values(store)).toEqual(expected)
    expect(a.store.stats().retainedBytes).toBe(
      Number(await world.server.command('GET', key('retainedbytes'))),
    )
  })

  it('ends sessions that are away for too long, and none that is back', async () => {
    const [a, b] = [await pod(), await pod()]
    const [away, back] = [await subscribed(a.store, 'away'), await a.store.createSession('client', 'back')]
    await publish(a.store, { message: message('t', 'x'), targets: to(away, back) })
    for (const session of [away, back]) {
      await a.store.sessionDisconnected(session, { expiresAtMs: 5_000, sentUpToSeq: 0 })
    }
    await b.store.claim({
      sessionId: 'back',
      clean: false,
      will: undefined,
      username: undefined,
      maxSessions: 9,
      maxConnectionsPerUser: 0,
    })
    await a.store.sweep(4_999)
    expect(a.store.sessions.size).toBe(2)
    await Promise.all([a.store.sweep(5_000), b.store.sweep(5_000)])
    expect(a.store.stats().expiredSessions + b.store.stats().expiredSessions).toBe(1)
    await expect.poll(() => [...a.store.sessions.keys()]).toEqual(['back'])
    await expect.poll(() => [...b.store.sessions.keys(), ...b.store.groups.keys()]).toEqual(['back'])
    expect(await world.server.command('KEYS', `*${world.prefix.slice(1, -2)}*away*`)).toEqual([])
  })

  it('is read in portions that are bounded in Redis', async () => {
    const a = await pod({ limits: { queueMaxBytes: 1e8 } })
    const session = await a.store.createSession('client', 'c')
    const payload = 'x'.repeat(100_000)
    for (let i = 0; i < 40; i++)
      await publish(a.store, { message: message('t', payload), targets: to(session) })
    const before = Number(/total_net_output_bytes:(\d+)/.exec(await info())?.[1])
    expect((await a.store.readQueue(session, 0, 200, 250_000)).map(({ seq }) => seq)).toEqual([1, 2])
    const after = Number(/total_net_output_bytes:(\d+)/.exec(await info())?.[1])
    expect(after - before).toBeLessThan(400_000)
  })

  const info = async (): Promise<string> => (await world.server.command('INFO', 'stats')) as string
})

describe('the queue of a shared subscription', () => {
  it('gives each message to one pod, in order, and takes back what that cannot lend', async () => {
    const [a, b] = [await pod(), await pod()]
    await subscribed(a.store, 'one')
    const group = a.store.groups.get('g/jobs')!
    await expect.poll(() => b.store.groups.get('g/jobs')).toBeDefined()
    const same = b.store.groups.get('g/jobs')!
    for (const text of ['1', '2', '3', '4', '5']) {
      await publish(a.store, { message: message('jobs', text), targets: to(group) })
    }
    const seqsOf = async (store: RedisStore, session: StoredSession, count: number) =>
      (await store.readQueue(session, 0, count, 1_000)).map(({ seq }) => seq)
    expect(await seqsOf(a.store, group, 2)).toEqual([1, 2])
    expect(await seqsOf(b.store, same, 2)).toEqual([3, 4])
    a.store.giveBack(group, [2, 3]) // 3 is not leased here
    await settled(a.store)
    expect(await seqsOf(b.store, same, 9)).toEqual([2, 5])
    b.store.acknowledge(same, 3, 1)
    b.store.acknowledge(same, 1, 1) // leased elsewhere
    a.store.acknowledge(group, 1, 1)
    await Promise.all([settled(a.store), settled(b.store)])
    expect(await world.server.command('HKEYS', key('gl:g/jobs'))).toEqual(
      expect.arrayContaining(['2', '4', '5']),
    )
    expect(await world.server.command('XLEN', key('q:gg/jobs'))).toBe(3)
    expect(await world.server.command('HMGET', key('s:gg/jobs'), 'n', 'b')).toEqual(['3', '3'])
  })

  it('wakes pods with members when something is there again', async () => {
    const [a, b] = [await pod(), await pod()]
    const told: unknown[] = []
    b.link.follower.onInbox('filled', ([, group]) => void told.push(group))
    await subscribed(a.store, 'one')
    await world.server.command('SADD', key('gm:g/jobs'), `p${b.link.pod}`)
    const group = a.store.groups.get('g/jobs')!
    for (const text of ['1', '2', '3']) {
      await publish(a.store, { message: message('jobs', text), targets: to(group) })
    }
    await expect.poll(() => told).toEqual(['g/jobs'])
    const [first] = await a.store.readQueue(group, 0, 9, 1_000)
    a.store.giveBack(group, [first!.seq])
    await expect.poll(() => told).toEqual(['g/jobs', 'g/jobs'])
  })

  it('is gone with its last member, and not before', async () => {
    const a = await pod()
    const [one, two] = [await subscribed(a.store, 'one'), await subscribed(a.store, 'two')]
    const group = a.store.groups.get('g/jobs')!
    await publish(a.store, { message: message('jobs', 'x'), targets: to(group) })
    await a.store.removeSubscriptions(one, [shared().filter])
    await a.store.removeSession(group)
    expect(a.store.groups.get('g/jobs')).toBe(group)
    await a.store.removeSession(two)
    expect(a.store.groups.size).toBe(0)
    expect(await world.server.command('KEYS', `*${world.prefix.slice(1, -2)}*jobs*`)).toEqual([])
    expect((await publish(a.store, { message: message('jobs', 'x'), targets: to(group) })).seqs).toEqual([0])
  })

  it('follows a subscription that is replaced', async () => {
    const a = await pod()
    const one = await subscribed(a.store, 'one')
    await a.store.putSubscriptions(one, [{ ...shared(), matchFilter: 'elsewhere/jobs' }])
    expect([...a.store.groups.keys()]).toEqual(['g/elsewhere/jobs'])
  })
})
