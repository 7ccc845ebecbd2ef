import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ClientQuery } from '../../../src/admin/api/resources.ts'
import type { TestBroker } from '../../support/broker.ts'
import { startPod, startPods } from '../../support/broker-pods.ts'
import { connectRaw, eventOf, openRaw, temporaryFolder } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { freePort } from '../../support/mosquitto.ts'
import { startRedis } from '../../support/redis-server.ts'
import type { RawClient } from '../../support/raw-client.ts'

const ref = (id: string): { id: string; mountpoint: string } => ({ id, mountpoint: '' })

async function idsAt(pod: TestBroker, query: object): Promise<string[]> {
  const ids: string[] = []
  for (let after: string | null | undefined; after !== null;) {
    const page = await pod.operations.clients(ClientQuery.parse({ ...query, ...(after && { after }) }))
    ids.push(...page.items.map(({ id }) => id))
    after = page.next
  }
  return ids
}

/** Connected to the second pod, with a session that has nothing of an old one, and works. */
async function expectNewSession(
  pods: readonly TestBroker[],
  client: RawClient,
  payload: string,
): Promise<void> {
  const shown = await pods[1]!.operations.client(ref('c'))
  expect(shown).toMatchObject({ state: 'connected', subscriptions: 0 })
  expect(await client.subscribe(['new', 1])).toEqual([1])
  await pods[0]!.publish({ topic: 'new', payload, qos: 1 })
  expect((await client.next('publish')).payload.toString()).toBe(payload)
  await client.disconnect()
}

describe('operations on a pod that has not started', () => {
  it('tell what is known, and that the rest is not known yet', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.remove())
    await redis.stop()
    const port = await freePort()
    const localKeyFile = join(await temporaryFolder(), 'key')
    const starting = startPod(redis, { admin: { port, localKey: true, localKeyFile } })
    const ask = async (path: string, method = 'GET'): Promise<{ status: number; body: unknown }> => {
      const [key] = (await readFile(localKeyFile, 'utf8')).split('\n')
      const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
      const init = method === 'GET' ? { headers } : { method, headers, body: '{}' }
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1${path}`, init)
      return { status: answer.status, body: await answer.json() }
    }
    await eventually(() => ask('/overview').catch(() => undefined)).toMatchObject({
      status: 200,
      body: {
        isReady: false,
        notReadyReasons: expect.arrayContaining(['starting']) as string[],
        connections: 0,
      },
    })
    for (const path of [
      '/listeners',
      '/streams',
      '/bans',
      '/refusals',
      '/config',
      '/log-level',
      '/drain',
      '/pods',
    ])
      expect(await ask(path)).toMatchObject({ status: 200 })
    for (const path of ['/clients', '/clients/c', '/clients/c/queue', '/retained', '/agents'])
      expect(await ask(path)).toMatchObject({ status: 503, body: { code: 'TMQ_STORE_UNAVAILABLE' } })
    expect(await ask('/drain', 'POST')).toMatchObject({ status: 503 })
    await redis.start()
    await starting
    expect(await ask('/clients')).toMatchObject({ status: 200, body: { items: [] } })
  })
})

describe('operations on one pod of several', () => {
  it('show each client at one pod, and who is offline at each', async () => {
    const { redis, pods } = await startPods(2)
    const [a, b] = pods as [TestBroker, TestBroker]
    const connected = { a: [] as string[], b: [] as string[] }
    const offline: string[] = []
    for (let index = 0; index < 60; index++) {
      const id = `c${String(index).padStart(2, '0')}`
      const isAtA = index % 2 === 0
      const client = await connectRaw((isAtA ? a : b).port, { clientId: id, clean: index % 10 === 0 })
      if (index % 7 !== 3 || index % 10 === 0) connected[isAtA ? 'a' : 'b'].push(id)
      else {
        await client.disconnect()
        offline.push(id)
      }
    }
    for (const pod of [a, b])
      await eventually(() => idsAt(pod, { state: 'offline', limit: 3 })).toEqual(offline)
    for (const limit of [1, 7, 1_000]) {
      expect(await idsAt(a, { limit })).toEqual([...connected.a, ...offline].toSorted())
      expect(await idsAt(b, { limit })).toEqual([...connected.b, ...offline].toSorted())
    }
    expect(await idsAt(a, { state: 'connected' })).toEqual(connected.a)
    // Nobody can say whose they are: they are shown, rather than nothing.
    await redis.stop()
    await eventually(async () => (await a.operations.overview()).isReady).toBe(false)
    expect(await idsAt(a, { state: 'offline' })).toEqual(expect.arrayContaining(offline))
    // Pods end sooner with it.
    await redis.start()
    await eventually(async () => (await a.operations.overview()).isReady).toBe(true)
  })

  it('remove a session whose client is connected to another pod, and its queue', async () => {
    const { redis, pods } = await startPods(2)
    const [a, b] = pods as [TestBroker, TestBroker]
    const client = await connectRaw(b.port, { clientId: 'c', clean: false })
    await client.subscribe(['t', 1])
    await eventually(() => a.operations.client(ref('c'))).toMatchObject({
      state: 'offline',
      subscriptions: 1,
    })
    expect(await a.operations.removeSession(ref('c'))).toBe(true)
    await client.untilClosed()
    expect(await eventOf(b, 'client disconnected', { client: 'c' })).toMatchObject({ reason: 'kicked' })
    for (const pod of [a, b]) await eventually(() => pod.operations.client(ref('c'))).toBeUndefined()
    const left = (await redis.command('KEYS', '*cc')) as string[]
    expect(left).toEqual([])
    expect(await redis.command('HGET', '{tunnelmq}:owner', 'c')).toBeNull()

    // One that is offline, from any pod, with what waits for it.
    const away = await connectRaw(b.port, { clientId: 'c', clean: false })
    await away.subscribe(['t', 1])
    await away.disconnect()
    await a.publish({ topic: 't', payload: 'x', qos: 1 })
    await eventually(async () => (await a.operations.queue(ref('c'), { limit: 10 }))?.items).toHaveLength(1)
    await eventually(async () => (await b.operations.queue(ref('c'), { limit: 10 }))?.items).toHaveLength(1)
    expect(await b.operations.removeSession(ref('c'))).toBe(true)
    expect(await b.operations.removeSession(ref('c'))).toBe(false)
    const back = await openRaw(a.port)
    expect(await back.connect({ clientId: 'c', clean: false })).toMatchObject({ sessionPresent: false })
  })

  it('remove nothing of a client that comes back to another pod at the same moment', async () => {
    const { pods } = await startPods(2)
    const [a, b] = pods as [TestBroker, TestBroker]
    for (let round = 0; round < 10; round++) {
      const before = await connectRaw(a.port, { clientId: 'c', clean: false })
      await before.subscribe(['old', 1])
      const back = await openRaw(b.port)
      const [removed] = await Promise.all([
        (round % 2 === 0 ? a : b).operations.removeSession(ref('c')),
        back.connect({ clientId: 'c', clean: false }).catch(() => undefined),
      ])
      expect(removed).toBe(true)
      const isAlive = !back.isClosed && (await back.pingOrClose()) === 'answered'
      if (isAlive) await expectNewSession(pods, back, `${round}`)
      await b.operations.removeSession(ref('c'))
      for (const pod of [a, b]) await eventually(() => pod.operations.client(ref('c'))).toBeUndefined()
    }
  })

  it('delete retained messages, disconnect and ban at every pod', async () => {
    const { pods } = await startPods(2)
    const [a, b] = pods as [TestBroker, TestBroker]
    await a.publish({ topic: 'r', payload: 'x', retain: true, qos: 1 })
    await eventually(() => b.operations.retainedMessage('r')).toMatchObject({ bytes: 1 })
    expect(await b.operations.deleteRetained('r')).toBe(true)
    await eventually(() => a.operations.retainedMessage('r')).toBeUndefined()

    const client = await connectRaw(b.port, { clientId: 'c', clean: true })
    expect(await a.operations.disconnect(ref('c'))).toBe(true)
    await client.untilClosed()

    await a.operations.ban({ address: '192.0.2.1', seconds: 60 })
    for (const pod of [a, b])
      await eventually(() => pod.operations.bans()).toMatchObject([{ address: '192.0.2.1', pod: null }])
    expect(await b.operations.unban('192.0.2.1')).toBe(true)
    for (const pod of [a, b]) await eventually(() => pod.operations.bans()).toEqual([])
    expect(await a.operations.unban('192.0.2.1')).toBe(false)
  })
})
