import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import type { IPublishPacket, MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, RefuseReason } from '../../../src/hooks/types.ts'
import { bridgeTo, listenAt, openBridged, shown } from '../../support/bridge-world.ts'
import { startTestBroker } from '../../support/broker.ts'
import {
  connectMqtt,
  eventOf,
  eventsOf,
  openBroker,
  portOf,
  temporaryFolder,
} from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { freePort } from '../../support/mosquitto.ts'
import { createCa } from '../listeners/certificates.ts'

/** What stands before a broker: one that closes a connection that begins with the bridge bit, while it knows none. */
async function startFront(port: number): Promise<{ port: number; knowsBridges: boolean; cut(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    socket.once('data', (connect) => {
      // After the fixed header and the name MQTT.
      if (!front.knowsBridges && connect[8] === 0x84) {
        socket.destroy()
        return
      }
      const behind = createConnection(port, '127.0.0.1')
      for (const one of [socket, behind]) sockets.add(one)
      pipeline(socket, behind, () => {})
      pipeline(behind, socket, () => {})
      behind.write(connect)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const front = {
    port: (server.address() as AddressInfo).port,
    knowsBridges: true,
    cut: () => sockets.forEach((socket) => socket.destroy()),
  }
  onTestFinished(() => {
    front.cut()
    server.close()
  })
  return front
}

const both = [{ filter: '#', direction: 'both' as const, qos: 2 }]

describe('a bridge to another TunnelMQ', () => {
  it.each([
    ['auto', '5'],
    ['3.1.1', '3.1.1+bridge'],
  ] as const)(
    'with protocol %s speaks %s, and carries what crosses both ways once',
    async (protocol, spoken) => {
      const other = await openBroker()
      const broker = await openBridged(bridgeTo(other.port, { topics: both, protocol }))
      expect(await eventOf(broker, 'bridge connected')).toMatchObject({ protocol: spoken })
      const [here, there] = [await listenAt(broker.port, ['#']), await listenAt(other.port, ['#'])]
      for (const qos of [0, 1, 2] as const) {
        await here.publish({ topic: 'a', payload: `here ${qos}`, qos, retain: qos === 1 })
        await there.publish({ topic: 'a', payload: `there ${qos}`, qos })
      }
      await here.publish({ topic: 'end', payload: 'here', qos: 2 })
      await there.publish({ topic: 'end', payload: 'there', qos: 2 })
      const expected = [0, 1, 2].flatMap((qos) => [`a=here ${qos} ${qos}`, `a=there ${qos} ${qos}`])
      expected.push('end=here 2', 'end=there 2')
      for (const client of [here, there]) {
        await eventually(() => client.received.map(shown).toSorted()).toEqual(expected.toSorted())
      }
      const late = await listenAt(other.port, ['a'])
      await eventually(() => late.received.map(shown)).toEqual(['a=here 1 1 retained'])
    },
  )

  it('carries what MQTT 5 says about a message both ways, also when it has waited', async () => {
    const port = await freePort()
    const broker = await openBroker({ bridges: [bridgeTo(port, { topics: both })] })
    const here = await connectMqtt(broker.url, { protocolVersion: 5 })
    const properties = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 1_000,
      contentType: 'text/plain',
      responseTopic: 'answers/1',
      correlationData: Buffer.of(0, 255),
      userProperties: { b: ['2', '1'], a: 'x', ['__proto__']: 'y' },
    }
    await here.publishAsync('out', 'waits', { qos: 1, properties })
    const other = await openBroker({ listeners: [{ type: 'tcp', port, allowAnonymous: true }] })
    const there = await connectMqtt(other.url, { protocolVersion: 5 })
    const gotten = (client: MqttClient): Promise<IPublishPacket> =>
      new Promise((resolve) => client.once('message', (_topic, _payload, packet) => resolve(packet)))
    const out = gotten(there)
    await there.subscribeAsync('#', { qos: 1, nl: true } as const)
    await here.subscribeAsync('#', { qos: 1, nl: true } as const)
    await eventOf(broker, 'bridge connected')
    const came = (await out).properties
    expect(came).toMatchObject({ ...properties, messageExpiryInterval: expect.any(Number) })
    expect(came?.messageExpiryInterval).toBeLessThanOrEqual(1_000)
    const back = gotten(here)
    await there.publishAsync('in', 'back', { qos: 2, properties })
    expect((await back).properties).toMatchObject({
      ...properties,
      messageExpiryInterval: expect.any(Number),
    })
  })

  it('keeps what is published while it is away, in order, within the bounds of its queue; QoS 0 it counts', async () => {
    const port = await freePort()
    const broker = await openBroker({
      bridges: [bridgeTo(port, { topics: [{ filter: '#', qos: 2 }] })],
      session: { queueMaxMessages: 50 },
      admin: { port: 0 },
    })
    const metric = async (name: string): Promise<string[]> =>
      (await (await fetch(`${broker.adminUrl}/metrics`)).text())
        .split('\n')
        .filter((line) => line.startsWith(name))
    const client = await listenAt(broker.port, [])
    for (let i = 0; i < 60; i++)
      await client.publish({ topic: 'a', payload: String(i), qos: ((i % 2) + 1) as 1 | 2 })
    await client.publish({ topic: 'a', payload: 'lost', qos: 0 })
    await client.ping()
    await eventually(() => metric('tunnelmq_bridge_messages_dropped_total')).toContain(
      'tunnelmq_bridge_messages_dropped_total{bridge="other",reason="away"} 1',
    )
    expect(await metric('tunnelmq_bridge_up')).toEqual(['tunnelmq_bridge_up{bridge="other"} 0'])
    expect(await metric('tunnelmq_bridge_queued_messages')).toEqual([
      'tunnelmq_bridge_queued_messages{bridge="other"} 50',
    ])
    expect(await metric('tunnelmq_messages_dropped_total{reason="queue-full"}')).toEqual([
      'tunnelmq_messages_dropped_total{reason="queue-full"} 10',
    ])
    // One line, however often it is tried.
    expect(eventsOf(broker, 'bridge not connected', { level: 'warn' })).toHaveLength(1)

    const other = await openBroker({ listeners: [{ type: 'tcp', port, allowAnonymous: true }] })
    const there = await listenAt(other.port, ['#'])
    await eventOf(broker, 'bridge connected')
    await eventually(() => metric('tunnelmq_bridge_queued_messages')).toEqual([
      'tunnelmq_bridge_queued_messages{bridge="other"} 0',
    ])
    for (const qos of [1, 2]) {
      const numbers = there.received.filter((one) => one.qos === qos).map(({ payload }) => Number(payload))
      expect(numbers.filter((n) => n >= 0)).toEqual(numbers.filter((n) => n >= 0).toSorted((a, b) => a - b))
    }
  })

  it('does not hammer with wrong credentials, and takes a password file that was put right', async () => {
    const folder = await temporaryFolder()
    const passwordFile = join(folder, 'password')
    await writeFile(passwordFile, 'wrong\n')
    const other = await startTestBroker(
      {},
      {
        handlers: [
          {
            name: 'passwords',
            authConnect({ username, password }) {
              if (username !== 'us' || password?.toString() !== 'right')
                throw new AuthError('no', RefuseReason.badCredentials)
            },
          },
        ],
      },
    )
    const broker = await openBroker({
      bridges: [
        bridgeTo(other.port, { username: 'us', passwordFile, reconnectMinMs: 10, reconnectMaxMs: 1_000 }),
      ],
    })
    const refused = await eventOf(broker, 'bridge not connected', { kind: 'credentials' })
    expect(refused['retryMs']).toBeGreaterThanOrEqual(500)
    expect(refused['reason']).toMatch(/bad user ?name or password/i)
    expect(JSON.stringify(broker.events)).not.toContain('wrong')
    await writeFile(passwordFile, 'right\n')
    await eventOf(broker, 'bridge connected')
    await other.stop()
    await eventOf(broker, 'bridge lost')
  })

  it('goes over TLS, and not to somebody with a certificate of another CA', async () => {
    const folder = await temporaryFolder()
    const ca = await createCa(folder)
    const stranger = await createCa(folder, 'stranger')
    const other = await openBroker({
      listeners: [
        { type: 'tls', name: 'tls', port: 0, allowAnonymous: true, tls: await ca.issue('server') },
        { type: 'tcp', port: 0, allowAnonymous: true },
      ],
    })
    const url = `mqtts://localhost:${portOf(other, 'tls')}`
    const topics = [{ filter: 'out/#' }]
    const broker = await openBroker({
      bridges: [
        bridgeTo(0, { name: 'good', url, topics, tls: { ca: ca.cert } }),
        bridgeTo(0, { name: 'bad', url, topics, tls: { ca: stranger.cert } }),
      ],
    })
    await eventOf(broker, 'bridge connected', { bridge: 'good' })
    expect(await eventOf(broker, 'bridge not connected', { bridge: 'bad' })).toMatchObject({
      kind: 'unreachable',
    })
    expect(eventsOf(broker, 'bridge connected', { bridge: 'bad' })).toEqual([])
  })

  it('has a mountpoint, drops what cannot be published here, and takes back what its maps do not say any more', async () => {
    const other = await openBroker()
    const broker = await openBridged(
      bridgeTo(other.port, {
        mountpoint: 'site/',
        topics: [
          { filter: '#', direction: 'in', remotePrefix: 'down/' },
          { filter: 'x', direction: 'out', remotePrefix: 'up/' },
        ],
      }),
    )
    const [here, there] = [await listenAt(broker.port, ['#']), await listenAt(other.port, ['up/#'])]
    await there.publish({ topic: 'down/$SYS/broker', payload: 'no', qos: 1 })
    await there.publish({ topic: 'down/y', payload: 'yes', qos: 1 })
    await here.publish({ topic: 'x', payload: 'not of this mountpoint', qos: 1 })
    await here.publish({ topic: 'site/x', payload: 'of it', qos: 1 })
    await eventually(() => there.received.map(shown)).toEqual(['up/x=of it 1'])
    await eventually(() => here.received.map(shown)).toContain('site/y=yes 1')
    expect(here.received.map(shown)).not.toContain('$SYS/broker=no 1')
  })

  it('is not held up by a message at which the other broker closes the connection', async () => {
    const other = await openBroker({ limits: { maxPacketBytes: 20_000, maxTopicLevels: 4 } })
    const topics = [{ filter: '#', qos: 2 }]
    const broker = await openBridged(bridgeTo(other.port, { topics, reconnectMinMs: 10, protocol: '3.1.1' }))
    const [here, there] = [await listenAt(broker.port, []), await listenAt(other.port, ['#'])]
    await here.publish({ topic: 'large', payload: 'x'.repeat(30_000), qos: 1 })
    await here.publish({ topic: 'a/b/c/d/e', payload: 'deep', qos: 2 })
    for (const qos of [1, 2] as const) await here.publish({ topic: 'small', payload: 'yes', qos })
    await eventually(() => there.received.map(shown)).toEqual(['small=yes 1', 'small=yes 2'])
    const dropped = 'message dropped: the other broker closes the connection whenever it comes'
    expect(eventsOf(broker, dropped).map(({ topic }) => topic)).toEqual(['large', 'a/b/c/d/e'])
  })

  it('asks anew for what crosses both ways when the other broker has learnt the bridge bit', async () => {
    const other = await openBroker()
    const front = await startFront(other.port)
    front.knowsBridges = false
    const broker = await openBridged(bridgeTo(front.port, { topics: both, protocol: '3.1.1' }))
    expect(await eventOf(broker, 'bridge connected')).toMatchObject({ protocol: '3.1.1' })
    front.knowsBridges = true
    front.cut()
    await eventOf(broker, 'bridge connected', { protocol: '3.1.1+bridge' })
    const [here, there] = [await listenAt(broker.port, ['#']), await listenAt(other.port, ['#'])]
    await here.publish({ topic: 'a', payload: 'once', qos: 1 })
    await eventually(() => there.received.map(shown)).toEqual(['a=once 1'])
    await there.publish({ topic: 'end', payload: 'end', qos: 1 })
    await eventually(() => here.received.map(shown)).toEqual(['a=once 1', 'end=end 1'])
  })

  it('does not keep the broker from stopping in order, and comes back after its session was kicked', async () => {
    const other = await openBroker()
    const broker = await startTestBroker({ bridges: [bridgeTo(other.port)] })
    await eventOf(broker, 'bridge connected')
    expect(await broker.disconnect('$bridge/other')).toBe(true)
    await eventOf(broker, 'bridge has lost its session here')
    await eventually(() => eventsOf(broker, 'bridge connected').length).toBe(2)
    await broker.stop()
    expect(eventsOf(broker, 'stop did not finish in time')).toEqual([])
  })
})

it('two brokers that are bridged to each other by two bridges are a loop, which no-local does not end', async () => {
  // What docs/bridge.md says not to do: each bridge takes what the other one has brought for a message of a client.
  const port = await freePort()
  const one = await openBroker({ bridges: [bridgeTo(port, { name: 'a', topics: both })] })
  const two = await openBroker({
    listeners: [{ type: 'tcp', port, allowAnonymous: true }],
    bridges: [bridgeTo(one.port, { name: 'b', topics: both })],
  })
  await eventOf(one, 'bridge connected')
  await eventOf(two, 'bridge connected')
  const here = await listenAt(one.port, ['#'])
  await here.publish({ topic: 'a', payload: 'round and round', qos: 1 })
  await eventually(() => here.received.length).toBeGreaterThan(20)
})
