import { connectAsync, type MqttClient } from 'mqtt'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'

describe('the broker with MQTT.js', () => {
  let broker: TestBroker
  const clients: MqttClient[] = []
  const connect = async (options = {}) => {
    const client = await connectAsync(broker.url, { reconnectPeriod: 0, ...options })
    clients.push(client)
    return client
  }
  const received = (client: MqttClient, count: number): Promise<string[]> =>
    new Promise((resolve) => {
      const got: string[] = []
      client.on('message', (topic, payload) => {
        got.push(`${topic}=${payload.toString()}`)
        if (got.length === count) resolve(got)
      })
    })

  beforeEach(async () => {
    broker = await startTestBroker()
  })
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.endAsync(true)))
    await broker.stop()
  })

  it.each([0, 1, 2] as const)('delivers at QoS %i', async (qos) => {
    const subscriber = await connect()
    const publisher = await connect()
    await subscriber.subscribeAsync('a/+', { qos })
    const got = received(subscriber, 3)
    for (const word of ['one', 'two', 'three']) await publisher.publishAsync('a/b', word, { qos })
    expect(await got).toEqual(['a/b=one', 'a/b=two', 'a/b=three'])
  })

  it('keeps messages for a session that is away, and delivers them in order', async () => {
    const first = await connect({ clientId: 'sleeper', clean: false })
    await first.subscribeAsync('q/#', { qos: 2 })
    await first.endAsync()
    const publisher = await connect()
    for (let i = 0; i < 50; i++) await publisher.publishAsync('q/x', String(i), { qos: 1 })
    const again = await connect({ clientId: 'sleeper', clean: false, manualConnect: false })
    const got = await received(again, 50)
    expect(got).toEqual(Array.from({ length: 50 }, (_, i) => `q/x=${i}`))
  })

  it('delivers the retained message to a new subscription, with RETAIN set', async () => {
    const publisher = await connect()
    await publisher.publishAsync('r/1', 'kept', { qos: 1, retain: true })
    const subscriber = await connect()
    const packet = new Promise<{ retain: boolean; payload: Buffer }>((resolve) =>
      subscriber.on('message', (_topic, payload, { retain }) => resolve({ retain, payload })),
    )
    await subscriber.subscribeAsync('r/+', { qos: 1 })
    expect(await packet).toMatchObject({ retain: true })
  })

  it('publishes the will of a client that vanishes, not of one that says goodbye', async () => {
    const watcher = await connect()
    await watcher.subscribeAsync('will/#')
    const got = received(watcher, 1)
    const polite = await connect({ will: { topic: 'will/polite', payload: Buffer.from('no'), qos: 1 } })
    await polite.endAsync()
    const lost = await connect({ will: { topic: 'will/lost', payload: Buffer.from('yes'), qos: 1 } })
    lost.stream.destroy()
    expect(await got).toEqual(['will/lost=yes'])
  })
})
