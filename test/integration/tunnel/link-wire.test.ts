import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer, Socket, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { createSecureContext, createServer as createTlsServer } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { openSocket, type WireTls } from '../../../src/tunnel/link/socket.ts'
import { parseBrokerUrl } from '../../../src/tunnel/link/url.ts'
import { openWebSocket } from '../../../src/tunnel/link/websocket.ts'
import type { Wire, WireEvents } from '../../../src/tunnel/link/wire.ts'
import { createCa } from '../listeners/certificates.ts'
import { temporaryFolder } from '../../support/broker-world.ts'

let folder: string
let files: { cert: Buffer; key: Buffer }
let tls: WireTls

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-wire-'))
  const ca = await createCa(folder)
  const server = await ca.issue('server')
  files = { cert: await readFile(server.cert), key: await readFile(server.key) }
  const secureContext = createSecureContext({ ca: await readFile(ca.cert) })
  tls = { secureContext, servername: undefined, rejectUnauthorized: true }
})
afterAll(() => rm(folder, { recursive: true, force: true }))

type Serve = (stream: Duplex) => void

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

function upgrading(server: Server, serve: Serve): Server {
  const webSockets = new WebSocketServer({ noServer: true })
  return server.on('upgrade', (request, socket: Duplex, head) =>
    webSockets.handleUpgrade(request, socket, head, (webSocket) => serve(createWebSocketStream(webSocket))),
  )
}

/** A server of each kind, by the scheme of its URL; resolves to that. */
const servers: Record<string, (serve: Serve) => Promise<string>> = {
  mqtt: async (serve) => `mqtt://127.0.0.1:${await listen(createServer(serve))}`,
  mqtts: async (serve) => `mqtts://127.0.0.1:${await listen(createTlsServer(files, serve))}`,
  ws: async (serve) => `ws://127.0.0.1:${await listen(upgrading(createHttpServer(), serve))}`,
  wss: async (serve) => `wss://127.0.0.1:${await listen(upgrading(createHttpsServer(files), serve))}`,
  unix: async (serve) => {
    const path = join(await temporaryFolder(), 's')
    const server = createServer(serve)
    server.listen(path)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    return `unix:${path}`
  },
}

function openWire(url: string, events: WireEvents): Wire {
  const address = parseBrokerUrl(url)
  const secure = address.transport === 'tls' || address.transport === 'wss' ? tls : undefined
  return 'url' in address ? openWebSocket(address, secure, events) : openSocket(address, secure, events)
}

const CAP_BYTES = 262_144
const SIZES = [1, 100_000, 30, 32_768, 65_536, 65_537, 2_000, 7]

describe.each(Object.entries(servers))('a wire with %s', (_scheme, open) => {
  it('carries all bytes both ways in order, and says when what waited was taken', async () => {
    const serverHash = createHash('sha256')
    const url = await open((stream) => {
      stream.on('error', () => undefined)
      stream.on('data', (chunk: Buffer) => {
        serverHash.update(chunk)
        if (!stream.write(chunk)) {
          stream.pause()
          stream.once('drain', () => stream.resume())
        }
      })
    })
    const sentHash = createHash('sha256')
    const receivedHash = createHash('sha256')
    let sentBytes = 0
    let receivedBytes = 0
    let round = 0
    let mostPending = 0
    const total = 16_000_000
    await new Promise<void>((resolve, reject) => {
      const fill = (): void => {
        while (sentBytes < total && wire.pendingBytes < CAP_BYTES) {
          const chunks = SIZES.map((size) => Buffer.alloc(size, ++round % 251))
          for (const chunk of chunks) {
            sentHash.update(chunk)
            sentBytes += chunk.length
          }
          wire.write(chunks)
          mostPending = Math.max(mostPending, wire.pendingBytes)
        }
      }
      const wire = openWire(url, {
        opened: fill,
        written: fill,
        data(chunk) {
          receivedHash.update(chunk)
          receivedBytes += chunk.length
          if (sentBytes >= total && receivedBytes === sentBytes) wire.end()
        },
        closed: (error) => (error === undefined ? resolve() : reject(error)),
      })
    })
    const sent = sentHash.digest('hex')
    expect(serverHash.digest('hex')).toBe(sent)
    expect(receivedHash.digest('hex')).toBe(sent)
    expect(mostPending).toBeLessThan(2 * CAP_BYTES + SIZES.reduce((sum, size) => sum + size, 0))
  })

  it('is closed with what it was told to send before, and takes nothing then', async () => {
    let receivedBytes = 0
    let hasEnded: () => void
    const ended = new Promise<void>((resolve) => (hasEnded = resolve))
    const url = await open((stream) => {
      stream.on('data', (chunk: Buffer) => (receivedBytes += chunk.length))
      stream.on('end', () => {
        hasEnded()
        stream.end()
      })
    })
    await new Promise<void>((resolve, reject) => {
      const wire = openWire(url, {
        opened() {
          wire.write(Array.from({ length: 40 }, () => Buffer.alloc(100_000)))
          wire.end()
          wire.write([Buffer.alloc(1)])
        },
        written() {},
        data() {},
        closed: (error) => (error === undefined ? resolve() : reject(error)),
      })
    })
    await ended
    expect(receivedBytes).toBe(4_000_000)
  })

  it('that is destroyed is closed at once, also while it opens', async () => {
    const url = await open((stream) => stream.on('error', () => undefined).resume())
    const told: string[] = []
    await new Promise<void>((resolve) => {
      openWire(url, {
        opened: () => told.push('opened'),
        written() {},
        data() {},
        closed: () => resolve(),
      }).destroy()
    })
    await new Promise<void>((resolve) => {
      const wire = openWire(url, {
        opened() {
          wire.write([Buffer.alloc(10_000_000)])
          wire.destroy()
          wire.write([Buffer.alloc(1)])
        },
        written: () => told.push('written'),
        data() {},
        closed: () => resolve(),
      })
    })
    expect(told).toEqual([])
  })
})

describe.each(['mqtt', 'mqtts', 'ws', 'wss'])('a wire with %s', (scheme) => {
  it("has Nagle's algorithm off", async () => {
    const url = await servers[scheme]!((stream) => stream.on('error', () => undefined).resume())
    const { port } = new URL(url)
    const real = Reflect.get(Socket.prototype, 'setNoDelay')
    let isOff: boolean | undefined
    const spy = vi.spyOn(Socket.prototype, 'setNoDelay')
    onTestFinished(() => spy.mockRestore())
    spy.mockImplementation(function (this: Socket, noDelay) {
      if (this.remotePort === Number(port)) isOff = noDelay ?? true
      return real.call(this, noDelay)
    })
    await new Promise<void>((resolve) => {
      const wire = openWire(url, {
        opened: () => wire.destroy(),
        written() {},
        data() {},
        closed: () => resolve(),
      })
    })
    expect(isOff).toBe(true)
  })
})

describe('a WebSocket', () => {
  it('is closed by a text message, and asks for the subprotocol mqtt', async () => {
    const http = createHttpServer()
    const port = await listen(http)
    const webSockets = new WebSocketServer({ server: http })
    const protocols: string[] = []
    webSockets.on('connection', (webSocket) => {
      protocols.push(webSocket.protocol)
      webSocket.send('text')
    })
    const error = await new Promise<Error | undefined>((resolve) => {
      openWire(`ws://127.0.0.1:${port}`, { opened() {}, written() {}, data() {}, closed: resolve })
    })
    expect(error).toMatchObject({ code: 'TMQ_PROTOCOL', message: expect.stringContaining('text message') })
    expect(protocols).toEqual(['mqtt'])
  })
})
