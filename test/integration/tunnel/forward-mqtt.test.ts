import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createAgent, createTunnelClient, type Agent, type TunnelClient } from '../../../src/tunnel/index.ts'
import { connectRaw, openBroker } from '../../support/broker-world.ts'
import { openCuttingProxy, type CuttingProxy } from '../../support/cutting-proxy.ts'
import { startMosquitto } from '../../support/mosquitto.ts'
import { frames } from '../../support/tunnel-frames.ts'
import { Peer } from '../../support/tunnel-peers.ts'
import { dialPort, digest, digestOf, echo, later, openTarget, textOf } from '../../support/tunnel-ends.ts'

const MIB = 1024 * 1024

interface Place {
  readonly port: number
  readonly topicPrefix?: string
}

const places: Record<string, () => Promise<Place>> = {
  'TunnelMQ, $tunnel/': async () => ({ port: (await openBroker()).port }),
  'TunnelMQ as any broker, tunnel/': async () => ({
    port: (await openBroker()).port,
    topicPrefix: 'tunnel',
  }),
  'mosquitto, tunnel/': async () => ({ port: (await startMosquitto()).port, topicPrefix: 'tunnel' }),
}

interface World {
  readonly agent: Agent
  readonly client: TunnelClient
  readonly agentWay: CuttingProxy
  readonly clientWay: CuttingProxy
}

/** Agent and client, each behind a proxy of its own. */
async function openWorld(place: Place, services: Record<string, string>): Promise<World> {
  const { port, ...prefix } = place
  const agentWay = await openCuttingProxy(port)
  const clientWay = await openCuttingProxy(port)
  const agent = createAgent({
    url: `mqtt://127.0.0.1:${agentWay.port}`,
    ...prefix,
    id: 'pi7',
    services: Object.fromEntries(Object.entries(services).map(([name, target]) => [name, { target }])),
  })
  onTestFinished(() => agent.close())
  await agent.connected()
  const client = createTunnelClient({ url: `mqtt://127.0.0.1:${clientWay.port}`, ...prefix, id: 'laptop' })
  onTestFinished(() => client.close())
  await client.connected()
  return { agent, client, agentWay, clientWay }
}

describe.each(Object.entries(places))('a forward over %s', (_name, open) => {
  it('carries every byte both ways, in order', async () => {
    const { client } = await openWorld(await open(), { echo: await openTarget(echo) })
    const { port } = await client.forward({ to: 'pi7/echo' })
    const socket = await dialPort(port)
    const sent = randomBytes(32 * MIB)
    const received = digestOf(socket)
    socket.end(sent)
    expect(await received).toBe(digest(sent))
  })

  it('goes on after either connection, and both, were cut', async () => {
    const { client, agentWay, clientWay } = await openWorld(await open(), { echo: await openTarget(echo) })
    const { port } = await client.forward({ to: 'pi7/echo' })
    const socket = await dialPort(port)
    const sent = randomBytes(8 * MIB)
    const cuts: (() => void)[] = [
      () => agentWay.cut(),
      () => clientWay.cut(),
      () => {
        agentWay.cut()
        clientWay.cut()
      },
    ]
    let receivedBytes = 0
    let nextCutAt = MIB
    socket.on('data', (bytes: Buffer) => {
      receivedBytes += bytes.length
      if (receivedBytes < nextCutAt) return
      nextCutAt += 2 * MIB
      cuts.shift()?.()
    })
    const received = digestOf(socket)
    socket.end(sent)
    expect(await received).toBe(digest(sent))
    expect(cuts).toEqual([])
  })

  it('lets one stream wait for its reader while another goes on', async () => {
    const flood = later<Socket>()
    const target = await openTarget((socket) => {
      flood.resolve(socket)
      const more = (): void => {
        while (socket.write(Buffer.alloc(65_536)));
      }
      socket.on('drain', more)
      more()
    })
    const { client } = await openWorld(await open(), { flood: target, echo: await openTarget(echo) })
    const unread = await dialPort((await client.forward({ to: 'pi7/flood' })).port)
    unread.pause()
    await flood.promise
    const other = await dialPort((await client.forward({ to: 'pi7/echo' })).port)
    const sent = randomBytes(16 * MIB)
    const received = digestOf(other)
    other.end(sent)
    expect(await received).toBe(digest(sent))
  })

  it('says which agents there are, and which there are not', async () => {
    const { agent, client } = await openWorld(await open(), { echo: await openTarget(echo) })
    expect(await client.agents()).toMatchObject([{ id: 'pi7', online: true, services: ['echo'] }])
    await expect(client.openStream('pi8/echo')).rejects.toMatchObject({
      reset: 'agent-offline',
      isUnknownAgent: true,
    })
    await expect(client.openStream('pi7/none')).rejects.toMatchObject({
      reset: 'unknown-service',
      message: "agent pi7 does not offer 'none'; it offers: echo",
    })
    const gone = later<undefined>()
    client.watchAgents((id, info) => {
      if (id === 'pi7' && info?.online === false) gone.resolve(undefined)
    })
    await agent.close()
    await gone.promise
    await expect(client.openStream('pi7/echo')).rejects.toMatchObject({
      reset: 'agent-offline',
      isUnknownAgent: false,
      message: expect.stringContaining('agent pi7 is offline') as string,
    })
  })

  it('serves a client that came before its agent, as soon as that is there', async () => {
    const place = await open()
    const { port, ...prefix } = place
    const url = `mqtt://127.0.0.1:${port}`
    const client = createTunnelClient({ url, ...prefix, id: 'laptop' })
    onTestFinished(() => client.close())
    await expect(client.openStream('pi7/echo')).rejects.toMatchObject({ reset: 'agent-offline' })
    const online = later<undefined>()
    client.watchAgents((_id, info) => {
      if (info?.online === true) online.resolve(undefined)
    })
    const services = { echo: { target: await openTarget(echo) } }
    const agent = createAgent({ url, ...prefix, id: 'pi7', services })
    onTestFinished(() => agent.close())
    await online.promise
    const stream = await client.openStream('pi7/echo')
    stream.end('hello')
    expect(await textOf(stream)).toBe('hello')
  })
})

it('a stream to an agent that has subscribed, and whose status has not come yet, is opened', async () => {
  const { port } = await openBroker()
  const agent = await new Peer(await connectRaw(port, { clientId: 'pi7' })).serve('pi7')
  const client = createTunnelClient({ url: `mqtt://127.0.0.1:${port}`, id: 'laptop' })
  onTestFinished(() => client.close())
  await client.connected()
  expect(await client.agents()).toEqual([])
  const opened = client.openStream('pi7/ssh')
  const { stream } = await agent.next()
  // Time enough for the client to have looked at statuses.
  await client.agents()
  agent.send('$tunnel/pi7/ssh/laptop/down', frames.accept(stream))
  const { to } = await opened
  expect(to).toBe('pi7/ssh')
})
