import { describe, expect, it } from 'vitest'
import type { Properties } from '../../../src/broker/packets/properties.ts'
import { startPods } from '../../support/broker-pods.ts'
import { connectRaw, openBroker, temporaryFolder } from '../../support/broker-world.ts'
import { startTestBroker } from '../../support/broker.ts'
import type { RawClient } from '../../support/raw-client.ts'
import type { Published } from '../../support/received.ts'
import { frames } from '../../support/tunnel-frames.ts'
import { DOWN, metricOf, Peer, VictimStream } from '../../support/tunnel-peers.ts'
import type { ConnectFields } from '../../support/wire.ts'

const properties: Properties = {
  payloadFormatIndicator: 1,
  contentType: 'text/plain',
  responseTopic: 'answers/ü',
  correlationData: Buffer.of(0, 255),
  userProperties: [
    ['b', '1'],
    ['a', '2'],
    ['b', '1'],
  ],
}

const session = { version: 5, clean: false, properties: { sessionExpiryInterval: 600 } } as const

const five = (port: number, clientId: string, fields: Partial<ConnectFields> = {}): Promise<RawClient> =>
  connectRaw(port, { version: 5, clientId, ...fields })

/** As it should be: up to so many seconds have gone by. */
function withinSeconds({ properties: got }: Published, interval: number): Partial<Properties> {
  const { messageExpiryInterval: left = 0, ...others } = got!
  expect(left).toBeGreaterThan(interval - 30)
  expect(left).toBeLessThanOrEqual(interval)
  return others
}

describe('the properties of a message', () => {
  it('reach who is connected, wait in a stored queue and with a retained message, and survive a restart', async () => {
    const folder = await temporaryFolder()
    const overrides = { store: { type: 'embedded', path: folder } } as const
    let broker = await startTestBroker(overrides)
    try {
      const away = await five(broker.port, 'away', session)
      await away.subscribe(['q/#', 1])
      await away.destroy()
      const here = await five(broker.port, 'here')
      await here.subscribe(['q/#', 2])
      const publisher = await five(broker.port, 'publisher')
      for (const qos of [0, 1, 2]) {
        const given = { ...properties, messageExpiryInterval: 1_000 }
        await publisher.publish({ topic: `q/${qos}`, payload: 'x', qos, retain: true, properties: given })
        const came = await here.next('publish')
        await here.acknowledge(came)
        expect(withinSeconds(came, 1_000)).toEqual(properties)
      }
      await broker.stop()
      broker = await startTestBroker(overrides)
      const again = await five(broker.port, 'away', session)
      for (const message of (await again.nextMessages(2)).values())
        expect(withinSeconds(message, 1_000)).toEqual(properties)
      const late = await five(broker.port, 'late')
      await late.subscribeWith({ subscriptionIdentifiers: [300] }, ['q/+', 1])
      for (const message of await late.nextMessages(3))
        expect(withinSeconds(message, 1_000)).toEqual({ ...properties, subscriptionIdentifiers: [300] })
      const old = await connectRaw(broker.port, { clientId: 'old' })
      await old.subscribe(['q/2', 0])
      expect((await old.next('publish')).payload.toString()).toBe('x')
    } finally {
      await broker.stop()
    }
  })

  it('are not there of a message of MQTT 3.1.1, and do not trouble its clients', async () => {
    const broker = await openBroker()
    const old = await connectRaw(broker.port, { clientId: 'old' })
    const young = await five(broker.port, 'young')
    for (const client of [old, young]) await client.subscribe(['#', 1])
    await old.publish({ topic: 'a', payload: 'old', qos: 1 })
    await young.publish({ topic: 'b', payload: 'young', qos: 1, properties })
    expect(await young.nextMessages(2)).toMatchObject([{ topic: 'a', properties: {} }, { properties }])
    expect((await old.nextMessages(2)).map(({ payload }) => payload.toString())).toEqual(['old', 'young'])
  })

  it('go with it to other pods', async () => {
    const { pods } = await startPods(2)
    const publisher = await five(pods[0]!.port, 'publisher')
    const away = await five(pods[1]!.port, 'away', session)
    const here = await five(pods[1]!.port, 'here')
    for (const client of [away, here]) await client.subscribeWith({ subscriptionIdentifiers: [5] }, ['#', 1])
    const given = { ...properties, messageExpiryInterval: 1_000 }
    for (const qos of [0, 1]) await publisher.publish({ topic: 't', qos, properties: given })
    for (const client of [away, here])
      for (const message of await client.nextMessages(2))
        expect(withinSeconds(message, 1_000)).toEqual({ ...properties, subscriptionIdentifiers: [5] })
    await publisher.publish({ topic: 'kept', payload: 'x', qos: 1, retain: true, properties: given })
    const late = await five(pods[1]!.port, 'late')
    await late.subscribe(['kept', 1])
    expect(withinSeconds(await late.next('publish'), 1_000)).toEqual(properties)
  })
})

describe('a tunnel', () => {
  it.each<[string, Partial<ConnectFields>, Partial<ConnectFields>]>([
    ['an agent and a client of MQTT 5', { version: 5 }, { version: 5 }],
    ['an agent of MQTT 5', { version: 5 }, {}],
    ['a client of MQTT 5', {}, { version: 5 }],
  ])('has %s', async (_title, agentFields, clientFields) => {
    const broker = await openBroker()
    const aliases = { properties: { topicAliasMaximum: 10 } }
    const connect = async (clientId: string, fields: Partial<ConnectFields>): Promise<Peer> =>
      new Peer(await connectRaw(broker.port, { clientId, ...fields, ...(fields.version && aliases) }))
    const agent = await (await connect('pi7', agentFields)).serve('pi7')
    const client = await (await connect('laptop', clientFields)).listen('laptop')
    const stream = await new VictimStream(agent, client).open()
    for (let i = 0; i < 3; i++) await stream.exchange()
    for (const { raw } of [agent, client].filter((_, index) => [agentFields, clientFields][index]!.version)) {
      const used = raw.received.filter(({ type }) => type === 'publish') as Published[]
      expect(used.length).toBeGreaterThan(3)
      expect(new Set(used.map((one) => one.properties?.topicAlias))).toEqual(new Set([1]))
      expect(raw.aliasedCount).toBe(used.length - 1)
    }
  })

  it('is given up by a client that takes no packets of the size of its frames, and says why', async () => {
    const broker = await openBroker()
    const agent = await new Peer(await five(broker.port, 'pi7')).serve('pi7')
    const small = { properties: { maximumPacketSize: 200 } }
    const client = await new Peer(await five(broker.port, 'laptop', small)).listen('laptop')
    await new VictimStream(agent, client).open()
    agent.send(DOWN, frames.data(7, 0, 'x'.repeat(300)))
    expect(await client.raw.next('disconnect')).toMatchObject({ reasonCode: 0x95 })
  })
})

it('drops what is larger than the client takes, and counts it', async () => {
  const broker = await openBroker({ admin: { enabled: true, port: 0 } })
  const client = await five(broker.port, 'small', { properties: { maximumPacketSize: 100 } })
  await client.subscribe(['#', 1])
  for (const length of [100, 50]) await client.publish({ topic: 'a', payload: 'x'.repeat(length), qos: 1 })
  expect((await client.next('publish')).payload).toHaveLength(50)
  expect(await metricOf(broker, 'tunnelmq_messages_dropped_total', 'too-large')).toBe(1)
})
