import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import type { Store, StoredSession } from '../../../src/store/contract.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { PATIENCE } from '../../support/eventually.ts'
import { type Fault, FaultyLevel } from '../../support/faulty-level.ts'
import { message, payloads, publish, release, settled, testLimits, to } from '../../support/store-fixtures.ts'
import { temporaryFolder } from '../../support/store-folder.ts'
import { snapshot } from '../../support/store-snapshot.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let level: FaultyLevel
let store: Store
let client: StoredSession

function create(limits = testLimits): Store {
  return createEmbeddedStore({
    path: folder.path,
    sync: true,
    cacheBytes: 1_000_000,
    limits,
    log: createSilentLog(),
    now: () => 1_000,
    retryMs: 1,
    openLevel: level.open,
  })
}

async function restart(): Promise<void> {
  await store.close()
  store = create()
  await store.open()
}

const recovered = (): Promise<void> => vi.waitFor(() => expect(store.failure).toBeUndefined(), PATIENCE)
const unavailable = { code: 'TMQ_STORE_UNAVAILABLE' }

/** One of each kind of write, as promises that say how it went. */
function writeOfEachKind(): Promise<PromiseSettledResult<unknown>[]> {
  return Promise.allSettled([
    publish(store, {
      message: message('kept', 'new', { qos: 2 }),
      targets: to(client),
      retain: true,
      incoming: { session: client, messageId: 8 },
      willOf: 'client',
    }),
    publish(store, { message: message('cleared', ''), retain: true }),
    publish(store, { message: message('fresh', 'x'), retain: true }),
    new Promise<void>((resolve, reject) =>
      store.releaseIncoming(client, 7, (error) => (error ? reject(error) : resolve())),
    ),
    store.putSubscriptions(client, [
      { filter: 'a', matchFilter: 'a', qos: 2 },
      { filter: 'b', matchFilter: 'b', qos: 1 },
    ]),
    store.removeSubscriptions(client, ['c']),
    store.putWill({ clientId: 'other', message: message('w', 'other') }),
    store.createSession('group', 'new'),
    store.sessionConnected(client),
    store.removeSession(client),
    store.createSession('client', 'client').then((again) => store.sessionConnected(again)),
  ])
}

beforeEach(async () => {
  folder = await temporaryFolder()
  level = new FaultyLevel()
  store = create()
  await store.open()
  client = await store.createSession('client', 'client')
  await store.putSubscriptions(client, [
    { filter: 'a', matchFilter: 'a', qos: 0 },
    { filter: 'c', matchFilter: 'c', qos: 0 },
  ])
  await publish(store, {
    message: message('kept', 'old'),
    targets: to(client),
    retain: true,
    incoming: { session: client, messageId: 7 },
  })
  await publish(store, { message: message('cleared', 'still here'), targets: to(client), retain: true })
  await store.putWill({ clientId: 'client', message: message('w', 'will') })
  await store.sessionDisconnected(client, { expiresAtMs: 5_000, sentUpToSeq: 1 })
})

afterEach(async () => {
  level.fault = undefined
  level.failOpen = false
  await store.close()
  await folder.remove()
})

describe.each<Fault>(['before', 'after'])(
  'a commit that fails, the batch being lost %s it was written',
  (fault) => {
    it('leaves identities as they were, and their revision', async () => {
      const write = { kind: 'identity', name: 'a', json: '{"n":1}', before: undefined } as const
      expect(await store.identities.write([write], 0)).toBe(1)
      level.fault = fault
      const before = { json: write.json, revision: 1 }
      const changes = [
        { ...write, json: '{"n":2}', before },
        { ...write, name: 'b' },
      ]
      await expect(store.identities.write(changes, 1)).rejects.toMatchObject(unavailable)
      level.fault = undefined
      await recovered()
      await store.close()
      store = create()
      const loaded: unknown[] = []
      store.identities.listen({ loaded: (records) => loaded.push(...records), changed() {} })
      await store.open()
      expect(loaded).toEqual([{ kind: 'identity', name: 'a', revision: 1, json: '{"n":1}' }])
    })

    it('fails all its writes, and takes back in memory and on the disk what they changed', async () => {
      const before = await snapshot(store)
      level.fault = fault
      const results = await writeOfEachKind()
      expect(results.map((result) => result.status)).toEqual(results.map(() => 'rejected'))
      expect(results).toEqual(
        results.map(() => ({ status: 'rejected', reason: expect.objectContaining(unavailable) })),
      )
      expect(store.sessions.get('client')).toBe(client)
      level.fault = undefined
      await recovered()
      expect(await snapshot(store)).toEqual(before)
      await restart()
      expect(await snapshot(store)).toEqual(before)
    })

    it('goes on afterwards, and gives out no sequence number twice', async () => {
      level.fault = fault
      await expect(
        publish(store, { message: message('a', 'lost'), targets: to(client) }),
      ).rejects.toMatchObject(unavailable)
      level.fault = undefined
      await recovered()
      const { seqs } = await publish(store, { message: message('a', 'safe'), targets: to(client) })
      expect(seqs[0]).toBeGreaterThan(2)
      expect(await payloads(store, client)).toEqual(['old', 'still here', 'safe'])
      await restart()
      const again = store.sessions.get('client')
      if (again === undefined) throw new Error('the session is gone')
      expect(await payloads(store, again)).toEqual(['old', 'still here', 'safe'])
      const more = await publish(store, { message: message('a', 'more'), targets: to(again) })
      expect(more.seqs[0]).toBeGreaterThan(seqs[0] ?? 0)
    })

    it('makes acknowledgements and PUBRECs of the outage good', async () => {
      await publish(store, { message: message('a', 'third', { qos: 2 }), targets: to(client) })
      level.fault = fault
      store.acknowledge(client, 1, 3)
      const released = release(store, client, 3, 5)
      await expect(released).rejects.toMatchObject(unavailable)
      store.acknowledge(client, 2, 10)
      level.fault = undefined
      await recovered()
      await settled(store)
      expect(await payloads(store, client)).toEqual(['pubrel'])
      expect(client).toMatchObject({ queuedCount: 1, queuedBytes: 0 })
      await restart()
      const again = store.sessions.get('client')
      expect(again).toMatchObject({ queuedCount: 1, queuedBytes: 0 })
      expect(again && (await payloads(store, again))).toEqual(['pubrel'])
    })
  },
)

it('fails writes at once while it is away, says why, and tries to come back until it can', async () => {
  level.fault = 'before'
  level.failOpen = true
  await expect(publish(store, { message: message('a', 'x'), retain: true })).rejects.toThrow(
    'No space left on device',
  )
  expect(store.failure).toBe('No space left on device')
  expect(store.stats().failure).toBe('No space left on device')
  const opensBefore = level.opens
  await vi.waitFor(() => expect(level.opens).toBeGreaterThan(opensBefore + 2), PATIENCE)
  expect(store.failure).toBe('cannot open')
  const writesBefore = level.writes
  await expect(publish(store, { message: message('a', 'x'), targets: to(client) })).rejects.toMatchObject(
    unavailable,
  )
  await expect(store.createSession('client', 'late')).rejects.toMatchObject(unavailable)
  await expect(store.readQueue(client, 0, 10, 1_000)).rejects.toMatchObject(unavailable)
  expect(level.writes).toBe(writesBefore)
  expect(store.sessions.has('late')).toBe(false)
  expect(client.queuedCount).toBe(2)
  level.failOpen = false
  level.fault = undefined
  await recovered()
  await publish(store, { message: message('a', 'x'), targets: to(client) })
  expect(client.queuedCount).toBe(3)
})

it('fails what came while the failing commit was under way, in the order of the calls', async () => {
  let openGate = (): void => {}
  level.gate = new Promise((resolve) => (openGate = resolve))
  level.fault = 'before'
  const writesBefore = level.writes
  const answers: string[] = []
  const ask = (name: string): void =>
    store.publish({ message: message('a', name), targets: to(client), retain: false }, (error) =>
      answers.push(`${name} ${error === undefined ? 'stored' : 'failed'}`),
    )
  ask('one')
  await vi.waitFor(() => expect(level.writes).toBe(writesBefore + 1), PATIENCE)
  ask('two')
  ask('three')
  expect(store.stats().pendingWrites).toBe(3)
  openGate()
  await vi.waitFor(() => expect(answers.length).toBe(3), PATIENCE)
  expect(answers).toEqual(['one failed', 'two failed', 'three failed'])
  expect(store.stats()).toMatchObject({ pendingWrites: 0, pendingBytes: 0 })
})

it('fails a duplicate of a QoS 2 message with its original', async () => {
  level.fault = 'before'
  const write = { message: message('a', 'x', { qos: 2 }), incoming: { session: client, messageId: 9 } }
  const results = await Promise.allSettled([publish(store, write), publish(store, write)])
  expect(results.map((result) => result.status)).toEqual(['rejected', 'rejected'])
  expect(client.incomingIds.has(9)).toBe(false)
})

it('can be closed while it is away', async () => {
  level.fault = 'before'
  await expect(publish(store, { message: message('a', 'x'), retain: true })).rejects.toMatchObject(
    unavailable,
  )
  await store.close()
  expect(store.failure).toBe('the store is closed')
})

it('reserves sequence numbers anew when the write that reserved them has failed', async () => {
  const fresh = await store.createSession('client', 'fresh')
  level.fault = 'before'
  await expect(publish(store, { message: message('a', '1'), targets: to(fresh) })).rejects.toMatchObject(
    unavailable,
  )
  level.fault = undefined
  await recovered()
  const { seqs } = await publish(store, { message: message('a', '2'), targets: to(fresh) })
  store.acknowledge(fresh, seqs[0] ?? 0, 1)
  await restart()
  const again = store.sessions.get('fresh')
  if (again === undefined) throw new Error('the session is gone')
  const more = await publish(store, { message: message('a', '3'), targets: to(again) })
  expect(more.seqs[0]).toBeGreaterThan(seqs[0] ?? 0)
})

it('does not bring back a session whose creation has failed and whose client has gone', async () => {
  level.fault = 'after'
  const created = store.createSession('client', 'brief')
  const brief = store.sessions.get('brief')
  if (brief === undefined) throw new Error('the session is not there while it is being created')
  const gone = store.sessionDisconnected(brief, { expiresAtMs: 9_000, sentUpToSeq: 0 })
  const results = await Promise.allSettled([created, gone])
  expect(results.map((result) => result.status)).toEqual(['rejected', 'rejected'])
  level.fault = undefined
  await recovered()
  await restart()
  expect([...store.sessions.keys()]).toEqual(['client'])
})

it('hides an entry whose deletion was committed while a read was under way', async () => {
  let openGate = (): void => {}
  level.readGate = new Promise((resolve) => (openGate = resolve))
  const readsBefore = level.reads
  const reading = store.readQueue(client, 0, 10, 1_000)
  await vi.waitFor(() => expect(level.reads).toBe(readsBefore + 1), PATIENCE)
  store.acknowledge(client, 1, 3)
  await settled(store)
  openGate()
  expect((await reading).map((entry) => entry.seq)).toEqual([2])
  expect(client).toMatchObject({ queuedCount: 1, queuedBytes: 10 })
})
