import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { connect as openSocket, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, RefuseReason } from '../../../src/hooks/types.ts'
import { createCa, type CertificateFiles, type TestCa } from '../listeners/certificates.ts'
import { openBroker, portOf, temporaryFolder } from '../../support/broker-world.ts'
import { openLink, type LinkEnd } from '../../support/link-end.ts'
import { freePort, startMosquitto } from '../../support/mosquitto.ts'
import { runClient } from '../../support/run-client.ts'
import { granting, startScriptedBroker } from '../../support/scripted-broker.ts'
import { Packet } from '../../support/wire.ts'

const client = { role: 'client', name: 'laptop' } as const
const agent = { role: 'agent', name: 'pi7' } as const

let folder: string
let ca: TestCa
let server: CertificateFiles

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-link-'))
  ca = await createCa(folder)
  server = await ca.issue('server')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** The first failure, which must show neither of these. */
async function failureOf(end: LinkEnd): Promise<{ code: string; message: string; isFatal: boolean }> {
  await end.untilFailures(1)
  const { error, isFatal, attempts, wasUp, retryInMs } = end.failures[0]!
  expect({ attempts, wasUp, retryInMs }).toEqual({ attempts: 1, wasUp: false, retryInMs: 500 })
  expect(`${error.message} ${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`).not.toContain(
    'secret',
  )
  return { code: error.code, message: error.message, isFatal }
}

describe('an attempt to connect that fails', () => {
  it('where nothing listens is made again until something does', async () => {
    const port = await freePort()
    const url = `mqtt://user:secret@127.0.0.1:${port}`
    const end = openLink({ ...client, url, topicPrefix: 'tunnel' })
    expect(await failureOf(end)).toEqual({
      code: 'TMQ_UNREACHABLE',
      message: `cannot connect to mqtt://127.0.0.1:${port}: connection refused: is the broker running, and is the port right?`,
      isFatal: false,
    })
    await end.untilFailures(2)
    expect(end.failures[1]).toMatchObject({ attempts: 2 })
    await startMosquitto({ port })
    await end.until('up')
  })

  it('at a unix socket that is not there', async () => {
    const end = openLink({ ...client, url: `unix:${join(folder, 'no.sock')}` })
    expect(await failureOf(end)).toMatchObject({
      message: expect.stringContaining('there is no such socket'),
      isFatal: false,
    })
  })

  it.each([
    ['accepts and says nothing', {}, /no CONNACK within 1 s: does this port speak MQTT\?$/],
    ['says CONNACK and no SUBACK', { connack: 0 }, /no SUBACK within 1 s/],
  ])('at a broker that %s has a deadline', async (_what, script, message) => {
    const broker = await startScriptedBroker(script)
    // So long that a busy machine has connected by then.
    const end = openLink({ ...client, url: broker.url, connectTimeoutMs: 1_000 })
    const failure = await failureOf(end)
    expect(failure).toMatchObject({ code: 'TMQ_UNREACHABLE', isFatal: false })
    expect(failure.message).toMatch(message)
    await (await broker.connection()).untilClosed()
    await broker.connection(2)
  })

  it('at a server of TLS that never answers has a deadline', async () => {
    const broker = await startScriptedBroker({})
    const end = openLink({ ...client, url: `mqtts://127.0.0.1:${broker.port}`, connectTimeoutMs: 200 })
    expect((await failureOf(end)).message).toMatch(/no answer within 0.2 s: compare host, port and firewall$/)
  })

  it('at a server of HTTP that never answers has a deadline', async () => {
    const broker = await startScriptedBroker({})
    const end = openLink({ ...client, url: `ws://127.0.0.1:${broker.port}`, connectTimeoutMs: 200 })
    expect((await failureOf(end)).message).toMatch(/no answer within 0.2 s/)
    await (await broker.connection()).untilClosed()
  })

  it.each([
    [1, 'TMQ_PROTOCOL', true],
    [2, 'TMQ_PROTOCOL', true],
    [3, 'TMQ_UNREACHABLE', false],
    [4, 'TMQ_CREDENTIALS', true],
    [5, 'TMQ_CREDENTIALS', true],
  ])('by CONNACK %s says so', async (connack, code, isFatal) => {
    const broker = await startScriptedBroker({ connack })
    const end = openLink({ ...client, url: broker.url })
    expect(await failureOf(end)).toMatchObject({ code, isFatal })
  })

  it('after it was up is told as one of a link that was up', async () => {
    const broker = await startMosquitto()
    const end = openLink({ ...client, url: `mqtt://127.0.0.1:${broker.port}`, topicPrefix: 'tunnel' })
    await end.until('up')
    await broker.kill()
    await end.until(/^down (closed by the broker|connection lost: )/)
    await end.untilFailures(1)
    expect(end.failures[0]).toMatchObject({ wasUp: true, attempts: 1 })
    expect(end.downs[0]!.reason).toBe(end.told[1]!.slice('down '.length))
  })
})

const refuse = (): never => {
  throw new AuthError()
}

describe('credentials that are wrong', () => {
  it('at our broker', async () => {
    const broker = await openBroker(
      {},
      {
        authConnect(session) {
          if (session.password?.toString() !== 'right') throw new AuthError('no', RefuseReason.badCredentials)
        },
      },
    )
    const wrong = openLink({ ...client, url: broker.url, username: 'me', password: 'secret' })
    expect(await failureOf(wrong)).toMatchObject({ code: 'TMQ_CREDENTIALS', isFatal: true })
    const right = openLink({ ...client, url: broker.url, username: 'me', password: Buffer.from('right') })
    await right.until('up')
  })

  it('at mosquitto', async () => {
    const passwords = join(await temporaryFolder(), 'passwords')
    await writeFile(passwords, '')
    await runClient('mosquitto_passwd', ['-b', passwords, 'me', 'right'])
    const { port } = await startMosquitto({ lines: ['allow_anonymous false', `password_file ${passwords}`] })
    const place = { url: `mqtt://me:secret@127.0.0.1:${port}`, topicPrefix: 'tunnel' }
    expect(await failureOf(openLink({ ...client, ...place }))).toMatchObject({
      code: 'TMQ_CREDENTIALS',
      isFatal: true,
    })
    await openLink({ ...client, ...place, password: 'right' }).until('up')
  })

  it('are also a missing right to the own filter', async () => {
    const broker = await openBroker({}, { authConnect() {}, authTunnel: refuse })
    const end = openLink({ ...agent, url: broker.url })
    const failure = await failureOf(end)
    expect(failure).toMatchObject({ code: 'TMQ_CREDENTIALS', isFatal: true })
    expect(failure.message).toContain("refused the subscription to '$tunnel/pi7/+/+/up'")
  })

  it('to read the status of agents are told by statusComplete', async () => {
    const broker = await openBroker({}, { authConnect() {}, authSubscribe: refuse })
    const end = openLink({ ...client, url: broker.url })
    end.link.watchStatus('+')
    await end.until('up')
    await expect(end.link.statusComplete(10_000)).rejects.toMatchObject({ code: 'TMQ_CREDENTIALS' })
  })
})

describe('TLS that does not fit', () => {
  const open = async (tls: object): Promise<string> => {
    const listeners = [
      { type: 'tls' as const, name: 'l', port: 0, allowAnonymous: true, tls: { ...server, ...tls } },
    ]
    return `mqtts://localhost:${portOf(await openBroker({ listeners }), 'l')}`
  }

  it('is a certificate that nobody trusts, unless told to', async () => {
    const url = await open({})
    const failure = await failureOf(openLink({ ...client, url }))
    expect(failure).toMatchObject({ code: 'TMQ_UNREACHABLE', isFatal: true })
    expect(failure.message).toMatch(/its certificate is not trusted .*give the CA/)
    await openLink({ ...client, url, tls: { rejectUnauthorized: false } }).until('up')
  })

  it('is a certificate of another host, unless its name is given', async () => {
    const other = await ca.issue('other', '/CN=other', 'DNS:other.example')
    const url = await open(other)
    const tls = { ca: await readFile(ca.cert) }
    const failure = await failureOf(openLink({ ...client, url, tls }))
    expect(failure).toMatchObject({ code: 'TMQ_UNREACHABLE', isFatal: true })
    expect(failure.message).toMatch(/not trusted/)
    await openLink({ ...client, url, tls: { ...tls, servername: 'other.example' } }).until('up')
  })

  it('is a certificate that the broker wants and does not get', async () => {
    const url = await open({ clientCa: ca.cert })
    const tls = { ca: await readFile(ca.cert) }
    const failure = await failureOf(openLink({ ...client, url, tls }))
    expect(failure).toMatchObject({ code: 'TMQ_CREDENTIALS', isFatal: true })
    const leaf = await ca.issue('laptop')
    const own = { cert: await readFile(leaf.cert), key: await readFile(leaf.key) }
    await openLink({ ...client, url, tls: { ...tls, ...own } }).until('up')
  })

  it('is a port without it', async () => {
    const broker = await openBroker()
    const failure = await failureOf(openLink({ ...client, url: `mqtts://127.0.0.1:${broker.port}` }))
    expect(failure).toMatchObject({ code: 'TMQ_UNREACHABLE' })
  })

  it('is a port that wants it', async () => {
    const url = (await open({})).replace('mqtts:', 'mqtt:')
    const failure = await failureOf(openLink({ ...client, url }))
    expect(failure).toMatchObject({ code: 'TMQ_UNREACHABLE' })
    expect(failure.message).toMatch(/closed before CONNACK: does this port speak MQTT, without TLS, or/)
  })
})

describe('a WebSocket that is none', () => {
  it.each([
    [403, 'TMQ_CREDENTIALS', true],
    [404, 'TMQ_UNREACHABLE', true],
    [503, 'TMQ_UNREACHABLE', false],
  ])('but HTTP status %s', async (status, code, isFatal) => {
    const http = createHttpServer((_request, response) => response.writeHead(status).end())
    http.listen(0, '127.0.0.1')
    await once(http, 'listening')
    onTestFinished(() => void http.close())
    const { port } = http.address() as AddressInfo
    const end = openLink({ ...client, url: `ws://u:secret@127.0.0.1:${port}/p?token=secret` })
    const failure = await failureOf(end)
    expect(failure).toMatchObject({ code, isFatal })
    expect(failure.message).toMatch(`cannot connect to ws://127.0.0.1:${port}/p: `)
  })
})

describe('a link that was lost', () => {
  it('comes back, with its status and what it watches', async () => {
    const first = await startMosquitto()
    const place = { url: `mqtt://127.0.0.1:${first.port}`, topicPrefix: 'tunnel' }
    const pi = openLink({ ...agent, ...place })
    const laptop = openLink({ ...client, ...place })
    pi.link.publishStatus('{"online":true,"streams":0}')
    laptop.link.watchStatus('pi7')
    await laptop.until('status pi7 {"online":true,"streams":0}')
    await first.kill()
    await Promise.all([pi.until(/^down /), laptop.until(/^down /)])
    pi.link.publishStatus('{"online":true,"streams":1}')
    await startMosquitto({ port: first.port })
    await laptop.until('status pi7 {"online":true,"streams":1}')
    await laptop.link.statusComplete(10_000)
    const route = laptop.link.route('pi7', 'ssh', 'laptop')
    const header = { type: 7, flags: 0, stream: 1, offset: 9, acked: 0, limit: 0 } as const
    expect(laptop.link.send(route, header, undefined)).toBe(true)
    await pi.untilFrames(1)
  })

  it.each(['our broker', 'mosquitto'])('has a will, which %s publishes', async (kind) => {
    const port = kind === 'mosquitto' ? (await startMosquitto()).port : (await openBroker()).port
    const relay = await startRelay(port)
    const topicPrefix = kind === 'mosquitto' ? 'tunnel' : '$tunnel'
    const pi = openLink({ ...agent, url: `mqtt://127.0.0.1:${relay.port}`, topicPrefix, random: () => 0.999 })
    pi.link.publishStatus('{"online":true,"services":[]}')
    await pi.until('up')
    const laptop = openLink({ ...client, url: `mqtt://127.0.0.1:${port}`, topicPrefix })
    laptop.link.watchStatus('pi7')
    await laptop.until('status pi7 {"online":true,"services":[]}')
    relay.cut()
    await laptop.until(/^status pi7 \{"online":false/)
    // And then it is back.
    await laptop.until('status pi7 {"online":true,"services":[]}', 2)
  })

  it('again and again is perhaps taken over by another with its name, which is said', async () => {
    const broker = await openBroker()
    const one = openLink({ ...client, url: broker.url })
    const two = openLink({ ...client, url: broker.url })
    await Promise.race(
      [one, two].map((end) => end.until(/is another client with the id 'laptop' connected\?$/)),
    )
    const downs = [...one.downs, ...two.downs].map(({ reason }) => reason)
    expect(downs[0]).not.toContain('another client')
  })

  it('waits longer each time while it does not stand', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url, random: () => 0.01 })
    for (let count = 1; count <= 3; count++) {
      await end.until('up', count)
      ;(await broker.connection(count)).socket.destroy()
      await end.until(/^down /, count)
    }
    const waits = end.downs.map(({ retryInMs }) => retryInMs)
    expect(waits).toEqual(waits.toSorted((a, b) => a - b))
    expect(new Set(waits).size).toBe(3)
  })

  it('half-open, as behind a router that has forgotten it, is noticed and made anew', async () => {
    const broker = await startScriptedBroker({ ...granting, answersPings: false })
    const end = openLink({ ...client, url: broker.url, keepaliveSeconds: 1 })
    await end.until('down nothing came from the broker for 1.5 s')
    await (await broker.connection(2)).until(Packet.subscribe)
    await end.until('up', 2)
  })
})

/** Passes bytes on to a port of this machine, until it is cut. */
async function startRelay(target: number): Promise<{ readonly port: number; cut(): void }> {
  const sockets = new Set<Socket>()
  const relay = createServer((socket) => {
    const onward = openSocket(target, '127.0.0.1')
    for (const one of [socket, onward]) {
      sockets.add(one)
      one.on('error', () => undefined)
    }
    socket.pipe(onward).pipe(socket)
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy()
    sockets.clear()
  }
  onTestFinished(() => {
    relay.close()
    cut()
  })
  return { port: (relay.address() as AddressInfo).port, cut }
}
