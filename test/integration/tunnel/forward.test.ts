import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { temporaryFolder } from '../../support/broker-world.ts'
import {
  closeCodeOf,
  dialPort,
  digest,
  digestOf,
  echo,
  later,
  openEnds,
  openTarget,
  textOf,
  type Ends,
} from '../../support/tunnel-ends.ts'

const MIB = 1024 * 1024

/** Ends with one service, and a forward to it. */
async function forwardTo(
  serve: (socket: Socket) => void,
  options: Parameters<typeof openEnds>[1] = {},
): Promise<Ends & { port: number }> {
  const ends = openEnds({ x: { target: await openTarget(serve) } }, options)
  const { port } = await ends.client.forward({ to: 'pi7/x' })
  return { ...ends, port: port! }
}

describe('a forwarded connection', () => {
  it('carries every byte both ways, in order', async () => {
    const { port } = await forwardTo(echo)
    const socket = await dialPort(port)
    const sent = randomBytes(32 * MIB)
    const received = digestOf(socket)
    socket.end(sent)
    expect(await received).toBe(digest(sent))
  })

  it('is a thousand connections one after the other, and a hundred at once', async () => {
    const { port, agent, client } = await forwardTo(echo)
    const exchange = async (text: string): Promise<string> => {
      const socket = await dialPort(port)
      socket.end(text)
      return textOf(socket)
    }
    for (let round = 0; round < 10; round++) {
      const texts = Array.from({ length: 100 }, (_, i) => `${round}/${i}`)
      expect(await Promise.all(texts.map(exchange))).toEqual(texts)
    }
    await expect.poll(() => [agent.streams, client.streams]).toEqual([0, 0])
  })

  it('ends one direction and still reads the answer', async () => {
    const { port } = await forwardTo((socket) => {
      void textOf(socket).then((question) => socket.end(`${question}?`))
    })
    const socket = await dialPort(port)
    socket.end('really')
    expect(await textOf(socket)).toBe('really?')
  })

  it('still writes when the target has ended its direction', async () => {
    const heard = later<string>()
    const { port } = await forwardTo((socket) => {
      socket.end('bye')
      void textOf(socket).then(heard.resolve)
    })
    const socket = await dialPort(port)
    expect(await textOf(socket)).toBe('bye')
    socket.end('one more thing')
    expect(await heard.promise).toBe('one more thing')
  })

  it('passes a reset of the local program on to the target', async () => {
    const atTarget = later<string | undefined>()
    const { port } = await forwardTo((socket) => {
      socket.write('hello')
      void closeCodeOf(socket).then(atTarget.resolve)
    })
    const socket = await dialPort(port)
    await once(socket, 'data')
    socket.resetAndDestroy()
    expect(await atTarget.promise).toBe('ECONNRESET')
  })

  it('passes a reset of the target on to the local program', async () => {
    const { port, clientLog } = await forwardTo((socket) => {
      socket.once('data', () => socket.resetAndDestroy())
    })
    const socket = await dialPort(port)
    const code = closeCodeOf(socket)
    socket.write('go')
    expect(await code).toBe('ECONNRESET')
    const ended = clientLog.find(({ message }) => message === 'forward stream ended')
    expect(ended).toMatchObject({ to: 'pi7/x', end: 'reset', by: 'the other end', sentBytes: 2 })
  })

  it('loses nothing that the target has written before it closed', async () => {
    const sent = randomBytes(8 * MIB)
    const { port } = await forwardTo((socket) => {
      socket.resume()
      socket.end(sent)
    })
    const socket = await dialPort(port)
    expect(await digestOf(socket)).toBe(digest(sent))
  })

  it('that nobody reads stops its own sender only, at its window', async () => {
    const window = 262_144
    const flood = later<Socket>()
    const { port, agent } = await forwardTo(
      (socket) => {
        socket.once('data', (first: Buffer) => {
          if (first.toString() !== 'flood') {
            socket.end(first)
            return
          }
          flood.resolve(socket)
          const more = (): void => {
            while (socket.write(Buffer.alloc(65_536)));
          }
          socket.on('drain', more)
          more()
        })
      },
      { limits: { windowBytes: window, maxWindowBytes: window, sendBufferBytes: window } },
    )
    const unread = await dialPort(port)
    unread.pause()
    unread.write('flood')
    const source = await flood.promise
    // The target stands: what it has written waits in its own socket, also after others have had their turn.
    const written = async (): Promise<number> => {
      const other = await dialPort(port)
      other.end('ping')
      expect(await textOf(other)).toBe('ping')
      return source.bytesWritten - source.writableLength
    }
    let before = -1
    for (let now = await written(); now !== before; now = await written()) before = now
    await expect.poll(() => agent.streams).toBe(1)
    const received = unread.bytesRead
    unread.resume()
    await once(source, 'drain')
    expect(unread.bytesRead).toBeGreaterThan(received)
  })

  it('is reset when the target refuses, and the reason is logged', async () => {
    const { client, clientLog } = openEnds({ x: { target: '127.0.0.1:1' } })
    const { port } = await client.forward({ to: 'pi7/x' })
    const socket = connect(port!, '127.0.0.1')
    expect(await closeCodeOf(socket)).toBe('ECONNRESET')
    await expect
      .poll(() => clientLog.filter(({ message }) => message === 'forward failed'))
      .toMatchObject([
        {
          to: 'pi7/x',
          level: 'warn',
          address: '127.0.0.1',
          port: expect.any(Number) as number,
          reset: 'refused',
          reason: expect.stringContaining('refused by the target') as string,
        },
      ])
  })

  it('is reset at once when there is no such agent', async () => {
    const { client, clientLog } = openEnds({})
    const { port } = await client.forward({ to: 'pi8/x' })
    for (let count = 0; count < 2; count++)
      expect(await closeCodeOf(connect(port!, '127.0.0.1'))).toBe('ECONNRESET')
    await expect
      .poll(() => clientLog.filter(({ message }) => message === 'forward failed'))
      .toMatchObject([
        { reset: 'agent-offline', reason: 'there is no agent pi8: it has no status at this broker' },
        { reset: 'agent-offline' },
      ])
  })

  it('names its source to the agent', async () => {
    const { client, links } = openEnds({ x: { target: await openTarget(echo) } })
    const { port } = await client.forward({ to: 'pi7/x' })
    const socket = await dialPort(port)
    const { localPort } = socket
    socket.end('x')
    await textOf(socket)
    expect(links.client.sources).toEqual([{ address: '127.0.0.1', port: localPort }])
  })
})

describe('a forward', () => {
  it('says that its port is in use', async () => {
    const { client } = openEnds({})
    const { port } = await client.forward({ to: 'pi7/x' })
    await expect(client.forward({ to: 'pi7/x', port: port! })).rejects.toMatchObject({
      code: 'TMQ_LISTEN',
      message: `cannot listen on 127.0.0.1:${port}: in use by another process; stop that one, or choose another port or path`,
    })
  })

  it('takes no more connections than it may', async () => {
    const { client } = openEnds({ x: { target: await openTarget(echo) } })
    const { port } = await client.forward({ to: 'pi7/x', maxConnections: 1 })
    const first = await dialPort(port)
    first.write('a')
    await once(first, 'data')
    const second = connect(port!, '127.0.0.1')
    expect(await closeCodeOf(second)).toBe('ECONNRESET')
    first.write('b')
    expect(String((await once(first, 'data'))[0])).toBe('b')
  })

  it('listens on a unix socket, also where a killed process has left one', async () => {
    const path = join(await temporaryFolder(), 'x.sock')
    const { client } = openEnds({ x: { target: await openTarget(echo) } })
    const first = await client.forward({ to: 'pi7/x', path })
    expect(first.path).toBe(path)
    const socket = connect({ path, allowHalfOpen: true })
    socket.end('through the file')
    expect(await textOf(socket)).toBe('through the file')
    await expect(client.forward({ to: 'pi7/x', path })).rejects.toMatchObject({ code: 'TMQ_LISTEN' })
    await first.close()

    await leaveStaleSocket(path)
    expect(existsSync(path)).toBe(true)
    await (await client.forward({ to: 'pi7/x', path })).close()
  })

  it('is closed with its connections, and with its client', async () => {
    const { client, agent } = openEnds({ x: { target: await openTarget(echo) } })
    const forwards = [await client.forward({ to: 'pi7/x' }), await client.forward({ to: 'pi7/x' })]
    const sockets = [await dialPort(forwards[0]!.port), await dialPort(forwards[1]!.port)]
    for (const socket of sockets) {
      socket.write('a')
      await once(socket, 'data')
    }
    const first = closeCodeOf(sockets[0]!)
    await forwards[0]!.close()
    await first
    await expect.poll(() => agent.streams).toBe(1)
    const second = closeCodeOf(sockets[1]!)
    await client.close()
    await second
    await expect(dialPort(forwards[1]!.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await expect.poll(() => agent.streams).toBe(0)
  })
})

/** The file of a socket whose process was killed. */
async function leaveStaleSocket(path: string): Promise<void> {
  const program = `require('net').createServer().listen(${JSON.stringify(path)},()=>console.log('x'))`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
}

describe('the number of connections of a forward', () => {
  it('counts those that are open', async () => {
    const { client } = openEnds({ x: { target: await openTarget(echo) } })
    const forward = await client.forward({ to: 'pi7/x' })
    const socket = await dialPort(forward.port)
    socket.write('a')
    await once(socket, 'data')
    expect(forward.connections).toBe(1)
    socket.destroy()
    await expect.poll(() => forward.connections).toBe(0)
  })
})
