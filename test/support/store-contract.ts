import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { countedBytes } from '../../src/store/counted-bytes.ts'
import type {
  IdentityWrite,
  Store,
  StoredSession,
  StoredSubscription,
  StoreLimits,
} from '../../src/store/contract.ts'
import {
  message,
  payloads,
  publish,
  release,
  releaseIncoming,
  settled,
  testLimits,
  to,
  wholeQueue,
} from './store-fixtures.ts'

export interface StoreUnderTest {
  create(limits: StoreLimits, now: () => number): Store
  dispose(): Promise<void>
}

/** What every store has to keep: run on each of them. */
export function describeStore(name: string, setUp: () => Promise<StoreUnderTest>): void {
  describe(`the ${name} store`, () => {
    let underTest: StoreUnderTest
    let store: Store
    let nowMs: number

    async function open(limits: Partial<StoreLimits> = {}): Promise<void> {
      store = underTest.create({ ...testLimits, ...limits }, () => nowMs)
      await store.open()
    }

    async function openAgain(limits: Partial<StoreLimits>): Promise<void> {
      await store.close()
      await open(limits)
    }

    beforeEach(async () => {
      nowMs = 1_000_000
      underTest = await setUp()
      await open()
    })

    afterEach(async () => {
      await store.close()
      await underTest.dispose()
    })

    const session = (id = 'client'): Promise<StoredSession> => store.createSession('client', id)

    describe('publish', () => {
      it('queues the message for each target, with its own QoS', async () => {
        const [one, two] = [await session('one'), await session('two')]
        const write = {
          message: message('a/b', 'hello', { qos: 2, publishedAtMs: 7, publisher: 'me' }),
          targets: [
            { session: one, qos: 1 as const },
            { session: two, qos: 2 as const },
          ],
        }
        const { seqs, duplicate } = await publish(store, write)
        expect(seqs).toEqual([1, 1])
        expect(duplicate).toBe(false)
        expect(await wholeQueue(store, one)).toEqual([
          { seq: 1, qos: 1, state: 'publish', message: write.message },
        ])
        expect(await wholeQueue(store, two)).toEqual([
          { seq: 1, qos: 2, state: 'publish', message: write.message },
        ])
        expect(two).toMatchObject({ queuedCount: 1, queuedBytes: 5, lastSeq: 1 })
      })

      it('keeps MQTT 5 properties and the expiry of a message', async () => {
        const target = await session()
        const rich = message('a', 'x', {
          expiresAtMs: 2_000_000,
          properties: {
            payloadFormatIndicator: 1,
            contentType: 'text/plain',
            responseTopic: 'answers/ü',
            correlationData: Buffer.from([0, 255, 1]),
            userProperties: [
              ['a', 'ü'],
              ['b', ''],
              ['a', '2'],
            ],
          },
        })
        await publish(store, { message: rich, targets: to(target) })
        expect((await wholeQueue(store, target))[0]?.message).toEqual(rich)
      })

      it('counts the properties of a message to its bytes, and takes one without a payload for empty', async () => {
        const target = await session()
        const properties = { userProperties: [['name', 'v'.repeat(1_000)]] as const }
        const rich = message('a', '', { properties })
        await publish(store, { message: rich, targets: to(target), retain: true })
        expect(target.queuedBytes).toBeGreaterThan(1_000)
        expect(store.retained('a')).toBeUndefined()
        const [entry] = await wholeQueue(store, target)
        store.acknowledge(target, entry!.seq, countedBytes(entry!.message!))
        await settled(store)
        expect(target).toMatchObject({ queuedCount: 0, queuedBytes: 0 })
        await publish(store, { message: message('a', 'x', { properties }), targets: [], retain: true })
        expect(store.stats().retainedBytes).toBeGreaterThan(1_000)
        await publish(store, { message: rich, targets: [], retain: true })
        expect(store.stats().retainedBytes).toBe(0)
      })

      it('answers in the order of the calls, and never before it has returned', async () => {
        const target = await session()
        const answers: number[] = []
        for (let i = 0; i < 50; i++) {
          const targets = i % 3 === 0 ? [] : to(target)
          store.publish({ message: message('a', `${i}`), targets, retain: i % 7 === 0 }, () =>
            answers.push(i),
          )
        }
        expect(answers).toEqual([])
        await settled(store)
        expect(answers).toEqual([...Array(50).keys()])
      })

      it('does not keep the buffer that it was given', async () => {
        const target = await session()
        const chunk = Buffer.from('....payload....')
        const published = message('a', '', { payload: chunk.subarray(4, 11) })
        const done = publish(store, { message: published, targets: to(target), retain: true })
        chunk.fill(0)
        await done
        expect(await payloads(store, target)).toEqual(['payload'])
        expect(store.retained('a')?.payload.toString()).toBe('payload')
      })

      it('drops at the bound by count, says so with 0, and counts it', async () => {
        await openAgain({ queueMaxMessages: 2 })
        const [full, empty] = [await session('full'), await session('empty')]
        await publish(store, { message: message('a', '1'), targets: to(full) })
        await publish(store, { message: message('a', '2'), targets: to(full) })
        const { seqs } = await publish(store, { message: message('a', '3'), targets: to(full, empty) })
        expect(seqs[0]).toBe(0)
        expect(seqs[1]).toBeGreaterThan(0)
        expect(await payloads(store, full)).toEqual(['1', '2'])
        expect(await payloads(store, empty)).toEqual(['3'])
        expect(store.stats().droppedMessages).toBe(1)
      })

      it('exempts what is marked unbounded from the bound by count alone', async () => {
        await openAgain({ queueMaxMessages: 1, queueMaxBytes: 10 })
        const target = await session()
        const targets = [{ session: target, qos: 1 as const, unbounded: true }]
        await publish(store, { message: message('a', '12345'), targets })
        expect((await publish(store, { message: message('a', '67'), targets })).seqs[0]).toBeGreaterThan(0)
        expect((await publish(store, { message: message('a', '8901'), targets })).seqs).toEqual([0])
      })

      it('drops at the bound by bytes', async () => {
        await openAgain({ queueMaxBytes: 10 })
        const target = await session()
        await publish(store, { message: message('a', '1234567'), targets: to(target) })
        expect((await publish(store, { message: message('a', '8901'), targets: to(target) })).seqs).toEqual([
          0,
        ])
        await publish(store, { message: message('a', '890'), targets: to(target) })
        expect(target.queuedBytes).toBe(10)
      })

      it('writes nothing for a QoS 2 identifier that is taken, also while its first write is under way', async () => {
        const [publisher, target] = [await session('publisher'), await session('target')]
        const write = {
          message: message('a', 'once', { qos: 2 }),
          targets: to(target),
          retain: true,
          incoming: { session: publisher, messageId: 9 },
        }
        const first = publish(store, write)
        expect(publisher.incomingIds.has(9)).toBe(true)
        const second = publish(store, write)
        expect((await first).duplicate).toBe(false)
        expect(await second).toEqual({ seqs: [0], duplicate: true })
        expect(await payloads(store, target)).toEqual(['once'])
        await releaseIncoming(store, publisher, 9)
        expect(publisher.incomingIds.size).toBe(0)
        expect((await publish(store, write)).duplicate).toBe(false)
      })

      it('gives 0 for a session that was removed', async () => {
        const target = await session()
        await store.removeSession(target)
        expect((await publish(store, { message: message('a', 'x'), targets: to(target) })).seqs).toEqual([0])
        expect(store.stats()).toMatchObject({ queuedMessages: 0, droppedMessages: 0 })
      })
    })

    describe('queues', () => {
      async function filled(count: number): Promise<StoredSession> {
        const target = await session()
        const writes = Array.from({ length: count }, (_, i) =>
          publish(store, { message: message('a', `${i + 1}`), targets: to(target) }),
        )
        await Promise.all(writes)
        return target
      }

      it('reads in order, after a sequence number, at most so many and so many bytes', async () => {
        const target = await filled(300)
        const read = async (...args: [number, number, number]) =>
          (await store.readQueue(target, ...args)).map((entry) => entry.seq)
        expect(await read(0, 3, 1_000)).toEqual([1, 2, 3])
        expect(await read(3, 2, 1_000)).toEqual([4, 5])
        expect(await read(9, 100, 6)).toEqual([10, 11, 12])
        expect(await read(99, 100, 1)).toEqual([100])
        expect(await read(300, 100, 1_000)).toEqual([])
        expect((await payloads(store, target)).length).toBe(300)
      })

      it('is browsed as it is read, without a trace', async () => {
        const target = await filled(300)
        const browse = async (...args: [number, number, number]) =>
          (await store.browseQueue(target, ...args)).map((entry) => entry.seq)
        expect(await browse(0, 3, 1_000)).toEqual([1, 2, 3])
        expect(await browse(9, 100, 6)).toEqual([10, 11, 12])
        expect(await browse(300, 100, 1_000)).toEqual([])
        store.acknowledge(target, 2, 1)
        await release(store, target, 3, 1)
        expect(await browse(0, 3, 1_000)).toEqual([1, 3, 4])
        expect((await store.browseQueue(target, 1, 1, 1_000))[0]).toEqual({
          seq: 3,
          qos: 2,
          state: 'pubrel',
          message: undefined,
        })
        expect(target).toMatchObject({ queuedCount: 299, sentUpToSeq: 0 })
        await store.removeSession(target)
        expect(await browse(0, 3, 1_000)).toEqual([])
      })

      it('forgets what was acknowledged, in any order, and shows it to no read that follows', async () => {
        const target = await filled(5)
        for (const seq of [2, 1, 4]) store.acknowledge(target, seq, 1)
        expect(await payloads(store, target)).toEqual(['3', '5'])
        expect(target).toMatchObject({ queuedCount: 2, queuedBytes: 2 })
        await settled(store)
        expect(await payloads(store, target)).toEqual(['3', '5'])
      })

      it('hides what is acknowledged while it is being read', async () => {
        const target = await filled(3)
        const reading = store.readQueue(target, 0, 10, 1_000)
        store.acknowledge(target, 1, 1)
        const seen = (await reading).map((entry) => entry.seq)
        expect(seen).toEqual([2, 3])
        expect(await payloads(store, target)).toEqual(['2', '3'])
      })

      it('counts an entry once, however often it is acknowledged before the write', async () => {
        const target = await filled(2)
        store.acknowledge(target, 1, 1)
        store.acknowledge(target, 1, 1)
        await settled(store)
        expect(target).toMatchObject({ queuedCount: 1, queuedBytes: 1 })
      })

      it('keeps the number and not the message after PUBREC, until PUBCOMP', async () => {
        const target = await filled(2)
        const released = release(store, target, 1, 1)
        expect((await wholeQueue(store, target))[0]).toMatchObject({ seq: 1, state: 'pubrel' })
        await released
        await release(store, target, 1, 1)
        expect((await wholeQueue(store, target))[0]).toEqual({
          seq: 1,
          qos: 2,
          state: 'pubrel',
          message: undefined,
        })
        expect(target).toMatchObject({ queuedCount: 2, queuedBytes: 1 })
        store.acknowledge(target, 1, 1)
        expect(target).toMatchObject({ queuedCount: 1, queuedBytes: 1 })
        expect(await payloads(store, target)).toEqual(['2'])
      })

      it('never gives out a sequence number twice', async () => {
        const target = await filled(3)
        for (const seq of [1, 2, 3]) store.acknowledge(target, seq, 1)
        const { seqs } = await publish(store, { message: message('a', 'x'), targets: to(target) })
        expect(seqs).toEqual([4])
      })

      it('lets go of a queue with its session, and starts anew under the same name', async () => {
        const target = await filled(3)
        const removed = store.removeSession(target)
        const again = await session()
        await removed
        expect(again).not.toBe(target)
        expect(await payloads(store, again)).toEqual([])
        store.acknowledge(target, 1, 1)
        await store.sessionDisconnected(target, { expiresAtMs: 5, sentUpToSeq: 3 })
        expect(again).toMatchObject({ queuedCount: 0, expiresAtMs: 0 })
        expect(store.stats()).toMatchObject({ sessions: 1, queuedMessages: 0, queuedBytes: 0 })
      })
    })

    describe('sessions', () => {
      it('keeps one handle for each name, and groups apart from clients', async () => {
        const client = await session('same')
        const group = await store.createSession('group', 'same')
        expect(await session('same')).toBe(client)
        expect(store.sessions.get('same')).toBe(client)
        expect(store.groups.get('same')).toBe(group)
        expect(client).toMatchObject({ kind: 'client', id: 'same', createdAtMs: 1_000_000, lastSeq: 0 })
        await store.removeSession(client)
        expect(store.sessions.size).toBe(0)
        expect(store.groups.get('same')).toBe(group)
      })

      it('tells when an offline session ends, and that a connected one does not', async () => {
        const client = await session()
        await store.sessionDisconnected(client, { expiresAtMs: 77, sentUpToSeq: 5 })
        expect(client).toMatchObject({ expiresAtMs: 77, sentUpToSeq: 5 })
        await store.sessionConnected(client)
        expect(client).toMatchObject({ expiresAtMs: 0, sentUpToSeq: 5 })
      })

      it('keeps how long a session outlives its connection, as it was agreed last', async () => {
        const client = await session()
        await store.sessionConnected(client, 300)
        expect(client).toMatchObject({ expirySeconds: 300, expiresAtMs: 0 })
        await store.sessionDisconnected(client, { expiresAtMs: 77, sentUpToSeq: 0 })
        expect(client).toMatchObject({ expirySeconds: 300, expiresAtMs: 77 })
        await store.sessionConnected(client)
        expect(client.expirySeconds).toBeUndefined()
      })

      it('adds, replaces and removes subscriptions', async () => {
        const client = await session()
        const plain: StoredSubscription = { filter: 'a/#', matchFilter: 'a/#', qos: 1 }
        const shared: StoredSubscription = {
          filter: '$share/g/b',
          matchFilter: 'm/b',
          shareGroup: 'g',
          qos: 2,
          noLocal: true,
          retainAsPublished: false,
          retainHandling: 2,
          subscriptionIdentifier: 12,
        }
        await store.putSubscriptions(client, [plain, shared])
        await store.putSubscriptions(client, [{ ...plain, qos: 0 }])
        expect([...client.subscriptions.values()]).toEqual([{ ...plain, qos: 0 }, shared])
        expect(store.stats().subscriptions).toBe(2)
        await store.removeSubscriptions(client, ['a/#', 'unknown'])
        expect([...client.subscriptions.keys()]).toEqual(['$share/g/b'])
        await store.removeSession(client)
        expect(store.stats().subscriptions).toBe(0)
      })
    })

    describe('retained messages', () => {
      const retain = (topic: string, payload: string, more = {}) =>
        publish(store, { message: message(topic, payload, { retain: true, ...more }), retain: true })
      const topics = (filter: string) =>
        store
          .retainedMatching(filter)
          .map((one) => one.topic)
          .sort()

      it('keeps the latest, and an empty payload deletes it [MQTT-3.3.1-10]', async () => {
        await retain('a/b', 'old')
        await retain('a/b', 'new')
        expect(store.retained('a/b')?.payload.toString()).toBe('new')
        expect(store.stats()).toMatchObject({ retainedMessages: 1, retainedBytes: 3 })
        await retain('a/b', '')
        expect(store.retained('a/b')).toBeUndefined()
        expect(topics('#')).toEqual([])
        expect(store.stats()).toMatchObject({ retainedMessages: 0, retainedBytes: 0 })
      })

      it('gives all, one after the other', async () => {
        for (const topic of ['b', '$x/y', 'a/b', 'constructor']) await retain(topic, topic)
        await retain('b', '')
        expect([...store.allRetained()].map(({ topic }) => topic).sort()).toEqual([
          '$x/y',
          'a/b',
          'constructor',
        ])
      })

      it('does not keep a new topic beyond the bound, nor an old value in place of one that is too large', async () => {
        await openAgain({ retainedMaxMessages: 2, retainedMaxBytes: 10 })
        await retain('a', '1')
        await retain('b', '2')
        await retain('c', '3')
        expect(topics('#')).toEqual(['a', 'b'])
        await retain('a', '12345678901')
        expect(topics('#')).toEqual(['b'])
        expect(store.stats()).toMatchObject({ droppedRetained: 2, retainedBytes: 1 })
      })

      it('leaves out what has expired, and the sweep takes it away', async () => {
        await retain('a/short', 'x', { expiresAtMs: nowMs + 10 })
        await retain('a/long', 'x', { expiresAtMs: nowMs + 1_000 })
        nowMs += 10
        expect(store.retained('a/short')).toBeUndefined()
        expect(topics('a/+')).toEqual(['a/long'])
        expect(store.stats().retainedMessages).toBe(2)
        await store.sweep(nowMs)
        expect(store.stats().retainedMessages).toBe(1)
      })
    })

    it('sweeps expired queue entries, but none that a connection may hold', async () => {
      const target = await session()
      for (let i = 1; i <= 6; i++) {
        const expiresAtMs = i % 2 === 0 ? nowMs + 10 : 0
        await publish(store, { message: message('a', `${i}`, { expiresAtMs }), targets: to(target) })
      }
      await store.readQueue(target, 0, 3, 1_000)
      nowMs += 10
      await store.sweep(nowMs)
      expect(await payloads(store, target)).toEqual(['1', '2', '3', '5'])
      expect(target).toMatchObject({ queuedCount: 4, queuedBytes: 4 })
    })

    it('sweeps what somebody has only looked at', async () => {
      const target = await session()
      await publish(store, { message: message('a', '1', { expiresAtMs: 1_500_000 }), targets: to(target) })
      expect(await store.browseQueue(target, 0, 10, 1_000)).toHaveLength(1)
      nowMs = 2_000_000
      await store.sweep(nowMs)
      expect(target.queuedCount).toBe(0)
    })

    it('does not sweep what a connection was given without reading it', async () => {
      const target = await session()
      const write = { message: message('a', '1', { expiresAtMs: nowMs + 10 }), targets: to(target) }
      await publish(store, write)
      store.handedOut(target, target.lastSeq)
      nowMs += 10
      await store.sweep(nowMs)
      expect(target.queuedCount).toBe(1)
      expect(store.acknowledge(target, target.lastSeq, 1)).toBe(true)
      expect(target.queuedCount).toBe(0)
    })

    it('keeps wills, and deletes one with the publish that it has become', async () => {
      const will = { clientId: 'gone', message: message('wills/gone', 'bye') }
      await store.putWill(will)
      await store.putWill({ clientId: 'other', message: message('w', 'x') })
      expect(store.wills.get('gone')).toEqual(will)
      const waiting = { ...will, delaySeconds: 30, messageExpirySeconds: 5 }
      await store.putWill(waiting)
      expect(store.wills.get('gone')).toEqual(waiting)
      await publish(store, { message: will.message, willOf: 'gone' })
      expect([...store.wills.keys()]).toEqual(['other'])
      const target = await session()
      const again = await publish(store, { message: will.message, willOf: 'gone', targets: to(target) })
      expect(again).toEqual({ seqs: [0], duplicate: true })
      expect(await payloads(store, target)).toEqual([])
      await store.deleteWill('other')
      await store.deleteWill('other')
      expect(store.stats().wills).toBe(0)
    })

    describe('identities', () => {
      const record = (called: string, json: string | undefined, before?: IdentityWrite['before']) =>
        ({ kind: 'identity', name: called, json, before }) as const

      it('writes all records of a change or none, if nobody was faster, and tells of it first', async () => {
        const { identities } = store
        const told: unknown[] = []
        identities.listen({
          loaded: () => told.push('loaded'),
          changed: (records, revision) => told.push([revision, records.map((one) => [one.name, one.json])]),
        })
        expect(await identities.write([record('a "ü"', '{"n":1}'), record('b', '{}')], 0)).toBe(1)
        expect(told).toEqual([
          [
            1,
            [
              ['a "ü"', '{"n":1}'],
              ['b', '{}'],
            ],
          ],
        ])
        expect(await identities.write([record('c', '{}')], 0)).toBeUndefined()
        const both = [identities.write([record('c', '{}')], 1), identities.write([record('d', '{}')], 1)]
        expect(await Promise.all(both)).toEqual([2, undefined])
        expect(await identities.write([record('b', undefined, { json: '{}', revision: 1 })], 2)).toBe(3)
        expect(told.slice(1)).toEqual([
          [2, [['c', '{}']]],
          [3, [['b', undefined]]],
        ])
      })

      it('refuses a write when it is closed', async () => {
        await store.close()
        await expect(store.identities.write([record('a', '{}')], 0)).rejects.toMatchObject({
          code: 'TMQ_STORE_UNAVAILABLE',
        })
      })
    })

    it('refuses writes when it is closed', async () => {
      const target = await session()
      await store.close()
      await expect(publish(store, { message: message('a', 'x'), targets: to(target) })).rejects.toMatchObject(
        {
          code: 'TMQ_STORE_UNAVAILABLE',
        },
      )
      await expect(store.putSubscriptions(target, [])).rejects.toMatchObject({
        code: 'TMQ_STORE_UNAVAILABLE',
      })
      expect(target.queuedCount).toBe(0)
    })
  })
}
