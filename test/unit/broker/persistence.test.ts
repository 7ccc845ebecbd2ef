import abstractPersistence from 'aedes-persistence/abstract.js'
import { afterEach, describe, expect, it } from 'vitest'
import type { EnginePacket } from '../../../src/broker/engine-packet.ts'
import { EnginePersistence } from '../../../src/broker/engine-persistence.ts'
import { StorePersistence } from '../../../src/broker/persistence.ts'
import { createSilentLog } from '../../../src/log.ts'
import type { Store } from '../../../src/store/contract.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { nodeTest, runPlanned } from '../../support/node-test-bridge.ts'
import { testLimits } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'

const closing: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(store: Store): Promise<Store> {
  await store.open()
  closing.push(() => store.close())
  return store
}

function openMemory(): Promise<Store> {
  return open(createMemoryStore(testLimits))
}

async function folder(): Promise<string> {
  const temporary = await temporaryFolder()
  closing.push(() => temporary.remove())
  return temporary.path
}

function embedded(path: string): Store {
  return createEmbeddedStore({
    path,
    sync: false,
    cacheBytes: 1_000_000,
    limits: testLimits,
    log: createSilentLog(),
  })
}

describe("Aedes' own suite, on the memory store", () => {
  abstractPersistence({
    test: nodeTest,
    persistence: async () => new StorePersistence(await openMemory()),
    testAsync: true,
  })
})

describe("Aedes' own suite, on the embedded store", () => {
  abstractPersistence({
    test: nodeTest,
    persistence: async () => new StorePersistence(await open(embedded(await folder()))),
    testAsync: true,
  })
})

describe('the bridge from node:test', () => {
  it('fails a test that makes fewer or more assertions than it has planned', async () => {
    const asserting = (planned: number, made: number) =>
      runPlanned(async (t) => {
        t.plan(planned)
        for (let i = 0; i < made; i++) t.assert.equal(1, 1)
      })
    await asserting(2, 2)
    await expect(asserting(2, 1)).rejects.toThrow('planned 2 assertions, 1 were made')
    await expect(asserting(2, 3)).rejects.toThrow('planned 2 assertions, 3 were made')
  })
})

/** A persistence on a folder that can be opened again, as after a restart. */
async function restartable() {
  const path = await folder()
  let store = embedded(path)
  await store.open()
  closing.push(() => store.close())
  const start = async (): Promise<StorePersistence> => {
    const persistence = new StorePersistence(store)
    await persistence.setup({ id: 'broker' })
    return persistence
  }
  return {
    persistence: await start(),
    restart: async (): Promise<StorePersistence> => {
      await store.close()
      store = embedded(path)
      await store.open()
      return await start()
    },
  }
}

const client = { id: 'client' }
const packet = (payload: string, more: object = {}) => ({
  cmd: 'publish',
  topic: 'a/b',
  payload: Buffer.from(payload),
  qos: 2 as const,
  retain: false,
  brokerId: 'broker',
  brokerCounter: 1,
  ...more,
})

async function outgoing(persistence: StorePersistence): Promise<EnginePacket[]> {
  const packets: EnginePacket[] = []
  for await (const one of persistence.outgoingStream(client)) packets.push(one)
  return packets
}

describe('the persistence over a store, beyond the suite', () => {
  it('brings subscriptions, queues, wills, retained and unreleased packets over a restart', async () => {
    const { persistence: before, restart } = await restartable()
    await before.addSubscriptions(client, [{ topic: 'a/+', qos: 2, rh: 1, rap: true, nl: true }])
    await before.outgoingEnqueue({ clientId: 'client' }, packet('first'))
    await before.outgoingEnqueue({ clientId: 'client' }, packet('second', { brokerCounter: 2 }))
    await before.incomingStorePacket(client, packet('incoming', { messageId: 7 }))
    await before.storeRetained(packet('kept', { retain: true }))
    await before.putWill(client, packet('gone'))

    const after = await restart()
    expect(await after.subscriptionsByTopic('a/b')).toEqual([
      { clientId: 'client', topic: 'a/+', qos: 2, rh: 1, rap: true, nl: true },
    ])
    expect(await after.countOffline()).toEqual({ subsCount: 1, clientsCount: 1 })
    expect(await outgoing(after)).toMatchObject([
      { payload: Buffer.from('first'), brokerCounter: 1, messageId: undefined },
      { payload: Buffer.from('second'), brokerCounter: 2 },
    ])
    expect(await after.incomingGetPacket(client, { messageId: 7 })).toMatchObject({
      payload: Buffer.from('incoming'),
      messageId: 7,
    })
    expect(await after.createRetainedStream('#').toArray()).toMatchObject([{ topic: 'a/b', retain: true }])
    expect(await after.getWill(client)).toMatchObject({ payload: Buffer.from('gone'), clientId: 'client' })
  })

  it('gives a PUBREL an identifier after a restart by which PUBCOMP finds it', async () => {
    const { persistence: before, restart } = await restartable()
    await before.outgoingEnqueue({ clientId: 'client' }, packet('x'))
    await before.outgoingUpdate(client, packet('x', { messageId: 9 }))
    await before.outgoingUpdate(client, { cmd: 'pubrel', messageId: 9 })

    const after = await restart()
    const [pubrel] = await outgoing(after)
    expect(pubrel).toEqual({ cmd: 'pubrel', messageId: expect.any(Number) as number })
    expect(await after.outgoingClearMessageId(client, pubrel!)).toEqual(pubrel)
    expect(await outgoing(after)).toEqual([])
  })

  it('queues a message once for a client with several matching subscriptions [MQTT-3.3.5-1]', async () => {
    const persistence = new StorePersistence(await openMemory())
    await persistence.outgoingEnqueueCombi([{ clientId: 'client' }, { clientId: 'client' }], packet('x'))
    expect(await outgoing(persistence)).toHaveLength(1)
  })

  it('does not stream what is queued while it streams: Aedes delivers that itself', async () => {
    const persistence = new StorePersistence(await openMemory())
    await persistence.outgoingEnqueue({ clientId: 'client' }, packet('before'))
    const seen: unknown[] = []
    for await (const one of persistence.outgoingStream(client)) {
      seen.push(one['payload'])
      await persistence.outgoingEnqueue({ clientId: 'client' }, packet('after', { brokerCounter: 2 }))
    }
    expect(seen).toEqual([Buffer.from('before')])
    expect(await outgoing(persistence)).toHaveLength(2)
  })

  it('discards the whole session at a clean CONNECT [MQTT-3.1.2-6]', async () => {
    const store = await openMemory()
    const persistence = new StorePersistence(store)
    await persistence.addSubscriptions(client, [{ topic: 'a', qos: 1 }])
    await persistence.outgoingEnqueue({ clientId: 'client' }, packet('x'))
    await persistence.incomingStorePacket(client, packet('y', { messageId: 7 }))
    await persistence.cleanSubscriptions(client)
    await persistence.cleanIncoming(client)
    expect(store.stats()).toMatchObject({ sessions: 0, subscriptions: 0, queuedMessages: 0 })
    expect(store.groups.size).toBe(0)
    expect(await outgoing(persistence)).toEqual([])
  })

  it('rejects an incoming packet that finds no room, so that it is not acknowledged', async () => {
    const store = await open(createMemoryStore({ ...testLimits, queueMaxMessages: 1 }))
    const persistence = new StorePersistence(store)
    await persistence.incomingStorePacket(client, packet('x', { messageId: 1 }))
    await expect(
      persistence.incomingStorePacket(client, packet('y', { messageId: 2 })),
    ).rejects.toMatchObject({ code: 'TMQ_LIMIT' })
  })

  it('names no will of a broker that has a name of Object.prototype', async () => {
    const persistence = new StorePersistence(await openMemory())
    await persistence.setup({ id: 'constructor' })
    await persistence.putWill(client, packet('x'))
    expect(await persistence.streamWill({}).toArray()).toHaveLength(1)
    expect(await persistence.streamWill({ constructor: 1 }).toArray()).toEqual([])
  })
})

describe('the persistence that Aedes is given', () => {
  it('has an async setup of its own, as Aedes asks', () => {
    expect(EnginePersistence.prototype).toBeInstanceOf(StorePersistence)
    expect(EnginePersistence.prototype.setup.constructor.name).toBe('AsyncFunction')
  })
})
