import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { WebSocket, type ClientOptions } from 'ws'
import { createCa } from './certificates.ts'
import { counted, dial, openWorld, portOf, read, readAll, type World } from './world.ts'

const ws = { type: 'ws', port: 0 } as const

function open(
  world: World,
  options: ClientOptions & { path?: string; protocols?: string[] } = {},
): WebSocket {
  const { path = '/mqtt', protocols = ['mqtt'], ...rest } = options
  const client = new WebSocket(`ws://127.0.0.1:${portOf(world)}${path}`, protocols, rest)
  client.on('error', () => undefined)
  onTestFinished(() => client.terminate())
  return client
}

async function opened(client: WebSocket): Promise<WebSocket> {
  await once(client, 'open')
  return client
}

/** The HTTP status of a handshake that is refused. */
async function refusedWith(client: WebSocket): Promise<number | undefined> {
  const [, response] = (await once(client, 'unexpected-response')) as [unknown, { statusCode?: number }]
  return response.statusCode
}

async function message(client: WebSocket): Promise<string> {
  const [data] = (await once(client, 'message')) as [Buffer]
  return data.toString()
}

async function closeCode(client: WebSocket): Promise<number> {
  const [code] = (await once(client, 'close')) as [number]
  return code
}

describe('a ws listener', () => {
  it('carries bytes in binary messages, and its peer is the client', async () => {
    const world = await openWorld(ws)
    expect(world.listener.url).toBe(`ws://127.0.0.1:${portOf(world)}/mqtt`)
    const client = await opened(open(world))
    client.send(Buffer.from('hello'))
    expect(await message(client)).toBe('hello')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '127.0.0.1',
      addressSource: 'socket',
      transport: 'ws',
    })
  })

  it.each([
    [['mqtt'], 'mqtt'],
    [['mqttv3.1'], 'mqttv3.1'],
    [['other', 'mqttv3.1', 'mqtt'], 'mqtt'],
  ])('answers the subprotocols %j with %s', async (protocols, chosen) => {
    const world = await openWorld(ws)
    expect((await opened(open(world, { protocols }))).protocol).toBe(chosen)
  })

  it('refuses other subprotocols, paths and origins with a status and a reason', async () => {
    const world = await openWorld({ ...ws, websocket: { allowedOrigins: ['https://app.example'] } })
    expect(await refusedWith(open(world, { protocols: ['chat'] }))).toBe(400)
    expect(await refusedWith(open(world, { protocols: [] }))).toBe(400)
    expect(await refusedWith(open(world, { path: '/other' }))).toBe(404)
    expect(await refusedWith(open(world, { origin: 'https://evil.example' }))).toBe(403)
    expect(world.refusals.map(({ reason, detail }) => `${reason}: ${detail}`)).toEqual([
      "websocket-upgrade: subprotocol 'mqtt' or 'mqttv3.1' is required",
      "websocket-upgrade: subprotocol 'mqtt' or 'mqttv3.1' is required",
      'websocket-upgrade: no such path',
      'websocket-upgrade: origin not allowed',
    ])
    await opened(open(world, { origin: 'https://app.example' }))
    await opened(open(world)) // no browser
  })

  it('does not wait long for one that has broken the protocol and keeps its end open', async () => {
    const world = await openWorld(ws)
    const client = await dial(portOf(world))
    client.write(
      [
        'GET /mqtt HTTP/1.1',
        'Host: localhost',
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Protocol: mqtt',
        '\r\n',
      ].join('\r\n'),
    )
    await world.until(() => world.connections.length === 1)
    client.write(Buffer.of(0x82, 0x01, 0x10)) // not masked: RFC 6455, 5.1
    await world.until(() => world.connections[0]?.closedWith.length === 1)
    expect(world.connections[0]?.closedWith[0]?.message).toContain('MASK must be set')
    // Before the 30 s of ws itself.
  })

  it('closes with 1003 on a text frame [MQTT-6.0.0-1]', async () => {
    const world = await openWorld(ws)
    const client = await opened(open(world))
    client.send('text')
    expect(await closeCode(client)).toBe(1003)
    await world.until(() => world.connections[0]?.closedWith.length === 1)
    expect(world.connections[0]?.closedWith[0]?.message).toContain('binary frames')
    expect(world.connections[0]?.receivedBytes).toBe(0)
  })

  it('closes with 1009 on a message above the payload limit', async () => {
    const world = await openWorld({ ...ws, websocket: { maxPayloadBytes: 1_000 } })
    const client = await opened(open(world))
    client.send(Buffer.alloc(1_001))
    expect(await closeCode(client)).toBe(1009)
    await world.until(() => world.connections[0]?.closedWith.length === 1)
  })

  it('never compresses', async () => {
    const world = await openWorld(ws)
    const client = await opened(open(world, { perMessageDeflate: true }))
    expect(client.extensions).toBe('')
  })

  it('joins small buffers into one message, and sends all before it ends', async () => {
    const world = await openWorld(ws, {
      receive({ transport }) {
        transport.writev([
          Buffer.from('one'),
          Buffer.from('two'),
          Buffer.alloc(100_000, 'x'),
          Buffer.from('end'),
        ])
        transport.end()
      },
    })
    const client = await opened(open(world))
    const messages: string[] = []
    client.on('message', (data: Buffer) => messages.push(data.toString()))
    client.send(Buffer.from('go'))
    expect(await closeCode(client)).toBe(1000)
    expect(messages).toEqual(['onetwo', 'x'.repeat(100_000), 'end'])
    await world.until(() => world.connections[0]?.closedWith.length === 1)
    expect(world.connections[0]?.closedWith).toEqual([undefined])
    await counted(world, 0)
  })

  it('counts what a slow reader has not taken, and tells when it has', async () => {
    const world = await openWorld(ws)
    const client = await opened(open(world))
    client.pause()
    await world.until(() => world.connections.length === 1)
    const seen = world.connections[0]
    const total = 32 * 1_048_576
    for (let i = 0; i < 32; i++) seen?.transport.write(Buffer.alloc(1_048_576))
    expect(seen?.transport.pendingBytes).toBeGreaterThan(1_048_576)
    let gotBytes = 0
    client.on('message', (data: Buffer) => {
      gotBytes += data.length
      world.changed()
    })
    client.resume()
    await world.until(() => gotBytes === total && seen?.drainedCount === 1)
    expect(seen?.transport.pendingBytes).toBe(0)
  })

  it('stops reading while it is paused', async () => {
    const world = await openWorld(ws, { receive: () => undefined })
    const client = await opened(open(world))
    await world.until(() => world.connections.length === 1)
    const seen = world.connections[0]
    seen?.transport.pause()
    const total = 32 * 1_048_576
    for (let i = 0; i < 32; i++) client.send(Buffer.alloc(1_048_576))
    const probe = await opened(open(world))
    probe.send(Buffer.from('x'))
    await world.until(() => world.connections[1]?.receivedBytes === 1)
    expect(client.bufferedAmount).toBeGreaterThan(0)
    seen?.transport.resume()
    await world.until(() => seen?.receivedBytes === total)
  })

  it('answers what is no WebSocket request, and closes', async () => {
    const world = await openWorld(ws)
    const get = await dial(portOf(world))
    get.write('GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(await readAll(get)).toMatch(/^HTTP\/1\.1 426 /)
    const mqtt = await dial(portOf(world))
    mqtt.write('\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00')
    expect(await readAll(mqtt)).toMatch(/^HTTP\/1\.1 400 /)
    const noKey = await dial(portOf(world))
    noKey.write(
      'GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n',
    )
    expect(await readAll(noKey)).toMatch(/^HTTP\/1\.1 400 /)
    expect(world.refusals.map(({ reason }) => reason)).toEqual(Array(3).fill('websocket-upgrade'))
    await counted(world, 0)
  })

  it('puts out a client that drips its request, or says nothing', async () => {
    const world = await openWorld(ws, { bounds: { upgradeTimeoutMs: 50 } })
    const dripping = await dial(portOf(world))
    dripping.write('GET /mqtt HTTP/1.1\r\nHost')
    const silent = await dial(portOf(world))
    await Promise.all([readAll(dripping), readAll(silent)])
    expect(world.refusals.map(({ reason }) => reason)).toEqual(Array(2).fill('websocket-upgrade-timeout'))
  })

  it('puts out the one that waits longest when too many wait, so that a good client still comes in', async () => {
    const world = await openWorld(ws, { bounds: { maxPending: 2 } })
    const silent = await Promise.all([dial(portOf(world)), dial(portOf(world))])
    await opened(open(world))
    await Promise.race(silent.map((socket) => readAll(socket)))
    expect(world.refusals.map(({ reason }) => reason)).toEqual(['pending-limit'])
  })
})

describe('X-Forwarded-For', () => {
  const headers = { 'X-Forwarded-For': '203.0.113.9, 198.51.100.7' }

  it('is believed from a trusted proxy: the right-most untrusted address', async () => {
    const world = await openWorld({ ...ws, trustedProxies: ['127.0.0.0/8'] })
    await opened(open(world, { headers }))
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '198.51.100.7',
      port: 0,
      addressSource: 'x-forwarded-for',
      socketAddress: '127.0.0.1',
    })
  })

  it('is not believed from anyone else', async () => {
    const world = await openWorld({ ...ws, trustedProxies: ['10.0.0.0/8'] })
    await opened(open(world, { headers }))
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '127.0.0.1',
      addressSource: 'socket',
    })
  })

  it('decides whose limits count', async () => {
    const world = await openWorld(
      { ...ws, trustedProxies: ['127.0.0.1'] },
      { limits: { maxConnectionsPerAddress: 1 } },
    )
    await opened(open(world, { headers: { 'X-Forwarded-For': '198.51.100.1' } }))
    await opened(open(world, { headers: { 'X-Forwarded-For': '198.51.100.2' } }))
    expect(await refusedWith(open(world, { headers: { 'X-Forwarded-For': '198.51.100.2' } }))).toBe(503)
    expect(world.refusals).toMatchObject([{ reason: 'address-max-connections', address: '198.51.100.2' }])
  })

  it('is not believed from a client that a PROXY header names', async () => {
    const world = await openWorld({ ...ws, proxyProtocol: 'required', trustedProxies: ['127.0.0.1'] })
    const client = await dial(portOf(world))
    client.write(
      'PROXY TCP4 192.0.2.44 127.0.0.1 4711 80\r\n' +
        'GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n',
    )
    expect((await read(client, 1)).toString()).toMatch(/^HTTP\/1\.1 101 /)
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '192.0.2.44',
      port: 4711,
      addressSource: 'proxy-v1',
    })
  })
})

describe('a wss listener', () => {
  it('carries bytes over TLS, also behind a PROXY header', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tunnelmq-wss-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const ca = await createCa(folder)
    const tls = await ca.issue('server')
    const world = await openWorld({ type: 'wss', port: 0, tls, proxyProtocol: 'required' })
    expect(world.listener.url).toBe(`wss://127.0.0.1:${portOf(world)}/mqtt`)
    const raw = await dial(portOf(world))
    raw.write('PROXY TCP4 192.0.2.45 127.0.0.1 4712 443\r\n')
    const client = new WebSocket('wss://localhost/mqtt', 'mqtt', {
      ca: await readFile(ca.cert),
      socket: raw,
    } as ClientOptions)
    client.on('error', () => undefined)
    onTestFinished(() => client.terminate())
    await opened(client)
    client.send(Buffer.from('hello'))
    expect(await message(client)).toBe('hello')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: '192.0.2.45',
      port: 4712,
      transport: 'wss',
      tls: { serverName: 'localhost' },
    })
    client.close()
    await world.until(() => world.connections[0]?.closedWith.length === 1)
    await counted(world, 0)
  })
})
