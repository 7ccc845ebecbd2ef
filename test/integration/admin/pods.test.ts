import mqtt, { type MqttClient } from 'mqtt'
import { expect, it, onTestFinished } from 'vitest'
import type { ClientSummary, Page, Pod, Stream, TracePage } from '../../../src/admin/api/resources.ts'
import { askApi, createApiKeys } from '../../support/api.ts'
import { startPods } from '../../support/broker-pods.ts'
import { eventually } from '../../support/eventually.ts'
import { createPod, freeze, startReady, thaw } from '../../support/pods.ts'

async function connected(url: string, clientId: string, clean = true): Promise<MqttClient> {
  const client = await mqtt.connectAsync(url, { clientId, clean, reconnectPeriod: 0 })
  onTestFinished(() => client.endAsync(true))
  return client
}

it('answers for all pods at any of them, also while one of them does not answer', async () => {
  const keys = await createApiKeys()
  onTestFinished(() => keys.remove())
  const admin = { port: 0, keysFile: keys.file, podTimeoutMs: 3_000 }
  // Long enough that a frozen pod is not declared dead in the middle of it.
  const cluster = { leaseMs: 30_000 }
  const { redis, pods } = await startPods(2, { admin, cluster })
  const third = await createPod(redis, 2, { config: { admin: { ...admin, localKey: false }, cluster } })
  await startReady(third)
  const apis = [...pods, third].map(({ adminUrl }) => askApi(adminUrl, keys.of.admin))
  const [first, second, last] = apis as [(typeof apis)[0], (typeof apis)[0], (typeof apis)[0]]
  await eventually(async () => ((await first('GET', '/pods')).body as Pod[]).length).toBe(3)
  const podIds = Object.fromEntries(
    ((await first('GET', '/pods')).body as Pod[]).map(({ name, id }) => [name, id]),
  )
  expect(Object.keys(podIds)).toContain('pod-2')

  // Clients at all pods, some with stored sessions, some of those away.
  const urls = [...pods.map(({ url }) => url), `mqtt://127.0.0.1:${third.port}`]
  const names = Array.from({ length: 24 }, (_, number) => `client-${number}`)
  const clients = await Promise.all(
    names.map((name, index) => connected(urls[index % 3]!, name, index % 2 === 0)),
  )
  const away = ['away/1', 'away/2', 'client-99']
  for (const [index, name] of away.entries()) await (await connected(urls[index]!, name, false)).endAsync()
  const expected = [...names, ...away].toSorted()

  // Each page from the next pod.
  const walk = async (
    query: string,
    ...asked: typeof apis
  ): Promise<{ items: ClientSummary[]; missing: Set<string> }> => {
    const items: ClientSummary[] = []
    const missing = new Set<string>()
    let after: string | null = ''
    for (let turn = 0; after !== null; turn++) {
      const cursor: string = after === '' ? '' : `&after=${after}`
      const { status, body, headers } = await asked[turn % asked.length]!(
        'GET',
        `/clients?limit=5${query}${cursor}`,
      )
      expect(status).toBe(200)
      const page = body as Page<ClientSummary>
      items.push(...page.items)
      after = page.next
      for (const pod of headers.get('x-tunnelmq-missing-pods')?.split(',') ?? []) missing.add(pod)
    }
    return { items, missing }
  }
  await eventually(async () => (await walk('', ...apis)).items.map(({ id }) => id)).toEqual(expected)
  const { items, missing } = await walk('', ...apis)
  expect([...missing]).toEqual([])
  expect(items.filter(({ state }) => state === 'offline').map(({ id }) => id)).toEqual(away.toSorted())
  expect((await walk('&state=offline', ...apis)).items.map(({ id }) => id)).toEqual(away.toSorted())
  expect((await walk('&state=connected', ...apis)).items).toHaveLength(names.length)
  expect((await first('GET', '/clients?state=connected')).body).toMatchObject({ total: names.length })

  // One pod, by id and by name; figures of all and of one.
  const ofThird = { sessionsConnected: 8, podCount: 3 }
  expect((await first('GET', `/overview?pod=${podIds['pod-2']}`)).body).toMatchObject(ofThird)
  expect((await first('GET', '/overview?pod=pod-2')).body).toMatchObject(ofThird)
  expect((await second('GET', '/overview')).body).toMatchObject({
    sessionsConnected: 24,
    podCount: 3,
    isReady: true,
  })

  // What concerns a client goes to where it is.
  const elsewhere = 'client-2'
  expect((await first('GET', `/clients/${elsewhere}`)).body).toMatchObject({
    state: 'connected',
    pod: podIds['pod-2'],
  })
  expect(
    (await first('POST', '/why', { body: { client: elsewhere, action: 'publish', topic: 'a' } })).body,
  ).toMatchObject({
    pod: podIds['pod-2'],
    allowed: true,
  })
  const closed = new Promise<void>((resolve) => clients[2]!.once('close', () => resolve()))
  expect((await first('POST', `/clients/${elsewhere}/disconnect`)).status).toBe(204)
  await closed

  // A trace sees all pods, and is read at any.
  const { body: started } = await first('POST', '/traces', { body: { topic: 'traced/#' } })
  const trace = `/traces/${(started as { id: string }).id}`
  await clients[0]!.publishAsync('traced/a', 'x')
  await clients[4]!.publishAsync('traced/b', 'x')
  const seen: string[] = []
  let after = ''
  for (let turn = 0; seen.length < 2 && turn < 20; turn++) {
    const { status, body } = await apis[turn % 3]!('GET', `${trace}?after=${after}&waitMs=2000`)
    expect(status).toBe(200)
    const page = body as TracePage
    expect(page).toMatchObject({ isOpen: true, missed: 0 })
    seen.push(...page.packets.map(({ topic, client }) => `${client} ${topic}`))
    after = page.next
  }
  expect(seen.toSorted()).toEqual(['client-0 traced/a', 'client-4 traced/b'])
  expect((await last('GET', `${trace}?after=x`)).status).toBe(400)
  expect((await last('DELETE', trace)).status).toBe(204)
  expect((await second('GET', trace)).status).toBe(404)

  // Changes at all pods.
  expect((await first('PUT', '/log-level', { body: { level: 'debug' } })).body).toEqual({ level: 'debug' })
  for (const api of apis) expect((await api('GET', '/log-level')).body).toEqual({ level: 'debug' })
  expect((await first('POST', '/bans', { body: { address: '192.0.2.77' } })).status).toBe(201)
  await eventually(async () => (await last('GET', '/bans')).body).toMatchObject([{ address: '192.0.2.77' }])
  expect((await last('DELETE', '/bans/192.0.2.77')).status).toBe(204)
  expect((await first('GET', '/streams')).body).toEqual([] satisfies Stream[])
  expect((await second('GET', '/audit')).body).toMatchObject([
    { action: 'unban' },
    { action: 'ban' },
    { action: 'set log level' },
    { action: 'trace' },
    { action: 'disconnect' },
  ])

  // One that hangs is named, and keeps nobody waiting for long.
  freeze(third)
  onTestFinished(() => thaw(third))
  const pod2 = podIds['pod-2']
  const [shown, overview, listed, asked, unknown] = await Promise.all([
    second('GET', '/clients?limit=100'),
    first('GET', '/overview'),
    first('GET', '/pods'),
    first('GET', `/listeners?pod=${pod2}`),
    first('GET', '/clients/nobody'),
  ])
  const atThird = new Set(names.filter((_, index) => index % 3 === 2))
  expect((shown.body as Page<ClientSummary>).items.map(({ id }) => id)).toEqual(
    expected.filter((name) => !atThird.has(name)),
  )
  for (const { headers } of [shown, overview]) expect(headers.get('x-tunnelmq-missing-pods')).toBe(pod2)
  expect(listed.body).toContainEqual(expect.objectContaining({ id: pod2, name: 'pod-2', isReady: null }))
  expect((listed.body as Pod[]).find(({ id }) => id === pod2)?.silentMs).toBeGreaterThan(1_000)
  expect([shown.status, overview.status, asked.status, unknown.status]).toEqual([200, 200, 503, 404])
  expect((unknown.body as { detail: string }).detail).toContain(pod2)
})
