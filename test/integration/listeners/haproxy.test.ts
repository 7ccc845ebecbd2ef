import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { bundle, createCa, type CertificateFiles, type TestCa } from './certificates.ts'
import { startHaproxy } from './haproxy.ts'
import { dial, openWorld, portOf, read, tidy, type Seen, type World } from './world.ts'

let folder: string
let ca: TestCa
let server: CertificateFiles

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-haproxy-'))
  ca = await createCa(folder)
  server = await ca.issue('server')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** HAProxy is known to be up by connecting to it, and that connection reaches us too: look for the one that spoke. */
function spoken(world: World): Seen | undefined {
  return world.connections.find((seen) => seen.receivedBytes > 0)
}

async function dialTls(port: number, client?: CertificateFiles): Promise<TLSSocket> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: await readFile(ca.cert),
    ...(client === undefined ? {} : { cert: await readFile(client.cert), key: await readFile(client.key) }),
  })
  tidy(socket)
  await once(socket, 'secureConnect')
  return socket
}

describe.each([
  ['send-proxy', 'proxy-v1'],
  ['send-proxy-v2', 'proxy-v2'],
  ['send-proxy-v2 proxy-v2-options crc32c,unique-id,authority', 'proxy-v2'],
])('a real HAProxy with %s', (option, addressSource) => {
  it.each(['required', 'trusted'] as const)(
    'in front of a tcp listener (%s) tells the client',
    async (proxyProtocol) => {
      const world = await openWorld({ type: 'tcp', port: 0, proxyProtocol, trustedProxies: ['127.0.0.1'] })
      const port = await startHaproxy({ folder, server: `127.0.0.1:${portOf(world)} ${option}` })
      const client = await dial(port)
      client.write('hello')
      expect((await read(client, 5)).toString()).toBe('hello')
      expect(spoken(world)?.transport.peer).toMatchObject({
        address: '127.0.0.1',
        port: client.localPort,
        addressSource,
      })
      expect(world.refusals).toEqual([])
    },
  )

  it('in front of a tls listener tells the client before the handshake', async () => {
    const world = await openWorld({ type: 'tls', port: 0, tls: server, proxyProtocol: 'required' })
    const port = await startHaproxy({ folder, server: `127.0.0.1:${portOf(world)} ${option}` })
    const client = await dialTls(port)
    client.write('hello')
    expect((await read(client, 5)).toString()).toBe('hello')
    expect(spoken(world)?.transport.peer).toMatchObject({
      port: client.localPort,
      addressSource,
      transport: 'tls',
      tls: { serverName: 'localhost' },
    })
  })
})

describe('a real HAProxy', () => {
  it('that ends TLS tells the name on the certificate that it has verified', async () => {
    const sensor = await ca.issue('sensor-9')
    const pem = await bundle(server, join(folder, 'server.pem'))
    const world = await openWorld({ type: 'tcp', port: 0, proxyProtocol: 'required' })
    const port = await startHaproxy({
      folder,
      bind: `ssl crt ${pem} ca-file ${ca.cert} verify required`,
      server: `127.0.0.1:${portOf(world)} send-proxy-v2-ssl-cn`,
    })
    const client = await dialTls(port, sensor)
    client.write('hello')
    expect((await read(client, 5)).toString()).toBe('hello')
    expect(spoken(world)?.transport.peer).toMatchObject({
      port: client.localPort,
      addressSource: 'proxy-v2',
      proxyCertificateName: 'sensor-9',
    })
  })

  it('that lets a bad certificate through gives no name', async () => {
    const stranger = await (await createCa(folder, 'foreign-ca')).issue('admin')
    const pem = await bundle(server, join(folder, 'server.pem'))
    const world = await openWorld({ type: 'tcp', port: 0, proxyProtocol: 'required' })
    const port = await startHaproxy({
      folder,
      bind: `ssl crt ${pem} ca-file ${ca.cert} verify optional crt-ignore-err all ca-ignore-err all`,
      server: `127.0.0.1:${portOf(world)} send-proxy-v2-ssl-cn`,
    })
    const client = await dialTls(port, stranger)
    client.write('hello')
    expect((await read(client, 5)).toString()).toBe('hello')
    expect(spoken(world)?.transport.peer.port).toBe(client.localPort)
    expect(spoken(world)?.transport.peer).not.toHaveProperty('proxyCertificateName')
  })

  it('that only checks the health causes no line', async () => {
    const world = await openWorld({ type: 'tls', port: 0, tls: server, proxyProtocol: 'required' })
    // HAProxy may reset a check before its bytes are read, so only the accepting itself is sure to be seen.
    let accepted = 0
    const count = (): void => void accepted++
    subscribe('net.server.socket', count)
    onTestFinished(() => void unsubscribe('net.server.socket', count))
    await startHaproxy({
      folder,
      server: `127.0.0.1:${portOf(world)} check inter 20ms send-proxy-v2 check-send-proxy`,
    })
    await expect.poll(() => accepted).toBeGreaterThan(5)
    await world.listener.close()
    expect(world.refusals).toEqual([])
  })

  it('that speaks HTTP tells the client of a ws listener in X-Forwarded-For', async () => {
    const world = await openWorld({ type: 'ws', port: 0, trustedProxies: ['127.0.0.0/30'] })
    const port = await startHaproxy({
      folder,
      mode: 'http',
      defaults: ['option forwardfor'],
      server: `127.0.0.1:${portOf(world)} source 127.0.0.2`,
    })
    const client = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, 'mqtt', {
      headers: { 'X-Forwarded-For': '203.0.113.200' },
      localAddress: '127.0.0.77',
    })
    client.on('error', () => undefined)
    onTestFinished(() => client.terminate())
    await once(client, 'open')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '127.0.0.77',
      socketAddress: '127.0.0.2',
      addressSource: 'x-forwarded-for',
    })
  })

  it('that sends a PROXY header in front of HTTP tells the client of a ws listener', async () => {
    const world = await openWorld({
      type: 'ws',
      port: 0,
      proxyProtocol: 'trusted',
      trustedProxies: ['127.0.0.1'],
    })
    const port = await startHaproxy({ folder, server: `127.0.0.1:${portOf(world)} send-proxy-v2` })
    const client = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, 'mqtt', { localAddress: '127.0.0.77' })
    client.on('error', () => undefined)
    onTestFinished(() => client.terminate())
    await once(client, 'open')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '127.0.0.77',
      addressSource: 'proxy-v2',
      transport: 'ws',
    })
  })
})
