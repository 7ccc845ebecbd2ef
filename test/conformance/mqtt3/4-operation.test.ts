import { describe, expect, it } from 'vitest'
import type { RawClient } from '../../support/raw-client.ts'
import { ackPacket, packet, Packet, publishPacket, subscribePacket } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { clientsOf } from './clients.ts'

const world = brokerOfFile()
const { connect, expectEnd } = clientsOf(world)

/** A client whose session has a subscription at QoS 2. */
async function subscriber(clientId: string, topic: string): Promise<RawClient> {
  const client = await connect({ clientId, clean: false })
  await client.subscribe([topic, 2])
  return client
}

async function again(client: RawClient, clientId: string): Promise<RawClient> {
  await client.destroy()
  return await connect({ clientId, clean: false })
}

/** Refused in the SUBACK, or with the end of the connection. */
async function expectRefused(filter: string): Promise<void> {
  const client = await connect()
  client.send(subscribePacket(1, [[filter, 0]]))
  const codes = await client.next('suback').then(
    ({ codes: said }) => said,
    () => [0x80],
  )
  expect(codes, filter).toEqual([0x80])
}

describe('sessions', () => {
  it('[MQTT-4.1.0-1] are kept over connections', async () => {
    const client = await again(await subscriber('kept', 'session/kept'), 'kept')
    await client.publish({ topic: 'session/kept', qos: 1 })
    await client.nextMessages(1)
  })

  it('[MQTT-4.1.0-2] last as long as their connection, with clean session 1 too', async () => {
    const client = await connect({ clientId: 'lasting' })
    await client.subscribe(['session/lasting', 2])
    await client.publish({ topic: 'session/lasting', qos: 2 })
    const [message] = await client.nextMessages(1)
    await client.acknowledge(message!)
    await client.publish({ topic: 'session/lasting', qos: 1 })
    await client.nextMessages(1)
  })
})

describe('QoS', () => {
  it('[MQTT-4.3.1-1] 0 is sent with QoS 0 and DUP 0', async () => {
    const client = await subscriber('qos-0', 'qos/0')
    await client.publish({ topic: 'qos/0' })
    expect((await client.nextMessages(1))[0]).toMatchObject({ qos: 0, dup: false, messageId: 0 })
  })

  it('[MQTT-4.3.2-1] 1 is sent with an unused identifier and DUP 0, and unacknowledged until PUBACK', async () => {
    const client = await subscriber('qos-1', 'qos/1')
    for (const payload of ['acknowledged', 'not']) await client.publish({ topic: 'qos/1', qos: 1, payload })
    const [first, second] = await client.nextMessages(2)
    expect(first).toMatchObject({ qos: 1, dup: false })
    expect(second!.messageId).not.toBe(first!.messageId)
    client.send(ackPacket(Packet.puback, first!.messageId))
    await client.ping()
    const next = await again(client, 'qos-1')
    expect((await next.nextMessages(1))[0]).toMatchObject({ payload: Buffer.from('not'), dup: true })
  })

  it('[MQTT-4.3.2-2] 1 is answered with PUBACK; then the same identifier is a new message', async () => {
    const client = await subscriber('qos-1-in', 'qos/1/in')
    for (const dup of [false, true]) await client.publish({ topic: 'qos/1/in', qos: 1, messageId: 7, dup })
    await client.nextMessages(2)
  })

  it('[MQTT-4.3.3-1] 2 is sent until PUBREC, then PUBREL until PUBCOMP, with one identifier', async () => {
    const client = await subscriber('qos-2', 'qos/2')
    await client.publish({ topic: 'qos/2', qos: 2 })
    const { messageId, dup } = (await client.nextMessages(1))[0]!
    expect(dup).toBe(false)
    const second = await again(client, 'qos-2')
    expect((await second.nextMessages(1))[0]).toMatchObject({ messageId, dup: true })
    second.send(ackPacket(Packet.pubrec, messageId))
    await second.nextAck('pubrel', messageId)
    const third = await again(second, 'qos-2')
    await third.nextAck('pubrel', messageId)
    await third.ping()
    expect(third.waitingMessages).toEqual([])
    third.send(ackPacket(Packet.pubcomp, messageId))
    await third.ping()
    const last = await again(third, 'qos-2')
    await last.ping()
    expect(last.received.map(({ type }) => type)).toEqual(['connack', 'pingresp'])
  })

  it('[MQTT-4.3.3-2] 2 is answered with PUBREC, is delivered once until PUBREL, and is a new message after PUBCOMP', async () => {
    const client = await subscriber('qos-2-in', 'qos/2/in')
    for (const dup of [false, true]) {
      client.send(publishPacket({ topic: 'qos/2/in', qos: 2, messageId: 7, dup }))
      await client.nextAck('pubrec', 7)
    }
    client.send(ackPacket(Packet.pubrel, 7))
    await client.nextAck('pubcomp', 7)
    await client.ping()
    expect(client.waitingMessages).toHaveLength(1)
    await client.publish({ topic: 'qos/2/in', qos: 2, messageId: 7 })
    await client.nextMessages(2)
  })

  it('[MQTT-4.4.0-1] PUBLISH and PUBREL are sent again with their identifiers when the session goes on', async () => {
    const client = await subscriber('retry', 'retry/a')
    for (const qos of [1, 2, 2]) await client.publish({ topic: 'retry/a', qos })
    const ids = (await client.nextMessages(3)).map(({ messageId }) => messageId)
    client.send(ackPacket(Packet.pubrec, ids[2]!))
    await client.nextAck('pubrel', ids[2]!)
    const next = await again(client, 'retry')
    expect((await next.nextMessages(2)).map(({ messageId }) => messageId)).toEqual(ids.slice(0, 2))
    await next.nextAck('pubrel', ids[2]!)
  })

  it('[MQTT-4.5.0-1] a message is added to the sessions of all clients whose subscriptions match', async () => {
    const names = ['receipt-a', 'receipt-b', 'receipt-c']
    for (const name of names) await (await subscriber(name, 'receipt/+')).disconnect()
    await (await connect()).publish({ topic: 'receipt/a', qos: 1 })
    for (const clientId of names) await (await connect({ clientId, clean: false })).nextMessages(1)
  })
})

describe('order', () => {
  it('[MQTT-4.6.0-1] messages are sent again in the order in which they were sent', async () => {
    const client = await subscriber('resent', 'order/resent/#')
    for (let i = 0; i < 10; i++) {
      await client.publish({ topic: `order/resent/${i % 3}`, qos: 1 + (i % 2), payload: String(i) })
    }
    const sent = (await client.nextMessages(10)).map(({ payload }) => payload.toString())
    const next = await again(client, 'resent')
    expect((await next.nextMessages(10)).map(({ payload }) => payload.toString())).toEqual(sent)
  })

  it.each([
    ['[MQTT-4.6.0-5] each topic is ordered', 'order/a'],
    [
      '[MQTT-4.6.0-6] messages of one client come in the order in which they were sent, per topic and QoS',
      'order/+',
    ],
  ])('%s', async (_, filter) => {
    const client = await connect()
    await client.subscribe([filter, 2])
    const publisher = await connect()
    for (let i = 0; i < 30; i++) {
      const messageId = i + 1
      publisher.send(publishPacket({ topic: 'order/a', qos: i % 3, messageId, payload: String(i) }))
      if (i % 3 === 2) publisher.send(ackPacket(Packet.pubrel, messageId))
    }
    const came: number[] = []
    while (came.length < 30) {
      const [message] = await client.nextMessages(1)
      came.push(Number(message!.payload.toString()))
      await client.acknowledge(message!)
    }
    for (const qos of [0, 1, 2]) {
      const ofQos = came.filter((i) => i % 3 === qos)
      expect(ofQos).toEqual(ofQos.toSorted((a, b) => a - b))
    }
  })
})

describe('topics and filters', () => {
  it('[MQTT-4.7.1-1] wildcards are not for topics', async () => {
    for (const topic of ['topics/+', 'topics/#', '+']) await expectEnd(publishPacket({ topic }))
  })

  it('[MQTT-4.7.1-2] # is the last level, and alone in it', async () => {
    for (const filter of ['topics/#/a', 'topics#', '##', 'topics/#a']) await expectRefused(filter)
    const client = await connect()
    await client.subscribe(['topics/all/#', 0])
    for (const topic of ['topics/all', 'topics/all/a/b', 'topics/al']) await client.publish({ topic })
    await client.ping()
    expect(client.waitingMessages.map(({ topic }) => topic)).toEqual(['topics/all', 'topics/all/a/b'])
  })

  it('[MQTT-4.7.1-3] + is a whole level, any of them', async () => {
    for (const filter of ['topics+', 'topics/+a', 'topics/a+/b']) await expectRefused(filter)
    const client = await connect()
    await client.subscribe(['+/levels/+', 0])
    for (const topic of ['a/levels/b', '/levels/', 'a/levels', 'a/levels/b/c'])
      await client.publish({ topic })
    await client.ping()
    expect(client.waitingMessages.map(({ topic }) => topic)).toEqual(['a/levels/b', '/levels/'])
  })

  it('[MQTT-4.7.2-1] a filter that begins with a wildcard does not match what begins with $', async () => {
    const clients = [await connect(), await connect(), await connect()]
    for (const [i, filter] of ['#', '+/dollar', '$mine/#'].entries()) await clients[i]!.subscribe([filter, 1])
    await clients[2]!.publish({ topic: '$mine/dollar', qos: 1 })
    for (const client of clients) await client.ping()
    const came = clients.map(
      (client) => client.waitingMessages.filter(({ topic }) => topic === '$mine/dollar').length,
    )
    expect(came).toEqual([0, 0, 1])
  })

  it('[MQTT-4.7.3-1] topics and filters have at least one character', async () => {
    await expectEnd(publishPacket({ topic: '' }))
    await expectRefused('')
  })

  it('[MQTT-4.7.3-2] topics and filters have no U+0000', async () => {
    await expectEnd(publishPacket({ topic: 'topics/\0' }))
    await expectEnd(subscribePacket(1, [['topics/\0', 0]]))
  })

  it('[MQTT-4.7.3-4] nothing is normalized', async () => {
    const client = await connect()
    await client.subscribe(['topics/\u00e9', 0])
    const others = [
      'topics/e\u0301',
      'topics/\u00c9',
      'topics//\u00e9',
      'topics/\u00e9/',
      'topics/\ufeff\u00e9',
    ]
    for (const topic of [...others, 'topics/\u00e9']) await client.publish({ topic })
    await client.ping()
    expect(client.waitingMessages.map(({ topic }) => topic)).toEqual(['topics/\u00e9'])
  })
})

describe('errors', () => {
  it('[MQTT-4.8.0-1] a violation of the protocol ends the connection it came on, and no other', async () => {
    const bystander = await connect()
    const bad = [
      Buffer.of(0, 0),
      Buffer.of(0xf0, 0),
      Buffer.of(0xd0, 0),
      packet(0xc0, Buffer.of(0)),
      packet(0x40),
    ]
    for (const bytes of bad) await expectEnd(bytes)
    await bystander.ping()
  })

  it('[MQTT-4.8.0-2] a packet that the broker cannot deal with now ends the connection it came on', async () => {
    const bystander = await connect()
    const client = await connect()
    client.send(publishPacket({ topic: 'undecided/topic', qos: 1 }))
    await client.untilClosed()
    expect(client.received.map(({ type }) => type)).toEqual(['connack'])
    await bystander.ping()
  })
})
