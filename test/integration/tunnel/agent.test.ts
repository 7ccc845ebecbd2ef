import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readV2 } from '../../../src/listeners/proxy-v2.ts'
import { hiddenReset } from '../../../src/tunnel/endpoint/socket-end.ts'
import { temporaryFolder } from '../../support/broker-world.ts'
import { closeCodeOf, echo, later, openEnds, openTarget, textOf } from '../../support/tunnel-ends.ts'

const MIB = 1024 * 1024

/** A port on which a process listens that is stopped, with its queue full: nobody answers a SYN. */
async function openSilentPort(): Promise<number> {
  const program = `const s=require('net').createServer();s.listen({port:0,host:'127.0.0.1',backlog:1},()=>console.log(s.address().port))`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const sockets: Socket[] = []
  onTestFinished(() => {
    child.kill('SIGKILL')
    for (const socket of sockets) socket.destroy()
  })
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  child.kill('SIGSTOP')
  // The kernel takes the backlog and one more.
  for (let count = 0; count < 2; count++) {
    const socket = connect(Number(line), '127.0.0.1')
    socket.on('error', () => undefined)
    sockets.push(socket)
    await once(socket, 'connect')
  }
  return Number(line)
}

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' ? address!.port : 0
}

describe('an agent', () => {
  it('says that the target refuses', async () => {
    const { client } = openEnds({ x: { target: `127.0.0.1:${await closedPort()}` } })
    await expect(client.openStream('pi7/x')).rejects.toMatchObject({
      reset: 'refused',
      message: 'pi7/x: agent pi7 was refused by the target (the target refused the connection)',
    })
  })

  it('says that a name with two addresses is refused at both', async () => {
    const { client } = openEnds({ x: { target: `localhost:${await closedPort()}` } })
    await expect(client.openStream('pi7/x')).rejects.toMatchObject({ reset: 'refused' })
  })

  it('says that there is no way to the target', async () => {
    const { client } = openEnds({ x: { target: 'unix:/nowhere/at/all.sock' } })
    await expect(client.openStream('pi7/x')).rejects.toMatchObject({
      reset: 'unreachable',
      message: expect.stringContaining('the socket file of the target does not exist') as string,
    })
  })

  it('says that the target does not answer in time', async () => {
    const target = `127.0.0.1:${await openSilentPort()}`
    const { client } = openEnds({ x: { target } }, { agent: { dialTimeoutMs: 200 } })
    await expect(client.openStream('pi7/x')).rejects.toMatchObject({
      reset: 'timeout',
      message: expect.stringContaining('the target did not answer agent pi7') as string,
    })
  })

  it('waits for so many targets at once, and refuses one more', async () => {
    const target = `127.0.0.1:${await openSilentPort()}`
    const { client } = openEnds({ x: { target } }, { agent: { dialTimeoutMs: 1_000, maxDials: 1 } })
    const first = client.openStream('pi7/x')
    const second = client.openStream('pi7/x')
    await expect(second).rejects.toMatchObject({ reset: 'limit' })
    await expect(first).rejects.toMatchObject({ reset: 'timeout' })
  })

  it('connects to a unix socket', async () => {
    const path = join(await temporaryFolder(), 'echo.sock')
    const server = createServer({ allowHalfOpen: true }, echo).listen(path)
    onTestFinished(() => void server.close())
    const { client } = openEnds({ x: { target: `unix:${path}` } })
    const stream = await client.openStream('pi7/x')
    stream.end('through the file')
    expect(await textOf(stream)).toBe('through the file')
  })

  it.each([
    ['127.0.0.1', 'no target', 'TMQ_USAGE'],
    ['a b', '127.0.0.1:1', 'TMQ_USAGE'],
  ])('does not begin with a service %s at %s', (name, target, code) => {
    expect(() => openEnds({ [name]: { target } })).toThrow(expect.objectContaining({ code }))
  })

  it('offers its services once it is connected, and says good-bye', async () => {
    const { agent, links } = openEnds({ ssh: { target: '127.0.0.1:22' } })
    await agent.connected()
    expect(JSON.parse(links.agent.statuses[0]!)).toMatchObject({
      online: true,
      services: ['ssh'],
      protocol: 1,
      version: expect.stringMatching(/^tunnelmq\//) as string,
      streams: 0,
    })
    await agent.close()
    expect(JSON.parse(links.agent.statuses.at(-1)!)).toMatchObject({ online: false })
  })

  it('tells how many streams are open', async () => {
    const { client, links } = openEnds({ echo: { target: await openTarget(echo) } })
    await client.openStream('pi7/echo')
    await client.openStream('pi7/echo')
    const latest = (): unknown => JSON.parse(links.agent.statuses.at(-1)!)
    await expect.poll(latest).toMatchObject({ streams: 2 })
    expect(links.agent.statuses).toHaveLength(2)
  })

  it('resets what is open when it is closed', async () => {
    const { agent, client } = openEnds({ echo: { target: await openTarget(echo) } })
    const stream = await client.openStream('pi7/echo')
    stream.resume()
    const failed = once(stream, 'error')
    await agent.close()
    expect((await failed)[0]).toMatchObject({ reset: 'shutdown' })
  })

  it('resets a target that does not take the rest of a stream that has ended, when it is closed', async () => {
    const accepted = later<Socket>()
    let hasReset = false
    // Has said all that it has to say, and reads nothing.
    const target = await openTarget((socket) => {
      socket.on('error', () => (hasReset = true))
      socket.once('end', () => (hasReset = hiddenReset(socket) !== undefined))
      accepted.resolve(socket.end())
    })
    // More than the kernel takes, and no more than the window.
    const limits = { windowBytes: 16 * MIB, maxWindowBytes: 16 * MIB, totalWindowBytes: 256 * MIB }
    const { agent, client } = openEnds({ x: { target } }, { limits })
    const stream = await client.openStream('pi7/x')
    const atTarget = await accepted.promise
    stream.resume().end(Buffer.alloc(12 * MIB))
    await expect.poll(() => agent.streams, { timeout: 20_000 }).toBe(0)
    await agent.close({ graceMs: 20 })
    let byteCount = 0
    atTarget.on('data', (bytes: Buffer) => (byteCount += bytes.length))
    await once(atTarget, 'close')
    expect(byteCount).toBeLessThan(12 * MIB)
    expect(hasReset).toBe(true)
  })

  it('resets a target that it has dialled, and tells the client that it stops, when it is closed', async () => {
    const reset = later<string | undefined>()
    const target = await openTarget((socket) => void closeCodeOf(socket).then(reset.resolve))
    const { agent, client } = openEnds({ x: { target } })
    await client.connected()
    const opening = client.openStream('pi7/x')
    // Behind the frame of the OPEN, in its turn of the event loop: the agent has not heard of the target yet.
    await new Promise<void>((resolve) => process.nextTick(() => process.nextTick(resolve)))
    await new Promise(setImmediate)
    expect(agent.streams).toBe(1)
    void agent.close({ graceMs: 20 })
    await expect(opening).rejects.toMatchObject({ reset: 'shutdown' })
    expect(await reset.promise).toBe('ECONNRESET')
  })

  it('resets all that is open when it is closed, also what its link cannot take at once', async () => {
    const { agent, client } = openEnds({ x: { target: await openTarget(() => undefined) } })
    // More than the link of this test takes in one turn.
    const streams = await Promise.all(Array.from({ length: 150 }, () => client.openStream('pi7/x')))
    const failures = Promise.all(streams.map((stream) => once(stream, 'error')))
    await agent.close()
    for (const [error] of await failures) expect(error).toMatchObject({ reset: 'shutdown' })
  })

  it('does not say again that it is online when its connection comes back while it stops', async () => {
    const { agent, client, links } = openEnds({ echo: { target: await openTarget(echo) } })
    const stream = await client.openStream('pi7/echo')
    const closed = agent.close({ drainMs: 20_000 })
    links.cut()
    links.heal()
    stream.end()
    await textOf(stream)
    await closed
    expect(JSON.parse(links.agent.statuses.at(-1)!)).toMatchObject({ online: false })
  })

  it('lets streams end by themselves first when it is asked to, and takes no new ones', async () => {
    const { agent, client, links } = openEnds({ echo: { target: await openTarget(echo) } })
    links.client.statusAnswer = 'refused'
    const stream = await client.openStream('pi7/echo')
    const closed = agent.close({ drainMs: 20_000 })
    await expect(client.openStream('pi7/echo')).rejects.toMatchObject({ reset: 'shutdown' })
    stream.end('last words')
    expect(await textOf(stream)).toBe('last words')
    await closed
  })

  it('logs who has opened what, and how much it has carried', async () => {
    const { client, links, agentLog } = openEnds({ echo: { target: await openTarget(echo) } })
    links.client.vouchedPeer = { address: '192.0.2.7', port: 4_711, username: 'ada' }
    const stream = await client.openStream('pi7/echo')
    stream.end('12345')
    await textOf(stream)
    const who = { client: 'laptop', service: 'echo', address: '192.0.2.7', port: 4_711, username: 'ada' }
    const event = (message: string): unknown => agentLog.find((logged) => logged.message === message)
    await expect
      .poll(() => event('tunnel stream ended'))
      .toMatchObject({
        ...who,
        level: 'info',
        end: 'closed',
        sentBytes: 5,
        receivedBytes: 5,
        durationMs: expect.any(Number) as number,
      })
    expect(event('tunnel stream opened')).toMatchObject(who)
  })

  it('logs why a stream was not opened', async () => {
    const { client, agentLog } = openEnds({ x: { target: `127.0.0.1:${await closedPort()}` } })
    await expect(client.openStream('pi7/x')).rejects.toThrow('refused by the target')
    await expect(client.openStream('pi7/y')).rejects.toThrow('does not offer')
    const refused = agentLog.filter(({ message }) => message === 'tunnel stream refused')
    expect(refused).toMatchObject([
      { client: 'laptop', service: 'x', end: 'refused', by: 'this end' },
      { client: 'laptop', service: 'y', reset: 'unknown-service' },
    ])
  })
})

describe('the PROXY header of a service', () => {
  const source = { address: '198.51.100.1', port: 1_111 }
  const peer = { address: '192.0.2.7', port: 4_711 }

  async function headerOf(options: { vouched: boolean; trustSource: boolean }): Promise<unknown> {
    const heard = later<Buffer>()
    const target = await openTarget((socket) => {
      const parts: Buffer[] = []
      socket.on('data', (bytes: Buffer) => parts.push(bytes))
      socket.once('end', () => heard.resolve(Buffer.concat(parts)))
    })
    const { client, links } = openEnds(
      { x: { target, proxyProtocol: 'v2' } },
      { agent: { trustSource: options.trustSource } },
    )
    if (options.vouched) links.client.vouchedPeer = peer
    const stream = await client.openStream('pi7/x', { source })
    stream.end('GET /')
    const reading = readV2(await heard.promise, 536)
    if (reading.kind !== 'header') throw new Error('no header')
    expect((await heard.promise).subarray(reading.headerBytes).toString()).toBe('GET /')
    return reading.header.source
  }

  it('names the client as the broker has seen it', async () => {
    expect(await headerOf({ vouched: true, trustSource: false })).toEqual(peer)
  })

  it('names nobody when no broker has vouched for the client, whatever the client says', async () => {
    expect(await headerOf({ vouched: false, trustSource: false })).toBeUndefined()
  })

  it('names who the client says inside the broker', async () => {
    expect(await headerOf({ vouched: true, trustSource: true })).toEqual(source)
  })
})
