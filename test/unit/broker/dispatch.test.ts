import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { topicMatches } from '../../../src/broker/topics.ts'
import type { QoS } from '../../../src/hooks/types.ts'
import type { Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { BrokerParts } from '../../support/broker-parts.ts'
import { testLimits } from '../../support/store-fixtures.ts'

describe('a message with several receivers', () => {
  it('goes once to a session with overlapping subscriptions, at the highest QoS granted [MQTT-3.3.5-1]', async () => {
    for (const clean of [true, false]) {
      const parts = await BrokerParts.open()
      const client = await parts.connect('c', clean)
      for (const [filter, qos] of [
        ['a/b', 0],
        ['a/+', 2],
        ['#', 1],
      ] as const)
        await client.subscribe(filter, qos)
      for (const qos of [0, 1, 2] as const) await parts.publish('a/b', 'x', qos)
      await parts.quiet()
      expect(client.received()).toEqual([
        'publish a/b=x qos0',
        'publish a/b=x qos1 #2',
        'publish a/b=x qos2 #3',
      ])
    }
  })

  it('goes to each at the QoS that was granted to it', async () => {
    const parts = await BrokerParts.open()
    const clients = await Promise.all([0, 1, 2].map((qos) => parts.connect(`c${qos}`, qos === 1)))
    for (const [qos, client] of clients.entries()) await client.subscribe('t', qos as QoS)
    expect(await parts.publish('t', 'x', 2)).toBe('stored')
    expect(clients.flatMap((client) => client.received())).toEqual([
      'publish t=x qos0',
      'publish t=x qos1 #2',
      'publish t=x qos2 #2',
    ])
  })

  it('reaches clean sessions at once, and stored ones when it is safe', async () => {
    const parts = await BrokerParts.open()
    const clean = await parts.connect('clean', true)
    const stored = await parts.connect('stored')
    await clean.subscribe('t', 1)
    await stored.subscribe('t', 1)
    const published = parts.publish('t', 'x', 1)
    expect(clean.received()).toHaveLength(1)
    expect(stored.received()).toEqual([])
    expect(await published).toBe('stored')
    expect(stored.received()).toHaveLength(1)
  })

  it('is safe at once exactly when nothing of it has to be stored', async () => {
    const parts = await BrokerParts.open()
    const clean = await parts.connect('clean', true)
    const stored = await parts.connect('stored')
    await clean.subscribe('clean', 2)
    await stored.subscribe('stored', 1)
    expect(await parts.publish('nobody', 'x', 2)).toBe('at once')
    expect(await parts.publish('clean', 'x', 2)).toBe('at once')
    expect(await parts.publish('stored', 'x', 0)).toBe('at once')
    expect(await parts.publish('stored', 'x', 1)).toBe('stored')
    expect(await parts.publish('nobody', 'x', 0, { retain: true })).toBe('stored')
    const incoming = { session: stored.session.stored!, messageId: 7 }
    expect(await parts.publish('nobody', 'x', 2, { incoming })).toBe('stored')
    expect(await parts.publish('nobody', 'x', 0, { willOf: 'somebody' })).toBe('stored')
    expect(parts.store.retained('nobody')?.payload.toString()).toBe('x')
    expect(stored.session.hasIncoming(7)).toBe(true)
  })

  it('goes once to a session that has it directly and once to its shared subscription', async () => {
    const parts = await BrokerParts.open()
    const [both, other] = [await parts.connect('both', true), await parts.connect('other', true)]
    await both.subscribe('t', 1)
    await both.subscribe('$share/g/t', 1)
    await other.subscribe('$share/g/#', 1)
    await parts.publish('t', 'x', 1)
    expect(both.packets()).toHaveLength(2)
    expect(other.packets()).toHaveLength(1)
  })

  it('is heard by listeners of the process last, so that they may publish and unsubscribe', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('c', true)
    await client.subscribe('#', 1)
    const heard: string[] = []
    const stop = parts.subscriptions.listen('t', ({ payload }) => {
      heard.push(payload.toString())
      stop()
      void parts.publish('t', 'from the listener', 1)
    })
    await parts.publish('t', 'first', 1)
    expect(heard).toEqual(['first'])
    expect(client.takeAndAcknowledge()).toEqual(['first', 'from the listener'])
  })
})

describe('a subscription with no local', () => {
  it.each([true, false])(
    'does not bring back what its session has published, but another subscription of it does, at its own QoS (clean: %s)',
    async (clean) => {
      const parts = await BrokerParts.open()
      // BrokerParts publishes by this name.
      const own = await parts.connect('publisher', clean)
      const other = await parts.connect('other', clean)
      for (const client of [own, other]) await client.subscribe('a/b', 2, { noLocal: true })
      await parts.publish('a/b', 'alone', 2)
      for (const client of [own, other]) await client.subscribe('a/+', 1)
      await parts.publish('a/b', 'overlapping', 2)
      await parts.quiet()
      expect(own.received()).toEqual([expect.stringMatching(/^publish a\/b=overlapping qos1/)])
      expect(other.received()).toEqual([
        expect.stringMatching(/^publish a\/b=alone qos2/),
        expect.stringMatching(/^publish a\/b=overlapping qos2/),
      ])
    },
  )

  it('is replaced with its options, and nothing is lost in between [MQTT-3.8.4-3]', async () => {
    const parts = await BrokerParts.open()
    const own = await parts.connect('publisher')
    await own.subscribe('t', 1, { noLocal: true })
    const replaced = own.subscribe('t', 1)
    const published = parts.publish('t', 'during', 1)
    await Promise.all([replaced, published])
    await parts.publish('t', 'after', 1)
    expect(own.takeAndAcknowledge().at(-1)).toBe('after')
    expect([...own.session.subscriptions.values()]).toMatchObject([{ filter: 't', qos: 1 }])
    expect(parts.subscriptions.match('t')).toHaveLength(1)
    await own.subscribe('t', 1, { noLocal: true, subscriptionIdentifier: 7 })
    await parts.publish('t', 'own', 1)
    expect(own.takeAndAcknowledge()).toEqual([])
    expect(parts.store.sessions.get('publisher')!.subscriptions.get('t')).toMatchObject({
      noLocal: true,
      subscriptionIdentifier: 7,
    })
  })
})

describe('whether RETAIN is kept as it was published', () => {
  it('is asked by subscriptions that want it, for as long as there are any', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('c', true)
    await client.subscribe('t', 1)
    expect(parts.dispatcher.keepsRetain).toBe(false)
    await client.subscribe('t', 1, { retainAsPublished: true })
    await client.subscribe('$share/g/t', 1, { retainAsPublished: true })
    expect(parts.dispatcher.keepsRetain).toBe(true)
    parts.subscriptions.remove(client.session, 't')
    expect(parts.dispatcher.keepsRetain).toBe(true)
    await client.subscribe('$share/g/t', 1)
    expect(parts.dispatcher.keepsRetain).toBe(false)
  })
})

describe('a message that cannot be stored', () => {
  async function failingParts(): Promise<BrokerParts> {
    const memory = createMemoryStore(testLimits)
    await memory.open()
    const publish: Store['publish'] = (_write, done) => void setImmediate(done, new Error('disk'), [], false)
    const store = new Proxy(memory, {
      get: (target, name) => (name === 'publish' ? publish : (Reflect.get(target, name) as unknown)),
    })
    return BrokerParts.open({ store })
  }

  it('is reported, and goes to no stored session', async () => {
    const parts = await failingParts()
    const stored = await parts.connect('stored')
    await stored.subscribe('t', 1)
    await expect(parts.publish('t', 'x', 1)).rejects.toThrow('disk')
    expect(stored.received()).toEqual([])
  })
})

describe('a queue that is full', () => {
  it('costs its own session the message, and no other', async () => {
    const store = createMemoryStore({ ...testLimits, queueMaxMessages: 2 })
    await store.open()
    const parts = await BrokerParts.open({ store })
    const [full, reading] = [await parts.connect('full'), await parts.connect('reading')]
    await full.subscribe('#', 1)
    await reading.subscribe('#', 1)
    const got: string[] = []
    for (const text of ['1', '2', '3', '4']) {
      await parts.publish('t', text, 1)
      got.push(...reading.takeAndAcknowledge())
    }
    expect(got).toEqual(['1', '2', '3', '4'])
    expect(full.takeAndAcknowledge()).toEqual(['1', '2'])
    expect(store.stats().droppedMessages).toBe(2)
  })
})

describe('deliveries', () => {
  const filter = fc.constantFrom('a', 'a/b', 'a/+', '+/b', '#', 'a/#')
  const world = fc.record({
    subscriptions: fc.array(
      fc.record({
        client: fc.nat(3),
        filter,
        qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
        noLocal: fc.boolean(),
      }),
      { maxLength: 12, size: 'max' },
    ),
    messages: fc.array(
      fc.record({
        topic: fc.constantFrom('a', 'a/b', 'c/b', 'a/b/c', '$SYS/a'),
        qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      }),
      { maxLength: 10, size: 'max' },
    ),
    /** Whether the one who publishes has a stored session. */
    isStored: fc.boolean(),
  })

  it('are those of the obvious twin, for clean and stored sessions mixed', async () => {
    await fc.assert(
      fc.asyncProperty(world, async ({ subscriptions, messages, isStored }) => {
        const parts = await BrokerParts.open({ maxInflight: 100 })
        const clients = []
        for (let i = 0; i < 4; i++)
          clients.push(await parts.connect(i === 0 ? 'publisher' : `c${i}`, (i % 2 === 0) !== isStored))
        const granted = clients.map(() => new Map<string, { qos: QoS; noLocal: boolean }>())
        for (const { client, filter: one, qos, noLocal } of subscriptions) {
          await clients[client]!.subscribe(one, qos, { noLocal })
          granted[client]!.set(one, { qos, noLocal })
        }
        for (const { topic, qos } of messages) {
          await parts.publish(topic, 'x', qos)
          const got = clients.map((client) => client.received().map((line) => line.replace(/ #.*/, '')))
          const expected = granted.map((filters, client) => {
            const matching = [...filters]
              .filter(([one, { noLocal }]) => topicMatches(one, topic) && !(client === 0 && noLocal))
              .map(([, granting]) => granting.qos)
            return matching.length === 0
              ? []
              : [`publish ${topic}=x qos${Math.min(qos, Math.max(...matching))}`]
          })
          expect(got).toEqual(expected)
        }
      }),
    )
  })
})
