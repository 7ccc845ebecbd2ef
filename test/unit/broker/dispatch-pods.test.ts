import { describe, expect, it } from 'vitest'
import { Message } from '../../../src/broker/message.ts'
import { PodEvents } from '../../../src/broker/pod-events.ts'
import { Wills } from '../../../src/broker/wills.ts'
import type { Claim, ClaimRequest } from '../../../src/cluster/contract.ts'
import { createSingleCluster } from '../../../src/cluster/single.ts'
import { createSilentLog } from '../../../src/log.ts'
import type { PublishWrite, Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { BrokerParts } from '../../support/broker-parts.ts'
import { createFakeCluster, type FakeCluster } from '../../support/fake-cluster.ts'
import { message, testLimits } from '../../support/store-fixtures.ts'

interface World {
  readonly parts: BrokerParts
  readonly cluster: FakeCluster
  readonly events: PodEvents
  /** What was asked of the store. */
  readonly writes: readonly PublishWrite[]
}

/** The broker of one pod; the test plays the others. */
async function open(maxHeldBytes = 1_000): Promise<World> {
  const memory = createMemoryStore(testLimits)
  await memory.open()
  const writes: PublishWrite[] = []
  const publish: Store['publish'] = (write, done) => {
    writes.push(write)
    memory.publish(write, done)
  }
  const store = new Proxy(memory, {
    get: (target, name) => (name === 'publish' ? publish : (Reflect.get(target, name) as unknown)),
  })
  const cluster = createFakeCluster(store)
  const parts = await BrokerParts.open({ store, cluster, maxHeldBytes })
  const { subscriptions, dispatcher, sessions } = parts
  const events = new PodEvents({
    sessions,
    subscriptions,
    dispatcher,
    wills: new Wills({ store, dispatcher, sessions, log: createSilentLog() }, 0),
    admission: { ban: () => {}, unban: () => false },
    tunnels: undefined,
    connections: new Set(),
  })
  return { parts, cluster, events, writes }
}

describe('a message that other pods want', () => {
  it('is sent to each of them once at QoS 0, however many of its filters match', async () => {
    const { parts, cluster, events } = await open()
    for (const filter of ['t', '#', '+']) events.podWants('b', filter, true)
    events.podWants('c', 't', true)
    events.podWants('d', 'other', true)
    expect(await parts.publish('t', 'x', 0)).toBe('at once')
    expect(cluster.sent.toSorted()).toEqual(['b t=x', 'c t=x'])
  })

  it('is written for them at QoS 1, and not acknowledged before; clients here have it at once', async () => {
    const { parts, cluster, events, writes } = await open()
    const clean = await parts.connect('clean', true)
    await clean.subscribe('t', 1)
    events.podWants('b', 't', true)
    const published = parts.publish('t', 'x', 1)
    expect(clean.received()).toEqual(['publish t=x qos1 #2'])
    expect(await published).toBe('stored')
    expect(writes).toMatchObject([{ targets: [], pods: ['b'] }])
    expect(cluster.sent).toEqual([])
  })

  it('is neither sent nor written any more when they do not, or are gone', async () => {
    const { parts, cluster, events } = await open()
    events.podWants('b', 't', true)
    events.podWants('c', 't', true)
    events.podWants('c', '#', true)
    events.podWants('b', 't', false)
    events.podGone('c')
    expect(await parts.publish('t', 'x', 1)).toBe('at once')
    await parts.publish('t', 'x', 0)
    expect(cluster.sent).toEqual([])
  })

  it('goes to them and to the store when it is retained at QoS 0', async () => {
    const { parts, cluster, events, writes } = await open()
    events.podWants('b', 't', true)
    expect(await parts.publish('t', 'x', 0, { retain: true })).toBe('stored')
    expect(cluster.sent).toEqual(['b t=x'])
    expect(writes[0]).not.toHaveProperty('pods')
  })
})

describe('a message from another pod', () => {
  it('at QoS 0 reaches everybody who is connected here, once, and goes nowhere else', async () => {
    const { parts, cluster, events, writes } = await open()
    const [clean, stored] = [await parts.connect('clean', true), await parts.connect('stored')]
    for (const client of [clean, stored]) {
      await client.subscribe('t', 1)
      await client.subscribe('#', 0)
    }
    events.podWants('b', 't', true)
    events.message(message('t', 'x', { qos: 0 }), undefined)
    expect([...clean.received(), ...stored.received()]).toEqual(['publish t=x qos0', 'publish t=x qos0'])
    expect([cluster.sent, writes]).toEqual([[], []])
  })

  it('at QoS 1 reaches those without a queue at their QoS, and the others from their queues', async () => {
    const { parts, events } = await open()
    const clean = await parts.connect('clean', true)
    const [queued, lazy] = [await parts.connect('queued'), await parts.connect('lazy')]
    await clean.subscribe('t', 2)
    await queued.subscribe('t', 1)
    await lazy.subscribe('t', 0)
    const arriving = message('t', 'x', { qos: 1 })
    events.arrived(arriving, [{ session: queued.session.stored!, seq: 1, qos: 1 }], true)
    expect(clean.received()).toEqual(['publish t=x qos1 #2'])
    expect(queued.received()).toEqual(['publish t=x qos1 #2'])
    expect(lazy.received()).toEqual(['publish t=x qos0'])
    events.arrived(arriving, [], false)
    expect(clean.received()).toEqual([])
  })

  it('is heard by listeners of the process', async () => {
    const { parts, cluster, events } = await open()
    const heard: string[] = []
    const stop = parts.subscriptions.listen('t', ({ payload }) => heard.push(payload.toString()))
    expect(cluster.wanted).toEqual(['t'])
    events.message(message('t', 'x', { qos: 0 }), undefined)
    stop()
    expect(heard).toEqual(['x'])
    expect(cluster.wanted).toEqual([])
  })
})

describe('what may have been published before', () => {
  it('reaches clients without a queue when the write has said that it is new, and not else', async () => {
    const { parts, cluster, events } = await open()
    const clean = await parts.connect('clean', true)
    await clean.subscribe('t', 0)
    const publisher = await parts.connect('publisher')
    events.podWants('b', 't', true)
    const incoming = { session: publisher.session.stored!, messageId: 7 }
    const first = parts.publish('t', 'once', 2, { incoming })
    expect(clean.received()).toEqual([])
    await first
    await parts.publish('t', 'once', 2, { incoming })
    expect(clean.received()).toEqual(['publish t=once qos0'])
    await parts.store.putWill({ clientId: 'w', message: message('t', 'will', { qos: 0 }) })
    await parts.publish('t', 'will', 0, { willOf: 'w' })
    expect(clean.received()).toEqual(['publish t=will qos0'])
    expect(cluster.sent).toEqual(['b t=will'])
  })
})

describe('while it is not known whether all subscriptions are known', () => {
  it('messages at QoS 1 and 2 wait, in their order, and those at QoS 0 do not', async () => {
    const { parts, cluster, events } = await open()
    cluster.becomeStale()
    const done: string[] = []
    const client = await parts.connect('c', true)
    const publish = (text: string, qos: 1 | 2): void =>
      void parts.publish('t', text, qos).then(() => done.push(text))
    publish('1', 1)
    publish('2', 2)
    await parts.publish('t', '0', 0)
    await client.subscribe('t', 2)
    events.podWants('b', 't', true)
    await parts.quiet()
    expect(done).toEqual([])
    cluster.becomeFresh()
    await parts.quiet()
    expect(client.received()).toEqual(['publish t=1 qos1 #2', 'publish t=2 qos2 #3'])
    expect(done).toEqual(['1', '2'])
  })

  it('nobody overtakes those that wait, not even whoever may send more with the first acknowledgement', async () => {
    const { parts, cluster } = await open()
    const client = await parts.connect('c', true)
    await client.subscribe('t', 1)
    cluster.becomeStale()
    const dispatch = (text: string, then: () => void = () => {}): void => {
      const waiting = new Message('t', Buffer.from(text), 1, false, 'publisher', Date.now(), 0)
      expect(parts.dispatcher.dispatch(waiting, { retain: false }, then)).toBe(false)
    }
    dispatch('1', () => dispatch('3'))
    dispatch('2')
    cluster.becomeFresh()
    await parts.quiet()
    expect(client.received().map((packet) => packet.split(' ')[1])).toEqual(['t=1', 't=2', 't=3'])
  })

  it('messages fail when that lasts, or when they are too many', async () => {
    const { parts, cluster } = await open(10)
    cluster.becomeStale()
    const first = parts.publish('t', '12345678', 1)
    await expect(parts.publish('t', '90123', 1)).rejects.toMatchObject({ code: 'TMQ_STORE_UNAVAILABLE' })
    cluster.giveUp(new Error('away'))
    await expect(first).rejects.toThrow('away')
    const second = parts.publish('t', '12345678', 1)
    cluster.becomeFresh()
    expect(await second).toBe('stored')
  })
})

describe('what other pods are told', () => {
  it('are the filters of sessions that are connected here, for as long as they are', async () => {
    const { parts, cluster } = await open()
    const stored = await parts.connect('stored')
    await stored.subscribe('a', 1)
    await stored.subscribe('$share/g/b', 1)
    const clean = await parts.connect('clean', true)
    await clean.subscribe('a', 0)
    expect([cluster.wanted, cluster.joined]).toEqual([['a', 'a'], ['g/b']])
    clean.lose()
    stored.lose()
    expect([cluster.wanted, cluster.joined]).toEqual([[], []])
    const back = await parts.connect('stored')
    expect([cluster.wanted, cluster.joined]).toEqual([['a'], ['g/b']])
    parts.subscriptions.remove(back.session, 'a')
    await back.subscribe('c', 1)
    await back.subscribe('c', 0)
    expect(cluster.wanted).toEqual(['c'])
  })
})

describe('sessions of other pods', () => {
  it('appear, change and vanish with the store', async () => {
    const { parts, events } = await open()
    const stored = await parts.store.createSession('client', 'far')
    events.sessionAdded(stored)
    await parts.store.putSubscriptions(stored, [{ filter: 't', matchFilter: 't', qos: 1 }])
    events.subscriptionsChanged(stored, ['t'])
    await parts.publish('t', 'x', 1)
    expect(stored.queuedCount).toBe(1)
    await parts.store.removeSubscriptions(stored, ['t'])
    events.subscriptionsChanged(stored, ['t'])
    expect(parts.subscriptions.count).toBe(0)
    await parts.store.putSubscriptions(stored, [{ filter: 'u', matchFilter: 'u', qos: 1 }])
    events.reloaded()
    expect(parts.subscriptions.match('u')).toHaveLength(1)
    await parts.store.removeSession(stored)
    events.sessionRemoved(stored)
    expect([parts.sessions.get('far'), parts.subscriptions.match('u')]).toEqual([undefined, []])
  })

  it('that are removed while their clients are here end the connection', async () => {
    const { parts, events } = await open()
    const client = await parts.connect('c')
    await client.subscribe('t', 1)
    await parts.store.removeSession(client.session.stored!)
    events.reloaded()
    expect(parts.gone.map(({ reason }) => reason.kind)).toEqual(['kicked'])
    expect(parts.subscriptions.count).toBe(0)
  })

  it('that have ended because their clients have begun anew elsewhere are taken over', async () => {
    const { parts, events } = await open()
    const client = await parts.connect('c')
    const stored = client.session.stored!
    await parts.store.removeSession(stored)
    events.sessionRemoved(stored)
    expect(parts.gone.map(({ reason }) => reason.kind)).toEqual(['taken-over'])
  })

  it('that are removed between their claim and their connection are not attached', async () => {
    const { parts, cluster, events } = await open()
    const single = createSingleCluster(parts.store, { expiryMs: 0 })
    const removing = async (request: ClaimRequest): Promise<Claim> => {
      const claimed = await single.claim(request)
      await parts.store.removeSession(claimed.stored!)
      events.sessionRemoved(claimed.stored!)
      return claimed
    }
    Object.assign(cluster, { claim: removing })
    await expect(parts.connecting('c').attach()).rejects.toMatchObject({ code: 'TMQ_STOPPED' })
    expect([parts.sessions.get('c'), parts.sessions.connectedCount]).toEqual([undefined, 0])
    Object.assign(cluster, { claim: (request: ClaimRequest) => single.claim(request) })
    expect(await parts.connecting('c').attach()).toBe(false)
  })

  it('are not given what another pod queues after rights were taken away, until they are given again', async () => {
    const { parts, events } = await open()
    const client = await parts.connect('c')
    await client.subscribe('t', 1)
    const stored = client.session.stored!
    const queueElsewhere = (text: string): Promise<void> =>
      new Promise((resolve) => {
        const write = {
          message: message('t', text, { qos: 1 }),
          targets: [{ session: stored, qos: 1 }],
        } as const
        parts.store.publish({ ...write, retain: false }, (_error, [seq]) => {
          events.arrived(write.message, [{ session: stored, seq: seq!, qos: 1 }], false)
          resolve()
        })
      })
    await parts.sessions.revoke(client.session, ['t'])
    for (const text of ['refused', 'too']) await queueElsewhere(text)
    await parts.quiet()
    expect(client.received()).toEqual([])
    await client.subscribe('t', 1)
    await queueElsewhere('allowed')
    await parts.quiet()
    expect(client.received()).toEqual(['publish t=allowed qos1 #4'])
  })
})
