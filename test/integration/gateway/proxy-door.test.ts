import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, noOpinion, RefuseReason, type Handler } from '../../../src/hooks/types.ts'
import { createAgent, type Agent } from '../../../src/tunnel/index.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { startPods } from '../../support/broker-pods.ts'
import { eventOf, eventsOf, portOf, temporaryFolder } from '../../support/broker-world.ts'
import { closeCodeOf } from '../../support/tunnel-ends.ts'
import { createCa } from '../listeners/certificates.ts'

/** alice may open everything, bob web alone; `slow` is asked later; nobody is let in without a name. */
let revoked: string | undefined = 'nobody yet'
const rights: Handler = {
  name: 'rights',
  authConnect(session) {
    if (session.username === undefined && session.peer.listener === 'open') return undefined
    if (session.username === undefined) return noOpinion
    if (session.username === 'away') throw new AuthError('away', RefuseReason.unavailable)
    if (session.password?.toString() !== 'word') throw new AuthError('no', RefuseReason.badCredentials)
    return undefined
  },
  authTunnel({ username }, { action, service }) {
    if (action === 'serve' || username === undefined) return undefined
    if (username === 'bob' && service !== 'web') throw new AuthError('web alone')
    if (username === revoked) throw new AuthError('not any more')
    return username === 'slow' ? new Promise((resolve) => setTimeout(resolve, 20)) : undefined
  },
}

const big = randomBytes(8 * 1_048_576)
const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

let broker: TestBroker
let agents: Agent[] = []
let breakOff = (): void => undefined
const servers: Server[] = []

async function listening(server: Server): Promise<string> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

beforeAll(async () => {
  const web = createHttpServer((request, response) => {
    if (request.url === '/big') {
      response.end(big)
      return
    }
    const hash = createHash('sha256')
    request.on('data', (chunk: Buffer) => hash.update(chunk))
    request.on('end', () => {
      const { method, url, headers } = request
      response.end(JSON.stringify({ method, url, headers, body: hash.digest('hex') }))
    })
  })
  // Answers when its client has said that it sends nothing more.
  const whole = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256')
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => hash.update(chunk))
    socket.on('end', () => socket.end(hash.digest('hex')))
  })
  const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
  const closed = createServer()
  // Begins an answer whose end is that of the connection, and breaks off when it hears that much has arrived.
  const broken = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf'))
    breakOff = () => socket.resetAndDestroy()
  })
  const services = {
    web: { target: await listening(web) },
    whole: { target: await listening(whole) },
    echo: { target: await listening(echo) },
    broken: { target: await listening(broken) },
    closed: { target: await listening(closed) },
  }
  closed.close()
  broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', port: 0, name: 'mqtt', allowAnonymous: true },
        {
          type: 'proxy',
          port: 0,
          name: 'proxy',
          proxy: { requestTimeoutMs: 2_000, maxHeaderBytes: 2_048 },
        },
        {
          type: 'proxy',
          port: 0,
          name: 'open',
          proxyProtocol: 'required',
          proxy: { suffix: 'in.example.org', maxStreamsPerUser: 2 },
        },
      ],
      limits: { banFailures: 0, maxConnectionsPerUser: 4 },
      tunnel: { maxStreamsPerClient: 1 },
    },
    { handlers: [rights] },
  )
  agents = ['pi7', 'home.pi8'].map((id) => createAgent({ id, url: broker.url, services }))
  await Promise.all(agents.map((agent) => agent.connected()))
})
afterAll(async () => {
  await Promise.all(agents.map((agent) => agent.close()))
  for (const server of servers) server.close()
  await broker.stop()
})

interface Ran {
  readonly code: number | null
  readonly out: Buffer
  readonly err: string
}

async function run(command: string, args: readonly string[], input?: Buffer): Promise<Ran> {
  const child = spawn(command, args, { env: { PATH: process.env['PATH'] } })
  const out: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const err = text(child.stderr)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out: Buffer.concat(out), err: await err }
}

/** curl, quietly, with a deadline far beyond what it needs. */
const curl = (...args: readonly string[]): Promise<Ran> => run('curl', ['-sS', '--max-time', '30', ...args])
const socks = (user: string, word = 'word'): string =>
  `socks5h://${user}:${word}@127.0.0.1:${portOf(broker, 'proxy')}`
const http = (user: string, word = 'word'): string =>
  `http://${user}:${word}@127.0.0.1:${portOf(broker, 'proxy')}`

/** A connection to the door; what comes is gathered. */
async function dial(
  listener = 'proxy',
): Promise<{ socket: Socket; all: Promise<Buffer>; until: (count: number) => Promise<Buffer> }> {
  const socket = connect({ port: portOf(broker, listener), host: '127.0.0.1', allowHalfOpen: true })
  onTestFinished(() => void socket.destroy())
  let got = Buffer.alloc(0)
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => (got = Buffer.concat([got, chunk])))
  // Its end in order, or a reset; then ours.
  const all = new Promise<Buffer>((resolve) => {
    const over = (): void => {
      socket.end()
      resolve(got)
    }
    socket.once('end', over).once('close', over)
  })
  await once(socket, 'connect')
  return {
    socket,
    all,
    async until(count) {
      while (got.length < count) await once(socket, 'data')
      return got
    },
  }
}

const domain = (host: string, command = 1): Buffer =>
  Buffer.concat([Buffer.of(5, command, 0, 3, host.length), Buffer.from(host), Buffer.of(0, 80)])
const login = (user: string, word: string): Buffer =>
  Buffer.concat([Buffer.of(1, user.length), Buffer.from(user), Buffer.of(word.length), Buffer.from(word)])
const basic = (user: string): string => `Basic ${Buffer.from(`${user}:word`).toString('base64')}`

/** The SOCKS reply to this request of this user, and the connection behind it. */
async function open(
  user: string,
  host: string,
): Promise<{ code: number } & Awaited<ReturnType<typeof dial>>> {
  const { socket, all, until } = await dial()
  socket.write(Buffer.of(5, 1, 2))
  await until(2)
  socket.write(login(user, 'word'))
  await until(4)
  socket.write(domain(host))
  const got = await until(14)
  return { code: got[5]!, socket, all, until }
}

describe('curl', () => {
  it.each([
    ['SOCKS5', () => [socks('alice')]],
    ['CONNECT', () => [http('alice'), '--proxytunnel']],
    ['a plain request', () => [http('alice')]],
    ['SOCKS5, while the handler thinks', () => [socks('slow')]],
  ])('reaches a service by %s, and gets and sends much', async (_way, proxy) => {
    const [url, ...options] = proxy()
    const got = await curl('--proxy', url!, ...options, 'http://web.pi7.tunnel/big')
    expect(got.err).toBe('')
    expect(hashOf(got.out)).toBe(hashOf(big))
    const put = [
      '--proxy',
      url!,
      ...options,
      '-T',
      '-',
      '-H',
      `Content-Length: ${big.length}`,
      '-H',
      'Transfer-Encoding:',
    ]
    const sent = await run('curl', ['-sS', '--max-time', '30', ...put, 'http://web.pi7.tunnel/up?a=b'], big)
    expect(sent.err).toBe('')
    expect(JSON.parse(sent.out.toString())).toMatchObject({
      method: 'PUT',
      url: '/up?a=b',
      body: hashOf(big),
    })
  })

  it('reaches agents whose names have dots, whatever the port', async () => {
    const { out } = await curl('--proxy', socks('alice'), 'http://web.home.pi8.Tunnel:81/x')
    expect(JSON.parse(out.toString())).toMatchObject({ url: '/x' })
  })

  it('shows the service neither the credentials nor what is between it and us', async () => {
    const { out } = await curl(
      '--proxy',
      http('alice'),
      '-H',
      'Connection: x-mine',
      '-H',
      'X-Mine: 1',
      'http://web.pi7.tunnel/',
    )
    const { headers } = JSON.parse(out.toString()) as { headers: Record<string, string> }
    expect(headers).toMatchObject({ host: 'web.pi7.tunnel', connection: 'close' })
    expect(Object.keys(headers).filter((name) => /proxy|mine/.test(name))).toEqual([])
  })

  it.each([
    ['a wrong password', 'alice', 'wrong', 'web.pi7.tunnel', 97, 407],
    ['a handler that is away', 'away', 'word', 'web.pi7.tunnel', 97, 503],
    ['no right', 'bob', 'word', 'echo.pi7.tunnel', 97, 403],
    ['an agent that is not there', 'alice', 'word', 'web.pi9.tunnel', 97, 502],
    ['a service that is not offered', 'alice', 'word', 'mail.pi7.tunnel', 97, 502],
    ['a target that refuses', 'alice', 'word', 'closed.pi7.tunnel', 97, 502],
    ['a name of the Internet', 'alice', 'word', 'example.org', 97, 403],
    ['an address', 'alice', 'word', '127.0.0.1', 97, 403],
    ['a suffix alone', 'alice', 'word', 'pi7.tunnel', 97, 403],
  ])('is told of %s', async (_what, user, word, host, socksExit, status) => {
    const [first, second, third] = await Promise.all([
      curl('--proxy', socks(user, word), `http://${host}/`),
      curl('--proxy', http(user, word), '--proxytunnel', '-w', '%{http_connect}', `http://${host}/`),
      curl('--proxy', http(user, word), '-w', '%{http_code}', '-o', '/dev/null', `http://${host}/`),
    ])
    expect(first.code).toBe(socksExit)
    expect(second.out.toString()).toBe(String(status))
    expect(third.out.toString()).toBe(String(status))
  })

  it('is asked for credentials when it has none', async () => {
    const { out } = await curl(
      '--proxy',
      `http://127.0.0.1:${portOf(broker, 'proxy')}`,
      '-i',
      'http://web.pi7.tunnel/',
    )
    expect(out.toString()).toMatch(/^HTTP\/1.1 407 .*\r\n[^]*Proxy-Authenticate: Basic realm="TunnelMQ"/)
    const bearer = await curl(
      ...['--proxy', `http://127.0.0.1:${portOf(broker, 'proxy')}`],
      ...['--proxytunnel', '--proxy-header', 'Proxy-Authorization: Bearer word'],
      'http://web.pi7.tunnel/',
    )
    // A token is a password without a name.
    expect(JSON.parse(bearer.out.toString())).toMatchObject({ method: 'GET' })
  })
})

describe('nc', () => {
  it('has a stream that ends one way and goes on the other, by SOCKS5 and by CONNECT without credentials', async () => {
    // nc has none to give without a terminal: here the door asks for none, and takes addresses from a proxy.
    const relay = createServer({ allowHalfOpen: true }, (socket) => {
      const door = connect({ port: portOf(broker, 'open'), host: '127.0.0.1', allowHalfOpen: true })
      door.write('PROXY TCP4 192.0.2.7 192.0.2.1 4711 1080\r\n')
      socket
        .on('error', () => undefined)
        .pipe(door)
        .on('error', () => undefined)
        .pipe(socket)
    })
    relay.listen({ port: 0, host: '127.0.0.1' })
    await once(relay, 'listening')
    onTestFinished(() => void relay.close())
    const { port } = relay.address() as AddressInfo
    const words = Buffer.from('a few words')
    for (const protocol of ['5', 'connect']) {
      const to = ['whole.pi7.in.example.org', '1']
      const { out } = await run('nc', ['-N', '-X', protocol, '-x', `127.0.0.1:${port}`, ...to], words)
      expect(out.toString()).toBe(hashOf(words))
    }
    const opened = await eventOf(broker, 'stream opened', { address: '192.0.2.7' })
    expect(opened).toMatchObject({ agent: 'pi7', service: 'whole' })
    expect(String(opened['client'])).toMatch(/^proxy-/)
  })
})

describe('a stream by the proxy door', () => {
  it('whose service breaks off in the middle of its answer does not look like one that has ended', async () => {
    const { socket, until } = await dial()
    const code = closeCodeOf(socket)
    socket.write(`GET http://broken.pi7.tunnel/ HTTP/1.1\r\nProxy-Authorization: ${basic('alice')}\r\n\r\n`)
    expect((await until(42)).toString()).toMatch(/half$/)
    breakOff()
    expect(await code).toBe('ECONNRESET')
    await expect.poll(listed).toEqual([])
  })

  it('is one of its client: seen with its real address, cut by its handle, and gone with the client', async () => {
    const { code, socket, all, until } = await open('alice', 'echo.pi7.tunnel')
    expect(code).toBe(0)
    const [stream] = await listed()
    expect(stream).toMatchObject({ agent: 'pi7', service: 'echo', username: 'alice', address: '127.0.0.1' })
    socket.write('hello')
    await until(19)
    await broker.operations.cutStream(stream!.id)
    expect((await all).subarray(14).toString()).toBe('hello')
    await eventOf(broker, 'stream cut', { client: stream!.client })

    const again = await open('alice', 'echo.pi7.tunnel')
    const [other] = await listed()
    expect(await broker.disconnect(other!.client)).toBe(true)
    await again.all
    await expect.poll(listed).toEqual([])
  })

  it('ends when its right is taken away, and is refused from then on', async () => {
    const { socket, all } = await open('carl', 'echo.pi7.tunnel')
    const before = await open('bob', 'web.pi7.tunnel')
    expect(before.code).toBe(0)
    revoked = 'carl'
    await broker.reload()
    await all
    expect((await open('carl', 'echo.pi7.tunnel')).code).toBe(2)
    expect(socket.destroyed).toBe(true)
    expect(await listed()).toHaveLength(1)
    before.socket.destroy()
    await expect.poll(listed).toEqual([])
  })

  it('is one of so many of its user, or of its address where there is no name', async () => {
    const openFrom = async (address: string): Promise<{ code: number; socket: Socket }> => {
      const { socket, until } = await dial('open')
      socket.write(`PROXY TCP4 ${address} 192.0.2.1 4711 1080\r\n`)
      socket.write(Buffer.concat([Buffer.of(5, 1, 0), domain('echo.pi7.in.example.org')]))
      return { code: (await until(12))[3]!, socket }
    }
    const codeFrom = async (address: string): Promise<number> => {
      const { code, socket } = await openFrom(address)
      if (code !== 0) socket.destroy()
      return code
    }
    const first = await openFrom('192.0.2.8')
    expect([first.code, await codeFrom('192.0.2.8'), await codeFrom('192.0.2.8')]).toEqual([0, 0, 1])
    expect(await codeFrom('192.0.2.9')).toBe(0)
    first.socket.destroy()
    await expect.poll(() => codeFrom('192.0.2.8')).toBe(0)
    for (const { id } of await listed()) await broker.operations.cutStream(id)
    await expect.poll(listed).toEqual([])
  })

  it('takes its client with it: nothing of it is left', async () => {
    await expect.poll(async () => (await broker.operations.overview()).connections).toBe(agents.length)
  })
})

async function listed(): Promise<Awaited<ReturnType<TestBroker['operations']['streams']>>> {
  return await broker.operations.streams()
}

describe('whoever speaks otherwise', () => {
  it.each([
    [
      'an address, in SOCKS5',
      [Buffer.of(5, 1, 2), login('alice', 'word'), Buffer.of(5, 1, 0, 1, 127, 0, 0, 1, 0, 80)],
      '0502010005080001000000000000',
    ],
    [
      'BIND',
      [Buffer.of(5, 1, 2), login('alice', 'word'), domain('web.pi7.tunnel', 2)],
      '0502010005070001000000000000',
    ],
    ['GSSAPI', [Buffer.of(5, 1, 1)], '05ff'],
    [
      'no name, where one is needed',
      [Buffer.of(5, 1, 0), domain('web.pi7.tunnel')],
      '05000502000100000000 0000'.replace(' ', ''),
    ],
    ['a wrong password', [Buffer.of(5, 1, 2), login('alice', 'x')], '05020101'],
    ['SOCKS4', [Buffer.of(4, 1, 0, 80, 127, 0, 0, 1, 0)], '005b000000000000'],
  ])('is answered, and the connection ends: %s', async (_what, sent, answer) => {
    const { socket, all } = await dial()
    // Byte by byte, and all at once: it must make no difference.
    for (const byte of Buffer.concat(sent)) socket.write(Buffer.of(byte))
    expect((await all).toString('hex')).toBe(answer)
    const other = await dial()
    other.socket.write(Buffer.concat(sent))
    expect((await other.all).toString('hex')).toBe(answer)
  })

  it.each([
    ['no HTTP', 'GET / SPDY/3\r\n\r\n', 400],
    ['a path', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['another scheme', 'GET ftp://web.pi7.tunnel/ HTTP/1.1\r\n\r\n', 400],
    ['a name within a URL', 'GET http://alice@web.pi7.tunnel/ HTTP/1.1\r\n\r\n', 400],
    ['a folded header', 'CONNECT web.pi7.tunnel:80 HTTP/1.1\r\nA: b\r\n c\r\n\r\n', 400],
    ['a bare line feed', 'CONNECT web.pi7.tunnel:80 HTTP/1.1\r\nA: b\nProxy-Authorization: x\r\n\r\n', 400],
    ['CONNECT without a port', 'CONNECT web.pi7.tunnel HTTP/1.1\r\n\r\n', 400],
    [
      'two credentials',
      `CONNECT web.pi7.tunnel:80 HTTP/1.1\r\nProxy-Authorization: ${basic('alice')}\r\nproxy-authorization: ${basic('bob')}\r\n\r\n`,
      400,
    ],
    [
      'two lengths',
      'PUT http://web.pi7.tunnel/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      400,
    ],
    ['two requests at once', 'GET http://web.pi7.tunnel/ HTTP/1.1\r\n\r\n'.repeat(2), 400],
    ['chunks', 'PUT http://web.pi7.tunnel/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n', 501],
    ['a head that is too long', `CONNECT web.pi7.tunnel:80 HTTP/1.1\r\nA: ${'b'.repeat(3_000)}`, 431],
    ['a head that does not end', 'CONNECT web.pi7.tunnel:80 HTTP/1.1\r\nA: b', 408],
  ])('is answered, and the connection ends: %s', async (_what, sent, status) => {
    const { socket, all } = await dial()
    socket.write(sent)
    expect((await all).toString()).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*Connection: close\r\n`))
  })

  it('is cut off without an answer when it is no proxy client at all', async () => {
    for (const bytes of [Buffer.of(0x16, 3, 1, 0, 0), Buffer.of(0), Buffer.from(' GET')]) {
      const { socket, all } = await dial()
      socket.write(bytes)
      expect(await all).toHaveLength(0)
    }
    expect(
      eventsOf(broker, 'connection refused', { listener: 'proxy', reason: 'request' }).length,
    ).toBeGreaterThan(3)
  })

  it('has no second request on a connection that was for one, and no credentials go to the service', async () => {
    const { socket, all, until } = await dial()
    const head = `GET http://web.pi7.tunnel/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic('alice')}\r\n\r\n`
    socket.write(head)
    await until(1)
    socket.write(head)
    expect((await all).toString()).not.toContain('"proxy-authorization"')
    await expect.poll(listed).toEqual([])
  })

  it('may send bytes of the stream behind its request at once', async () => {
    const { socket, all } = await dial()
    const words = Buffer.from('early words')
    socket.end(Buffer.concat([Buffer.of(5, 1, 2), login('alice', 'word'), domain('whole.pi7.tunnel'), words]))
    expect((await all).subarray(14).toString()).toBe(hashOf(words))
  })
})

describe('over TLS, with the agent at another pod', () => {
  it('is the same, and an operator at that pod ends it', async () => {
    const ca = await createCa(await temporaryFolder())
    const tls = await ca.issue('localhost')
    const listeners = [
      { type: 'tcp', port: 0, name: 'mqtt', allowAnonymous: true },
      { type: 'proxy', port: 0, name: 'proxy', tls },
    ] as const
    const { pods } = await startPods(2, { listeners: [...listeners] }, [rights])
    const [there, here] = pods as [TestBroker, TestBroker]
    const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
    const agent = createAgent({
      id: 'pi7',
      url: there.url,
      services: { echo: { target: await listening(echo) } },
    })
    onTestFinished(() => agent.close())
    await agent.connected()

    const port = portOf(here, 'proxy')
    const proxy = `https://alice:word@localhost:${port}`
    const far = await curl(
      '--proxy',
      proxy,
      '--proxy-cacert',
      ca.cert,
      '-w',
      '%{http_connect}',
      'https://web.pi9.tunnel/',
    )
    expect(far.out.toString()).toBe('502')
    const socket = connectTls({ port, host: 'localhost', ca: await readFile(ca.cert) })
    onTestFinished(() => void socket.destroy())
    socket.on('error', () => undefined)
    socket.write(`CONNECT echo.pi7.tunnel:7 HTTP/1.1\r\nProxy-Authorization: ${basic('alice')}\r\n\r\nhello`)
    let got = ''
    while (!got.endsWith('hello')) got += String(((await once(socket, 'data')) as [Buffer])[0])
    expect(got).toBe('HTTP/1.1 200 Connection established\r\n\r\nhello')
    const [stream] = await here.operations.streams()
    expect(stream).toMatchObject({ agent: 'pi7', service: 'echo', username: 'alice', address: '127.0.0.1' })
    const code = closeCodeOf(socket)
    expect(await there.disconnect(stream!.client)).toBe(true)
    expect(await code).toBe('ECONNRESET')
    await expect.poll(() => here.operations.streams()).toEqual([])
  })
})
