import { once } from 'node:events'
import { readFile, rename, stat, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ErrorCode } from '../../../src/errors.ts'
import { dial, openWorld, portOf, read, readAll, temporaryFolder, tidy } from './world.ts'

const tcp = { type: 'tcp', port: 0 } as const

describe('a tcp listener', () => {
  it('hands over a transport that knows its peer, and carries bytes both ways', async () => {
    const world = await openWorld({ ...tcp, name: 'devices' })
    expect(world.listener.url).toBe(`mqtt://127.0.0.1:${portOf(world)}`)
    const client = await dial(portOf(world))
    client.write('hello')
    expect((await read(client, 5)).toString()).toBe('hello')
    expect(world.connections[0]?.transport.peer).toEqual({
      address: '127.0.0.1',
      port: client.localPort,
      addressSource: 'socket',
      socketAddress: '127.0.0.1',
      listener: 'devices',
      transport: 'tcp',
    })
    expect(world.listener.connectionCount).toBe(1)
  })

  it('is named by type and port when it was given no name', async () => {
    const world = await openWorld(tcp)
    expect(world.listener.name).toBe(`tcp-${portOf(world)}`)
  })

  it('keeps the bytes that come before the receiver is attached', async () => {
    const world = await openWorld(tcp, { attach: false })
    const client = await dial(portOf(world))
    client.end('early')
    await world.until(() => world.connections.length === 1)
    const chunks: Buffer[] = []
    await new Promise<void>((resolve) => {
      world.connections[0]?.transport.attach({
        data: (chunk) => chunks.push(chunk),
        drained: () => undefined,
        closed: () => resolve(),
      })
    })
    expect(Buffer.concat(chunks).toString()).toBe('early')
  })

  it('tells that it is closed exactly once, and forgets the connection', async () => {
    const world = await openWorld(tcp)
    const client = await dial(portOf(world))
    await world.until(() => world.connections.length === 1)
    client.resetAndDestroy()
    const seen = world.connections[0]
    await world.until(() => seen?.closedWith.length === 1)
    seen?.transport.destroy()
    seen?.transport.end()
    seen?.transport.write(Buffer.from('late'))
    await world.listener.close()
    expect(seen?.closedWith).toHaveLength(1)
    expect(seen?.closedWith[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(world.listener.connectionCount).toBe(0)
    expect(world.admission.counts().connections).toBe(0)
  })

  it('sends several buffers in order, and tells when a reader that was slow has taken all', async () => {
    const world = await openWorld(tcp)
    const client = await dial(portOf(world))
    client.pause()
    await world.until(() => world.connections.length === 1)
    const seen = world.connections[0]
    const block = Buffer.alloc(1_048_576, 'x')
    const blockCount = 32
    for (let i = 0; i < blockCount; i++)
      seen?.transport.writev([block.subarray(0, 1_000), block.subarray(1_000)])
    expect(seen?.transport.pendingBytes).toBeGreaterThan(block.length)
    const got = await read(client.resume(), blockCount * block.length)
    expect(got.equals(Buffer.alloc(blockCount * block.length, 'x'))).toBe(true)
    await world.until(() => seen?.drainedCount === 1)
    expect(seen?.transport.pendingBytes).toBe(0)
  })

  it('lets TCP push back to the sender while it is paused', async () => {
    const world = await openWorld(tcp, { receive: () => undefined })
    const client = await dial(portOf(world))
    await world.until(() => world.connections.length === 1)
    const seen = world.connections[0]
    seen?.transport.pause()
    // More than the kernels' buffers and Node's hold together.
    const total = 32 * 1_048_576
    let taken = false
    client.write(Buffer.alloc(total), () => (taken = true))
    const probe = await dial(portOf(world)) // by the time of its answer a reader that does not wait would have read
    probe.write('x')
    await world.until(() => world.connections[1]?.receivedBytes === 1)
    expect(taken).toBe(false)
    seen?.transport.resume()
    await world.until(() => seen?.receivedBytes === total)
    expect(taken).toBe(true)
  })

  it('sends what is queued before it ends, also to a client that goes on sending', async () => {
    const world = await openWorld(tcp, {
      receive(seen) {
        seen.transport.write(Buffer.from('bye'))
        seen.transport.end()
      },
    })
    const client = await dial(portOf(world))
    client.write('x'.repeat(100_000))
    expect(await readAll(client)).toBe('bye')
    await world.until(() => world.connections[0]?.closedWith.length === 1)
    expect(world.connections[0]?.closedWith).toEqual([undefined])
  })

  it('destroys a client that does not take its last bytes within the grace', async () => {
    const world = await openWorld(tcp)
    const client = await dial(portOf(world))
    client.pause()
    await world.until(() => world.connections.length === 1)
    const seen = world.connections[0]
    seen?.transport.write(Buffer.alloc(64 * 1_048_576))
    seen?.transport.end(20)
    await world.until(() => seen?.closedWith.length === 1)
    expect(world.listener.connectionCount).toBe(0)
  })

  it('refuses above its own limit and the limit of all, with the reason, and counts back to nothing', async () => {
    const world = await openWorld({ ...tcp, maxConnections: 1 })
    const first = await dial(portOf(world))
    await world.until(() => world.connections.length === 1)
    const second = await dial(portOf(world))
    expect(await readAll(second)).toBe('')
    expect(world.refusals).toMatchObject([{ address: '127.0.0.1', reason: 'listener-max-connections' }])
    first.destroy()
    await world.until(() => world.connections[0]?.closedWith.length === 1)
    expect(world.admission.counts()).toEqual({ connections: 0, addresses: 0, byListener: new Map() })
    const third = await dial(portOf(world))
    third.write('in')
    expect((await read(third, 2)).toString()).toBe('in')
  })

  it('refuses a banned address', async () => {
    const world = await openWorld(tcp, { limits: { banFailures: 1 } })
    world.admission.credentialsRefused('127.0.0.1')
    expect(await readAll(await dial(portOf(world)))).toBe('')
    expect(world.refusals).toMatchObject([{ address: '127.0.0.1', reason: 'banned', transport: 'tcp' }])
  })

  it('keeps its connections and gives its port free when it stops accepting', async () => {
    const world = await openWorld(tcp)
    const client = await dial(portOf(world))
    await world.until(() => world.connections.length === 1)
    await world.listener.stopAccepting()
    const heir = await openWorld({ type: 'tcp', port: portOf(world) })
    client.write('still here')
    expect((await read(client, 10)).toString()).toBe('still here')
    await heir.listener.close()
    await world.listener.close()
    expect(world.connections[0]?.closedWith).toHaveLength(1)
  })
})

describe('a listener that cannot listen', () => {
  it('says which one, where and what to do when the port is in use', async () => {
    const world = await openWorld(tcp)
    await expect(openWorld({ type: 'tcp', name: 'devices', port: portOf(world) })).rejects.toMatchObject({
      code: ErrorCode.listen,
      message: `listener devices (tcp) cannot listen on 127.0.0.1:${portOf(world)}: in use by another process; stop that one, or choose another port`,
    })
  })

  it('says so when no interface has the address', async () => {
    await expect(openWorld({ type: 'tcp', host: '192.0.2.1', port: 0 })).rejects.toThrow(
      'no interface of this machine has that address',
    )
  })

  it('names the entry of trustedProxies that is no CIDR', async () => {
    await expect(openWorld({ ...tcp, trustedProxies: ['10.0.0.0/99'] })).rejects.toMatchObject({
      code: ErrorCode.config,
    })
  })
})

describe('a unix listener', () => {
  it('carries bytes, sets the mode, and removes its socket at the end', async () => {
    const path = join(await temporaryFolder(), 'broker.sock')
    const world = await openWorld({ type: 'unix', path, mode: '600' })
    expect(world.listener.url).toBe(`unix:${path}`)
    expect(world.listener.name).toBe('unix-broker.sock')
    expect(world.listener.port).toBeUndefined()
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const client = connect(path)
    tidy(client)
    client.write('hi')
    expect((await read(client, 2)).toString()).toBe('hi')
    expect(world.connections[0]?.transport.peer).toMatchObject({
      address: 'unix',
      port: 0,
      transport: 'unix',
    })
    await world.listener.close()
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('takes over the socket of a broker that was killed', async () => {
    const path = join(await temporaryFolder(), 'broker.sock')
    // Moving it away and back leaves the file without a listener, as kill -9 does.
    const dead = createServer().listen(path)
    await once(dead, 'listening')
    await rename(path, `${path}.kept`)
    await new Promise((resolve) => dead.close(resolve))
    await rename(`${path}.kept`, path)

    await openWorld({ type: 'unix', path })
    const client = connect(path)
    tidy(client)
    client.write('hi')
    expect((await read(client, 2)).toString()).toBe('hi')
  })

  it('leaves the socket of a living broker, and a file that is no socket, alone', async () => {
    const folder = await temporaryFolder()
    const path = join(folder, 'broker.sock')
    await openWorld({ type: 'unix', path })
    await expect(openWorld({ type: 'unix', path })).rejects.toThrow('in use by another process')
    const client = connect(path)
    tidy(client)
    client.write('hi')
    expect((await read(client, 2)).toString()).toBe('hi')

    const file = join(folder, 'notes.txt')
    await writeFile(file, 'mine')
    await expect(openWorld({ type: 'unix', path: file })).rejects.toThrow('a file that is no socket')
    expect(await readFile(file, 'utf8')).toBe('mine')
  })

  it('names a folder that does not exist', async () => {
    const path = join(await temporaryFolder(), 'missing', 'broker.sock')
    await expect(openWorld({ type: 'unix', path })).rejects.toThrow('the folder does not exist')
  })
})
