import { once } from 'node:events'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Stream } from '../../../src/admin/api/resources.ts'
import { createAgent, createTunnelClient, type Agent, type TunnelClient } from '../../../src/tunnel/index.ts'
import { startPods } from '../../support/broker-pods.ts'
import { eventOf, eventsOf, openBroker } from '../../support/broker-world.ts'
import type { TestBroker } from '../../support/broker.ts'
import { eventually } from '../../support/eventually.ts'
import { closeCodeOf, dialPort, echo, openTarget } from '../../support/tunnel-ends.ts'

async function openAgent(broker: TestBroker, target: string): Promise<Agent> {
  const agent = createAgent({ id: 'pi7', url: broker.url, services: { echo: { target } } })
  onTestFinished(() => agent.close())
  await agent.connected()
  return agent
}

function openClient(broker: TestBroker): TunnelClient {
  const client = createTunnelClient({ id: 'laptop', url: broker.url })
  onTestFinished(() => client.close())
  return client
}

async function only(broker: TestBroker): Promise<Stream> {
  const streams = await broker.operations.streams()
  expect(streams).toHaveLength(1)
  return streams[0]!
}

describe('streams and agents', () => {
  it('are shown with their ends, bytes and times, and a stream that is cut ends at both', async () => {
    const broker = await openBroker()
    let targetClosed: Promise<string | undefined> | undefined
    const target = await openTarget((socket) => {
      targetClosed = closeCodeOf(socket)
      echo(socket)
    })
    await openAgent(broker, target)
    const client = openClient(broker)
    const stream = await client.openStream('pi7/echo')
    stream.write('hello')
    await once(stream, 'data')
    const shown = await only(broker)
    expect(shown).toMatchObject({
      agent: 'pi7',
      service: 'echo',
      mountpoint: '',
      client: 'laptop',
      username: null,
      address: '127.0.0.1',
      state: 'open',
      bytesUp: 5,
      bytesDown: 5,
    })
    expect(shown.id).toMatch(/^[\w-]{16}$/)
    expect((await only(broker)).id).toBe(shown.id)
    expect(Math.abs(Date.parse(shown.openedAt) - Date.now())).toBeLessThan(60_000)
    expect(await broker.operations.agents()).toEqual([
      {
        name: 'pi7',
        mountpoint: '',
        isOnline: true,
        pod: shown.pod,
        client: 'pi7',
        username: null,
        address: '127.0.0.1',
        since: expect.any(String) as string,
        services: ['echo'],
        streams: 1,
        bytesUp: 5,
        bytesDown: 5,
      },
    ])
    expect(await broker.operations.client({ id: 'pi7', mountpoint: '' })).toMatchObject({ serves: 'pi7' })
    expect(await broker.operations.client({ id: 'laptop', mountpoint: '' })).toMatchObject({ serves: null })

    expect(await broker.operations.cutStream('constructor')).toBe(false)
    const failed = once(stream, 'error')
    expect(await broker.operations.cutStream(shown.id)).toBe(true)
    expect((await failed)[0]).toMatchObject({ reset: 'revoked' })
    expect(await targetClosed).toBe('ECONNRESET')
    expect(await broker.operations.cutStream(shown.id)).toBe(false)
    expect(await broker.operations.streams()).toEqual([])
    expect(await eventOf(broker, 'stream cut')).toMatchObject({ agent: 'pi7', client: 'laptop' })
    expect(await eventOf(broker, 'stream ended')).toMatchObject({
      reason: 'revoked',
      detail: 'cut by an operator',
    })
    // Only that one.
    expect((await client.openStream('pi7/echo')).destroyed).toBe(false)
  })

  it('are the broker’s own as well: its ports, and its services', async () => {
    const target = await openTarget(echo)
    const broker = await openBroker({
      tunnel: {
        listen: [{ bind: '127.0.0.1:0', to: 'pi7/echo' }],
        services: { inside: { target } },
      },
    })
    await openAgent(broker, target)
    const socket = await dialPort(broker.tunnelPorts[0]!.port)
    socket.write('x')
    await once(socket, 'data')
    const shown = await only(broker)
    expect(shown).toMatchObject({ agent: 'pi7', address: '127.0.0.1', client: 'broker' })
    const closed = closeCodeOf(socket)
    expect(await broker.operations.cutStream(shown.id)).toBe(true)
    expect(await closed).toBe('ECONNRESET')

    const stream = await openClient(broker).openStream('broker/inside')
    stream.write('x')
    await once(stream, 'data')
    const inside = await only(broker)
    expect(inside).toMatchObject({ agent: 'broker', service: 'inside', client: 'laptop' })
    const failed = once(stream, 'error')
    expect(await broker.operations.cutStream(inside.id)).toBe(true)
    await failed
    const names = (await broker.operations.agents()).map(({ name, isOnline, services }) => ({
      name,
      isOnline,
      services,
    }))
    expect(names).toContainEqual({ name: 'broker', isOnline: true, services: ['inside'] })
  })

  it('are shown offline with what was known of them', async () => {
    const broker = await openBroker({ tunnel: {} })
    const agent = await openAgent(broker, '127.0.0.1:1')
    await eventually(async () => (await broker.operations.agents())[0]?.services).toEqual(['echo'])
    await agent.close()
    await eventually(() => broker.operations.agents()).toMatchObject([
      {
        name: 'pi7',
        isOnline: false,
        pod: null,
        client: null,
        address: null,
        services: ['echo'],
        streams: 0,
      },
    ])
  })

  it('are known to the pod of the client, and cut at both pods', async () => {
    const { pods } = await startPods(2)
    const [a, b] = pods as [TestBroker, TestBroker]
    const target = await openTarget(echo)
    await openAgent(a, target)
    const client = openClient(b)
    const stream = await client.openStream('pi7/echo')
    stream.write('hello')
    await once(stream, 'data')
    expect(await a.operations.streams()).toEqual([])
    const shown = await only(b)
    const [podA, podB] = [(await a.operations.pod()).id, (await b.operations.pod()).id]
    expect(shown).toMatchObject({ pod: podB, bytesUp: 5 })
    for (const pod of [a, b])
      await eventually(() => pod.operations.agents()).toMatchObject([
        { name: 'pi7', isOnline: true, pod: podA, services: ['echo'] },
      ])
    expect((await b.operations.agents())[0]).toMatchObject({ streams: 1, bytesDown: 5 })
    expect((await a.operations.agents())[0]).toMatchObject({ streams: 0 })
    expect(await a.operations.cutStream(shown.id)).toBe(false)
    const failed = once(stream, 'error')
    expect(await b.operations.cutStream(shown.id)).toBe(true)
    await failed
    expect(eventsOf(b, 'stream cut')).toHaveLength(1)
  })
})
