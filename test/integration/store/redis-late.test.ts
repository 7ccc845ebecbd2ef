import { describe, expect, it } from 'vitest'
import type { RedisStore } from '../../../src/store/redis/contract.ts'
import { ask, bury, createRedisPod } from '../../support/redis-pods.ts'
import { useRedisPods } from '../../support/redis-pods-world.ts'
import { message, payloads, publish, releaseIncoming, to } from '../../support/store-fixtures.ts'

const NO_LIMITS = { maxSessions: 10_000, maxConnectionsPerUser: 0, username: undefined, will: undefined }
const AT_ONCE = { expiresAtMs: 0, sentUpToSeq: 0, willDueAtMs: 0, releasedTo: undefined }

const world = useRedisPods({ cluster: { leaseMs: 100 } })
const { pod } = world

const claim = (
  store: RedisStore,
  sessionId: string,
  more: Partial<Parameters<RedisStore['claim']>[0]> = {},
) => store.claim({ ...NO_LIMITS, sessionId, clean: true, ...more })

const will = (clientId: string, text = 'bye') => ({ clientId, message: message(`wills/${clientId}`, text) })
const hash = (name: string, field: string) => world.server.command('HGET', world.prefix + name, field)

describe('claims that are made again', () => {
  it('are not made for connections that have ended meanwhile', async () => {
    const { store } = await pod()
    const ids = Array.from({ length: 600 }, (_, index) => `c${index}`)
    const replies = await Promise.all(ids.map((id) => claim(store, id)))
    const held = new Map(ids.map((id, index) => [id, replies[index]!.claim]))
    const reclaimed = store.reclaim(held)
    // Its turn comes with the second portion.
    await store.releaseClaim('c599', held.get('c599')!, AT_ONCE)
    expect(await reclaimed).toEqual([])
    expect(await hash('owner', 'c599')).toBeNull()
    expect(await hash('owner', 'c598')).not.toBeNull()
  })

  it('bring back a will that Redis has lost beside a claim that it has not', async () => {
    const { store } = await pod()
    const { claim: number } = await claim(store, 'c', { will: will('c') })
    await world.server.command('HDEL', `${world.prefix}wills`, 'c')
    await store.reclaim(new Map([['c', number]]))
    expect(await hash('wills', 'c')).toContain(`${number}:`)
  })
})

describe('the will of a connection that was outbid', () => {
  it('is due when the one that has outbid it ends before it has put its own', async () => {
    const [a, b] = [await pod(), await pod()]
    await claim(a.store, 'c', { will: will('c') })
    const next = await claim(b.store, 'c')
    expect(next.previousPod).toBe(a.link.pod)
    await b.store.releaseClaim('c', next.claim, AT_ONCE)
    await bury(b, 'somebody')
    expect(await ask(b, 'due-wills', 10, 1_000)).toMatchObject([Buffer.from('c'), expect.anything()])
  })
})

describe('a session that was removed and made again', () => {
  it('does not get what was matched with the one before', async () => {
    const a = await pod()
    const first = await claim(a.store, 'c', { clean: false })
    // Not started: it does not follow the log.
    const b = createRedisPod({ url: world.server.url, keyPrefix: world.prefix })
    world.pods.push(b)
    await b.store.open()
    const matched = b.store.sessions.get('c')!
    await a.store.removeSession(first.stored!)
    await claim(a.store, 'c', { clean: false })
    const { seqs } = await publish(b.store, { message: message('t', 'x'), targets: to(matched) })
    expect(seqs).toEqual([0])
    expect(await payloads(a.store, a.store.sessions.get('c')!)).toEqual([])
  })
})

describe('the queue of a session that is claimed again', () => {
  it('has the count of Redis while a read of the connection before is still on its way', async () => {
    const { store, link } = await pod()
    const { stored, claim: number } = await claim(store, 'c', { clean: false })
    for (const text of ['1', '2', '3'])
      await publish(store, { message: message('t', text), targets: to(stored!) })
    expect(await store.readQueue(stored!, 0, 10, 1_000)).toHaveLength(3)
    // Whatever reads waits behind it.
    const blocking = link.command('BLPOP', `${world.prefix}nothing`, '0.5')
    const late = store.readQueue(stored!, 3, 10, 1_000)
    await Promise.all(
      [1, 2].map((seq) => new Promise<void>((resolve) => store.acknowledge(stored!, seq, 1, resolve))),
    )
    await store.releaseClaim('c', number, AT_ONCE)
    const again = await claim(store, 'c', { clean: false })
    expect(again.stored).toMatchObject({ queuedCount: 1, queuedBytes: 1, lastSeq: 3 })
    await Promise.all([blocking, late])
  })

  it('ends the connection when Redis has come back with an older one: its numbers are given out again', async () => {
    const { store, link } = await pod()
    const { stored, claim: number } = await claim(store, 'c', { clean: false })
    await claim(store, 'other', { clean: false })
    for (const text of ['1', '2', '3'])
      await publish(store, { message: message('t', text), targets: to(stored!) })
    const lost: unknown[] = []
    store.onFenced((...one) => void lost.push(one))
    await world.server.command('XDEL', `${world.prefix}q:cc`, '2-0', '3-0')
    await world.server.command('XSETID', `${world.prefix}q:cc`, '1-0')
    await world.server.command('HSET', `${world.prefix}s:cc`, 'seq', 1, 'n', 1, 'b', 1)
    link.reload('test')
    await expect.poll(() => lost).toEqual([['c', number, false]])
    expect(store.claimOf('c')).toBeUndefined()
    expect(store.claimOf('other')).toBeDefined()
  })
})

describe('identifiers of QoS 2', () => {
  it('are as this pod knows them while it holds the claim, whatever a reload has read', async () => {
    const { store, link } = await pod()
    const { stored } = await claim(store, 'c', { clean: false })
    const receive = (messageId: number) =>
      publish(store, { message: message('t', 'x'), incoming: { session: stored!, messageId } })
    await receive(9)
    // As if it was read before that, and before the release of another one.
    await world.server.command('SREM', `${world.prefix}i:cc`, 9)
    await world.server.command('SADD', `${world.prefix}i:cc`, 7)
    link.reload('test')
    await expect.poll(() => link.reloads).toBe(1)
    expect([...stored!.incomingIds]).toEqual([9])
    expect(await receive(7)).toMatchObject({ duplicate: false })
  })

  it('are neither lost nor found again while everything is loaded again and again', async () => {
    const { store, link } = await pod()
    const { stored } = await claim(store, 'c', { clean: false })
    await Promise.all(Array.from({ length: 500 }, (_, index) => store.createSession('client', `s${index}`)))
    let received = 0
    const exchange = async (messageId: number): Promise<void> => {
      while (link.reloads < 20) {
        expect(stored!.incomingIds.has(messageId)).toBe(false)
        const write = { message: message('t', 'x'), incoming: { session: stored!, messageId } }
        expect(await publish(store, write)).toMatchObject({ duplicate: false })
        expect(stored!.incomingIds.has(messageId)).toBe(true)
        await releaseIncoming(store, stored!, messageId)
        received++
      }
    }
    const exchanges = Promise.all(Array.from({ length: 50 }, (_, index) => exchange(index + 1)))
    while (link.reloads < 20) {
      const [{ reloads }, already] = [link, received]
      link.reload('test')
      // Once more in the middle of it. Asked for by the clock, a slow machine would load for ever.
      await world.server.command('PING')
      link.reload('test')
      await expect.poll(() => link.reloads, { interval: 1, timeout: 10_000 }).toBeGreaterThan(reloads)
      // Something of the exchanges goes on in between; after the last they end.
      const goesOn = (): boolean => received > already || link.reloads >= 20
      await expect.poll(goesOn, { interval: 1, timeout: 10_000 }).toBe(true)
    }
    await exchanges
    expect(received).toBeGreaterThan(50)
  })
})

describe('a shared group', () => {
  it('is free of the leases of a pod whose last member goes while they are on their way', async () => {
    const [a, b] = [await pod(), await pod()]
    const { stored } = await claim(b.store, 'c', { clean: false })
    await b.store.putSubscriptions(stored!, [
      { filter: '$share/g/t', matchFilter: 't', shareGroup: 'g', qos: 1 },
    ])
    await expect.poll(() => a.store.groups.get('g/t')).toBeDefined()
    await ask(a, 'group', 1, 'g/t', 't')
    await ask(b, 'group', 1, 'g/t', 't')
    await publish(b.store, { message: message('t', '1'), targets: to(b.store.groups.get('g/t')!) })
    const told: unknown[] = []
    b.link.follower.onInbox('filled', ([, key]) => void told.push(key))
    const leased = a.store.readQueue(a.store.groups.get('g/t')!, 0, 10, 1_000)
    await ask(a, 'group', 0, 'g/t', 't')
    expect(await leased).toHaveLength(1)
    expect(await payloads(b.store, b.store.groups.get('g/t')!)).toEqual(['1'])
    await expect.poll(() => told).toEqual(['g/t'])
  })
})

describe('a lease whose answer comes late', () => {
  it('is known to the pod that has it, and goes on when memory is out', async () => {
    const redis = { holdMs: 100, commandTimeoutMs: 300 }
    const one = createRedisPod({ url: world.server.url, keyPrefix: world.prefix, redis })
    world.pods.push(one)
    await one.open()
    const { store, link } = one
    const group = await store.createSession('group', 'g/t')
    await publish(store, { message: message('t', '1'), targets: to(group) })
    await publish(store, { message: message('t', '2'), targets: to(group) })
    world.server.freeze()
    const late = store.readQueue(group, 0, 1, 1_000)
    await expect.poll(() => link.failure).toBeDefined()
    // Longer than writes wait.
    await expect(publish(store, { message: message('t', '3'), targets: to(group) })).rejects.toThrow('Redis')
    world.server.thaw()
    expect((await late).map(({ seq }) => seq)).toEqual([1])

    await world.server.command('CONFIG', 'SET', 'maxmemory', 1)
    try {
      expect((await store.readQueue(group, 0, 1, 1_000)).map(({ seq }) => seq)).toEqual([2])
      store.giveBack(group, [2])
      expect((await store.readQueue(group, 0, 1, 1_000)).map(({ seq }) => seq)).toEqual([2])
    } finally {
      await world.server.command('CONFIG', 'SET', 'maxmemory', 0)
    }
  })
})

describe('a retained message that was set before the log came to it', () => {
  it('is gone when Redis has lost everything', async () => {
    const one = createRedisPod({ url: world.server.url, keyPrefix: world.prefix, cluster: { beatMs: 50 } })
    world.pods.push(one)
    // Not started: the log is not followed.
    await one.store.open()
    await publish(one.store, { message: message('t', 'old', { retain: true }), retain: true })
    expect(one.store.retained('t')?.payload.toString()).toBe('old')
    const names = (await world.server.command(
      'KEYS',
      `${world.prefix.replaceAll(/[{}]/g, '?')}*`,
    )) as string[]
    await world.server.command('DEL', ...names)
    await expect.poll(() => one.link.emptied).toBe(1)
    await expect.poll(() => one.store.retained('t')).toBeUndefined()
  })
})

describe('what waits for Redis', () => {
  it('is counted with the sessions that it is for', async () => {
    const { store } = await pod()
    const sessions = await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        store.createSession('client', `${'x'.repeat(1_000)}${index}`),
      ),
    )
    const written = publish(store, { message: message('t', '1'), targets: to(...sessions) })
    expect(store.stats().pendingBytes).toBeGreaterThan(100_000)
    await written
  })
})
