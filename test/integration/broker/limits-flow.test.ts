import { describe, expect, it, onTestFinished } from 'vitest'
import type { Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { startBrokerOnStore } from '../../support/broker-on-store.ts'
import { connectMqtt, connectRaw, eventOf, messages, openBroker } from '../../support/broker-world.ts'
import { testLimits } from '../../support/store-fixtures.ts'
import { ackPacket, Packet, publishPacket, subscribePacket } from '../../support/wire.ts'

describe('rates of one client', () => {
  it.each([
    ['messagesPerSecond', 10],
    ['bytesPerSecond', 10 * 7],
  ])('%s: what comes faster is read later, and nothing is lost', async (limit, value) => {
    const broker = await openBroker({ limits: { [limit]: value } })
    const got: string[] = []
    broker.subscribe('a', (_, payload) => void got.push(payload.toString()))
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    const words = Array.from({ length: 40 }, (_, i) => `word${String(i).padStart(2, '0')}`)
    for (const [index, payload] of words.entries())
      client.send(publishPacket({ topic: 'a', payload, qos: 1, messageId: index + 1 }))
    await client.nextAck('puback', 1)
    // At four times the rate, most of them are not even read yet.
    expect(got.length).toBeLessThan(words.length)
    // Others are not slowed down by it.
    const other = await connectRaw(broker.port, { clientId: 'c2' })
    await other.publish({ topic: 'b', qos: 1 })
    expect(got.length).toBeLessThan(words.length)
    await client.nextAck('puback', words.length)
    expect(got).toEqual(words)
  })

  it('bytesPerSecond counts properties', async () => {
    const broker = await openBroker({ limits: { bytesPerSecond: 1_000 } })
    const client = await connectRaw(broker.port, { clientId: 'c1', version: 5 })
    const properties = { userProperties: [['a', 'x'.repeat(60_000)]] as const }
    client.send(publishPacket({ topic: 'a', qos: 1, messageId: 1, properties }))
    client.send(publishPacket({ topic: 'a', qos: 1, messageId: 2, properties: {} }))
    await client.nextAck('puback', 1)
    const other = await connectRaw(broker.port, { clientId: 'c2' })
    await other.publish({ topic: 'b', qos: 1 })
    // In a minute.
    expect(client.received.filter(({ type }) => type === 'puback')).toHaveLength(1)
  })
})

describe('the window to a client', () => {
  it.each([
    [1, true],
    [1, false],
    [2, true],
    [2, false],
  ])('maxInflight: no more than that many at once (QoS %i, clean %s)', async (qos, clean) => {
    const broker = await openBroker({ limits: { maxInflight: 3 } })
    const client = await connectRaw(broker.port, { clientId: 'c1', clean })
    await client.subscribe(['a', qos])
    for (let i = 0; i < 10; i++) await broker.publish({ topic: 'a', payload: String(i), qos: 2 })
    const first = await client.nextMessages(3)
    await client.ping()
    expect(client.waitingMessages).toEqual([])
    await client.acknowledge(first[0]!)
    const [fourth] = await client.nextMessages(1)
    await client.ping()
    expect(client.waitingMessages).toEqual([])
    const payloads = [...first, fourth!].map(({ payload }) => payload.toString())
    for (const message of [...first.slice(1), fourth!]) await client.acknowledge(message)
    while (payloads.length < 10) {
      const [message] = await client.nextMessages(1)
      payloads.push(message!.payload.toString())
      await client.acknowledge(message!)
    }
    expect(payloads).toEqual(Array.from({ length: 10 }, (_, i) => String(i)))
  })

  it('QoS 0 does not wait for the window', async () => {
    const broker = await openBroker({ limits: { maxInflight: 1 } })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    await client.subscribe(['#', 1])
    for (const [topic, qos] of [
      ['a', 1],
      ['b', 1],
      ['c', 0],
    ] as const)
      await broker.publish({ topic, payload: '', qos })
    expect((await client.nextMessages(2)).map(({ topic }) => topic)).toEqual(['a', 'c'])
  })
})

describe('the window from a client', () => {
  it.each([true, false])(
    'maxInflightIncoming: one more QoS 2 message without PUBREL ends it (clean %s)',
    async (clean) => {
      const broker = await openBroker({ limits: { maxInflightIncoming: 2 } })
      const client = await connectRaw(broker.port, { clientId: 'c1', clean })
      for (const messageId of [1, 2]) {
        client.send(publishPacket({ topic: 'a', qos: 2, messageId }))
        await client.nextAck('pubrec', messageId)
      }
      client.send(ackPacket(Packet.pubrel, 1))
      await client.nextAck('pubcomp', 1)
      client.send(publishPacket({ topic: 'a', qos: 2, messageId: 3 }))
      await client.nextAck('pubrec', 3)
      client.send(publishPacket({ topic: 'a', qos: 2, messageId: 4 }))
      await client.untilClosed()
      expect(await eventOf(broker, 'client disconnected')).toMatchObject({
        reason: 'limit',
        detail: '2 messages at QoS 2 await PUBREL',
      })
    },
  )
})

describe('a client that does not read', () => {
  const payload = 'x'.repeat(60_000)

  it('maxOutboundBytes: misses QoS 0 messages, gets all of QoS 1 in order, and slows nobody down', async () => {
    const broker = await openBroker({ limits: { maxOutboundBytes: 200_000 } })
    const frozen = await connectRaw(broker.port, { clientId: 'frozen' })
    await frozen.subscribe(['zero', 0], ['one', 1])
    const lively = await connectRaw(broker.port, { clientId: 'lively' })
    await lively.subscribe(['one', 1])
    frozen.pauseReading()
    // More than the buffers of the system take.
    for (let i = 0; i < 400; i++) await broker.publish({ topic: 'zero', payload, qos: 0 })
    for (let i = 0; i < 50; i++) {
      await broker.publish({ topic: 'one', payload: String(i), qos: 1 })
      await lively.acknowledge(await lively.next('publish'))
    }
    frozen.resumeReading()
    const ones: string[] = []
    let zeros = 0
    while (ones.length < 50) {
      const message = await frozen.next('publish')
      await frozen.acknowledge(message)
      if (message.topic === 'one') ones.push(message.payload.toString())
      else zeros++
    }
    expect(ones).toEqual(Array.from({ length: 50 }, (_, i) => String(i)))
    expect(zeros).toBeGreaterThan(0)
    expect(zeros).toBeLessThan(400)
  })

  it('drainTimeoutMs: is disconnected when it takes nothing for so long', async () => {
    const broker = await openBroker({ limits: { drainTimeoutMs: 200 } })
    const frozen = await connectRaw(broker.port, { clientId: 'frozen' })
    await frozen.subscribe(['zero', 0])
    frozen.pauseReading()
    for (let i = 0; i < 400; i++) await broker.publish({ topic: 'zero', payload, qos: 0 })
    expect(await eventOf(broker, 'client disconnected')).toMatchObject({
      client: 'frozen',
      reason: 'limit',
      detail: 'slow reader',
    })
    expect(await broker.disconnect('frozen')).toBe(false)
  })
})

describe('queues', () => {
  it.each([
    ['queueMaxMessages', 3],
    ['queueMaxBytes', 6],
  ])(
    'session.%s: what comes when it is full is dropped, and the publisher is thanked',
    async (limit, value) => {
      const broker = await openBroker({ session: { [limit]: value } })
      const away = await connectRaw(broker.port, { clientId: 'away', clean: false })
      await away.subscribe(['a', 1])
      await away.disconnect()
      const publisher = await connectRaw(broker.port, { clientId: 'p' })
      for (let i = 0; i < 5; i++) await publisher.publish({ topic: 'a', payload: `n${i}`, qos: 1 })
      const back = await connectRaw(broker.port, { clientId: 'away', clean: false })
      expect((await back.nextMessages(3)).map(({ payload }) => payload.toString())).toEqual([
        'n0',
        'n1',
        'n2',
      ])
      await back.ping()
      expect(back.waitingMessages).toEqual([])
    },
  )

  it('session.cleanQueueMaxBytes: bounds what waits in memory for a clean session', async () => {
    const broker = await openBroker({ session: { cleanQueueMaxBytes: 6 }, limits: { maxInflight: 1 } })
    const slow = await connectRaw(broker.port, { clientId: 'slow' })
    await slow.subscribe(['a', 1])
    for (let i = 0; i < 10; i++) await broker.publish({ topic: 'a', payload: `n${i}`, qos: 1 })
    const payloads: string[] = []
    for (let i = 0; i < 4; i++) {
      const message = await slow.next('publish')
      payloads.push(message.payload.toString())
      await slow.acknowledge(message)
    }
    await slow.ping()
    expect(payloads).toEqual(['n0', 'n1', 'n2', 'n3']) // one on its way, three of two bytes behind it
    expect(slow.waitingMessages).toEqual([])
  })

  it('retained.maxMessages: a new topic is delivered and not retained; known ones go on', async () => {
    const broker = await openBroker({ retained: { maxMessages: 1 } })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    for (const [topic, payload] of [
      ['a', '1'],
      ['b', '1'],
      ['a', '2'],
    ] as const)
      await client.publish({ topic, payload, qos: 1, retain: true })
    await client.subscribe(['#', 1])
    expect(
      (await client.nextMessages(1)).map(({ topic, payload: found }) => `${topic}=${found.toString()}`),
    ).toEqual(['a=2'])
    await client.ping()
    expect(client.waitingMessages).toEqual([])
  })
})

describe('a handler that hangs', () => {
  it('refuses in time, and affects nobody else', async () => {
    const broker = await openBroker(
      { auth: { timeoutMs: 100, maxConcurrent: 1 } },
      {
        authConnect() {},
        authPublish: (_, { topic }) => (topic === 'hang' ? new Promise<void>(() => {}) : undefined),
      },
    )
    const got: string[] = []
    broker.subscribe('#', (topic) => void got.push(topic))
    const stuck = await connectRaw(broker.port, { clientId: 'stuck' })
    const hanging = stuck.publish({ topic: 'hang', qos: 1 })
    const free = await connectRaw(broker.port, { clientId: 'free' })
    await free.subscribe(['x', 1])
    await hanging
    await free.publish({ topic: 'x', qos: 1 })
    await free.next('publish')
    expect(got).toEqual(['x'])
    expect(await eventOf(broker, 'handler failed')).toMatchObject({
      method: 'authPublish',
      kind: 'timed-out',
    })
  })
})

describe('a client that subscribes again and again, and reads nothing', () => {
  it('is sent retained messages once for many subscriptions that it could not have read in between', async () => {
    const retainedCount = 1_500
    const subscribeCount = 40
    let handledCount = 0
    let reachAll: () => void = () => {}
    const allHandled = new Promise<void>((resolve) => (reachAll = resolve))
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        subscribe() {
          if (++handledCount === subscribeCount) reachAll()
        },
      },
    )
    const payload = 'x'.repeat(1_000)
    for (let i = 0; i < retainedCount; i++)
      await broker.publish({ topic: `r/${i}`, payload, qos: 0, retain: true })
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    client.pauseReading()
    for (let id = 1; id <= subscribeCount; id++) client.send(subscribePacket(id, [['#', 0]]))
    await allHandled
    await broker.publish({ topic: 'r/0', payload: 'news', qos: 0, retain: true })
    client.resumeReading()
    // The last of the subscriptions is answered with what is retained by then.
    const isNews = ({ payload: bytes }: { payload: Buffer }): boolean => bytes.toString() === 'news'
    await client.next('publish', (packet) => packet.retain && isNews(packet))
    for (let id = 1; id <= subscribeCount; id++)
      await client.next('suback', (packet) => packet.messageId === id)
    const messageCount = client.received.filter(({ type }) => type === 'publish').length
    expect(messageCount).toBeGreaterThanOrEqual(retainedCount)
    expect(messageCount).toBeLessThan((subscribeCount / 2) * retainedCount)
  })
})

describe('retained messages that are together larger than the queue of a session', () => {
  it('all come, one portion after the other', async () => {
    const broker = await openBroker({ session: { queueMaxBytes: 100_000 } })
    const payload = 'x'.repeat(10_000)
    const topics = Array.from({ length: 50 }, (_, i) => `r/${i}`)
    for (const topic of topics) await broker.publish({ topic, payload, qos: 1, retain: true })
    const client = await connectMqtt(broker.url, { clientId: 'keeper', clean: false })
    const came = messages(client, topics.length)
    await client.subscribeAsync('r/#', { qos: 1 })
    expect((await came).map((text) => text.slice(0, text.indexOf('='))).toSorted()).toEqual(topics.toSorted())
  })
})

describe('a client whose message is being stored', () => {
  // More messages of MQTT 5 would end its connection; the same one again and again does not.
  it.each([4, 5] as const)(
    'maxInflightIncoming: is read no further (MQTT %i) when so many acknowledgements wait behind that one',
    async (version) => {
      const memory = createMemoryStore(testLimits)
      await memory.open()
      let store: () => void = () => {}
      const publish: Store['publish'] = (...args) => {
        store = () => memory.publish(...args)
      }
      const broker = await startBrokerOnStore({ ...memory, publish }, { limits: { maxInflightIncoming: 10 } })
      onTestFinished(() => broker.stop())
      const client = await connectRaw(
        broker.port,
        version === 5 ? { clientId: 'c1', version } : { clientId: 'c1' },
      )
      const properties = version === 5 ? { properties: {} } : {}
      const again = { topic: 'b', qos: 2, messageId: 99, ...properties } as const
      client.send(publishPacket(again))
      await client.nextAck('pubrec', 99)
      client.send(
        publishPacket({ topic: 'a', qos: 1, messageId: 1, payload: 'x', retain: true, ...properties }),
      )
      for (let id = 2; id <= 20; id++)
        client.send(publishPacket(version === 5 ? again : { topic: 'b', qos: 1, messageId: id }))
      const pong = client.ping()
      await client.flushed()
      const other = await connectRaw(broker.port, { clientId: 'c2' })
      for (let i = 0; i < 5; i++) await other.ping()
      expect(client.received.map(({ type }) => type)).toEqual(['connack', 'pubrec'])
      store()
      await pong
      expect(client.received.filter(({ type }) => type === 'puback' || type === 'pubrec')).toHaveLength(21)
    },
  )
})
