import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ClientQuery, type ClientSummary, type Page } from '../../../src/admin/api/resources.ts'
import { compareClients } from '../../../src/admin/cursor.ts'
import type { TestBroker } from '../../support/broker.ts'
import {
  connectMqtt,
  connectRaw,
  eventOf,
  openBroker,
  openRaw,
  portOf,
  temporaryFolder,
} from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import type { RawClient } from '../../support/raw-client.ts'
import { disconnect } from '../../support/wire.ts'

const HOSTILE = [
  'constructor',
  '__proto__',
  'toString',
  'a/b',
  'a\u0001b',
  'ä',
  'ａ',
  '😀',
  '🤖',
  '\u{10ffff}',
  '~',
  ' ',
  '%2e%2e',
  '../..',
  '"',
  '<b>',
  "'; drop table",
]

/** All pages, one after the other. */
async function allClients(
  { operations }: TestBroker,
  query: Partial<Record<'state' | 'search' | 'listener' | 'limit', unknown>> = {},
): Promise<{ items: ClientSummary[]; totals: (number | null)[] }> {
  const items: ClientSummary[] = []
  const totals: (number | null)[] = []
  for (let after: string | null | undefined; after !== null;) {
    const page = await operations.clients(ClientQuery.parse({ ...query, ...(after && { after }) }))
    items.push(...page.items)
    totals.push(page.total)
    after = page.next
  }
  return { items, totals }
}

const idsOf = (items: readonly { readonly id: string }[]): string[] => items.map(({ id }) => id)
const ref = (id: string, mountpoint = ''): { id: string; mountpoint: string } => ({ id, mountpoint })

/** A session that works: what it subscribes to comes. */
async function expectDelivery(broker: TestBroker, client: RawClient, payload: string): Promise<void> {
  expect(await client.subscribe(['new', 1])).toEqual([1])
  await broker.publish({ topic: 'new', payload, qos: 1 })
  expect((await client.next('publish')).payload.toString()).toBe(payload)
}

describe('pages of clients', () => {
  it('show each of 1,200 clients and stored sessions once, in order, whatever their ids are', async () => {
    const broker = await openBroker({
      listeners: [
        { type: 'tcp', name: 'plain', port: 0, allowAnonymous: true },
        { type: 'tcp', name: 'site', port: 0, allowAnonymous: true, mountpoint: 'site/' },
      ],
      limits: { connectionsPerSecond: 100_000, connectionsPerSecondPerAddress: 0 },
    })
    const numbered = Array.from({ length: 1_100 }, () => randomBytes(6).toString('base64'))
    const expected = [...new Set([...HOSTILE, ...numbered])].map((id) => ref(id))
    expected.push(...HOSTILE.map((id) => ref(id, 'site/')))
    const connect = async ({ id, mountpoint }: ReturnType<typeof ref>, index: number): Promise<void> => {
      const port = portOf(broker, mountpoint === '' ? 'plain' : 'site')
      const client = await connectRaw(port, { clientId: id, clean: index % 3 === 0 })
      // Of three, one is connected with clean session 1, one without, and one has gone.
      if (index % 3 === 1) client.send(disconnect)
    }
    for (let from = 0; from < expected.length; from += 100)
      await Promise.all(expected.slice(from, from + 100).map((client, at) => connect(client, from + at)))
    const offline = expected.filter((_, index) => index % 3 === 1).length
    await eventually(async () => (await allClients(broker, { state: 'offline' })).items.length).toBe(offline)

    const { items, totals } = await allClients(broker, { limit: 137 })
    expect(items.map(({ id, mountpoint }) => ref(id, mountpoint))).toEqual(expected.toSorted(compareClients))
    expect(new Set(totals)).toEqual(new Set([expected.length]))
    const connected = await allClients(broker, { state: 'connected', limit: 1_000 })
    expect(connected.items).toHaveLength(expected.length - offline)
    expect(
      connected.items.every(({ state, address }) => state === 'connected' && address === '127.0.0.1'),
    ).toBe(true)
    const ofSite = await allClients(broker, { listener: 'site' })
    expect(
      ofSite.items.every(({ listener, mountpoint }) => listener === 'site' && mountpoint === 'site/'),
    ).toBe(true)
    expect(ofSite.totals).toEqual([ofSite.items.length])
    expect(idsOf((await allClients(broker, { search: 'PROTO' })).items)).toEqual(['__proto__', '__proto__'])
    expect((await allClients(broker, { search: '127.0.0.1', state: 'offline' })).items).toEqual([])
  })

  it('go on behind a client that has gone meanwhile, and refuse a cursor that is none', async () => {
    const broker = await openBroker()
    const clients = new Map<string, Awaited<ReturnType<typeof connectRaw>>>()
    for (const id of ['a', 'b', 'c', 'd'])
      clients.set(id, await connectRaw(broker.port, { clientId: id, clean: true }))
    const page = await broker.operations.clients(ClientQuery.parse({ limit: 2 }))
    expect(idsOf(page.items)).toEqual(['a', 'b'])
    for (const id of ['b', 'c']) await clients.get(id)!.disconnect()
    const rest = await broker.operations.clients(ClientQuery.parse({ after: page.next }))
    expect(idsOf(rest.items)).toEqual(['d'])
    expect(rest.next).toBeNull()
    const wrong = broker.operations.clients(ClientQuery.parse({ after: 'WzFd' }))
    await expect(wrong).rejects.toMatchObject({ code: 'TMQ_USAGE' })
  })
})

describe('one client', () => {
  it('is shown with its subscriptions, will and counters, and offline with what waits', async () => {
    const broker = await openBroker({ session: { expiryMs: 3_600_000 } }, { authConnect() {} })
    const client = await connectRaw(broker.port, {
      clientId: 'c',
      username: 'ann',
      keepaliveSeconds: 77,
      clean: false,
      will: { topic: 'gone/c', payload: 'bye', qos: 1, retain: true },
    })
    await client.subscribe(['a/+', 1], ['$share/g/b', 2])
    await client.publish({ topic: 'x', payload: 'hello', qos: 1 })
    await client.publish({ topic: 'a/1', payload: 'own', qos: 0 })
    await client.next('publish')
    const shown = await broker.operations.client(ref('c'))
    expect(shown).toMatchObject({
      state: 'connected',
      username: 'ann',
      address: '127.0.0.1',
      transport: 'tcp',
      protocolVersion: '3.1.1',
      cleanSession: false,
      keepaliveSeconds: 77,
      expiresAt: null,
      subscriptions: 2,
      messagesReceived: 2,
      messagesSent: 1,
      subscriptionList: [
        { filter: 'a/+', qos: 1, shareGroup: null },
        { filter: '$share/g/b', qos: 1, shareGroup: 'g' },
      ],
      will: { topic: 'gone/c', qos: 1, retain: true, bytes: 3 },
      certificate: null,
      tls: null,
      proxiedBy: null,
      serves: null,
    })
    // CONNECT, SUBSCRIBE and two times PUBLISH; CONNACK, SUBACK, PUBACK and PUBLISH.
    const answered = 4 + 6 + 4 + (2 + 2 + 3 + 3)
    expect(shown?.bytesSent).toBe(answered)
    expect(shown?.bytesReceived).toBeGreaterThan(60)
    expect(Date.parse(shown!.connectedAt!)).toBeGreaterThan(Date.now() - 60_000)

    await client.disconnect()
    await eventually(async () => (await broker.operations.client(ref('c')))?.state).toBe('offline')
    await broker.publish({ topic: 'a/2', payload: 'waits', qos: 1 })
    const offline = await broker.operations.client(ref('c'))
    expect(offline).toMatchObject({
      pod: null,
      username: null,
      queuedMessages: 1,
      queuedBytes: 5,
      will: null,
    })
    const left = Date.parse(offline!.expiresAt!) - Date.now()
    expect(left).toBeGreaterThan(3_500_000)
    expect(left).toBeLessThanOrEqual(3_600_000)
    for (const other of ['d', 'constructor', '__proto__'])
      expect(await broker.operations.client(ref(other))).toBeUndefined()
    expect(await broker.operations.client(ref('c', 'site/'))).toBeUndefined()
  })

  it('of MQTT 5 is shown with what it has asked for', async () => {
    const broker = await openBroker()
    const value = 'x'.repeat(1_000)
    const client = await connectMqtt(broker.url, {
      protocolVersion: 5,
      clientId: 'c5',
      properties: {
        sessionExpiryInterval: 60,
        receiveMaximum: 9,
        maximumPacketSize: 5_000,
        topicAliasMaximum: 3,
        userProperties: { os: ['linux', 'arm'], long: value },
      },
    })
    expect(client.connected).toBe(true)
    expect(await broker.operations.client(ref('c5'))).toMatchObject({
      protocolVersion: '5',
      mqtt5: {
        sessionExpirySeconds: 60,
        receiveMaximum: 9,
        maximumPacketBytes: 5_000,
        topicAliasMaximum: 3,
        authenticationMethod: null,
        userProperties: [
          { name: 'os', value: 'linux' },
          { name: 'os', value: 'arm' },
          { name: 'long', value: `${value.slice(0, 255)}…` },
        ],
      },
    })
    await connectRaw(broker.port, { clientId: 'c4' })
    expect(await broker.operations.client(ref('c4'))).toMatchObject({ protocolVersion: '3.1.1', mqtt5: null })
  })

  it('is disconnected, once', async () => {
    const broker = await openBroker()
    const client = await connectRaw(broker.port, { clientId: 'c', clean: true })
    expect(await broker.operations.disconnect(ref('c'))).toBe(true)
    await client.untilClosed()
    expect(await eventOf(broker, 'client disconnected', { client: 'c' })).toMatchObject({ reason: 'kicked' })
    expect(await broker.operations.disconnect(ref('c'))).toBe(false)
  })
})

describe.each(['memory', 'embedded'] as const)('a session that is removed (%s store)', (type) => {
  async function openStored(): Promise<TestBroker> {
    const store = type === 'memory' ? { type } : { type, path: await temporaryFolder() }
    return await openBroker({ store })
  }

  it('is gone with all that waits for it, and is not there when its client comes again', async () => {
    const broker = await openStored()
    const away = await connectRaw(broker.port, { clientId: 'away', clean: false })
    await away.subscribe(['t', 1])
    await away.disconnect()
    for (let i = 0; i < 5; i++) await broker.publish({ topic: 't', payload: `${i}`, qos: 1 })
    expect(await broker.operations.removeSession(ref('away'))).toBe(true)
    expect(await broker.operations.client(ref('away'))).toBeUndefined()
    expect(await broker.operations.overview()).toMatchObject({
      sessionsStored: 0,
      queuedMessages: 0,
      subscriptions: 0,
    })
    expect(await broker.operations.removeSession(ref('away'))).toBe(false)
    const back = await openRaw(broker.port)
    expect(await back.connect({ clientId: 'away', clean: false })).toMatchObject({ sessionPresent: false })
    await back.ping()
    expect(back.waitingMessages).toEqual([])
  })

  it('ends its connection, whose will is published', async () => {
    const broker = await openStored()
    const watcher = await connectRaw(broker.port, { clientId: 'watcher', clean: true })
    await watcher.subscribe(['gone', 0])
    for (const clean of [true, false]) {
      const will = { topic: 'gone', payload: `clean ${clean}` }
      const client = await connectRaw(broker.port, { clientId: 'c', clean, will })
      expect(await broker.operations.removeSession(ref('c'))).toBe(true)
      await client.untilClosed()
      expect((await watcher.next('publish')).payload.toString()).toBe(`clean ${clean}`)
      expect(await broker.operations.client(ref('c'))).toBeUndefined()
    }
    expect((await eventOf(broker, 'client disconnected', { client: 'c' }))['detail']).toBe(
      'its session was removed',
    )
  })

  it('never takes away what a client that comes back at the same moment has got', async () => {
    const broker = await openStored()
    for (let round = 0; round < 15; round++) {
      const before = await connectRaw(broker.port, { clientId: 'c', clean: false })
      await before.subscribe(['old', 1])
      const back = await openRaw(broker.port)
      const [removed] = await Promise.all([
        broker.operations.removeSession(ref('c')),
        back.connect({ clientId: 'c', clean: false }),
      ])
      // Whoever was first: it is alive with a session of its own, or it was removed with the other.
      expect(removed).toBe(true)
      const isAlive = (await back.pingOrClose()) === 'answered'
      const shown = await broker.operations.client(ref('c'))
      expect(shown?.state).toBe(isAlive ? 'connected' : undefined)
      expect(shown?.subscriptions ?? 0).toBe(0)
      if (isAlive) await expectDelivery(broker, back, `${round}`)
      await broker.operations.removeSession(ref('c'))
    }
    expect(await broker.operations.overview()).toMatchObject({ sessionsStored: 0, subscriptions: 0 })
  })

  it('shows its queue in pages, which delivers nothing and takes nothing', async () => {
    const broker = await openStored()
    const away = await connectRaw(broker.port, { clientId: 'away', clean: false })
    await away.subscribe(['t/#', 2])
    await away.disconnect()
    const long = 'x'.repeat(3_000)
    for (let i = 0; i < 25; i++)
      await broker.publish({ topic: `t/${i}`, payload: i === 7 ? long : `${i}`, qos: i % 2 === 0 ? 1 : 2 })
    const seen: string[] = []
    for (let after: string | null | undefined; after !== null;) {
      const page = await broker.operations.queue(ref('away'), { limit: 10, ...(after && { after }) })
      expect(page?.total).toBe(25)
      for (const { topic, bytes, payload, payloadIsWhole, isInflight, qos } of page!.items) {
        const index = seen.push(topic) - 1
        const text = index === 7 ? long : `${index}`
        expect({ bytes, payloadIsWhole, isInflight, qos }).toEqual({
          bytes: text.length,
          payloadIsWhole: index !== 7,
          isInflight: false,
          qos: index % 2 === 0 ? 1 : 2,
        })
        expect(Buffer.from(payload, 'base64').toString()).toBe(text.slice(0, 1_024))
      }
      after = page!.next
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => `t/${index}`))

    const back = await connectRaw(broker.port, { clientId: 'away', clean: false })
    const first = await back.next('publish')
    expect(first).toMatchObject({ topic: 't/0', dup: false })
    const live = await broker.operations.queue(ref('away'), { limit: 1_000 })
    expect(live?.items[0]).toMatchObject({ topic: 't/0', isInflight: true })
    expect(live?.items.at(-1)).toMatchObject({ topic: 't/24' })
    await back.acknowledge(first)
    const rest = await back.takeUntil('t/24')
    expect(rest).toHaveLength(24)
    await eventually(async () => (await broker.operations.queue(ref('away'), { limit: 10 }))?.items).toEqual(
      [],
    )
    expect(await broker.operations.queue(ref('nobody'), { limit: 10 })).toBeUndefined()
    // The last two are more than 48 bits: an embedded store would be taken for damaged.
    for (const after of ['-1', '1e3', String(2 ** 48 - 1), '9'.repeat(15)]) {
      const wrong = broker.operations.queue(ref('away'), { limit: 10, after })
      await expect(wrong).rejects.toMatchObject({ code: 'TMQ_USAGE' })
    }
  })
})

describe('messages with many properties', () => {
  it('are shown in pages that another pod can answer with, of a queue and of retained messages', async () => {
    const broker = await openBroker()
    const away = await connectRaw(broker.port, { clientId: 'away', clean: false })
    await away.subscribe(['t/#', 1])
    await away.disconnect()
    const userProperties = { ['€'.repeat(256)]: Array.from({ length: 32 }, () => '€'.repeat(256)) }
    const topics = Array.from({ length: 99 }, (_, index) => `t/${String(index).padStart(2, '0')}`)
    const publisher = await connectMqtt(broker.url, { protocolVersion: 5 })
    for (const topic of topics)
      await publisher.publishAsync(topic, 'x', { qos: 1, retain: true, properties: { userProperties } })
    const pageOf = (list: 'queue' | 'retained', after: string | null): Promise<Page<{ topic: string }>> => {
      const query = { limit: 1_000, ...(after !== null && { after }) }
      const { operations } = broker
      return list === 'queue'
        ? Promise.resolve(operations.queue(ref('away'), query)).then((page) => page!)
        : Promise.resolve(operations.retained({ filter: 't/+', ...query }))
    }
    for (const list of ['queue', 'retained'] as const) {
      const found: string[] = []
      let after: string | null = null
      do {
        const page = await pageOf(list, after)
        expect(Buffer.byteLength(JSON.stringify(page))).toBeLessThan(4_194_304)
        found.push(...page.items.map(({ topic }) => topic))
        after = page.next
      } while (after !== null)
      expect(found).toEqual(topics)
    }
  })
})

describe('retained messages', () => {
  it('are browsed by filter in pages, in order, and `$` topics when they are named', async () => {
    const broker = await openBroker()
    const topics = [
      'a-b',
      'a/b',
      'a',
      'a/b/c',
      'b/😀',
      'b/ä',
      'constructor',
      '/',
      '/x',
      ...Array.from({ length: 30 }, (_, i) => `n/${i}`),
    ]
    for (const topic of topics) await broker.publish({ topic, payload: topic.repeat(200), retain: true })
    await broker.publish({ topic: '$local/x', payload: 'x', retain: true })
    const list = async (filter: string, limit: number): Promise<string[]> => {
      const found: string[] = []
      for (let after: string | null | undefined; after !== null;) {
        const page = await broker.operations.retained({ filter, limit, ...(after && { after }) })
        found.push(...page.items.map(({ topic }) => topic))
        after = page.next
      }
      return found
    }
    for (const limit of [1, 7, 1_000]) expect(await list('#', limit)).toEqual(topics.toSorted())
    expect(await list('a/#', 2)).toEqual(['a', 'a/b', 'a/b/c'])
    expect(await list('+/+', 4)).toEqual(topics.filter((topic) => topic.split('/').length === 2).toSorted())
    expect(await list('$local/#', 4)).toEqual(['$local/x'])
    expect(await list('constructor', 1)).toEqual(['constructor'])
    expect(await list('prototype', 1)).toEqual([])
    const page = await broker.operations.retained({ filter: 'b/+', limit: 1 })
    expect(page).toMatchObject({ total: 2, items: [{ topic: 'b/ä', payloadIsWhole: true }] })
    await expect(broker.operations.retained({ filter: 'a/#/b', limit: 1 })).rejects.toMatchObject({
      code: 'TMQ_USAGE',
    })
  })

  it('are shown whole one by one, and deleted as an empty message deletes them', async () => {
    const broker = await openBroker()
    const watcher = await connectRaw(broker.port, { clientId: 'watcher', clean: true })
    await broker.publish({ topic: 'r', payload: 'x'.repeat(5_000), retain: true, qos: 1 })
    await watcher.subscribe(['r', 1])
    await watcher.acknowledge(await watcher.next('publish'))
    const shown = await broker.operations.retainedMessage('r')
    expect(shown).toMatchObject({ topic: 'r', qos: 1, bytes: 5_000, payloadIsWhole: true, expiresAt: null })
    expect(Buffer.from(shown!.payload, 'base64').toString()).toBe('x'.repeat(5_000))
    expect(await broker.operations.deleteRetained('r')).toBe(true)
    const told = await watcher.next('publish')
    expect(told).toMatchObject({ topic: 'r', retain: false, qos: 1 })
    expect(told.payload).toHaveLength(0)
    expect(await broker.operations.retainedMessage('r')).toBeUndefined()
    for (const topic of ['r', 'constructor', 'r/#', ''])
      expect(await broker.operations.deleteRetained(topic)).toBe(false)
  })
})

describe('the pod itself', () => {
  it('says what it is and has, and its configuration without secrets', async () => {
    const broker = await openBroker({
      listeners: [{ type: 'tcp', name: 'plain', port: 0, allowAnonymous: true, mountpoint: 'm/' }],
      admin: { enabled: false, tls: { cert: 'c', key: 'k', passphrase: 'very secret' } },
    })
    const client = await connectRaw(broker.port, { clientId: 'c', clean: true })
    await client.ping()
    const overview = await broker.operations.overview()
    expect(overview).toMatchObject({
      podCount: 1,
      isReady: true,
      notReadyReasons: [],
      isDraining: false,
      connections: 1,
      sessionsConnected: 1,
      totals: { connectionsAccepted: 1, connectionsRefused: 0, messagesReceived: 0 },
    })
    expect(overview.memoryBytes).toBeGreaterThan(1_000_000)
    const pod = await broker.operations.pod()
    expect(pod).toMatchObject({
      id: overview.pod,
      isSelf: true,
      version: overview.version,
      connected: 1,
      isReady: true,
    })
    expect(await broker.operations.listeners()).toEqual([
      {
        name: 'plain',
        type: 'tcp',
        url: broker.url,
        pod: pod.id,
        connections: 1,
        accepted: 1,
        bytesReceived: expect.any(Number) as number,
        bytesSent: 6,
        mountpoint: 'm/',
        proxyProtocol: null,
        certificateExpiresAt: null,
      },
    ])
    const config = JSON.stringify(await broker.operations.config())
    expect(config).toContain('"passphrase":"***"')
    expect(config).not.toContain('very secret')
  })

  it('changes its log level, of connections as well that are there already', async () => {
    const broker = await openBroker()
    const client = await connectRaw(broker.port, { clientId: 'c', clean: true })
    expect(await broker.operations.logLevel()).toEqual({ level: 'debug' })
    expect(await broker.operations.setLogLevel({ level: 'warn' })).toEqual({ level: 'warn' })
    await client.disconnect()
    expect(await broker.operations.setLogLevel({ level: 'trace' })).toEqual({ level: 'trace' })
    const other = await connectRaw(broker.port, { clientId: 'd', clean: true })
    await other.disconnect()
    await eventOf(broker, 'client disconnected', { client: 'd' })
    expect(broker.events.filter(({ client: id }) => id === 'c').map(({ msg }) => msg)).toEqual([
      'client connected',
    ])
    expect(broker.events.filter(({ msg }) => msg === 'log level changed')).toMatchObject([
      { from: 'debug', to: 'warn' },
      { from: 'warn', to: 'trace' },
    ])
  })

  it('bans addresses and lifts bans, in any spelling of the address', async () => {
    const broker = await openBroker()
    const until = await broker.operations.ban({ address: '127.0.0.1', seconds: 60 })
    expect(Date.parse(until.until) - Date.now()).toBeGreaterThan(55_000)
    expect(await broker.operations.bans()).toEqual([expect.objectContaining({ address: '127.0.0.1' })])
    // One that lasts longer stays.
    const shorter = await broker.operations.ban({ address: '::ffff:127.0.0.1', seconds: 1 })
    expect(Date.parse(shorter.until) - Date.now()).toBeGreaterThan(55_000)
    const refused = await openRaw(broker.port)
    await refused.untilClosed()
    expect((await broker.operations.overview()).bannedAddresses).toBe(1)
    expect(await broker.operations.unban('::FFFF:127.0.0.1')).toBe(true)
    expect(await broker.operations.unban('127.0.0.1')).toBe(false)
    await connectRaw(broker.port, { clientId: 'c', clean: true })
    await broker.operations.ban({ address: '2001:DB8:0:0::1', seconds: 60 })
    expect(await broker.operations.bans()).toEqual([expect.objectContaining({ address: '2001:db8::1' })])
  })
})
