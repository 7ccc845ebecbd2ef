import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createSilentLog } from '../../../src/log.ts'
import { MAX_UNFORGOTTEN_COUNT, type Store, type StoredSession } from '../../../src/store/contract.ts'
import {
  incomingKey,
  queueKey,
  retainedKey,
  sessionKey,
  versionKey,
} from '../../../src/store/embedded/keys.ts'
import { LAYOUT } from '../../../src/store/embedded/layout.ts'
import { type LevelBatch, openLevel } from '../../../src/store/embedded/level.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import { message, payloads, publish, release, settled, testLimits, to } from '../../support/store-fixtures.ts'
import { runStore } from '../../support/store-command.ts'
import { temporaryFolder } from '../../support/store-folder.ts'
import { snapshot } from '../../support/store-snapshot.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let path: string
let store: Store

function create(): Store {
  const log = createSilentLog()
  return createEmbeddedStore({
    path,
    sync: true,
    cacheBytes: 1_000_000,
    limits: { ...testLimits, queueMaxMessages: 5_000 },
    log,
  })
}

async function restart(): Promise<void> {
  await store.close()
  store = create()
  await store.open()
}

/** As after kill -9: what is on the disk now, without a word of farewell. */
async function crash(): Promise<void> {
  const copy = join(folder.path, `copy-of-${path.length}-${Date.now()}`)
  await cp(path, copy, { recursive: true, filter: (file) => !file.endsWith('LOCK') })
  await store.close()
  path = copy
  store = create()
  await store.open()
}

/** Changes keys behind the store's back. */
async function tamper(change: (batch: LevelBatch) => void): Promise<void> {
  await store.close()
  const level = await openLevel(path, { cacheBytes: 1_000_000, createIfMissing: false })
  const batch = level.begin()
  change(batch)
  await batch.write(true)
  await level.close()
  store = create()
}

/** All keys and values of the store, which is closed. */
async function contents(): Promise<ReadonlyMap<string, Buffer>> {
  const level = await openLevel(path, { cacheBytes: 1_000_000, createIfMissing: false })
  const found = new Map<string, Buffer>()
  const all = { from: Buffer.of(0), before: Buffer.of(0xff) }
  for await (const portion of level.scan(all, { maxCount: 1_000, maxBytes: 1_000_000 }))
    for (const [key, value] of portion) found.set(key.toString('latin1'), value)
  await level.close()
  return found
}

/** One start and one stop. */
async function restartFromClosed(): Promise<void> {
  store = create()
  await store.open()
  await store.close()
}

function sessionOf(id: string): StoredSession {
  const session = store.sessions.get(id)
  if (session === undefined) throw new Error(`no session ${id}`)
  return session
}

async function fill(id: string, count: number): Promise<StoredSession> {
  const session = await store.createSession('client', id)
  const writes = Array.from({ length: count }, (_, i) =>
    publish(store, { message: message('a', `${i + 1}`), targets: to(session) }),
  )
  await Promise.all(writes)
  return session
}

beforeEach(async () => {
  folder = await temporaryFolder()
  path = join(folder.path, 'store')
  store = create()
  await store.open()
})

afterEach(async () => {
  await store.close()
  await folder.remove()
})

describe.each([
  ['a clean stop', () => restart()],
  ['a crash', () => crash()],
])('after %s', (_, again) => {
  it('everything is there', async () => {
    const client = await fill('client', 20)
    const group = await store.createSession('group', 'workers/a/#')
    await publish(store, {
      message: message('a/ü', 'retained', { qos: 2, retain: true, properties: { contentType: 'a' } }),
      targets: [{ session: group, qos: 2 }],
      retain: true,
      incoming: { session: client, messageId: 65_535 },
    })
    await store.putSubscriptions(client, [{ filter: 'a/+', matchFilter: 'm/a/+', qos: 1, noLocal: true }])
    await store.putWill({ clientId: 'client', message: message('wills', 'bye') })
    await release(store, client, 2, 1)
    store.acknowledge(client, 1, 1)
    await store.sessionDisconnected(client, { expiresAtMs: 9e12, sentUpToSeq: 5 })
    const before = await snapshot(store)
    await again()
    expect(await snapshot(store)).toEqual(before)
    expect(store.retained('a/ü')?.properties).toEqual({ contentType: 'a' })
    expect(sessionOf('client').sentUpToSeq).toBe(5)
  })

  it('no sequence number is given out again, though all entries were acknowledged', async () => {
    const client = await fill('client', 2_500)
    for (let seq = 1; seq <= 2_500; seq++) store.acknowledge(client, seq, String(seq).length)
    await settled(store)
    await again()
    expect(sessionOf('client')).toMatchObject({ queuedCount: 0, queuedBytes: 0 })
    const { seqs } = await publish(store, { message: message('a', 'x'), targets: to(sessionOf('client')) })
    expect(seqs[0]).toBeGreaterThan(2_500)
  })

  it('nor after the last of them, when the client had gone before', async () => {
    const client = await fill('client', 5)
    for (let seq = 1; seq <= 5; seq++) store.acknowledge(client, seq, 1)
    await store.sessionDisconnected(client, { expiresAtMs: 0, sentUpToSeq: 5 })
    await again()
    const { seqs } = await publish(store, { message: message('a', 'x'), targets: to(sessionOf('client')) })
    expect(seqs).toEqual([6])
  })

  it('nothing of a removed session is left, and its successor has an empty queue', async () => {
    const client = await fill('client', 50)
    await store.removeSession(client)
    const successor = await store.createSession('client', 'client')
    await publish(store, { message: message('a', 'new'), targets: to(successor) })
    await again()
    expect(await payloads(store, sessionOf('client'))).toEqual(['new'])
    await restart()
    expect(store.stats()).toMatchObject({ sessions: 1, queuedMessages: 1 })
  })
})

describe('the DUP mark', () => {
  it('covers the window behind what was acknowledged and not forgotten, when a session was connected', async () => {
    const client = await fill('client', MAX_UNFORGOTTEN_COUNT + 6)
    await store.sessionConnected(client)
    store.acknowledge(client, 1, 1)
    store.acknowledge(client, 3, 1)
    await settled(store)
    await crash()
    // 2, 4 and those up to here may have been sent; three of them were in flight at most.
    expect(sessionOf('client').sentUpToSeq).toBe(MAX_UNFORGOTTEN_COUNT + 5)
  })

  it('covers the last entry when there are fewer, and nothing that comes later', async () => {
    const client = await fill('client', 2)
    await store.sessionConnected(client)
    await crash()
    expect(sessionOf('client').sentUpToSeq).toBe(2)
    await publish(store, { message: message('a', 'later'), targets: to(sessionOf('client')) })
    await crash()
    expect(sessionOf('client').sentUpToSeq).toBe(2)
  })

  it('is as it was recorded when the session was disconnected cleanly', async () => {
    const client = await fill('client', 6)
    await store.sessionConnected(client)
    await store.sessionDisconnected(client, { expiresAtMs: 0, sentUpToSeq: 1 })
    await crash()
    expect(sessionOf('client').sentUpToSeq).toBe(1)
  })
})

it('knows how long sessions outlive their connections, and what wills wait for, after a start', async () => {
  const times = { asked: 60, never: 0xffff_ffff, withConnection: 0, configured: undefined }
  for (const [id, seconds] of Object.entries(times))
    await store.sessionConnected(await store.createSession('client', id), seconds)
  const unending = await store.createSession('client', 'made to last')
  await store.sessionConnected(unending, 60)
  await store.sessionDisconnected(unending, { expiresAtMs: 0, sentUpToSeq: 0 })
  const plain = { clientId: 'plain', message: message('w', 'bye') }
  const waiting = { ...plain, clientId: 'waiting', delaySeconds: 9, messageExpirySeconds: 0, dueAtMs: 12_345 }
  await store.putWill(plain)
  await store.putWill(waiting)
  await crash()
  for (const [id, seconds] of Object.entries(times)) expect(sessionOf(id).expirySeconds).toBe(seconds)
  expect(sessionOf('made to last').expirySeconds).toBe(0xffff_ffff)
  expect([...store.wills.values()]).toEqual([plain, waiting])
})

it('names the folder and what to do when another process has it open', async () => {
  const second = create()
  await expect(second.open()).rejects.toMatchObject({
    code: 'TMQ_STORE',
    message: expect.stringMatching(/in use by another process: stop that broker/),
  })
  await expect(second.open()).rejects.toThrow(path)
})

it('does not touch a LevelDB that is not its own, nor one of a later layout', async () => {
  await tamper((batch) => batch.put(versionKey, Buffer.of(9)))
  await expect(store.open()).rejects.toThrow(/layout 9/)
  await tamper((batch) => {
    batch.del(versionKey)
    batch.put(Buffer.from('users!ann'), Buffer.from('x'))
  })
  await expect(store.open()).rejects.toThrow(/not a TunnelMQ store/)
  await tamper((batch) => {
    batch.del(Buffer.from('users!ann'))
    batch.put(versionKey, Buffer.of(1))
  })
  await store.open()
})

it('refuses a later layout as a whole, and every command does: nothing of it is taken for damaged', async () => {
  await fill('client', 1)
  await store.close()
  const sound = join(folder.path, 'sound')
  await cp(path, sound, { recursive: true })
  await tamper((batch) => {
    batch.put(versionKey, Buffer.of(LAYOUT + 1))
    batch.put(sessionKey('client', 'later'), Buffer.from('what this version cannot read'))
    batch.put(queueKey(1, 2), Buffer.from('neither'))
  })
  const before = await contents()
  const refusal = `has layout ${LAYOUT + 1}, and this TunnelMQ reads 1 to ${LAYOUT}: use the version that wrote it`
  await expect(store.open()).rejects.toMatchObject({
    code: 'TMQ_STORE',
    message: expect.stringContaining(refusal),
  })
  for (const command of [
    ['stats', '--path', path],
    ['queue', 'client', '--path', path],
    ['check', '--repair', '--path', path],
    ['migrate', '--from', path, '--to', join(folder.path, 'elsewhere')],
    ['migrate', '--from', sound, '--to', path, '--merge'],
  ])
    await expect(runStore(...command)).rejects.toThrow(refusal)
  expect(await contents()).toEqual(before)
  store = create()
})

it('reads the layout of before MQTT 5, and raises it: from then on earlier versions refuse it', async () => {
  await fill('client', 2)
  await tamper((batch) => batch.put(versionKey, Buffer.of(1)))
  expect(await runStore('check', '--path', path)).toBe('0 problems, 0 mended, 1 sessions\n')
  expect((await contents()).get(versionKey.toString())).toEqual(Buffer.of(1))
  await store.open()
  expect(await payloads(store, sessionOf('client'))).toEqual(['1', '2'])
  await store.close()
  expect((await contents()).get(versionKey.toString())).toEqual(Buffer.of(LAYOUT))
})

it('sets damaged values aside, counts them, and keeps everything else', async () => {
  await fill('client', 3)
  await publish(store, { message: message('r', 'x'), retain: true })
  await tamper((batch) => {
    batch.put(queueKey(1, 2), Buffer.from('garbage'))
    batch.put(retainedKey('r'), Buffer.alloc(0))
    batch.put(incomingKey(1, 0), Buffer.of(1))
  })
  await store.open()
  expect(store.stats().corruptValues).toBe(3)
  expect(await payloads(store, sessionOf('client'))).toEqual(['1', '3'])
  expect(sessionOf('client')).toMatchObject({ queuedCount: 2, queuedBytes: 2 })
  await restart()
  expect(store.stats().corruptValues).toBe(0)
})

it('removes no queue while the record of a session is damaged', async () => {
  await fill('client', 3)
  await tamper((batch) => batch.put(sessionKey('client', 'client'), Buffer.from('garbage')))
  await store.open()
  expect(store.sessions.size).toBe(0)
  const next = await store.createSession('client', 'next')
  expect(await payloads(store, next)).toEqual([])
  await store.close()
  const level = await openLevel(path, { cacheBytes: 1_000_000, createIfMissing: false })
  expect(await level.get(queueKey(1, 3))).toBeDefined()
  await level.close()
  // The damaged record lies aside now, and its queue stays.
  await restartFromClosed()
  const again = await openLevel(path, { cacheBytes: 1_000_000, createIfMissing: false })
  expect(await again.get(queueKey(1, 3))).toBeDefined()
  await again.close()
})

it('removes what has no owner', async () => {
  await fill('client', 3)
  await tamper((batch) => batch.del(sessionKey('client', 'client')))
  await restartFromClosed()
  const level = await openLevel(path, { cacheBytes: 1_000_000, createIfMissing: false })
  expect(await level.get(queueKey(1, 3))).toBeUndefined()
  await level.close()
})
