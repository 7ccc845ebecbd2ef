import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createAgent } from '../../../src/tunnel/index.ts'
import type { TestBroker } from '../../support/broker.ts'
import {
  connectMqtt,
  connectMqttOver,
  connectRaw,
  eventOf,
  openBroker,
  openRaw,
  temporaryFolder,
} from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { dialPort, echo, openTarget } from '../../support/tunnel-ends.ts'

const refusesConnections = async ({ port }: { readonly port: number }): Promise<void> => {
  await expect(openRaw(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
}

function clientsOf(broker: TestBroker, count: number) {
  return Promise.all(
    Array.from({ length: count }, (_, index) =>
      connectRaw(broker.port, { clientId: `c${index}`, clean: index % 2 === 0 }),
    ),
  )
}

describe('a broker that is drained', () => {
  it('lets nobody in, sends clients away one after the other, and lets them in again on the same port', async () => {
    const broker = await openBroker({ admin: { port: 0, localKey: false } })
    const clients = await clientsOf(broker, 20)
    const state = await broker.operations.drain({ spreadMs: 1_000 })
    expect(state).toMatchObject({ isDraining: true })
    expect(Date.parse(state.startedAt!)).toBeLessThanOrEqual(Date.now())
    await refusesConnections(broker)
    const ready = await fetch(`${broker.adminUrl}/ready`)
    expect(ready.status).toBe(503)
    expect(await ready.json()).toMatchObject({ reasons: ['draining'] })
    expect(await broker.operations.overview()).toMatchObject({ isDraining: true, isReady: false })
    // Not all at once: the last ones are answered while the first ones are gone.
    await clients[0]!.untilClosed()
    expect(await clients.at(-1)!.pingOrClose()).toBe('answered')
    await Promise.all(clients.map((client) => client.untilClosed()))
    await eventOf(broker, 'drained')
    expect(await broker.operations.drainState()).toMatchObject({ isDraining: true, connections: 0 })
    expect(await eventOf(broker, 'client disconnected')).toMatchObject({ reason: 'shutdown' })

    expect(await broker.operations.undrain()).toEqual({ isDraining: false, connections: 0, startedAt: null })
    expect((await fetch(`${broker.adminUrl}/ready`)).status).toBe(200)
    const back = await openRaw(broker.port)
    expect(await back.connect({ clientId: 'c1', clean: false })).toMatchObject({ sessionPresent: true })
    // It stops as ever, also the listener that was opened a second time.
    await broker.stop()
    await back.untilClosed()
    await refusesConnections(broker)
  })

  it('keeps those that were not sent away yet when it is to accept again', async () => {
    const broker = await openBroker()
    const clients = await clientsOf(broker, 10)
    await broker.operations.drain({ spreadMs: 600_000 })
    await clients[0]!.untilClosed()
    await broker.operations.undrain()
    const newcomer = await connectRaw(broker.port, { clientId: 'new', clean: true })
    expect(await newcomer.pingOrClose()).toBe('answered')
    expect(await clients.at(-1)!.pingOrClose()).toBe('answered')
    expect((await broker.operations.drainState()).connections).toBeGreaterThan(1)
    // Twice changes nothing.
    expect(await broker.operations.undrain()).toMatchObject({ isDraining: false })
  })

  it('hurries when it is told to', async () => {
    const broker = await openBroker()
    const clients = await clientsOf(broker, 10)
    const { startedAt } = await broker.operations.drain({ spreadMs: 600_000 })
    const state = await broker.operations.drain({ spreadMs: 0 })
    await Promise.all(clients.map((client) => client.untilClosed()))
    expect(state.startedAt).toBe(startedAt)
  })

  it('goes on draining when its port is somebody else’s by then', async () => {
    const broker = await openBroker()
    await broker.drain(0)
    const squatter = createServer().listen(broker.port, '127.0.0.1')
    await once(squatter, 'listening')
    await expect(broker.undrain()).rejects.toMatchObject({ code: 'TMQ_LISTEN' })
    expect(await broker.operations.drainState()).toMatchObject({ isDraining: true })
    squatter.close()
    await once(squatter, 'close')
    await broker.undrain()
    await connectRaw(broker.port, { clientId: 'c', clean: true })
  })

  it('keeps its bridges, which are no clients: nothing is left when all of those are gone', async () => {
    const other = await openBroker()
    const bridge = { name: 'b', url: other.url, topics: [{ filter: 'out/#' }] }
    const broker = await openBroker({ bridges: [bridge] })
    await eventOf(broker, 'bridge connected')
    const [client] = await clientsOf(broker, 1)
    await broker.drain(0)
    await client!.untilClosed()
    await eventOf(broker, 'drained')
    expect(await broker.operations.drainState()).toMatchObject({ isDraining: true, connections: 0 })
    const told: string[] = []
    other.subscribe('out/#', (topic) => void told.push(topic))
    await broker.publish({ topic: 'out/a', payload: 'x', qos: 1 })
    await eventually(() => told).toEqual(['out/a'])
    expect(broker.events.map(({ msg }) => msg)).not.toContain('bridge has lost its session here')
  })

  it('says that clients are gone that do not come back: wills, and agents', async () => {
    const broker = await openBroker({ session: { willGraceMs: 300 } })
    const told: string[] = []
    broker.subscribe('gone/+', (topic) => void told.push(topic))
    for (const id of ['stays-away', 'comes-back'])
      await connectRaw(broker.port, {
        clientId: id,
        clean: true,
        will: { topic: `gone/${id}`, payload: 'x' },
      })
    const agent = createAgent({ id: 'pi7', url: broker.url, services: { x: { target: '127.0.0.1:1' } } })
    await agent.connected()
    await eventually(async () => (await broker.operations.agents())[0]?.services).toEqual(['x'])
    await broker.drain(0)
    // It would come back.
    await agent.close()
    await broker.undrain()
    await connectRaw(broker.port, { clientId: 'comes-back', clean: true, will: { topic: 'gone/comes-back' } })
    await eventually(() => told).toEqual(['gone/stays-away'])
    await eventually(async () => {
      const status = await broker.operations.retainedMessage('$tunnel/pi7/status')
      return (
        status && (JSON.parse(Buffer.from(status.payload, 'base64').toString()) as { online: boolean }).online
      )
    }).toBe(false)
  })

  it('opens each kind of listener again, with those that are there still', async () => {
    const path = join(await temporaryFolder(), 'mqtt.sock')
    const broker = await openBroker({
      listeners: [
        { type: 'tcp', port: 0, allowAnonymous: true },
        { type: 'ws', port: 0, allowAnonymous: true },
        { type: 'unix', path, allowAnonymous: true },
      ],
    })
    const [tcp, ws] = broker.listeners.map(({ url }) => url) as [string, string]
    const connectAgain = async (round: number): Promise<MqttClient[]> => [
      await connectMqtt(tcp, { clientId: `tcp ${round}` }),
      await connectMqtt(ws, { clientId: `ws ${round}` }),
      await connectMqttOver({ path }, { clientId: `unix ${round}` }),
    ]
    const before = await connectAgain(1)
    await broker.operations.drain({ spreadMs: 600_000 })
    expect(existsSync(path)).toBe(false)
    await broker.undrain()
    const after = await connectAgain(2)
    const listeners = await broker.operations.listeners()
    expect(listeners.map(({ url }) => url)).toEqual(broker.listeners.map(({ url }) => url))
    // One was sent away at once.
    const connections = listeners.reduce((sum, listener) => sum + listener.connections, 0)
    expect(connections).toBe(before.length + after.length - 1)
  })

  it('opens its tunnel ports again as well', async () => {
    const broker = await openBroker({ tunnel: { listen: [{ bind: '127.0.0.1:0', to: 'pi7/echo' }] } })
    const agent = createAgent({
      id: 'pi7',
      url: broker.url,
      services: { echo: { target: await openTarget(echo) } },
    })
    onTestFinished(() => agent.close())
    await agent.connected()
    const { port } = broker.tunnelPorts[0]!
    await broker.drain(0)
    await refusesConnections({ port })
    await broker.undrain()
    await eventually(() => broker.operations.agents()).toMatchObject([{ name: 'pi7', isOnline: true }])
    const socket = await dialPort(port)
    socket.write('hello')
    expect(String(((await once(socket, 'data')) as [Buffer])[0])).toBe('hello')
  })

  it('drains nothing when it stops', async () => {
    const broker = await openBroker()
    await broker.stop()
    await expect(broker.drain(0)).rejects.toMatchObject({ code: 'TMQ_STOPPED' })
    expect(await broker.operations.drainState()).toMatchObject({ isDraining: false })
  })
})
