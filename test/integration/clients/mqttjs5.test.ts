import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { AuthError } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectMqtt, messages, openBroker, portOf, temporaryFolder } from '../../support/broker-world.ts'
import { createCa, type TestCa } from '../listeners/certificates.ts'

/** MQTT.js with protocolVersion 5, all at one broker. */

let folder: string
let ca: TestCa
let broker: TestBroker

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-mqttjs5-'))
  ca = await createCa(folder)
  const { cert, key } = await ca.issue('server')
  const common = { port: 0 } as const
  const tls = { cert, key }
  broker = await startTestBroker(
    {
      listeners: [
        { ...common, type: 'tcp', name: 'mqtt' },
        { ...common, type: 'ws', name: 'ws' },
        { ...common, type: 'tls', name: 'mqtts', tls },
        { ...common, type: 'wss', name: 'wss', tls },
      ],
    },
    {
      handlers: [
        {
          authConnect() {},
          authPublish(_, { topic }) {
            if (topic === 'forbidden') throw new AuthError('no right')
          },
        },
      ],
    },
  )
})

afterAll(async () => {
  await broker.stop()
  await rm(folder, { recursive: true, force: true })
})

async function connect(scheme: string, options: IClientOptions = {}): Promise<MqttClient> {
  const url = `${scheme}://localhost:${portOf(broker, scheme)}/mqtt`
  return connectMqtt(url, { protocolVersion: 5, ca: await readFile(ca.cert), ...options })
}

const properties = {
  payloadFormatIndicator: true,
  messageExpiryInterval: 1_000,
  contentType: 'text/plain',
  responseTopic: 'answers',
  correlationData: Buffer.from('one'),
  userProperties: { color: ['blue', 'green'], size: 'm' },
}

function nextPacket(client: MqttClient): Promise<IPublishPacket> {
  return new Promise((resolve) => client.once('message', (_topic, _payload, packet) => resolve(packet)))
}

describe('MQTT.js with MQTT 5', () => {
  it.each(['mqtt', 'ws', 'mqtts', 'wss'])('sends and shows properties over %s', async (scheme) => {
    const [subscriber, publisher] = [await connect(scheme), await connect(scheme)]
    await subscriber.subscribeAsync('five/#', { qos: 2, properties: { subscriptionIdentifier: 9 } })
    for (const qos of [0, 1, 2] as const) {
      const packet = nextPacket(subscriber)
      await publisher.publishAsync('five/x', 'hello', { qos, properties })
      expect(await packet).toMatchObject({
        ...{ topic: 'five/x', qos },
        properties: {
          ...{ contentType: 'text/plain', responseTopic: 'answers', correlationData: Buffer.from('one') },
          ...{ payloadFormatIndicator: true, subscriptionIdentifier: 9 },
          userProperties: { color: ['blue', 'green'], size: 'm' },
        },
      })
    }
  })

  it('gives its topics aliases, and understands those of the broker', async () => {
    const aliased = { autoAssignTopicAlias: true, properties: { topicAliasMaximum: 10 } }
    const [subscriber, publisher] = [await connect('mqtt', aliased), await connect('mqtt', aliased)]
    await subscriber.subscribeAsync('alias/#', { qos: 1 })
    const got = messages(subscriber, 4)
    for (const topic of ['alias/a', 'alias/b', 'alias/a', 'alias/b'])
      await publisher.publishAsync(topic, 'x', { qos: 1 })
    expect(await got).toEqual(['alias/a=x', 'alias/b=x', 'alias/a=x', 'alias/b=x'])
  })

  it('is sent what clients of 3.1.1 publish, and the reverse', async () => {
    const [five, four] = [await connect('mqtt'), await connect('mqtt', { protocolVersion: 4 })]
    await five.subscribeAsync('to/5', { qos: 2 })
    await four.subscribeAsync('to/4', { qos: 2 })
    const [atFive, atFour] = [messages(five, 1), messages(four, 1)]
    await five.publishAsync('to/4', 'from 5', { qos: 2, properties })
    await four.publishAsync('to/5', 'from 4', { qos: 2 })
    expect([await atFive, await atFour]).toEqual([['to/5=from 4'], ['to/4=from 5']])
  })

  it('is told the reason code of a PUBLISH that is refused, and goes on', async () => {
    const client = await connect('mqtt')
    for (const qos of [1, 2] as const)
      await expect(client.publishAsync('forbidden', 'x', { qos })).rejects.toMatchObject({ code: 0x87 })
    await expect(client.publishAsync('allowed', 'x', { qos: 2 })).resolves.toBeDefined()
  })

  it('is told that it was taken over', async () => {
    const first = await connect('mqtt', { clientId: 'taken' })
    const told = new Promise<number | undefined>((resolve) =>
      first.once('disconnect', ({ reasonCode }) => resolve(reasonCode)),
    )
    await connect('mqtt', { clientId: 'taken' })
    expect(await told).toBe(0x8e)
  })

  it('comes back after a restart of the broker, with its session and all that was acknowledged', async () => {
    const store = { type: 'embedded', path: await temporaryFolder() } as const
    const first = await startTestBroker({ store })
    const { port } = first
    const client = mqtt.connect(first.url, {
      ...{ protocolVersion: 5, clientId: 'steady', clean: false, reconnectPeriod: 50 },
      properties: { sessionExpiryInterval: 1_000 },
    })
    onTestFinished(() => client.endAsync(true))
    await client.subscribeAsync('a', { qos: 2 })
    const got = messages(client, 3)
    await client.publishAsync('a', 'before', { qos: 2, properties })
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    await first.stop()
    await closed
    const back = new Promise<{ sessionPresent: boolean }>((resolve) => client.once('connect', resolve))
    const again = await openBroker({ store, listeners: [{ type: 'tcp', port, allowAnonymous: true }] })
    await again.publish({ topic: 'a', payload: 'between', qos: 2 })
    expect(await back).toMatchObject({ sessionPresent: true })
    await client.publishAsync('a', 'after', { qos: 2 })
    expect(await got).toEqual(['a=before', 'a=between', 'a=after'])
  })
})
