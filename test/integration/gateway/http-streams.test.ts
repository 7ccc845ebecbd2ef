import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { request as secureRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectMqtt, eventOf, portOf } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, askRaw, recordingHandler, type Recorded } from '../../support/http-world.ts'
import { createCa, type CertificateFiles } from '../listeners/certificates.ts'

let broker: TestBroker
let recorded: Recorded
let folder: string
let files: { readonly ca: string; readonly client: CertificateFiles }
const urlOf = (name: string, topic: string): string => {
  const { protocol } = new URL(broker.listeners.find((listener) => listener.name === name)!.url)
  return `${protocol}//127.0.0.1:${portOf(broker, name)}/mqtt/${topic}`
}
const ann = { auth: 'ann:pw' }

beforeAll(async () => {
  recorded = recordingHandler()
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-http-'))
  const ca = await createCa(folder)
  const tls = await ca.issue('server')
  files = { ca: ca.cert, client: await ca.issue('pi7', '/CN=pi7') }
  broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', port: 0 },
        { type: 'http', name: 'http', port: 0, http: { maxEventStreams: 2, eventStreamPingMs: 100 } },
        { type: 'https', name: 'https', port: 0, tls: { ...tls, clientCa: ca.cert } },
        {
          type: 'http',
          name: 'proxied',
          port: 0,
          proxyProtocol: 'trusted',
          trustedProxies: ['127.0.0.1'],
        },
        { type: 'http', name: 'behind', port: 0, trustedProxies: ['127.0.0.1'] },
      ],
      auth: { onRefusedPublish: 'disconnect' },
      limits: { banFailures: 3, maxConnectionsPerAddress: 12 },
    },
    { handlers: [recorded.handler] },
  )
})
afterAll(async () => {
  await broker.stop()
  await rm(folder, { recursive: true })
})
beforeEach(() => void (recorded.calls.length = 0))

interface Stream {
  readonly response: IncomingMessage
  readonly text: () => string
  readonly events: () => { readonly event: string; readonly data: Record<string, unknown> }[]
  readonly closed: Promise<void>
}

function openStream(url: string, auth = 'ann:pw'): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const sent = get(url, { auth, headers: { accept: 'text/event-stream' }, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      const closed = new Promise<void>((done) => response.once('close', () => done()))
      const events = (): ReturnType<Stream['events']> =>
        [...text.matchAll(/event: (\w+)\ndata: (.*)\n\n/g)].map(([, event = '', data = '']) => ({
          event,
          data: JSON.parse(data) as Record<string, unknown>,
        }))
      resolve({ response, text: () => text, events, closed })
    })
    sent.on('error', reject)
    onTestFinished(() => void sent.destroy())
  })
}

describe('an event stream', () => {
  it('has messages of several filters, retained ones first, as text or as base64', async () => {
    await broker.publish({ topic: 'room/1', payload: 'warm\n', retain: true, qos: 1 })
    const stream = await openStream(urlOf('http', 'room/+?topic=bytes&topic=a/%23&qos=1'))
    expect(stream.response).toMatchObject({
      statusCode: 200,
      headers: { 'content-type': 'text/event-stream; charset=utf-8' },
    })
    await eventually(() => stream.events().length).toBe(1)
    await broker.publish({ topic: 'bytes', payload: Buffer.of(0xff, 0), qos: 1 })
    await broker.publish({ topic: 'a/deep/hidden', payload: 'x' })
    await broker.publish({ topic: 'a/b', payload: 'ü', qos: 0 })
    await eventually(() => stream.events()).toEqual([
      { event: 'message', data: { topic: 'room/1', qos: 1, retain: true, payload: 'warm\n' } },
      { event: 'message', data: { topic: 'bytes', qos: 1, retain: false, payloadBase64: '/wA=' } },
      { event: 'message', data: { topic: 'a/b', qos: 0, retain: false, payload: 'ü' } },
    ])
    await eventually(stream.text).toContain('\n: ping\n')
    stream.response.destroy()
    await eventually(() => recorded.calls.map(({ method }) => method)).toEqual([
      ...['authConnect', 'connect', 'authSubscribe', 'authSubscribe', 'authSubscribe'],
      ...['subscribe', 'disconnect'],
    ])
  })

  it('with a filter that is refused is 403, and the others are not subscribed to', async () => {
    const { response } = await openStream(urlOf('http', 'ok/+?topic=secret/%23'))
    expect(response.statusCode).toBe(403)
    const bad = await openStream(urlOf('http', 'a%23'))
    expect(bad.response.statusCode).toBe(400)
    // An agent serves by MQTT alone.
    const frames = await openStream(urlOf('http', '$tunnel/pi/+/+/up?clientid=pi'))
    expect(frames.response.statusCode).toBe(403)
  })

  it('is one of at most so many', async () => {
    const streams = [await openStream(urlOf('http', 'a')), await openStream(urlOf('http', 'a'))]
    const third = await openStream(urlOf('http', 'a'))
    expect(third.response).toMatchObject({ statusCode: 503, headers: { 'retry-after': '5' } })
    for (const { response } of streams) response.destroy()
    await eventually(async () => {
      const { response } = await openStream(urlOf('http', 'a'))
      response.destroy()
      return response.statusCode
    }).toBe(200)
  })

  it('ends with an event that says why when its client is sent away', async () => {
    const stream = await openStream(urlOf('http', 'a?clientid=watcher'))
    expect(await broker.disconnect('watcher')).toBe(true)
    await stream.closed
    expect(stream.events()).toEqual([
      {
        event: 'closed',
        data: { reason: 'gone', detail: 'the connection was ended by an administrator' },
      },
    ])
  })

  it('ends when rights were taken away', async () => {
    const stream = await openStream(urlOf('http', 'a'), 'outcast:pw')
    await broker.reload()
    await stream.closed
    expect(stream.events()).toEqual([
      { event: 'closed', data: { reason: 'gone', detail: 'rights were taken away' } },
    ])
  })
})

describe('an event stream of a client that stays', () => {
  it('ends when one of its filters was taken away', async () => {
    const stream = await openStream(urlOf('http', 'kept?topic=taken&clientid=half'))
    recorded.forbidden.add('taken')
    await broker.reload()
    await stream.closed
    expect(stream.events()).toEqual([
      { event: 'closed', data: { reason: 'gone', detail: 'rights were taken away' } },
    ])
  })
})

describe('a refused publish where refusals disconnect', () => {
  it.each([0, 1, 2])('at QoS %i is 403 all the same, and the next request is a new client', async (qos) => {
    expect(await ask(urlOf('http', `secret?qos=${qos}`), { ...ann, method: 'POST' })).toMatchObject({
      status: 403,
    })
    expect(await ask(urlOf('http', `open?qos=${qos}`), { ...ann, method: 'POST' })).toMatchObject({
      status: 204,
    })
  })
})

describe('a client certificate', () => {
  it('is in the session of its requests, and without one there is no request', async () => {
    const [ca, cert, key] = await Promise.all(
      [files.ca, files.client.cert, files.client.key].map((file) => readFile(file)),
    )
    const send = (options: object): Promise<number> =>
      new Promise((resolve, reject) => {
        const sent = secureRequest(urlOf('https', 'a'), {
          ...ann,
          ...options,
          ca,
          method: 'POST',
          agent: false,
        })
        sent.on('response', (response) => {
          response.resume()
          resolve(response.statusCode!)
        })
        sent.on('error', reject)
        sent.end('x')
      })
    expect(await send({ cert, key })).toBe(204)
    expect(recorded.calls[0]!.session.peer).toMatchObject({
      transport: 'https',
      certificate: { commonName: 'pi7' },
    })
    await expect(send({})).rejects.toThrow(/alert|ECONNRESET|hang up/)
    await eventOf(broker, 'connection refused', { listener: 'https', reason: 'tls-handshake' })
  })
})

describe('the address of a client', () => {
  const addresses = (): string[] =>
    recorded.calls
      .filter(({ method }) => method === 'authConnect')
      .map(({ session }) => `${session.peer.address} ${session.peer.addressSource}`)

  it('is that of the PROXY header', async () => {
    const credentials = `Authorization: Basic ${Buffer.from('ann:pw').toString('base64')}`
    const head = `POST /mqtt/a HTTP/1.1\r\nHost: x\r\n${credentials}\r\nConnection: close\r\n\r\n`
    const header = 'PROXY TCP4 192.0.2.9 192.0.2.1 4711 80\r\n'
    expect((await askRaw(portOf(broker, 'proxied'), header + head)).toString()).toMatch(/^HTTP\/1.1 204 /)
    expect(addresses()).toEqual(['192.0.2.9 proxy-v1'])
  })

  it('is that of X-Forwarded-For from a trusted proxy, for each request of its connection', async () => {
    const credentials = `Authorization: Basic ${Buffer.from('ann:pw').toString('base64')}`
    const from = (address: string, more = ''): string =>
      `POST /mqtt/a HTTP/1.1\r\nHost: x\r\n${credentials}\r\nX-Forwarded-For: 6.6.6.6, ${address}\r\n${more}\r\n`
    const requests = from('192.0.2.1') + from('192.0.2.1') + from('192.0.2.2', 'Connection: close\r\n')
    const answers = await askRaw(portOf(broker, 'behind'), requests)
    expect(answers.toString().match(/HTTP\/1.1 204/g)).toHaveLength(3)
    expect(addresses()).toEqual(['192.0.2.1 x-forwarded-for', '192.0.2.2 x-forwarded-for'])
    const direct = { ...ann, agent: false, method: 'POST', headers: { 'x-forwarded-for': '192.0.2.3' } }
    await ask(urlOf('http', 'a'), direct)
    expect(addresses().at(-1)).toBe('127.0.0.1 socket')
  })

  it('that guesses is banned: 429, also for other credentials, and nobody else is', async () => {
    const guess = (address: string, auth: string) =>
      ask(urlOf('behind', 'a'), { auth, method: 'POST', headers: { 'x-forwarded-for': address } })
    for (let i = 0; i < 3; i++) expect(await guess('192.0.2.66', 'wrong:pw')).toMatchObject({ status: 401 })
    const banned = await guess('192.0.2.66', 'ann:pw')
    expect(banned).toMatchObject({ status: 429, headers: { 'retry-after': '5', connection: 'close' } })
    expect(await guess('192.0.2.67', 'ann:pw')).toMatchObject({ status: 204 })
    await eventOf(broker, 'connection refused', { address: '192.0.2.66', reason: 'banned' })
  })
})

describe('the same rules as for MQTT', () => {
  it('clients are counted by their rate, also those that come one after the other on one connection', async () => {
    const own = await startTestBroker({
      listeners: [
        { type: 'tcp', port: 0 },
        { type: 'http', name: 'http', port: 0, allowAnonymous: true },
      ],
      limits: { connectionsPerSecondPerAddress: 1 },
    })
    onTestFinished(() => own.stop())
    const asked = Array.from(
      { length: 16 },
      (_, index) => `POST /mqtt/a?clientid=${index} HTTP/1.1\r\nHost: x\r\n\r\n`,
    )
    const answers = (await askRaw(portOf(own, 'http'), asked.join(''))).toString()
    expect(answers).toMatch(/^HTTP\/1\.1 204 [^]*HTTP\/1\.1 429 Too Many Requests\r\n/)
  })

  it('a client id is taken over from one to the other', async () => {
    const client = await connectMqtt(broker.url, { clientId: 'both', username: 'ann', password: 'pw' })
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    expect(await ask(urlOf('http', 'a?clientid=both'), { ...ann, method: 'POST' })).toMatchObject({
      status: 204,
    })
    await closed
  })

  it('connections are counted, and end when the broker drains: streams with a reason', async () => {
    const stream = await openStream(urlOf('http', 'a'))
    expect((await broker.operations.overview()).connections).toBeGreaterThan(0)
    await broker.drain(0)
    await stream.closed
    expect(stream.events()).toEqual([
      { event: 'closed', data: { reason: 'unavailable', detail: 'the broker is stopping' } },
    ])
    await expect(ask(urlOf('http', 'a'), { ...ann, agent: false })).rejects.toThrow('ECONNREFUSED')
    await broker.undrain()
    expect(await ask(urlOf('http', 'a'), { ...ann, method: 'POST', agent: false })).toMatchObject({
      status: 204,
    })
  })
})
