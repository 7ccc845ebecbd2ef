import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { temporaryFolder } from '../../support/broker-world.ts'
import { runProgram } from '../../support/programs.ts'
import {
  type EndProcess,
  type FaultBroker,
  openTunnelBroker,
  startAgent,
  startForward,
  until,
} from '../../support/tunnel-processes.ts'

const LARGE_BYTES = 12 * 1_048_576

const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex')

interface WebServer {
  readonly target: string
  /** A line for each request: the number of its connection, method and path. */
  readonly requests: readonly string[]
}

/** `GET /large`, `GET /chunked`, and the SHA-256 of whatever is sent to it. */
async function openWebServer(large: Buffer): Promise<WebServer> {
  const connections = new Map<object, number>()
  const requests: string[] = []
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    if (!connections.has(request.socket)) connections.set(request.socket, connections.size + 1)
    requests.push(`${connections.get(request.socket)} ${request.method} ${request.url}`)
    switch (request.url) {
      case '/large':
        response.end(large)
        return
      case '/chunked':
        for (let start = 0; start < large.length; start += 999_983)
          response.write(large.subarray(start, start + 999_983))
        response.end()
        return
      default: {
        const hash = createHash('sha256')
        request.pipe(hash).once('finish', () => response.end(hash.digest('hex')))
      }
    }
  })
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    requests.push('asked to continue')
    response.writeContinue()
    server.emit('request', request, response)
  })
  const sockets = new WebSocketServer({ server, path: '/socket', maxPayload: 4 * 1_048_576 })
  sockets.on('connection', (socket) => {
    socket.on('message', (message, isBinary) => socket.send(message as Buffer, { binary: isBinary }))
    socket.on('close', (code, reason) => requests.push(`socket closed ${code} ${reason.toString()}`))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { target: `127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}

interface WebWorld extends WebServer {
  readonly large: Buffer
  readonly port: number
  readonly broker: FaultBroker
  readonly forward: EndProcess
}

/** The server behind an agent, and a forward to it. */
async function openWebWorld(): Promise<WebWorld> {
  const large = randomBytes(LARGE_BYTES)
  const server = await openWebServer(large)
  const broker = await openTunnelBroker()
  await startAgent(broker, { web: server.target })
  const forward = await startForward(broker, ['web'])
  return { ...server, large, broker, forward, port: forward.ports[0]! }
}

it('curl gets and puts what is large, chunked or announced, on one connection', async () => {
  const { port, large, requests, forward } = await openWebWorld()
  const folder = await temporaryFolder()
  const at = (name: string): string => join(folder, name)
  await writeFile(at('up'), large)
  const url = `http://127.0.0.1:${port}`
  const transfers: readonly (readonly string[])[] = [
    [`${url}/large`, '-o', at('large')],
    [`${url}/chunked`, '-o', at('chunked')],
    // curl asks with `Expect: 100-continue` before it sends so much, if it is told to wait for the answer.
    [
      '-T',
      at('up'),
      '-H',
      'Expect: 100-continue',
      '--expect100-timeout',
      '60',
      `${url}/put`,
      '-o',
      at('put'),
    ],
    ['-T', '-', '-H', 'Transfer-Encoding: chunked', '-H', 'Expect:', `${url}/post`, '-o', at('post')],
    ['-I', `${url}/head`, '-o', at('head')],
  ]
  const words = transfers.flatMap((transfer, index) => [
    ...(index > 0 ? ['--next'] : []),
    ...['-sS', '--fail', '--max-time', '60', ...transfer],
  ])
  await runProgram('curl', words, { input: large })
  const digests = await runProgram('sha256sum', [at('large'), at('chunked')])
  expect(digests.split(/\s+/).filter((word) => word.length === 64)).toEqual([sha256(large), sha256(large)])
  expect(await runProgram('cat', [at('put'), at('post')])).toBe(sha256(large).repeat(2))
  expect(requests).toEqual([
    '1 GET /large',
    '1 GET /chunked',
    'asked to continue',
    '1 PUT /put',
    '1 PUT /post',
    '1 HEAD /head',
  ])
  expect(await forward.logged('forward stream ended')).toMatchObject({ end: 'closed' })
  expect(forward.countOf('forward opened a stream')).toBe(1)
})

it('curl gets many at once, each on its own connection', async () => {
  const { port, large, forward } = await openWebWorld()
  const urls = `http://127.0.0.1:${port}/{${Array.from({ length: 20 }, () => 'large').join(',')}}`
  const all = await runProgram(
    'curl',
    ['-sS', '--parallel', '--parallel-immediate', '-w', '%{size_download}\n'].concat([
      '-o',
      '/dev/null',
      urls,
    ]),
  )
  expect(all).toBe(`${large.length}\n`.repeat(20))
  await until(() => forward.countOf('forward stream ended', { end: 'closed' }) === 20)
})

it('a WebSocket keeps its messages, through a restart of the broker, and its close code', async () => {
  const { port, broker, requests } = await openWebWorld()
  const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`)
  onTestFinished(() => socket.terminate())
  await once(socket, 'open')
  const messages = Array.from({ length: 50 }, (_, index) => randomBytes(index * 20_000))
  const answers: string[] = []
  const all = new Promise<void>((resolve) => {
    socket.on('message', (bytes: Buffer) => {
      answers.push(sha256(bytes))
      if (answers.length === messages.length) resolve()
    })
  })
  for (const message of messages.slice(0, 25)) socket.send(message)
  await once(socket, 'message')
  await broker.kill()
  for (const message of messages.slice(25)) socket.send(message)
  await broker.start()
  await all
  expect(answers).toEqual(messages.map(sha256))
  const pong = once(socket, 'pong')
  socket.ping('still there?')
  expect(String((await pong)[0])).toBe('still there?')
  socket.close(4_001, 'done')
  expect(await once(socket, 'close')).toEqual([4_001, Buffer.from('done')])
  await until(() => requests.includes('socket closed 4001 done'))
})
