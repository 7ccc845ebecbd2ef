import { describe, expect, it } from 'vitest'
import { field, packet, subscribePacket, uint16, unsubscribePacket } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { clientsOf } from './clients.ts'

const world = brokerOfFile()
const { connect, expectEnd: untilEnd } = clientsOf(world)

async function expectEnd(bytes: Buffer): Promise<void> {
  const client = await untilEnd(bytes)
  expect(client.received.map(({ type }) => type)).toEqual(['connack'])
}

const SURROGATE = Buffer.from([0x61, 0xed, 0xa0, 0x80])

describe('SUBSCRIBE', () => {
  it('[MQTT-3.8.1-1] its flags must be 0010', async () => {
    await expectEnd(packet(0x80, uint16(1), field('subscribe/flags'), Buffer.of(0)))
  })

  it('[MQTT-3.8.3-1] its filters must be UTF-8', async () => {
    await expectEnd(subscribePacket(1, [[SURROGATE, 0]]))
  })

  it('[MQTT-3.8.3-3] there must be a filter', async () => {
    await expectEnd(subscribePacket(1, []))
  })

  it('[MQTT-3.8.3-4] the reserved bits must be 0, and QoS not 3', async () => {
    for (const qos of [3, 4, 0x80]) await expectEnd(subscribePacket(1, [['subscribe/bits', qos]]))
  })

  it('[MQTT-3.8.4-1] it is answered with SUBACK', async () => {
    expect(await (await connect()).subscribe(['subscribe/answer', 2])).toEqual([2])
  })

  it('[MQTT-3.8.4-2] with its identifier', async () => {
    const client = await connect()
    client.send(subscribePacket(40_000, [['subscribe/id', 0]]))
    expect(await client.next('suback')).toMatchObject({ messageId: 40_000 })
  })

  it('[MQTT-3.8.4-3] the same filter again: a new QoS, retained messages again, and no message is lost', async () => {
    const client = await connect()
    await client.publish({ topic: 'subscribe/same', qos: 1, retain: true, payload: 'kept' })
    for (const qos of [0, 2]) {
      await client.subscribe(['subscribe/same', qos])
      expect((await client.nextMessages(1))[0]).toMatchObject({ retain: true, qos: Math.min(qos, 1) })
    }
    await client.publish({ topic: 'subscribe/same', qos: 2 })
    await client.ping()
    expect(client.waitingMessages.map(({ qos }) => qos)).toEqual([2])
  })

  it('[MQTT-3.8.4-4] several filters are as several SUBSCRIBE, with one SUBACK', async () => {
    const client = await connect()
    expect(await client.subscribe(['subscribe/several/a', 1], ['subscribe/several/b', 1])).toEqual([1, 1])
    for (const name of ['a', 'b']) await client.publish({ topic: `subscribe/several/${name}` })
    await client.nextMessages(2)
    expect(client.received.filter(({ type }) => type === 'suback')).toHaveLength(1)
  })

  it('[MQTT-3.8.4-5] SUBACK says for each filter the granted QoS, or that it failed', async () => {
    const client = await connect()
    expect(await client.subscribe(['subscribe/each', 1], ['no/each', 1], ['subscribe/each/2', 2])).toEqual([
      1, 0x80, 2,
    ])
  })

  it('[MQTT-3.8.4-6] messages come at the lower one of their QoS and the granted one', async () => {
    const client = await connect()
    for (const granted of [0, 1, 2]) {
      const topic = `subscribe/qos/${granted}`
      await client.subscribe([topic, granted])
      for (const qos of [0, 1, 2]) {
        await client.publish({ topic, qos })
        const [message] = await client.nextMessages(1)
        expect(message).toMatchObject({ topic, qos: Math.min(qos, granted) })
        await client.acknowledge(message!)
      }
    }
  })
})

describe('SUBACK', () => {
  it('[MQTT-3.9.3-1] its codes are in the order of the filters', async () => {
    const codes = await (
      await connect()
    ).subscribe(['suback/2', 2], ['no/suback', 2], ['suback/0', 0], ['suback/1', 1])
    expect(codes).toEqual([2, 0x80, 0, 1])
  })

  it('[MQTT-3.9.3-2] its codes are 0, 1, 2 and 128', async () => {
    const filters = ['suback/a', 'no/suback', '$share/group/suback/a', '$tunnelmq/x', '$tunnel/x']
    const codes = await (await connect()).subscribe(...filters.map((filter) => [filter, 2] as const))
    for (const code of codes) expect([0, 1, 2, 0x80]).toContain(code)
    expect(codes).toContain(0x80)
  })
})

describe('UNSUBSCRIBE', () => {
  it('[MQTT-3.10.1-1] its flags must be 0010', async () => {
    await expectEnd(packet(0xa0, uint16(1), field('unsubscribe/flags')))
  })

  it('[MQTT-3.10.3-1] its filters must be UTF-8', async () => {
    await expectEnd(unsubscribePacket(1, [SURROGATE]))
  })

  it('[MQTT-3.10.3-2] there must be a filter', async () => {
    await expectEnd(unsubscribePacket(1, []))
  })

  it('[MQTT-3.10.4-1] the subscription with exactly this filter is removed, and no other', async () => {
    const client = await connect()
    await client.subscribe(['unsubscribe/+', 1])
    await client.unsubscribe('unsubscribe/a', 'unsubscribe/#', 'Unsubscribe/+')
    await client.publish({ topic: 'unsubscribe/a' })
    await client.nextMessages(1)
    await client.unsubscribe('unsubscribe/+')
    await client.publish({ topic: 'unsubscribe/a' })
    await client.ping()
    expect(client.waitingMessages).toEqual([])
  })

  it('[MQTT-3.10.4-2] after UNSUBACK no new message is added', async () => {
    const client = await connect()
    await client.subscribe(['unsubscribe/new', 2])
    await client.unsubscribe('unsubscribe/new')
    for (const qos of [0, 1, 2]) await client.publish({ topic: 'unsubscribe/new', qos })
    await client.ping()
    expect(client.waitingMessages).toEqual([])
  })

  it('[MQTT-3.10.4-3] what is on its way is completed', async () => {
    const client = await connect()
    await client.subscribe(['unsubscribe/flight', 2])
    await client.publish({ topic: 'unsubscribe/flight', qos: 2 })
    const [message] = await client.nextMessages(1)
    await client.unsubscribe('unsubscribe/flight')
    await client.acknowledge(message!)
    await client.ping()
  })

  it('[MQTT-3.10.4-4] it is answered with UNSUBACK and its identifier', async () => {
    const client = await connect()
    await client.subscribe(['unsubscribe/answer', 0])
    client.send(unsubscribePacket(50_000, ['unsubscribe/answer']))
    expect(await client.next('unsuback')).toMatchObject({ messageId: 50_000 })
  })

  it('[MQTT-3.10.4-5] also if nothing is removed', async () => {
    await (await connect()).unsubscribe('unsubscribe/nothing')
  })

  it('[MQTT-3.10.4-6] several filters are as several UNSUBSCRIBE, with one UNSUBACK', async () => {
    const client = await connect()
    await client.subscribe(['unsubscribe/1', 0], ['unsubscribe/2', 0], ['unsubscribe/3', 0])
    await client.unsubscribe('unsubscribe/1', 'unsubscribe/3')
    for (const i of [1, 2, 3]) await client.publish({ topic: `unsubscribe/${i}` })
    await client.ping()
    expect(client.waitingMessages.map(({ topic }) => topic)).toEqual(['unsubscribe/2'])
    expect(client.received.filter(({ type }) => type === 'unsuback')).toHaveLength(1)
  })
})
