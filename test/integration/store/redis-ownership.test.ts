import { describe, expect, it } from 'vitest'
import type { RedisStore } from '../../../src/store/redis/contract.ts'
import { bury } from '../../support/redis-pods.ts'
import { useRedisPods } from '../../support/redis-pods-world.ts'
import { message, payloads, publish, release, releaseIncoming, to } from '../../support/store-fixtures.ts'

const NO_LIMITS = { maxSessions: 1_000, maxConnectionsPerUser: 0, username: undefined, will: undefined }
/** Unix time in ms, in the year 2096. */
const LATER_MS = 4_000_000_000_000
const AT_ONCE = { expiresAtMs: 0, sentUpToSeq: 0, willDueAtMs: 0, releasedTo: undefined }

const world = useRedisPods({ cluster: { leaseMs: 100 } })
const { pod } = world

const claim = (
  store: RedisStore,
  sessionId: string,
  more: Partial<Parameters<RedisStore['claim']>[0]> = {},
) => store.claim({ ...NO_LIMITS, sessionId, clean: false, ...more })

const will = (clientId: string, text = 'bye') => ({ clientId, message: message(`wills/${clientId}`, text) })

const keysOf = async (): Promise<string[]> => {
  const all = (await world.server.command(
    'KEYS',
    `${world.prefix.replaceAll(/[[\]{}*?\\]/g, '?')}*`,
  )) as string[]
  return all.map((key) => key.slice(world.prefix.length))
}

describe('a claim on the Redis store', () => {
  it('gives the session to the pod that claims it last, and tells the former owner', async () => {
    const [a, b] = [await pod(), await pod()]
    const told: unknown[] = []
    a.link.follower.onInbox('taken', (entry) => void told.push(entry))
    const first = await claim(a.store, 'c')
    expect(first).toMatchObject({ present: false, previousPod: undefined, previousClaim: 0 })
    expect(first.stored).toBe(a.store.sessions.get('c'))
    const second = await claim(b.store, 'c')
    expect(second).toMatchObject({ present: true, previousPod: a.link.pod, previousClaim: first.claim })
    expect(second.claim).toBeGreaterThan(first.claim)
    expect(second.stored).toBe(b.store.sessions.get('c'))
    expect(b.store.claimOf('c')).toBe(second.claim)
    await expect.poll(() => told).toEqual([['taken', 'c', second.claim, b.link.pod]])
  })

  it('refuses every write of the former owner, and says so', async () => {
    const [a, b] = [await pod(), await pod()]
    const fenced: string[] = []
    a.store.onFenced((id) => fenced.push(id))
    const { stored } = await claim(a.store, 'c')
    if (stored === undefined) throw new Error('no session')
    await publish(a.store, { message: message('t', '1', { qos: 2 }), targets: [{ session: stored, qos: 2 }] })
    await claim(b.store, 'c')
    const stopped = { code: 'TMQ_STOPPED' }
    const incoming = { session: stored, messageId: 7 }
    // Asked at once: the first refusal ends what the pod believes to have.
    const writes = [
      publish(a.store, { message: message('t', '2'), incoming, targets: to(stored) }),
      a.store.putSubscriptions(stored, [{ filter: 'a', matchFilter: 'a', qos: 1 }]),
      release(a.store, stored, 1, 1),
      releaseIncoming(a.store, stored, 7),
      a.store.removeSession(stored),
    ]
    for (const write of await Promise.allSettled(writes)) {
      expect(write).toMatchObject({ status: 'rejected', reason: stopped })
    }
    expect(a.store.fencedWrites).toBe(5)
    expect(new Set(fenced)).toEqual(new Set(['c']))
    expect(a.store.claimOf('c')).toBeUndefined()
    const session = b.store.sessions.get('c')!
    expect(await payloads(b.store, session)).toEqual(['1'])
    expect(session.incomingIds.size).toBe(0)
    expect(session.subscriptions.size).toBe(0)
  })

  it('brings the figures of the queue, also of what other pods wrote meanwhile', async () => {
    const [a, b] = [await pod(), await pod()]
    const created = await a.store.createSession('client', 'c')
    await Promise.all(
      ['1', '22', '333'].map((text) =>
        publish(a.store, { message: message('t', text), targets: to(created) }),
      ),
    )
    await expect.poll(() => b.store.sessions.get('c')).toBeDefined()
    const others = publish(a.store, { message: message('t', '4444'), targets: to(created) })
    const { stored } = await claim(b.store, 'c')
    await others
    await publish(a.store, { message: message('t', '55555'), targets: to(created) })
    await expect.poll(() => stored?.lastSeq).toBe(5)
    expect(stored).toMatchObject({ queuedCount: 5, queuedBytes: 15 })
    expect(b.store.acknowledge(stored!, 2, 2)).toBe(true)
    expect(await payloads(b.store, stored!)).toEqual(['1', '333', '4444', '55555'])
    expect(stored).toMatchObject({ queuedCount: 4, queuedBytes: 13 })
  })

  // MQTT 5, 3.1.2.4 and 3.1.2.11.2
  it('goes on with a session, begins one, or has none, as clean start and expiry say', async () => {
    const [a, b] = [await pod(), await pod()]
    const table = [
      { clean: true, expirySeconds: 0, isStored: [false, false], goesOn: false },
      { clean: true, expirySeconds: 9, isStored: [true, true], goesOn: false },
      { clean: false, expirySeconds: 9, isStored: [true, true], goesOn: true },
      { clean: false, expirySeconds: 0, isStored: [false, true], goesOn: true },
    ]
    for (const { clean, expirySeconds, isStored, goesOn } of table) {
      const id = `${clean} ${expirySeconds}`
      const [first, second] = [
        await claim(a.store, id, { clean, expirySeconds }),
        await claim(a.store, `${id} there`),
      ]
      expect([id, first.stored !== undefined]).toEqual([id, isStored[0]])
      expect(first.present).toBe(false)
      await a.store.releaseClaim(`${id} there`, second.claim, { ...AT_ONCE, expiresAtMs: LATER_MS })
      const numberOf = () => world.server.command('HGET', `${world.prefix}s:c${id} there`, 'number')
      const numberBefore = await numberOf()
      const later = await claim(b.store, `${id} there`, { clean, expirySeconds })
      expect([id, later.stored !== undefined]).toEqual([id, isStored[1]])
      expect(later.present).toBe(true)
      expect((await numberOf()) === numberBefore).toBe(goesOn)
      expect(later.stored?.expirySeconds).toBe(isStored[1] ? expirySeconds : undefined)
      await b.store.releaseClaim(`${id} there`, later.claim, { ...AT_ONCE, isOver: expirySeconds === 0 })
      await expect.poll(() => a.store.sessions.has(`${id} there`)).toBe(expirySeconds > 0)
    }
  })

  it('does not find a session whose time is over, nor one that ends with the connection that it ends', async () => {
    const [a, b] = [await pod(), await pod()]
    const away = await claim(a.store, 'away')
    await a.store.releaseClaim('away', away.claim, { ...AT_ONCE, expiresAtMs: Date.now() - 1 })
    expect(await claim(b.store, 'away')).toMatchObject({ present: false })
    const brief = await claim(a.store, 'brief')
    await a.store.releaseClaim('brief', brief.claim, { ...AT_ONCE, expiresAtMs: LATER_MS })
    expect(await claim(a.store, 'brief', { expirySeconds: 0 })).toMatchObject({ present: true })
    expect(await claim(b.store, 'brief')).toMatchObject({ present: false, previousPod: a.link.pod })
  })

  it('that ends with a session without an end says so in its interval, for those who move the store', async () => {
    const { store } = await pod()
    for (const [id, expirySeconds] of Object.entries({ asked: 60, before: undefined })) {
      const { claim: number } = await claim(store, id, { expirySeconds })
      await store.releaseClaim(id, number, AT_ONCE)
    }
    const interval = (id: string) => world.server.command('HGET', `${world.prefix}s:c${id}`, 'expiry')
    expect([await interval('asked'), await interval('before')]).toEqual(['4294967295', null])
  })

  it('of a pod that died leaves each session its own time, and wills their delays', async () => {
    const [a, b] = [await pod(), await pod()]
    const times = { asked: 60, never: 0xffff_ffff, brief: 0, before: undefined }
    for (const [id, expirySeconds] of Object.entries(times)) {
      const first = await claim(a.store, id)
      await a.store.releaseClaim(id, first.claim, { ...AT_ONCE, expiresAtMs: LATER_MS })
      await claim(a.store, id, { expirySeconds, will: { ...will(id), delaySeconds: 100 } })
    }
    await a.store.close()
    const diedMs = Date.now()
    await bury(b, a.link.pod)
    await expect.poll(() => [...b.store.sessions.keys()].toSorted()).toEqual(['asked', 'before', 'never'])
    const score = async (set: string, of: string): Promise<number> => {
      const ms = await world.server.command('ZSCORE', `${world.prefix}${set}`, of)
      return ms === null ? 0 : Math.round((Number(ms) - diedMs) / 20_000)
    }
    expect(await Promise.all(['casked', 'cnever', 'cbefore'].map((kid) => score('expiry', kid)))).toEqual([
      3, 0, 0,
    ])
    expect(await Promise.all(Object.keys(times).map((id) => score('willdue', id)))).toEqual([3, 5, 0, 5])
  })

  it('removes the session of a client that wants none, with all its keys', async () => {
    const [a, b] = [await pod(), await pod()]
    const before = await keysOf()
    const { claim: number, stored } = await claim(a.store, 'c')
    await a.store.putSubscriptions(stored!, [{ filter: 'a', matchFilter: 'a', qos: 1 }])
    const write = {
      message: message('t', '1', { qos: 2, expiresAtMs: Date.now() + 60_000 }),
      targets: to(stored!),
    }
    await publish(a.store, { ...write, incoming: { session: stored!, messageId: 9 } })
    await publish(a.store, write)
    await release(a.store, stored!, 2, 1)
    await a.store.releaseClaim('c', number, { ...AT_ONCE, expiresAtMs: Date.now() + 60_000 })
    const { claim: clean, present, stored: none } = await claim(b.store, 'c', { clean: true })
    expect({ present, none }).toEqual({ present: true, none: undefined })
    expect(b.store.sessions.size).toBe(0)
    await expect.poll(() => a.store.sessions.size).toBe(0)
    await b.store.releaseClaim('c', clean, AT_ONCE)
    const left = (await keysOf()).filter(
      (key) => !before.includes(key) && !/^(fence|batch:|lastbeat)/.test(key),
    )
    expect(left).toEqual([])
  })

  it('says what may have been sent, after an end that nobody has told', async () => {
    const a = await pod()
    const first = await claim(a.store, 'c')
    for (const text of ['1', '2', '3'])
      await publish(a.store, { message: message('t', text), targets: to(first.stored!) })
    await a.store.releaseClaim('c', first.claim, { ...AT_ONCE, sentUpToSeq: 2 })
    expect((await claim(a.store, 'c')).stored?.sentUpToSeq).toBe(2)
    const b = await pod()
    expect((await claim(b.store, 'c')).stored?.sentUpToSeq).toBe(3)
  })

  it('is refused past the bounds, which count what is connected now', async () => {
    const [a, b] = [await pod(), await pod()]
    const bounds = { maxSessions: 2, maxConnectionsPerUser: 2, username: 'u' }
    await claim(a.store, 'one', bounds)
    await claim(a.store, 'two', bounds)
    const limit = { code: 'TMQ_LIMIT' }
    await expect(claim(b.store, 'three', { ...bounds, username: 'v' })).rejects.toMatchObject(limit)
    await expect(claim(b.store, 'clean', { ...bounds, clean: true })).rejects.toMatchObject(limit)
    await claim(b.store, 'one', bounds)
    await expect(claim(b.store, 'clean', { ...bounds, clean: true })).rejects.toMatchObject(limit)
    await a.store.close()
    await bury(b, a.link.pod)
    await claim(b.store, 'clean', { ...bounds, clean: true })
    await expect(claim(b.store, 'more', { ...bounds, clean: true })).rejects.toMatchObject(limit)
  })

  it('is given up when its answer comes too late for its client', async () => {
    const [a, b] = [await pod({ sessionExpiryMs: 90_000 }), await pod()]
    const known = await claim(a.store, 'known')
    await a.store.releaseClaim('known', known.claim, { ...AT_ONCE, expiresAtMs: LATER_MS })
    // Connected at another pod, which has no say any more when they are taken over.
    await claim(b.store, 'asked', { expirySeconds: 60 })
    await claim(b.store, 'configured')
    const ids = ['known', 'new', 'asked', 'configured']
    const askedMs = Date.now()
    world.server.freeze()
    try {
      const late = ids.map((id) => claim(a.store, id, { will: will(id), expirySeconds: 7 }))
      for (const one of await Promise.allSettled(late))
        expect(one).toMatchObject({ status: 'rejected', reason: { code: 'TMQ_STORE_UNAVAILABLE' } })
    } finally {
      world.server.thaw()
    }
    await expect.poll(() => world.server.command('GET', `${world.prefix}fence`)).toBe('7')
    await expect
      .poll(() => world.server.command('EXISTS', `${world.prefix}owner`, `${world.prefix}wills`))
      .toBe(0)
    await expect.poll(() => [...a.store.sessions.keys()]).toEqual(['known', 'asked', 'configured'])
    expect(await world.server.command('ZSCORE', `${world.prefix}expiry`, 'cknown')).toBe(String(LATER_MS))
    // They go on with what they had, and not with what the claim wanted; and their time away began.
    const away = async (id: string): Promise<unknown[]> => {
      const expires = await world.server.command('ZSCORE', `${world.prefix}expiry`, `c${id}`)
      const seconds = await world.server.command('HGET', `${world.prefix}s:c${id}`, 'expiry')
      return [seconds, Number(expires) - Date.now() <= 90_000 && Number(expires) >= askedMs + 60_000]
    }
    expect([await away('asked'), await away('configured')]).toEqual([
      ['60', true],
      [null, true],
    ])
    expect(a.store.claimedCount).toBe(0)
  })

  it('is held again after Redis has forgotten it, unless somebody came later', async () => {
    const [a, b] = [await pod(), await pod()]
    const one = await claim(a.store, 'one', { will: will('one') })
    const two = await claim(a.store, 'two')
    const three = await claim(a.store, 'three')
    await claim(b.store, 'two')
    await world.server.command('HDEL', `${world.prefix}owner`, 'one')
    await world.server.command('HDEL', `${world.prefix}wills`, 'one')
    const held = new Map([one, two, three].map(({ claim: number, stored }) => [stored!.id, number]))
    expect(await a.store.reclaim(held)).toEqual(['two'])
    expect(await world.server.command('HGET', `${world.prefix}owner`, 'one')).toBe(
      `${one.claim}:${a.link.pod}`,
    )
    expect(await world.server.command('HEXISTS', `${world.prefix}wills`, 'one')).toBe(1)
  })
})

describe('wills on the Redis store', () => {
  it('are published once, by whoever comes first', async () => {
    const [a, b] = [await pod(), await pod()]
    const { claim: number } = await claim(a.store, 'c', { will: will('c') })
    expect([...a.store.wills.keys()]).toEqual(['c'])
    const write = { message: will('c').message, willOf: 'c', willClaim: number }
    const both = await Promise.all([publish(a.store, write), publish(b.store, write)])
    expect(both.filter(({ duplicate }) => duplicate)).toHaveLength(1)
    expect(a.store.wills.size).toBe(0)
  })

  it('stay with a former owner that lives, until the new one puts its own', async () => {
    const [a, b] = [await pod(), await pod()]
    const first = await claim(a.store, 'c', { will: will('c', 'old') })
    const second = await claim(b.store, 'c', { will: will('c', 'new') })
    expect(b.store.wills.size).toBe(0)
    await b.store.putClaimedWill('c', second.claim, will('c', 'new'))
    expect(b.store.wills.get('c')?.message.payload.toString()).toBe('new')
    const late = await publish(a.store, { message: message('w', 'old'), willOf: 'c', willClaim: first.claim })
    expect(late.duplicate).toBe(true)
    await expect(a.store.putClaimedWill('c', first.claim, undefined)).rejects.toMatchObject({
      code: 'TMQ_STOPPED',
    })
    expect((await publish(b.store, { message: message('w', 'new'), willOf: 'c' })).duplicate).toBe(false)
  })

  it('that wait are due when a clean start ends their session, at this pod or another', async () => {
    const [a, b] = [await pod(), await pod()]
    const waiting = (id: string) => ({ expirySeconds: 60, will: { ...will(id), delaySeconds: 30 } })
    const here = await claim(a.store, 'here', waiting('here'))
    await a.store.releaseClaim('here', here.claim, {
      ...AT_ONCE,
      expiresAtMs: LATER_MS,
      willDueAtMs: LATER_MS,
    })
    expect(await claim(b.store, 'here', waiting('here'))).toMatchObject({ present: true, isWillDue: false })
    const again = await claim(a.store, 'here', { ...waiting('here'), clean: true })
    expect(again.isWillDue).toBe(false)
    expect(await a.store.putClaimedWill('here', again.claim, undefined, true)).toBe(true)
    const left = await claim(b.store, 'left', waiting('left'))
    await b.store.releaseClaim('left', left.claim, {
      ...AT_ONCE,
      expiresAtMs: LATER_MS,
      willDueAtMs: LATER_MS,
    })
    expect(await claim(a.store, 'left', { clean: true, will: will('left', 'new') })).toMatchObject({
      isWillDue: true,
    })
    const names = (await world.server.command('HKEYS', `${world.prefix}wills`)) as string[]
    expect(names.map((name) => String(name.split('\0\0')[0])).toSorted()).toEqual(['here', 'left', 'left'])
    const due = await world.server.command(
      'ZRANGEBYSCORE',
      `${world.prefix}willdue`,
      '-inf',
      Date.now() + 1_000,
    )
    expect(new Set(due as string[])).toEqual(new Set(names.filter((name) => name.includes('\0\0'))))
  })

  it('wait for their time after the connection, or are dropped with it', async () => {
    const a = await pod()
    const kept = await claim(a.store, 'kept', { will: will('kept') })
    const dropped = await claim(a.store, 'dropped', { will: will('dropped') })
    await a.store.releaseClaim('kept', kept.claim, { ...AT_ONCE, willDueAtMs: 5_000 })
    await a.store.releaseClaim('dropped', dropped.claim, AT_ONCE)
    expect(await world.server.command('ZRANGE', `${world.prefix}willdue`, 0, -1, 'WITHSCORES')).toEqual([
      'kept',
      '5000',
    ])
    expect(await world.server.command('HKEYS', `${world.prefix}wills`)).toEqual(['kept'])
    await claim(a.store, 'kept')
    expect(await world.server.command('EXISTS', `${world.prefix}willdue`, `${world.prefix}wills`)).toBe(0)
  })
})
