import { describe, expect, it } from 'vitest'
import { connect5, type ConnectInput, type Mqtt5Client } from '../../support/mqtt5-client.ts'
import { field, packet, uint16 } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { properties, subscribeBytes, SURROGATE } from './bytes.ts'

const world = brokerOfFile()
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)

/** 3.9.3, table 3-8. */
const SUBACK_CODES = new Set([0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2])
/** 3.11.3, table 3-9. */
const UNSUBACK_CODES = new Set([0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91])

async function ended(bytes: Buffer): Promise<number | undefined> {
  const client = await connect()
  client.send(bytes)
  return await client.untilClosed()
}

describe('SUBSCRIBE', () => {
  it('[MQTT-3.8.1-1] the flags of SUBSCRIBE must be 0010', async () => {
    expect(await ended(subscribeBytes('subscribe/flags', 0, 0x80))).toBe(0x81)
  })

  it('[MQTT-3.8.3-1] filters must be UTF-8', async () => {
    expect(await ended(subscribeBytes(SURROGATE, 0))).toBe(0x81)
  })

  it('[MQTT-3.8.3-2] there must be a filter', async () => {
    expect([0x81, 0x82]).toContain(await ended(packet(0x82, uint16(1), properties())))
  })

  it('[MQTT-3.8.3-3] with no local, a client is not sent its own messages', async () => {
    const client = await connect()
    await client.subscribe({ topic: 'subscribe/local', qos: 1, nl: true })
    await client.publish({ topic: 'subscribe/local', qos: 1, payload: 'own' })
    await (await connect()).publish({ topic: 'subscribe/local', qos: 1, payload: 'of another' })
    expect((await client.take()).payload.toString()).toBe('of another')
  })

  it('[MQTT-3.8.3-4] no local with a shared subscription is a protocol error', async () => {
    expect(await ended(subscribeBytes('$share/group/subscribe/local', 0x04))).toBe(0x82)
  })

  it('[MQTT-3.8.3-5] reserved bits of the options must be 0', async () => {
    for (const options of [0x40, 0x80])
      expect(await ended(subscribeBytes('subscribe/bits', options))).toBe(0x81)
  })

  it('[MQTT-3.8.4-1] SUBSCRIBE is answered with SUBACK', async () => {
    expect(await (await connect()).subscribe('subscribe/answer')).toMatchObject({
      cmd: 'suback',
      granted: [2],
    })
  })

  it('[MQTT-3.8.4-2] SUBACK has the identifier of the SUBSCRIBE', async () => {
    const client = await connect()
    client.send({ cmd: 'subscribe', messageId: 40_000, subscriptions: [{ topic: 'subscribe/id', qos: 0 }] })
    expect(await client.next('suback')).toMatchObject({ messageId: 40_000 })
  })

  it('[MQTT-3.8.4-3] a subscription with the same filter takes the place of the one before', async () => {
    const client = await connect()
    await client.subscribe({ topic: 'subscribe/same', qos: 2 }, { subscriptionIdentifier: 1 })
    await client.subscribe({ topic: 'subscribe/same', qos: 0 }, { subscriptionIdentifier: 2 })
    await client.publish({ topic: 'subscribe/same', qos: 1 })
    await client.ping()
    const messages = client.waiting('publish')
    expect(messages).toMatchObject([{ qos: 0, properties: { subscriptionIdentifier: 2 } }])
  })

  it('[MQTT-3.8.4-4] it gets what is retained again, and loses no message', async () => {
    const client = await connect()
    await client.publish({ topic: 'subscribe/again', qos: 1, retain: true, payload: 'kept' })
    await client.subscribe({ topic: 'subscribe/again', qos: 1 })
    await client.take()
    const publisher = await connect()
    const published = Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        publisher.publish({ topic: 'subscribe/again', qos: 1, payload: String(i) }),
      ),
    )
    for (let i = 0; i < 3; i++) await client.subscribe({ topic: 'subscribe/again', qos: 1, rh: 0 })
    await published
    const live: string[] = []
    let retained = 0
    while (live.length < 20 || retained < 3) {
      const message = await client.take()
      if (message.retain) retained++
      else live.push(message.payload.toString())
    }
    expect(live).toEqual(Array.from({ length: 20 }, (_, i) => String(i)))
    expect(retained).toBe(3)
  })

  it('[MQTT-3.8.4-5] several filters in one SUBSCRIBE are as several SUBSCRIBE, with one SUBACK', async () => {
    const client = await connect()
    await client.publish({ topic: 'subscribe/several/b', qos: 1, retain: true, payload: 'kept' })
    await client.subscribe([
      { topic: 'subscribe/several/a', qos: 1 },
      { topic: 'subscribe/several/b', qos: 1 },
    ])
    expect(await client.take()).toMatchObject({ topic: 'subscribe/several/b', retain: true })
    for (const name of ['a', 'b']) {
      await client.publish({ topic: `subscribe/several/${name}`, qos: 1 })
      expect((await client.take()).topic).toBe(`subscribe/several/${name}`)
    }
    expect(client.received.filter(({ cmd }) => cmd === 'suback')).toHaveLength(1)
  })

  it('[MQTT-3.8.4-6] SUBACK has a reason code for each filter', async () => {
    const topics = ['subscribe/each/a', 'no/each', 'subscribe/each/a', 'subscribe/each/#']
    const { granted } = await (await connect()).subscribe(topics.map((topic) => ({ topic })))
    expect(granted).toHaveLength(4)
  })

  it('[MQTT-3.8.4-7] it says the QoS that is granted, or that the subscription failed', async () => {
    const client = await connect()
    const { granted } = await client.subscribe([
      { topic: 'subscribe/said', qos: 1 },
      { topic: 'no/said', qos: 1 },
    ])
    expect(granted).toEqual([1, 0x87])
    await client.publish({ topic: 'subscribe/said', qos: 2 })
    expect(await client.take()).toMatchObject({ qos: 1 })
  })

  it('[MQTT-3.8.4-8] messages come at the lower one of their QoS and the granted one', async () => {
    const client = await connect()
    for (const granted of [0, 1, 2] as const) {
      const topic = `subscribe/qos/${granted}`
      await client.subscribe({ topic, qos: granted })
      for (const qos of [0, 1, 2] as const) {
        await client.publish({ topic, qos })
        expect(await client.take()).toMatchObject({ topic, qos: Math.min(qos, granted) })
      }
    }
  })
})

describe('SUBACK', () => {
  it('[MQTT-3.9.2-1] has no reason string that makes it larger than the client takes', async () => {
    for (const [maximumPacketSize, isTold] of [
      [60, false],
      [1_000, true],
    ] as const) {
      const client = await connect({ clientId: 'told', properties: { maximumPacketSize } })
      const suback = await client.subscribe('no/told')
      expect(suback.granted).toEqual([0x87])
      expect(suback.bytes.length).toBeLessThanOrEqual(maximumPacketSize)
      expect(suback.properties?.reasonString !== undefined).toBe(isTold)
    }
  })

  it('[MQTT-3.9.3-1] has its reason codes in the order of the filters', async () => {
    const client = await connect()
    const { granted } = await client.subscribe([
      { topic: 'suback/2', qos: 2 },
      { topic: 'no/suback', qos: 2 },
      { topic: 'suback/0', qos: 0 },
      { topic: 'suback/1', qos: 1 },
    ])
    expect(granted).toEqual([2, 0x87, 0, 1])
  })

  it('[MQTT-3.9.3-2] has reason codes of its table', async () => {
    const client = await connect()
    const topics = ['suback/a', 'no/suback', '$share/group/suback/a', '$tunnel/x']
    for (const topic of topics) {
      const { granted } = await client.subscribe(topic)
      expect(SUBACK_CODES).toContain(granted[0])
    }
  })
})

describe('UNSUBSCRIBE', () => {
  it('[MQTT-3.10.1-1] the flags of UNSUBSCRIBE must be 0010', async () => {
    expect(await ended(packet(0xa0, uint16(1), properties(), field('unsubscribe/flags')))).toBe(0x81)
  })

  it('[MQTT-3.10.3-1] filters must be UTF-8', async () => {
    expect(await ended(packet(0xa2, uint16(1), properties(), field(SURROGATE)))).toBe(0x81)
  })

  it('[MQTT-3.10.3-2] there must be a filter', async () => {
    expect([0x81, 0x82]).toContain(await ended(packet(0xa2, uint16(1), properties())))
  })

  it('[MQTT-3.10.4-1] the subscription with exactly this filter is removed, and no other', async () => {
    const client = await connect()
    await client.subscribe('unsubscribe/+')
    await client.unsubscribe('unsubscribe/a', 'unsubscribe/#', 'Unsubscribe/+')
    await client.publish({ topic: 'unsubscribe/a', qos: 1, payload: 'still' })
    expect((await client.take()).payload.toString()).toBe('still')
    await client.unsubscribe('unsubscribe/+')
    await client.publish({ topic: 'unsubscribe/a', qos: 1 })
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.10.4-2] after UNSUBACK no new message is added', async () => {
    const client = await connect()
    await client.subscribe('unsubscribe/new')
    await client.unsubscribe('unsubscribe/new')
    for (const qos of [0, 1, 2] as const) await client.publish({ topic: 'unsubscribe/new', qos })
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.10.4-3] what is on its way is completed', async () => {
    const client = await connect()
    await client.subscribe('unsubscribe/flight')
    await client.publish({ topic: 'unsubscribe/flight', qos: 2 })
    const message = await client.next('publish')
    await client.unsubscribe('unsubscribe/flight')
    await client.acknowledge(message)
    await client.ping()
  })

  it('[MQTT-3.10.4-4] UNSUBSCRIBE is answered with UNSUBACK', async () => {
    const client = await connect()
    await client.subscribe('unsubscribe/answer')
    expect(await client.unsubscribe('unsubscribe/answer')).toMatchObject({ cmd: 'unsuback', granted: [0] })
  })

  it('[MQTT-3.10.4-5] with its identifier, also if nothing is removed', async () => {
    const client = await connect()
    client.send({ cmd: 'unsubscribe', messageId: 50_000, unsubscriptions: ['unsubscribe/nothing'] })
    expect(await client.next('unsuback')).toMatchObject({ messageId: 50_000, granted: [0x11] })
  })

  it('[MQTT-3.10.4-6] several filters in one UNSUBSCRIBE are as several, with one UNSUBACK', async () => {
    const client = await connect()
    await client.subscribe([
      { topic: 'unsubscribe/1' },
      { topic: 'unsubscribe/2' },
      { topic: 'unsubscribe/3' },
    ])
    await client.unsubscribe('unsubscribe/1', 'unsubscribe/3')
    for (const i of [1, 2, 3]) await client.publish({ topic: `unsubscribe/${i}` })
    await client.ping()
    expect(client.waiting('publish').map(({ topic }) => topic)).toEqual(['unsubscribe/2'])
    expect(client.received.filter(({ cmd }) => cmd === 'unsuback')).toHaveLength(1)
  })
})

describe('UNSUBACK', () => {
  it('[MQTT-3.11.3-1] has its reason codes in the order of the filters', async () => {
    const client = await connect()
    await client.subscribe([{ topic: 'unsuback/1' }, { topic: 'unsuback/2' }])
    const { granted } = await client.unsubscribe('unsuback/1', 'unsuback/none', 'unsuback/2', 'unsuback/1')
    expect(granted).toEqual([0, 0x11, 0, 0x11])
  })

  it('[MQTT-3.11.3-2] has reason codes of its table', async () => {
    const client = await connect()
    for (const topic of ['unsuback/x', 'no/filter', '$share/group/unsuback', '$tunnelmq/x']) {
      for (const code of (await client.unsubscribe(topic)).granted) expect(UNSUBACK_CODES).toContain(code)
    }
  })
})

it('[MQTT-3.12.4-1] PINGREQ is answered with PINGRESP', async () => {
  const client = await connect()
  for (let i = 0; i < 3; i++) client.send({ cmd: 'pingreq' })
  for (let i = 0; i < 3; i++) expect((await client.next('pingresp')).bytes).toEqual(Buffer.of(0xd0, 0))
})
