import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { webhookSchema } from '../../../../src/config/webhook-schema.ts'
import { createBrokerCounters } from '../../../../src/counters.ts'
import { createChain } from '../../../../src/hooks/chain.ts'
import type { Decision, PendingDecision } from '../../../../src/hooks/decision.ts'
import type { Session, SubscribeRequest } from '../../../../src/hooks/types.ts'
import type { PeerCertificate } from '../../../../src/peer.ts'
import { createService } from '../../../../src/hooks/webhook/service.ts'
import { createWebhookHandler } from '../../../../src/hooks/webhook/webhook.ts'
import { PATIENCE } from '../../../support/eventually.ts'
import { startHttpService, type HttpService, type ServiceReply } from '../../../support/http-service.ts'
import { fakeLog, fakeMessage, fakeSession, fakeSubscriptions } from '../fakes.ts'

const allow: ServiceReply = { body: { result: 'allow' } }
const deny: ServiceReply = { body: { result: 'deny', reason: 'not you' } }
const age = (seconds: number, reply: ServiceReply): ServiceReply =>
  typeof reply === 'string'
    ? reply
    : { ...reply, headers: { 'Cache-Control': `private, max-age=${seconds}` } }

const made = async (decision: Decision | PendingDecision): Promise<Decision> =>
  'promise' in decision ? decision.promise : decision

async function open(services: readonly Pick<HttpService, 'url'>[], overrides: object = {}) {
  const config = webhookSchema.parse({
    type: 'http',
    endpoints: services.map(({ url }) => url),
    ...overrides,
  })
  const counters = createBrokerCounters()
  const log = fakeLog()
  const handler = await createWebhookHandler({ config, mountpoint: 'site/', counters, log })
  onTestFinished(() => handler.close?.())
  const chain = createChain([handler])
  return {
    handler,
    chain,
    log,
    figures: counters.webhook('http'),
    endpoint: ({ url }: Pick<HttpService, 'url'>) => counters.webhookEndpoint('http', new URL(url).host),
    connect: async (
      facts: { id?: string; username?: string; password?: string } = { username: 'ann', password: '1' },
    ) => {
      const session = fakeSession(facts)
      return { session, decision: await made(chain.authConnect(session)) }
    },
    publish: async (session: Session, topic: string) => made(chain.authPublish(session, fakeMessage(topic))),
  }
}

describe('a service', () => {
  it('is sent all that is known of the client, with the headers of the configuration', async () => {
    const service = await startHttpService(() => allow)
    const { connect } = await open([service], { headers: { authorization: 'Bearer key' } })
    expect((await connect({ id: 'c1', username: 'ann', password: 'pä' })).decision).toEqual({
      allowed: true,
      handler: 'http',
    })
    const [call] = service.calls
    expect(call?.headers).toMatchObject({ authorization: 'Bearer key', 'content-type': 'application/json' })
    expect(JSON.parse(call!.body)).toEqual({
      action: 'authConnect',
      clientid: 'c1',
      username: 'ann',
      password: 'pä',
      address: '192.0.2.1',
      port: 40_000,
      listener: 'tcp-1883',
      transport: 'tcp',
      mountpoint: 'site/',
      protocolVersion: 4,
      clean: true,
      keepalive: 60,
    })
  })

  it('may say no, or nothing, and is asked about no password that JSON cannot hold', async () => {
    const service = await startHttpService(() => deny)
    const { connect, chain } = await open([service])
    expect((await connect()).decision).toMatchObject({
      allowed: false,
      reason: 'not you',
      refuse: 'bad-credentials',
    })
    service.reply = () => ({ body: { result: 'deny', refuse: 'identifier-rejected' } })
    expect((await connect()).decision).toMatchObject({ refuse: 'identifier-rejected' })
    service.reply = () => ({ body: { result: 'ignore' } })
    expect((await connect()).decision).toMatchObject({ handler: 'none' })
    const asked = service.calls.length
    const session = fakeSession({ username: 'x' })
    session.password = Buffer.from([0xff, 0xfe])
    expect(await made(chain.authConnect(session))).toMatchObject({ refuse: 'bad-credentials' })
    expect(service.calls.length).toBe(asked)
  })

  it('may rename the client, rewrite its messages, and lower or refuse its subscriptions', async () => {
    const service = await startHttpService(({ body }) => {
      const asked = JSON.parse(body) as { action: string; payload?: string }
      if (asked.action === 'authConnect')
        return { body: { result: 'allow', username: 'bob', clientid: 'new' } }
      const payload = Buffer.from(`${Buffer.from(asked.payload ?? '', 'base64').toString()}!`).toString(
        'base64',
      )
      if (asked.action === 'authPublish')
        return { body: { result: 'allow', topic: 'b', payload, retain: true, qos: 0 } }
      return { body: { result: 'allow', subscriptions: [{ qos: 0 }, { topic: 'd' }, { refused: 'no' }] } }
    })
    const { connect, chain } = await open([service])
    const { session } = await connect()
    expect([session.username, session.id]).toEqual(['bob', 'new'])
    const message = { ...fakeMessage('a'), qos: 1 as const }
    await made(chain.authPublish(session, message))
    expect(message).toMatchObject({ topic: 'b', payload: Buffer.from('x!'), retain: true, qos: 0 })
    const filters = fakeSubscriptions('x', 'y', 'z')
    await made(chain.authSubscribe(session, filters))
    expect(filters).toEqual([
      { topic: 'x', qos: 0 },
      { topic: 'd', qos: 1 },
      { topic: 'z', qos: 1, refused: 'no' },
    ])
  })

  it('is shown the options of a subscription of MQTT 5, and what is remembered is of these; it may choose the code', async () => {
    const service = await startHttpService(() => ({
      headers: { 'Cache-Control': 'max-age=100' },
      body: { result: 'allow', subscriptions: [{ refused: true, refusedCode: 0x97 }] },
    }))
    const { chain } = await open([service])
    const session = fakeSession()
    const options = { noLocal: true, retainAsPublished: false, retainHandling: 1 } as const
    const more = { subscriptionIdentifier: 7, userProperties: [['a', 'b']] } as const
    const ask = async (subscription: SubscribeRequest): Promise<SubscribeRequest> => {
      await made(chain.authSubscribe(session, [subscription]))
      return subscription
    }
    const refused = { refused: 'the service says no', refusedCode: 0x97 }
    expect(await ask({ topic: 'a', qos: 1, ...options, ...more })).toMatchObject(refused)
    expect(await ask({ topic: 'a', qos: 1, ...options, ...more })).toMatchObject(refused)
    await ask({ topic: 'a', qos: 1, ...options })
    await ask({ topic: 'a', qos: 1 })
    type Asked = { subscriptions: unknown; userProperties?: unknown }
    const asked = service.calls.map(({ body }) => {
      const { subscriptions, userProperties } = JSON.parse(body) as Asked
      return [subscriptions, userProperties]
    })
    expect(asked).toEqual([
      [[{ topic: 'a', qos: 1, ...options, subscriptionIdentifier: 7 }], [['a', 'b']]],
      [[{ topic: 'a', qos: 1, ...options }], undefined],
      [[{ topic: 'a', qos: 1 }], undefined],
    ])
  })

  it('may give rights at connect, and is not asked any more', async () => {
    const acl = { publish: ['a/%c'], open: ['pi7/*'] }
    const service = await startHttpService(() => ({ body: { result: 'allow', acl } }))
    const { connect, chain, publish } = await open([service])
    const { session } = await connect()
    expect(await publish(session, 'a/client-1')).toMatchObject({ allowed: true })
    expect(await publish(session, 'a/b')).toMatchObject({ allowed: false })
    const tunnel = (agent: string) =>
      chain.authTunnel(session, { action: 'open', agent, service: 'ssh', topic: 't' })
    expect([await made(tunnel('pi7')), await made(tunnel('pi8'))].map(({ allowed }) => allowed)).toEqual([
      true,
      false,
    ])
    expect(service.calls.length).toBe(1)
  })

  it('gives no rights that nobody would look at', async () => {
    const service = await startHttpService(() => ({ body: { result: 'allow', acl: {} } }))
    const { connect } = await open([service], { hooks: ['authConnect'] })
    expect((await connect()).decision).toMatchObject({ allowed: false, refuse: 'unavailable' })
  })

  it('has a say in what it is asked about alone', async () => {
    const service = await startHttpService(() => allow)
    const { handler } = await open([service], { hooks: ['authConnect'] })
    for (const method of ['authPublish', 'authSubscribe', 'authTunnel', 'publish'])
      expect(handler).not.toHaveProperty(method)
  })

  it('is asked about the topic of a tunnel when it is not asked about tunnels', async () => {
    const service = await startHttpService(() => allow)
    const { chain } = await open([service])
    const topic = '$tunnel/pi7/ssh/c/up'
    await made(chain.authTunnel(fakeSession(), { action: 'open', agent: 'pi7', service: 'ssh', topic }))
    expect(JSON.parse(service.calls[0]!.body)).toMatchObject({ action: 'authPublish', topic })
  })

  it.each<[what: string, reply: ServiceReply, fault: string, overrides?: object]>([
    ['an error', { status: 500, body: { result: 'allow' } }, 'status'],
    ['a redirect', { status: 302, headers: { location: '/' }, body: { result: 'allow' } }, 'status'],
    ['no JSON', { body: 'allow' }, 'answer'],
    ['a list', { body: '[]' }, 'answer'],
    ['nothing that is a result', { body: { result: true } }, 'answer'],
    ['a name that is none', { body: { result: 'allow', username: 7 } }, 'answer'],
    ['rights that are none', { body: { result: 'allow', acl: { publish: ['#/a'] } } }, 'answer'],
    ['too much', { body: { result: 'allow', x: 'x'.repeat(70_000) } }, 'answer'],
    ['nothing', 'hang', 'timeout', { timeoutMs: 50 }],
    ['a broken connection', 'reset', 'broken-off'],
  ])('that answers with %s lets nobody in', async (_, reply, fault, overrides) => {
    const service = await startHttpService(() => reply)
    const { connect, endpoint } = await open([service], overrides)
    expect((await connect()).decision).toMatchObject({ allowed: false, refuse: 'unavailable' })
    expect(endpoint(service)).toMatchObject({ requests: 1, failures: { [fault]: 1 } })
  })

  it('that is slow, and in time, is waited for', async () => {
    let resolve!: (reply: ServiceReply) => void
    const promise = new Promise<ServiceReply>((settle) => (resolve = settle))
    const service = await startHttpService(() => promise)
    const { connect } = await open([service], { timeoutMs: 60_000 })
    const connecting = connect()
    await vi.waitFor(() => expect(service.calls.length).toBe(1), PATIENCE)
    resolve(allow)
    expect((await connecting).decision).toMatchObject({ allowed: true })
  })
})

describe('connections to a service', () => {
  it('are kept, and bounded', async () => {
    const service = await startHttpService(() => allow)
    const { connect } = await open([service], { maxSockets: 2 })
    await Promise.all(Array.from({ length: 20 }, () => connect()))
    await Promise.all(Array.from({ length: 20 }, () => connect()))
    expect(service.calls.length).toBe(40)
    expect(service.connectionCount).toBe(2)
  })

  it('that are all taken say nothing about the service, which is not left out', async () => {
    const service = await startHttpService(() => 'hang')
    const { connect, endpoint } = await open([service], {
      ...{ maxSockets: 1, timeoutMs: 100, breaker: { failures: 2 } },
    })
    const all = await Promise.all([connect(), connect(), connect()])
    expect(all.map(({ decision }) => decision.reason).slice(1)).toEqual([
      expect.stringContaining('too many others were asked before'),
      expect.stringContaining('too many others were asked before'),
    ])
    expect(endpoint(service)).toMatchObject({ leftOut: 0, failures: { timeout: 3 } })
  })

  it('that the service has closed meanwhile cost nobody an answer', async () => {
    const service = await startHttpService(() => allow)
    const { connect } = await open([service])
    for (let round = 0; round < 3; round++) {
      expect((await connect()).decision).toMatchObject({ allowed: true })
      await service.stop()
      await service.start()
    }
  })
})

describe('several endpoints', () => {
  it('take the place of one that is down, which is left out after some failures, and asked again later', async () => {
    const [first, second] = [await startHttpService(() => allow), await startHttpService(() => allow)]
    await first.stop()
    const config = webhookSchema.parse({
      type: 'http',
      endpoints: [first.url, second.url],
      breaker: { failures: 3, cooldownMs: 1_000 },
    })
    const counters = createBrokerCounters()
    const log = fakeLog()
    let nowMs = 0
    const service = await createService({ config, counters, handler: 'http', log, now: () => nowMs })
    onTestFinished(() => service.close())
    const ask = () => service.ask({ headers: {}, body: '' }, () => undefined)
    const figures = counters.webhookEndpoint('http', new URL(first.url).host)
    for (let n = 0; n < 5; n++) await ask()
    expect(figures).toMatchObject({ requests: 3, failures: { connection: 3 }, leftOut: 1 })
    expect(second.calls.length).toBe(5)
    nowMs = 1_000
    for (let n = 0; n < 2; n++) await ask()
    expect(figures).toMatchObject({ requests: 4, failures: { connection: 4 }, leftOut: 1 })
    await first.start()
    nowMs = 2_000
    for (let n = 0; n < 2; n++) await ask()
    expect(first.calls.length).toBe(2)
    expect(figures.leftOut).toBe(0)
    expect(log.lines.map(({ message }) => message)).toEqual(['endpoint left out', 'endpoint is back'])
  })

  it('take the place of one that never says anything, not even that it is there', async () => {
    // As a host that is switched off: the handshake of TLS does not end.
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    onTestFinished(() => void silent.close())
    const service = await startHttpService(() => allow)
    const url = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const { connect, endpoint } = await open([{ url }, service], { timeoutMs: 1_000 })
    expect((await connect()).decision.allowed).toBe(true)
    expect(endpoint({ url }).failures.connection).toBe(1)
  })

  it('are not asked after one that has had the question', async () => {
    const [first, second] = [await startHttpService(() => 'reset'), await startHttpService(() => allow)]
    const { connect } = await open([first, second])
    expect((await connect()).decision).toMatchObject({ refuse: 'unavailable' })
    expect(second.calls.length).toBe(0)
  })

  it('are asked in turn when that is wished', async () => {
    const services = [await startHttpService(() => allow), await startHttpService(() => allow)]
    const { connect } = await open(services, { order: 'round-robin' })
    for (let n = 0; n < 6; n++) await connect()
    expect(services.map(({ calls }) => calls.length)).toEqual([3, 3])
  })

  it('that answer a question with 4xx are there for others', async () => {
    const service = await startHttpService(({ body }) =>
      body.includes('mallory') ? { status: 401, body: '' } : allow,
    )
    const { connect, endpoint } = await open([service], { breaker: { failures: 2 } })
    for (let n = 0; n < 3; n++)
      expect((await connect({ username: 'mallory' })).decision).toMatchObject({ refuse: 'unavailable' })
    expect((await connect()).decision.allowed).toBe(true)
    expect(endpoint(service)).toMatchObject({ leftOut: 0, failures: { status: 3 } })
  })

  it('that are all left out cost no request, and nobody a wait', async () => {
    const service = await startHttpService(() => ({ status: 500, body: '' }))
    const { connect } = await open([service], { breaker: { failures: 2, cooldownMs: 100_000 } })
    for (let n = 0; n < 5; n++) expect((await connect()).decision).toMatchObject({ refuse: 'unavailable' })
    expect(service.calls.length).toBe(2)
  })
})

describe('answers', () => {
  it('are asked for each time unless something is said', async () => {
    const service = await startHttpService(() => allow)
    const { connect } = await open([service])
    await connect()
    await connect()
    expect(service.calls.length).toBe(2)
  })

  it('are remembered as long as the service says, at most as long as we say, and given at once', async () => {
    const service = await startHttpService(() => age(100, allow))
    const { connect, chain, figures, handler } = await open([service])
    const { session } = await connect()
    expect(chain.authConnect(fakeSession({ username: 'ann', password: '1' }))).toEqual({
      allowed: true,
      handler: 'http',
    })
    for (const other of [
      { username: 'ann', password: '2' },
      { username: 'ann' },
      { username: 'bob', password: '1' },
      { id: 'c2', username: 'ann', password: '1' },
    ])
      await connect(other)
    expect(service.calls.length).toBe(5)
    await made(chain.authPublish(session, fakeMessage('a')))
    expect(chain.authPublish(session, { ...fakeMessage('a'), payload: Buffer.from('other') })).toMatchObject({
      allowed: true,
    })
    expect(figures).toMatchObject({ cacheHits: 2, cacheMisses: 6, cacheEntries: 6 })
    const question = { action: 'publish', qos: 0, retain: false } as const
    expect(handler.explain?.(session, { ...question, topic: 'a' })).toMatchObject({ isCached: true })
    expect(handler.explain?.(session, { ...question, topic: 'b' })).toMatchObject({ isCached: false })
  })

  it('for a client with one certificate are not given to one of the same name with another', async () => {
    const service = await startHttpService(({ body }) =>
      age(100, body.includes('"fingerprint256":"A"') ? allow : deny),
    )
    const { chain, publish } = await open([service])
    const shows = (fingerprint256: string): Session => {
      const session = fakeSession()
      return { ...session, peer: { ...session.peer, certificate: { fingerprint256 } as PeerCertificate } }
    }
    expect(await publish(shows('A'), 'a')).toMatchObject({ allowed: true })
    expect(await publish(shows('B'), 'a')).toMatchObject({ allowed: false })
    expect(await made(chain.authSubscribe(shows('A'), fakeSubscriptions('a')))).toMatchObject({
      allowed: true,
    })
    expect(await made(chain.authSubscribe(shows('B'), fakeSubscriptions('a')))).toMatchObject({
      allowed: false,
    })
  })

  it('that say no are remembered too, and failures never', async () => {
    const service = await startHttpService(() => deny)
    const { connect } = await open([service], { cache: { denyMs: 100_000, allowMs: 100_000 } })
    for (let n = 0; n < 2; n++) expect((await connect()).decision).toMatchObject({ reason: 'not you' })
    expect(service.calls.length).toBe(1)
    service.reply = () => ({ status: 500, headers: { 'cache-control': 'max-age=100' }, body: '' })
    for (let n = 0; n < 2; n++) await connect({ username: 'bob' })
    expect(service.calls.length).toBe(3)
  })

  it('are not remembered when the header forbids it, when they change the payload, or past their bound', async () => {
    const service = await startHttpService(() => ({
      body: { result: 'allow' },
      headers: { 'cache-control': 'no-store, max-age=9' },
    }))
    const { connect, publish } = await open([service], { cache: { allowMs: 100_000, maxEntries: 3 } })
    const { session } = await connect()
    await connect()
    expect(service.calls.length).toBe(2)
    service.reply = () => ({ body: { result: 'allow', payload: 'eA==' } })
    await publish(session, 'a')
    await publish(session, 'a')
    expect(service.calls.length).toBe(4)
    service.reply = () => allow
    for (const topic of ['1', '2', '3', '4', '4', '1']) await publish(session, topic)
    expect(service.calls.length).toBe(9)
  })

  it('are not remembered beyond their bytes', async () => {
    const long = { result: 'allow', acl: { publish: ['x'.repeat(900)] } }
    const service = await startHttpService(({ body }) =>
      age(100, body.includes('"ann"') ? { body: long } : allow),
    )
    const { connect, figures } = await open([service], { cache: { maxBytes: 1_000 } })
    for (const username of ['ann', 'ann', 'bob', 'bob', 'eve', 'dan', 'bob']) await connect({ username })
    // The long one never, and two of the short ones.
    expect(service.calls.map(({ body }) => (JSON.parse(body) as { username: string }).username)).toEqual([
      'ann',
      'ann',
      'bob',
      'eve',
      'dan',
      'bob',
    ])
    expect(figures.cacheEntries).toBe(2)
  })

  it('are not given beyond the end that they name', async () => {
    const service = await startHttpService(() =>
      age(100, { body: { result: 'allow', expiresAt: Date.now() / 1_000 - 1 } }),
    )
    const { connect, handler } = await open([service])
    const { session } = await connect()
    await connect()
    expect(service.calls.length).toBe(2)
    expect(handler.stillAllowed?.(session)).toBe(false)
  })
})

describe('notifications', () => {
  const all = ['connect', 'publish', 'subscribe', 'unsubscribe', 'disconnect']

  it('come in the order of each client, and nobody waits for them', async () => {
    const service = await startHttpService(() => ({ body: {} }))
    const { handler } = await open([service], { hooks: all })
    const sessions = ['a', 'b', 'c'].map((id) => fakeSession({ id }))
    for (const session of sessions) {
      void handler.connect?.(session)
      void handler.subscribe?.(session, fakeSubscriptions('x'))
      void handler.publish?.(session, fakeMessage('t'))
      void handler.unsubscribe?.(session, ['x'])
      void handler.disconnect?.(session, { kind: 'client' })
    }
    void handler.disconnect?.(fakeSession(), { kind: 'refused' })
    await handler.close?.()
    const told = service.calls.map(({ body }) => JSON.parse(body) as { action: string; clientid: string })
    expect(told.length).toBe(15)
    for (const { id } of sessions)
      expect(told.filter(({ clientid }) => clientid === id).map(({ action }) => action)).toEqual([
        'connect',
        'subscribe',
        'publish',
        'unsubscribe',
        'disconnect',
      ])
    expect(told[0]).toMatchObject({ action: 'connect', address: '192.0.2.1' })
  })

  it('are taken with any status 2xx, and with others do not have the service left out for questions', async () => {
    const service = await startHttpService(({ body }) =>
      body.includes('"authConnect"') ? allow : { status: 204, body: '' },
    )
    const { handler, connect, figures } = await open([service], {
      hooks: ['authConnect', 'connect'],
      breaker: { failures: 1 },
    })
    const tell = async () => {
      const { session, decision } = await connect()
      void handler.connect?.(session)
      await vi.waitFor(() => expect(figures.queued).toBe(0), PATIENCE)
      return decision.allowed
    }
    await tell()
    expect(figures.dropped).toBe(0)
    service.reply = ({ body }) => (body.includes('"authConnect"') ? allow : { status: 500, body: '' })
    await tell()
    expect(figures.dropped).toBe(1)
    expect(await tell()).toBe(true)
  })

  it('are dropped and counted where there is no room, or nobody to take them', async () => {
    const service = await startHttpService(() => 'hang')
    const { handler, figures, log } = await open([service], {
      hooks: all,
      timeoutMs: 200,
      notify: { maxQueued: 3, concurrent: 1 },
    })
    for (let n = 0; n < 10; n++) void handler.publish?.(fakeSession(), fakeMessage('t'))
    expect(figures).toMatchObject({ queued: 3, dropped: 7 })
    await handler.close?.()
    await vi.waitFor(() => expect(figures).toMatchObject({ queued: 0, dropped: 10 }), PATIENCE)
    expect(log.lines.map(({ message }) => message)).toEqual(['notifications dropped'])
  })
})
