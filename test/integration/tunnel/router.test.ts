import { randomBytes } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ConfigInput } from '../../../src/config/schema.ts'
import { AuthError, type Handler, type TunnelRequest } from '../../../src/hooks/types.ts'
import { createSilentLog } from '../../../src/log.ts'
import { createAgent, createTunnelClient } from '../../../src/tunnel/index.ts'
import { createEmbeddedStore } from '../../../src/store/embedded/store.ts'
import {
  connectRaw,
  eventOf,
  eventsOf,
  openBroker,
  portOf,
  refusalCode,
  temporaryFolder,
} from '../../support/broker-world.ts'
import type { TestBroker } from '../../support/broker.ts'
import { digest, digestOf, echo, openTarget } from '../../support/tunnel-ends.ts'
import { message, publish, testLimits } from '../../support/store-fixtures.ts'
import { frames } from '../../support/tunnel-frames.ts'
import {
  DOWN,
  metricOf,
  OPEN_ACL,
  openVictim,
  Peer,
  STRICT_ACL,
  UP,
  VictimStream,
} from '../../support/tunnel-peers.ts'

const connect = async (broker: TestBroker, clientId: string, listener?: string): Promise<Peer> =>
  new Peer(await connectRaw(listener === undefined ? broker.port : portOf(broker, listener), { clientId }))

const agentOf = async (broker: TestBroker, listener?: string): Promise<Peer> =>
  (await connect(broker, 'pi7', listener)).serve('pi7')
const clientOf = async (broker: TestBroker, listener?: string): Promise<Peer> =>
  (await connect(broker, 'laptop', listener)).listen('laptop')

describe('handlers', () => {
  it('are asked with authTunnel, once for serving and once for each stream', async () => {
    const asked: TunnelRequest[] = []
    const own: Handler = {
      name: 'own',
      authConnect: () => undefined,
      authTunnel(session, tunnel) {
        asked.push(tunnel)
        if (tunnel.service === 'web') throw new AuthError(`${session.id} has no web`)
      },
      authPublish: () => {
        throw new AuthError('not asked for tunnels')
      },
      authSubscribe: () => {
        throw new AuthError('not asked for tunnels')
      },
    }
    const broker = await openBroker({}, own)
    const agent = await agentOf(broker)
    const client = await clientOf(broker)
    const stream = await new VictimStream(agent, client).open()
    for (let i = 0; i < 3; i++) await stream.exchange()
    client.send('$tunnel/pi7/web/laptop/up', frames.open(8))
    expect(await client.next()).toMatchObject({ code: 'forbidden', reason: 'no right to this service' })
    expect(asked).toEqual([
      { action: 'serve', agent: 'pi7', service: '+', topic: '$tunnel/pi7/+/+/up' },
      { action: 'open', agent: 'pi7', service: 'ssh', topic: UP },
      { action: 'open', agent: 'pi7', service: 'web', topic: '$tunnel/pi7/web/laptop/up' },
    ])
    expect(await eventOf(broker, 'stream refused')).toMatchObject({ detail: 'laptop has no web' })
  })

  it.each<[string, () => never | Promise<never>]>([
    [
      'throw',
      () => {
        throw new Error('boom')
      },
    ],
    ['reject', () => Promise.reject(new Error('boom'))],
    ['hang', () => new Promise<never>(() => undefined)],
  ])('that %s refuse, and streams that stand go on meanwhile', async (_title, misbehave) => {
    const { mallory, agent, victim, metric } = await openVictim(
      OPEN_ACL,
      { auth: { timeoutMs: 200 } },
      { name: 'own', authTunnel: ({ id }) => (id === 'mallory' ? misbehave() : undefined) },
    )
    expect(await mallory.raw.subscribe(['$tunnel/mallory/+/+/up', 0])).toEqual([0x80])
    await mallory.listen('mallory')
    mallory.send('$tunnel/pi7/ssh/mallory/up', frames.open(1), frames.data(1, 0, 'x'))
    await victim.exchange()
    expect(await mallory.next()).toMatchObject({ type: 'reset', stream: 1, code: 'forbidden' })
    expect(await mallory.rest()).toEqual(['reset 1 unknown-stream'])
    expect(await agent.rest()).toEqual([])
    await victim.exchange()
    expect(await metric('tunnelmq_handler_failures_total', 'authTunnel')).toBe(2)
  })

  it('that take time keep the order of what a client sends, and open nothing for one that has gone', async () => {
    const answers: (() => void)[] = []
    const slow: Handler = {
      authConnect: () => undefined,
      authTunnel: ({ id }) =>
        id === 'laptop' ? new Promise<void>((resolve) => answers.push(resolve)) : undefined,
    }
    const broker = await openBroker({ admin: { enabled: true, port: 0 } }, slow)
    const agent = await agentOf(broker)
    const client = await clientOf(broker)
    client.send(UP, frames.open(1), frames.data(1, 0, 'first'), frames.open(2), frames.data(2, 0, 'second'))
    await expect.poll(() => answers.length).toBe(1)
    answers.shift()!()
    await expect.poll(() => answers.length).toBe(1)
    answers.shift()!()
    const got = [await agent.next(), await agent.next(), await agent.next(), await agent.next()]
    expect(got.map(({ type, stream }) => `${type} ${stream}`)).toEqual([
      'open 1',
      'data 1',
      'open 2',
      'data 2',
    ])
    client.send(UP, frames.open(3))
    await expect.poll(() => answers.length).toBe(1)
    await client.raw.destroy()
    await eventOf(broker, 'client disconnected', { client: 'laptop' })
    const again = await clientOf(broker)
    answers.shift()!()
    expect([await agent.rest(), await again.rest()]).toEqual([[], ['ping 1', 'ping 2']])
    expect(await metricOf(broker, 'tunnelmq_tunnel_streams')).toBe(2)
  })
})

describe('mountpoints', () => {
  const site = (name: string): object => ({
    type: 'tcp',
    port: 0,
    name,
    mountpoint: `${name}/`,
    allowAnonymous: true,
  })
  const sites = {
    listeners: [site('a'), site('b'), { type: 'tcp', port: 0, name: 'all', allowAnonymous: true }],
  } as Partial<ConfigInput>

  it('keep agents and clients of the same names apart, each with streams of its own', async () => {
    const broker = await openBroker(sites)
    const streams: VictimStream[] = []
    for (const name of ['a', 'b', 'all'])
      streams.push(await new VictimStream(await agentOf(broker, name), await clientOf(broker, name)).open())
    for (const stream of streams) await stream.exchange()
    await streams[0]!.agent.raw.destroy()
    await eventOf(broker, 'client disconnected')
    streams[0]!.client.send(UP, frames.open(8))
    expect(await streams[0]!.client.next()).toMatchObject({ code: 'agent-offline' })
    for (const stream of streams.slice(1)) await stream.exchange()
  })

  it('keep statuses apart, also of agents that are gone', async () => {
    const broker = await openBroker(sites)
    const statuses = async (peer: Peer): Promise<string[]> => {
      await peer.raw.subscribe(['$tunnel/+/status', 0])
      await peer.raw.ping()
      return peer.raw.waitingMessages.map(({ topic, payload }) => {
        const { online, host } = JSON.parse(payload.toString()) as { online: boolean; host: string }
        return `${topic} ${host} ${online}`
      })
    }
    for (const name of ['a', 'b']) {
      const agent = await agentOf(broker, name)
      const payload = JSON.stringify({ online: true, services: [], host: `of ${name}` })
      await agent.raw.publish({ topic: '$tunnel/pi7/status', payload, qos: 1, retain: true })
      if (name === 'b') await agent.raw.destroy()
    }
    await eventOf(broker, 'client disconnected')
    expect(await statuses(await clientOf(broker, 'a'))).toEqual(['$tunnel/pi7/status of a true'])
    expect(await statuses(await clientOf(broker, 'b'))).toEqual(['$tunnel/pi7/status of b false'])
    expect(await statuses(await clientOf(broker, 'all'))).toEqual([])
  })

  it('have rights by the topics that their clients see', async () => {
    const { broker } = await openVictim(STRICT_ACL, {
      listeners: [{ type: 'tcp', port: 0, mountpoint: 'site-a/' }],
    })
    expect(await eventOf(broker, 'stream opened')).toMatchObject({
      agent: 'pi7',
      client: 'laptop',
      service: 'ssh',
    })
  })
})

describe('a broker that was restarted', () => {
  const orders = [
    ['agent', 'client'],
    ['client', 'agent'],
  ] as const

  it.each(orders)('lets a stream go on when the %s comes back first, then the %s', async (first) => {
    const before = await openBroker()
    const old = await new VictimStream(await agentOf(before), await clientOf(before)).open()
    await old.exchange()
    await before.stop()
    const broker = await openBroker({ admin: { enabled: true, port: 0 } })
    const resumed = { offset: 600, acked: 600, limit: 600 + 1_048_576 }
    const back = {
      agent: async (): Promise<Peer> => {
        const agent = await agentOf(broker)
        agent.send(DOWN, frames.resume(7, resumed))
        return agent
      },
      client: async (): Promise<Peer> => {
        const client = await clientOf(broker)
        client.send(UP, frames.resume(7, resumed))
        return client
      },
    }
    const ends: Partial<Record<'agent' | 'client', Peer>> = {}
    ends[first] = await back[first]()
    await ends[first].raw.ping()
    const second = first === 'agent' ? 'client' : 'agent'
    ends[second] = await back[second]()
    const { agent, client } = ends as Record<'agent' | 'client', Peer>
    // Each answers what it has heard; nothing of it is a RESET.
    const heard = [...(await client.rest()), ...(await agent.rest()), ...(await client.rest())]
    expect(heard.filter((line) => line !== 'resume 7' && line !== 'ping 7')).toEqual([])
    expect(heard).toContain('resume 7')
    agent.send(DOWN, frames.ack(7, resumed))
    expect(await client.next()).toMatchObject({ type: 'ack', acked: 600 })
    const bytes = randomBytes(100).toString('hex')
    client.send(UP, frames.data(7, 600, bytes, resumed))
    expect(await agent.next()).toMatchObject({ type: 'data', offset: 600, payload: bytes })
    agent.send(DOWN, frames.data(7, 600, bytes, { ...resumed, acked: 800 }))
    expect(await client.next()).toMatchObject({ type: 'data', offset: 600, payload: bytes })
    expect(await metricOf(broker, 'tunnelmq_tunnel_streams')).toBe(1)
    expect(await eventOf(broker, 'stream resumed')).toMatchObject({
      agent: 'pi7',
      client: 'laptop',
      stream: 7,
    })
  })

  it('asks for the right to a stream again', async () => {
    const handler: Handler = {
      authConnect: () => undefined,
      authTunnel(_session, { action }) {
        if (action === 'open') throw new AuthError('not any more')
      },
    }
    const broker = await openBroker({}, handler)
    const agent = await agentOf(broker)
    const client = await clientOf(broker)
    client.send(UP, frames.resume(7, { acked: 600 }), frames.data(7, 600, 'x'))
    expect(await client.rest()).toEqual(['reset 7 forbidden', 'reset 7 unknown-stream'])
    expect(await agent.rest()).toEqual([])
  })

  const BOTH = [
    { type: 'tcp', port: 0, name: 'all', allowAnonymous: true },
    { type: 'tcp', port: 0, name: 'a', allowAnonymous: true, mountpoint: 'site-a/' },
  ] as const

  /** A store as a broker that was killed has left it, with `pi7` online in both mountpoints. */
  async function storeWithAgents(): Promise<string> {
    const path = await temporaryFolder()
    const store = createEmbeddedStore({
      path,
      sync: false,
      cacheBytes: 1_000_000,
      limits: testLimits,
      log: createSilentLog(),
    })
    await store.open()
    const status = '{"online":true,"services":["ssh"],"host":"h"}'
    for (const topic of ['$tunnel/pi7/status', '$tunnel/site-a//pi7/status'])
      await publish(store, { message: message(topic, status), retain: true })
    await store.close()
    return path
  }

  it('corrects the statuses of agents that are not back in time, in each mountpoint', async () => {
    const path = await storeWithAgents()
    const session = { willGraceMs: 1 }
    const broker = await openBroker({ store: { type: 'embedded', path }, session, listeners: [...BOTH] })
    for (const listener of ['all', 'a']) {
      const reader = await connect(broker, 'reader', listener)
      await reader.raw.subscribe(['$tunnel/+/status', 0])
      let status: { online: boolean }
      do {
        const { topic, payload } = await reader.raw.next('publish')
        expect(topic).toBe('$tunnel/pi7/status')
        status = JSON.parse(payload.toString()) as { online: boolean }
      } while (status.online)
      expect(status).toMatchObject({ online: false, services: ['ssh'], host: 'h' })
      expect(await reader.rest()).toEqual([])
    }
    const client = await clientOf(broker)
    client.send(UP, frames.open(1))
    expect(await client.next()).toMatchObject({ code: 'agent-offline' })
  })

  it('expects agents back: their status stays, and an OPEN to them waits until they are there', async () => {
    const path = await storeWithAgents()
    const broker = await openBroker({ store: { type: 'embedded', path }, listeners: [...BOTH] })
    const reader = await connect(broker, 'reader')
    await reader.raw.subscribe(['$tunnel/+/status', 0])
    expect(JSON.parse((await reader.raw.next('publish')).payload.toString())).toMatchObject({ online: true })
    const client = await clientOf(broker)
    client.send(UP, frames.open(1))
    expect(await client.rest()).toEqual([])
    const agent = await agentOf(broker)
    client.send(UP, frames.open(1))
    expect(await agent.next()).toMatchObject({ type: 'open', stream: 1 })
    await agent.raw.destroy()
    await eventOf(broker, 'client disconnected', { client: 'pi7' })
    client.send(UP, frames.open(2))
    expect(await client.next()).toMatchObject({ stream: 2, code: 'agent-offline' })
  })

  it('says nothing of agents when it stops: they are expected back when it starts', async () => {
    const path = await temporaryFolder()
    const config: Partial<ConfigInput> = { store: { type: 'embedded', path }, listeners: [...BOTH] }
    const first = await openBroker(config)
    const agent = await agentOf(first)
    const payload = JSON.stringify({ online: true, services: ['ssh'] })
    await agent.raw.publish({ topic: '$tunnel/pi7/status', payload, qos: 1, retain: true })
    await first.stop()
    const reader = await connect(await openBroker(config), 'reader')
    await reader.raw.subscribe(['$tunnel/+/status', 0])
    expect((await reader.raw.next('publish')).payload.toString()).toBe(payload)
  })
})

describe('an end that goes away', () => {
  it('comes back to its stream, which nobody else has noticed', async () => {
    const { as, agent, client, metric, broker } = await openVictim(STRICT_ACL)
    await client.raw.destroy()
    await eventOf(broker, 'client disconnected')
    agent.send(DOWN, frames.data(7, 600, 'lost'))
    await agent.rest()
    const again = await (await as('ann', { clientId: 'laptop' })).listen('laptop')
    expect(await again.next()).toMatchObject({ type: 'ping', stream: 7, topic: DOWN })
    again.send(UP, frames.resume(7, { offset: 600, acked: 600, limit: 1_048_576 }))
    expect(await agent.next()).toMatchObject({ type: 'resume', acked: 600 })
    agent.send(DOWN, frames.data(7, 600, 'lost'))
    expect(await again.next()).toMatchObject({ type: 'data', payload: 'lost' })
    expect(await metric('tunnelmq_tunnel_frames_dropped_total', 'away')).toBe(1)
  })

  it('and stays away ends its streams: the other one is told', async () => {
    const { agent, client, metric, broker } = await openVictim(STRICT_ACL, { tunnel: { resumeTimeoutMs: 1 } })
    await agent.raw.destroy()
    expect(await client.next()).toMatchObject({ type: 'reset', stream: 7, code: 'agent-offline' })
    expect(await metric('tunnelmq_tunnel_streams')).toBe(0)
    expect(await metric('tunnelmq_tunnel_agents')).toBe(0)
    expect(await metric('tunnelmq_tunnel_clients')).toBe(1)
    expect(await eventOf(broker, 'stream ended')).toMatchObject({
      reason: 'agent-offline',
      detail: 'the agent did not come back',
      bytesUp: 600,
      bytesDown: 600,
      durationMs: expect.any(Number) as number,
    })
  })

  it('and does not know its streams any more says so when it is asked', async () => {
    const { as, agent, client, metric } = await openVictim(STRICT_ACL)
    await agent.raw.destroy()
    const again = await (await as('pi7')).serve('pi7')
    expect(await again.next()).toMatchObject({ type: 'ping', stream: 7 })
    again.send(DOWN, frames.reset(7, 7, 'what is this?'))
    expect(await client.next()).toMatchObject({ code: 'unknown-stream', reason: 'what is this?' })
    expect(await metric('tunnelmq_tunnel_streams_ended_total', 'unknown-stream')).toBe(1)
  })
})

describe('time and rates', () => {
  it('end a stream that is idle, at both ends', async () => {
    const { agent, client } = await openVictim(STRICT_ACL, { tunnel: { idleTimeoutMs: 1_000 } })
    for (const end of [agent, client]) expect(await end.next()).toMatchObject({ type: 'reset', code: 'idle' })
  })

  it('let a stream that is limited to 10 KB a second have its bytes', async () => {
    const broker = await openBroker({ tunnel: { bytesPerSecondPerStream: 10_000 } })
    const agent = await agentOf(broker)
    const client = await clientOf(broker)
    client.send(UP, frames.open(7, { limit: 1_048_576 }))
    let { limit } = await agent.next()
    agent.send(DOWN, frames.accept(7))
    const bytes = randomBytes(10_000)
    let sent = 0
    while (sent < bytes.length) {
      if (sent < limit) {
        const end = Math.min(limit, bytes.length)
        agent.send(DOWN, frames.data(7, sent, bytes.subarray(sent, end)))
        sent = end
      } else ({ limit } = await agent.next())
    }
    expect(await client.next()).toMatchObject({ type: 'accept' })
    const received: Buffer[] = []
    for (let length = 0; length < bytes.length; length = Buffer.concat(received).length) {
      const { payload } = await client.raw.next('publish')
      received.push(payload.subarray(24))
    }
    expect(Buffer.concat(received).equals(bytes)).toBe(true)
  })
})

describe('a rate, between a real agent and a real client', () => {
  it.each([
    ['of each stream', { bytesPerSecondPerStream: 300_000 }],
    ['of a client', { bytesPerSecondPerClient: 600_000 }],
    ['of an agent', { bytesPerSecondPerAgent: 600_000, bytesPerSecondPerStream: 400_000 }],
  ])('%s is kept to without a byte lost, or resent without need', async (_title, tunnel) => {
    const broker = await openBroker({ tunnel, admin: { enabled: true, port: 0 } })
    const agent = createAgent({
      id: 'pi7',
      url: broker.url,
      services: { echo: { target: await openTarget(echo) } },
    })
    const client = createTunnelClient({ id: 'laptop', url: broker.url })
    onTestFinished(async () => {
      await client.close()
      await agent.close()
    })
    await Promise.all([agent.connected(), client.connected()])
    const bytes = randomBytes(300_000)
    const received = await Promise.all(
      [1, 2].map(async () => {
        const stream = await client.openStream('pi7/echo')
        const all = digestOf(stream)
        stream.end(bytes)
        return all
      }),
    )
    expect(received).toEqual([digest(bytes), digest(bytes)])
    const sentBytes = await metricOf(broker, 'tunnelmq_tunnel_bytes_total', 'up')
    expect(sentBytes).toBeLessThan(2 * 300_000 * 1.5)
    expect(await metricOf(broker, 'tunnelmq_tunnel_streams_ended_total', 'closed')).toBe(2)
    expect(await metricOf(broker, 'tunnelmq_tunnel_frames_dropped_total')).toBe(0)
  })
})

describe('tunnels that are not wanted', () => {
  it('are refused as a whole', async () => {
    const broker = await openBroker({ tunnel: { enabled: false }, admin: { enabled: true, port: 0 } })
    const client = await connect(broker, 'laptop')
    for (const filter of [
      '$tunnel/laptop/+/+/up',
      '$tunnel/+/+/laptop/down',
      '$tunnel/+/status',
      '$tunnel/#',
    ])
      expect([filter, await client.raw.subscribe([filter, 0])]).toEqual([filter, [0x80]])
    for (const topic of [UP, '$tunnel/laptop/status'])
      await client.raw.publish({ topic, payload: frames.open(1), qos: 1, retain: true })
    expect(await client.rest()).toEqual([])
    const will = { topic: '$tunnel/laptop2/status', payload: '{}', retain: true }
    expect(await refusalCode(broker.port, { clientId: 'laptop2', will })).toBe(5)
    expect(await metricOf(broker, 'tunnelmq_retained_messages')).toBe(0)
    expect(await metricOf(broker, 'tunnelmq_messages_dropped_total', 'refused')).toBe(2)
    expect(await metricOf(broker, 'tunnelmq_tunnel_streams')).toBe(0)
  })

  it('are refused to a client that bears the name of the broker', async () => {
    const broker = await openBroker({ tunnel: { name: 'gate' } })
    const client = await connect(broker, 'gate')
    for (const filter of ['$tunnel/gate/+/+/up', '$tunnel/+/+/gate/down'])
      expect([filter, await client.raw.subscribe([filter, 0])]).toEqual([filter, [0x80]])
    await client.raw.publish({
      topic: '$tunnel/gate/status',
      payload: '{"online":true,"services":[]}',
      qos: 1,
    })
    client.send('$tunnel/pi7/ssh/gate/up', frames.open(1))
    expect(await client.rest()).toEqual([])
    expect(eventsOf(broker, 'tunnel frame in the place of another')).toHaveLength(1)
    expect(await client.raw.subscribe(['other/#', 0])).toEqual([0])
  })
})
