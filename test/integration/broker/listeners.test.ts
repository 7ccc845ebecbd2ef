import { once } from 'node:events'
import { mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import mqtt from 'mqtt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Session } from '../../../src/hooks/types.ts'
import { createCa, type CertificateFiles, type TestCa } from '../listeners/certificates.ts'
import {
  connectMqtt,
  connectMqttOver,
  connectRaw,
  eventOf,
  messages,
  openBroker,
  openRaw,
  portOf,
  refusalCode,
  temporaryFolder,
} from '../../support/broker-world.ts'

let folder: string
let ca: TestCa
let server: CertificateFiles

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-listeners-'))
  ca = await createCa(folder)
  server = await ca.issue('server')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('a broker with every kind of listener', () => {
  it('lets clients of all of them talk to each other, and knows who came through which', async () => {
    const sessions: Session[] = []
    const path = join(await temporaryFolder(), 'mqtt.sock')
    const tls = { cert: server.cert, key: server.key }
    const broker = await openBroker(
      {
        listeners: [
          { type: 'tcp', name: 'tcp', port: 0 },
          { type: 'tls', name: 'tls', port: 0, tls },
          { type: 'tls', name: 'mutual', port: 0, tls: { ...tls, clientCa: ca.cert } },
          { type: 'ws', name: 'ws', port: 0 },
          { type: 'wss', name: 'wss', port: 0, tls, websocket: { path: '/other' } },
          { type: 'unix', name: 'unix', path, mode: '600' },
        ],
      },
      { authConnect: (session) => void sessions.push(session) },
    )
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const trust = { ca: await readFile(ca.cert) }
    const leaf = await ca.issue('sensor-1')
    const certificate = { cert: await readFile(leaf.cert), key: await readFile(leaf.key) }
    const clients = [
      await connectMqtt(`mqtt://127.0.0.1:${portOf(broker, 'tcp')}`),
      await connectMqtt(`mqtts://localhost:${portOf(broker, 'tls')}`, trust),
      await connectMqtt(`mqtts://localhost:${portOf(broker, 'mutual')}`, { ...trust, ...certificate }),
      await connectMqtt(`ws://127.0.0.1:${portOf(broker, 'ws')}/mqtt`),
      await connectMqtt(`wss://localhost:${portOf(broker, 'wss')}/other`, trust),
      await connectMqttOver({ path }),
    ]
    expect(sessions.map(({ peer }) => `${peer.listener} ${peer.transport} ${peer.address}`)).toEqual([
      'tcp tcp 127.0.0.1',
      'tls tls 127.0.0.1',
      'mutual tls 127.0.0.1',
      'ws ws 127.0.0.1',
      'wss wss 127.0.0.1',
      'unix unix unix',
    ])
    expect(sessions[1]!.peer).not.toHaveProperty('certificate')
    expect(sessions[2]!.peer.certificate).toMatchObject({ commonName: 'sensor-1' })
    expect(sessions[4]!.peer.tls).toMatchObject({ serverName: 'localhost' })

    const got = clients.map((client) => messages(client, clients.length))
    for (const client of clients) await client.subscribeAsync('hello/#', { qos: 1 })
    for (const [index, client] of clients.entries())
      await client.publishAsync(`hello/${index}`, 'x', { qos: 1 })
    const all = clients.map((_, index) => `hello/${index}=x`)
    expect(await Promise.all(got)).toEqual(clients.map(() => all))
  })
})

describe('each listener', () => {
  it('admits clients without credentials, or does not', async () => {
    const broker = await openBroker({
      listeners: [
        { type: 'tcp', name: 'open', port: 0, allowAnonymous: true },
        { type: 'tcp', name: 'closed', port: 0 },
      ],
    })
    await connectRaw(portOf(broker, 'open'), { clientId: 'c1' })
    expect(await refusalCode(portOf(broker, 'closed'), { clientId: 'c2' })).toBe(5)
    expect(
      await refusalCode(portOf(broker, 'open'), { clientId: 'c3', username: 'ann', password: 'x' }),
    ).toBe(4)
    expect(await eventOf(broker, 'connection refused', { listener: 'closed' })).toMatchObject({
      reason: 'not-authorized',
      client: 'c2',
    })
  })

  it('has its own chain, or the one for all', async () => {
    const broker = await openBroker({
      handlers: [{ type: 'anonymous', allow: true }],
      listeners: [
        { type: 'tcp', name: 'common', port: 0 },
        { type: 'tcp', name: 'own', port: 0, handlers: [{ type: 'anonymous', allow: false }] },
        { type: 'tcp', name: 'none', port: 0, handlers: [] },
      ],
    })
    await connectRaw(portOf(broker, 'common'), { clientId: 'c1' })
    expect(await refusalCode(portOf(broker, 'own'), { clientId: 'c2' })).toBe(5)
    expect(await refusalCode(portOf(broker, 'none'), { clientId: 'c3' })).toBe(5)
  })

  it('serves the versions of MQTT that it is told to', async () => {
    const broker = await openBroker({
      listeners: [
        { type: 'tcp', name: 'new', port: 0, allowAnonymous: true, protocolVersions: ['3.1.1'] },
        { type: 'tcp', name: 'old', port: 0, allowAnonymous: true, protocolVersions: ['3.1'] },
      ],
    })
    const old = { clientId: 'c1', protocol: 'MQIsdp', level: 3 }
    expect(await refusalCode(portOf(broker, 'new'), old)).toBe(1)
    expect(await refusalCode(portOf(broker, 'old'), { clientId: 'c1' })).toBe(1)
    await connectRaw(portOf(broker, 'new'), { clientId: 'c1' })
    await connectRaw(portOf(broker, 'old'), old)
    expect(await eventOf(broker, 'connection refused', { listener: 'new' })).toMatchObject({
      reason: 'protocol-version',
      detail: 'MQTT 3.1 is not served on this listener',
    })
  })

  it('refuses what comes after MQTT 5 in the words of MQTT 5, and says in the log what the client wanted', async () => {
    const broker = await openBroker()
    const client = await openRaw(broker.port)
    // Whatever is behind the protocol level: of a version that we do not speak nothing need be understood. [MQTT-3.1.2-2]
    client.send(Buffer.from([0x10, 15, 0, 4, 0x4d, 0x51, 0x54, 0x54, 6, 2, 0, 60, 0, 0, 2, 0x63, 0x31]))
    expect(await client.next('connack')).toMatchObject({ code: 0x84, sessionPresent: false })
    await client.untilClosed()
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      reason: 'protocol-version',
      detail: 'protocol level 6; this broker speaks 3 (MQTT 3.1), 4 (MQTT 3.1.1) and 5',
    })
  })

  it('tells clients of MQTT 5 in their own words that it does not serve them', async () => {
    const broker = await openBroker({
      listeners: [{ type: 'tcp', port: 0, allowAnonymous: true, protocolVersions: ['3.1', '3.1.1'] }],
    })
    const client = mqtt.connect(broker.url, { protocolVersion: 5, reconnectPeriod: 0 })
    const refused = new Promise((resolve) => client.once('error', resolve))
    // [MQTT-3.1.2-2]
    expect(await refused).toMatchObject({ code: 0x84 })
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      reason: 'protocol-version',
      detail: 'MQTT 5 is not served on this listener',
    })
  })

  it('has its own number of connections', async () => {
    const broker = await openBroker({
      listeners: [
        { type: 'tcp', name: 'small', port: 0, allowAnonymous: true, maxConnections: 1 },
        { type: 'tcp', name: 'large', port: 0, allowAnonymous: true },
      ],
    })
    const only = await connectRaw(portOf(broker, 'small'), { clientId: 'c1' })
    const second = await openRaw(portOf(broker, 'small'))
    await second.untilClosed()
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      listener: 'small',
      reason: 'listener-max-connections',
    })
    await connectRaw(portOf(broker, 'large'), { clientId: 'c2' })
    await only.disconnect()
    await expect
      .poll(async () => {
        const next = await openRaw(portOf(broker, 'small'))
        return next.connect({ clientId: 'c1' }).then(
          ({ code }) => code,
          () => 'closed',
        )
      })
      .toBe(0)
  })
})

describe('a certificate that is replaced', () => {
  const serialOf = async (port: number): Promise<string> => {
    const socket = connectTls({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: await readFile(ca.cert),
    })
    await once(socket, 'secureConnect')
    const { serialNumber } = socket.getPeerCertificate()
    socket.destroy()
    return serialNumber
  }

  it.each(['by itself', 'on reload'])(
    'is shown to new clients %s; those that are connected stay',
    async (when) => {
      const own = await temporaryFolder()
      const next = await createCaLeaf(own)
      const broker = await openBroker({
        listeners: [{ type: 'tls', name: 'tls', port: 0, allowAnonymous: true, tls: next.files }],
      })
      const port = portOf(broker, 'tls')
      const before = await serialOf(port)
      const client = await connectMqtt(`mqtts://localhost:${port}`, { ca: await readFile(ca.cert) })
      await next.replace()
      if (when === 'on reload') await broker.reload()
      await expect.poll(() => serialOf(port)).not.toBe(before)
      await client.publishAsync('still/there', 'x', { qos: 1 })
    },
  )

  async function createCaLeaf(own: string) {
    const files = { cert: join(own, 'server.crt'), key: join(own, 'server.key') }
    const install = async (name: string): Promise<void> => {
      const leaf = await ca.issue(name)
      await rename(leaf.cert, files.cert)
      await rename(leaf.key, files.key)
    }
    await install(`first-${own.slice(-6)}`)
    return { files, replace: () => install(`second-${own.slice(-6)}`) }
  }
})
