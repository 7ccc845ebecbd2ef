import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, type Handler } from '../../../src/hooks/types.ts'
import { createProxyDecoder } from '../../../src/listeners/proxy-protocol.ts'
import { createTunnelClient, type TunnelClient } from '../../../src/tunnel/index.ts'
import {
  connectMqtt,
  eventOf,
  messages,
  openBroker,
  temporaryFolder,
  type ListenerInput,
} from '../../support/broker-world.ts'
import { dialPort, digest, digestOf, echo, later, openTarget, textOf } from '../../support/tunnel-ends.ts'

/** A client of the library, closed when the test ends. */
async function openClient(url: string, id = 'laptop'): Promise<TunnelClient> {
  const client = createTunnelClient({ id, url })
  onTestFinished(() => client.close())
  await client.connected()
  return client
}

const at = (name: string): ListenerInput => ({
  type: 'tcp',
  host: '127.0.0.1',
  port: 0,
  allowAnonymous: true,
  name,
  mountpoint: `${name}/`,
})

describe('a service of the broker itself', () => {
  it('is reached by a client, with the bytes unchanged both ways', async () => {
    const services = { echo: { target: await openTarget(echo) } }
    const broker = await openBroker({ tunnel: { services } })
    const client = await openClient(broker.url)
    const stream = await client.openStream('broker/echo')
    const bytes = randomBytes(24 * 1_048_576)
    const received = digestOf(stream)
    stream.end(bytes)
    expect(await received).toBe(digest(bytes))
  })

  it('is reached through a port of the same broker', async () => {
    const broker = await openBroker({
      tunnel: {
        services: { echo: { target: await openTarget(echo) } },
        listen: [{ bind: '127.0.0.1:0', to: 'broker/echo' }],
      },
    })
    const sent = Array.from({ length: 8 }, () => randomBytes(2_000_000))
    const received = sent.map(async (bytes) => {
      const socket = await dialPort(broker.tunnelPorts[0]!.port)
      const digested = digestOf(socket)
      socket.end(bytes)
      return await digested
    })
    expect(await Promise.all(received)).toEqual(sent.map(digest))
  })

  it('is told the real address of a client of such a port by PROXY v2', async () => {
    const decoded = later<unknown>()
    const target = await openTarget((socket) =>
      socket.once('data', (bytes) => {
        decoded.resolve(createProxyDecoder().receive(bytes))
        socket.end()
      }),
    )
    const broker = await openBroker({
      tunnel: {
        name: 'gate',
        services: { web: { target, proxyProtocol: 'v2' } },
        listen: [{ bind: '127.0.0.1:0', to: 'gate/web' }],
      },
    })
    const socket = await dialPort(broker.tunnelPorts[0]!.port)
    const source = { address: '127.0.0.1', port: socket.localPort }
    expect(await decoded.promise).toMatchObject({ kind: 'header', header: { version: 2, source } })
  })

  it('refuses what it does not offer, and says when its target refuses', async () => {
    const broker = await openBroker({ tunnel: { services: { closed: { target: '127.0.0.1:1' } } } })
    const client = await openClient(broker.url)
    await expect(client.openStream('broker/closed')).rejects.toMatchObject({ reset: 'refused' })
    await expect(client.openStream('broker/other')).rejects.toMatchObject({ reset: 'unknown-service' })
  })

  it('is opened with the right to it only; ports of the broker need none', async () => {
    const asked: string[] = []
    const handler: Handler = {
      authConnect: () => undefined,
      authTunnel: (session, { action, agent, service }) => {
        asked.push(`${session.id} ${action} ${agent}/${service}`)
        throw new AuthError('not this one')
      },
    }
    const broker = await openBroker(
      {
        listeners: [{ type: 'tcp', host: '127.0.0.1', port: 0, allowAnonymous: true }],
        tunnel: {
          services: { echo: { target: await openTarget(echo) } },
          listen: [{ bind: '127.0.0.1:0', to: 'broker/echo' }],
        },
      },
      handler,
    )
    const bad = await openClient(broker.url, 'bad')
    await expect(bad.openStream('broker/echo')).rejects.toMatchObject({ reset: 'forbidden' })
    const socket = await dialPort(broker.tunnelPorts[0]!.port)
    socket.end('through')
    expect(await textOf(socket)).toBe('through')
    expect(asked).toEqual(['bad open broker/echo'])
  })

  it('is there in its mountpoint, and in no other', async () => {
    const target = await openTarget((socket) => socket.end('from a'))
    const broker = await openBroker({
      listeners: [at('a'), at('b')],
      tunnel: { services: { web: { target, mountpoint: 'a/' } } },
    })
    const [inA, inB] = await Promise.all(broker.listeners.map(({ url }) => openClient(url)))
    const stream = await inA!.openStream('broker/web')
    expect(await textOf(stream)).toBe('from a')
    await expect(inB!.openStream('broker/web')).rejects.toMatchObject({ reset: 'agent-offline' })
    expect((await inA!.agents()).map(({ id }) => id)).toEqual(['broker'])
    expect(await inB!.agents()).toEqual([])
  })
})

describe('the broker as an agent', () => {
  it('has a status, which says that it is gone after a stop', async () => {
    const store = { type: 'embedded', path: join(await temporaryFolder(), 'store') } as const
    const services = { ssh: { target: '127.0.0.1:22' }, web: { target: 'unix:/run/web.sock' } }
    const first = await openBroker({ store, tunnel: { services } })
    const [info] = await (await openClient(first.url)).agents()
    expect(info).toMatchObject({ id: 'broker', online: true, services: ['ssh', 'web'], streams: 0 })
    await first.stop()

    const second = await openBroker({ store })
    const client = await connectMqtt(second.url)
    const status = messages(client, 1)
    await client.subscribeAsync('$tunnel/+/status')
    expect((await status)[0]).toMatch(/^\$tunnel\/broker\/status=\{"online":false/)
  })

  it('has its name to itself: a client of that id has no place in tunnels', async () => {
    const broker = await openBroker({ tunnel: { services: { echo: { target: await openTarget(echo) } } } })
    const thief = await connectMqtt(broker.url, { clientId: 'broker' })
    for (const filter of ['$tunnel/broker/+/+/up', '$tunnel/+/+/broker/down'])
      await expect(thief.subscribeAsync(filter)).rejects.toThrow(/Unspecified error|128/)
    await thief.publishAsync('$tunnel/broker/status', '{"online":false}', { retain: true })
    const client = await openClient(broker.url)
    expect(await client.agents()).toMatchObject([{ id: 'broker', online: true }])
    const stream = await client.openStream('broker/echo')
    stream.end('still here')
    expect(await textOf(stream)).toBe('still here')
  })

  it('ends its streams at a stop, at both ends', async () => {
    const closed = later<void>()
    const target = await openTarget((socket) => {
      socket.pipe(socket)
      socket.once('close', () => closed.resolve())
    })
    const broker = await openBroker({ tunnel: { services: { echo: { target } } } })
    const client = await openClient(broker.url)
    const stream = await client.openStream('broker/echo')
    stream.write('hi')
    await once(stream, 'data')
    const failed = once(stream, 'error')
    await broker.stop()
    expect((await failed)[0]).toMatchObject({ reset: 'shutdown' })
    await closed.promise
    expect(await eventOf(broker, 'stream ended')).toMatchObject({ service: 'echo', reason: 'shutdown' })
  })
})
