import { describe, expect, it } from 'vitest'
import {
  connect5,
  publishPacket,
  Mqtt5Client,
  type ConnectInput,
  type From,
} from '../../support/mqtt5-client.ts'
import { brokerOfFile } from '../broker-of-file.ts'

const world = brokerOfFile()
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)
const stored = { properties: { sessionExpiryInterval: 100 } }
const passed = (seconds = 1): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1_000 + 100))

/** A client whose session has a subscription, and the next connection of it. */
async function subscriber(
  clientId: string,
  topic: string,
): Promise<{ client: Mqtt5Client; again: () => Promise<Mqtt5Client> }> {
  const client = await connect({ clientId, ...stored })
  await client.subscribe(topic)
  return {
    client,
    async again() {
      await client.destroy()
      return await connect({ clientId, clean: false, ...stored })
    },
  }
}

async function expectNothing(client: Mqtt5Client): Promise<void> {
  await client.ping()
  expect(client.received.filter(({ cmd }) => cmd === 'publish' || cmd === 'pubrel')).toEqual([])
}

describe('session state', () => {
  it('[MQTT-4.1.0-1] is not dropped while the connection is open', async () => {
    const client = await connect({ clientId: 'open', properties: { sessionExpiryInterval: 1 } })
    await client.subscribe('session/open')
    await passed()
    await client.publish({ topic: 'session/open', qos: 1 })
    await client.take()
  })

  it('[MQTT-4.1.0-2] is dropped when the session expiry interval has passed', async () => {
    const kept = await subscriber('long', 'session/over')
    const client = await connect({ clientId: 'short', properties: { sessionExpiryInterval: 1 } })
    await client.subscribe('session/over')
    await client.destroy()
    const without = await connect({ clientId: 'none' })
    await without.destroy()
    await passed()
    for (const clientId of ['short', 'none']) {
      const again = await Mqtt5Client.open(world.port)
      expect(await again.connect({ clientId, clean: false })).toMatchObject({ sessionPresent: false })
      await expectNothing(again)
    }
    await (await kept.again()).publish({ topic: 'session/over', qos: 1 })
  })
})

describe('QoS 0', () => {
  it('[MQTT-4.3.1-1] is sent with DUP 0', async () => {
    const client = await connect()
    await client.subscribe('qos/0')
    await client.publish({ topic: 'qos/0' })
    expect((await client.next('publish')).bytes[0]).toBe(0x30)
  })
})

describe('QoS 1, sent', () => {
  it('[MQTT-4.3.2-1] each new message has an unused identifier', async () => {
    const client = await connect()
    await client.subscribe('qos/1/ids')
    const inUse = new Set<number>()
    for (let i = 0; i < 6; i++) {
      await client.publish({ topic: 'qos/1/ids', qos: 1 })
      const message = await client.next('publish')
      expect(inUse).not.toContain(message.messageId)
      if (i % 2 === 0) await client.acknowledge(message)
      else inUse.add(message.messageId!)
    }
  })

  it('[MQTT-4.3.2-2] with QoS 1 and DUP 0', async () => {
    const client = await connect()
    await client.subscribe('qos/1/flags')
    await client.publish({ topic: 'qos/1/flags', qos: 1 })
    const { bytes, messageId } = await client.next('publish')
    expect(bytes[0]).toBe(0x32)
    expect(messageId).toBeGreaterThan(0)
  })

  it('[MQTT-4.3.2-3] it is unacknowledged until its PUBACK', async () => {
    const { client, again } = await subscriber('puback', 'qos/1/until')
    await client.publish({ topic: 'qos/1/until', qos: 1, payload: 'acknowledged' })
    await client.take()
    await client.publish({ topic: 'qos/1/until', qos: 1, payload: 'not' })
    await client.next('publish')
    const next = await again()
    expect((await next.take()).payload.toString()).toBe('not')
  })
})

describe('QoS 1, received', () => {
  it('[MQTT-4.3.2-4] is answered with PUBACK and its identifier', async () => {
    const client = await connect()
    client.send(publishPacket({ topic: 'qos/1/in', qos: 1, messageId: 321 }))
    expect(await client.next('puback')).toMatchObject({ messageId: 321 })
  })

  it('[MQTT-4.3.2-5] after PUBACK the same identifier is a new message, whatever DUP says', async () => {
    const client = await connect()
    await client.subscribe('qos/1/new')
    for (const dup of [false, true]) {
      await client.publish({ topic: 'qos/1/new', qos: 1, messageId: 1, dup })
      await client.take()
    }
  })
})

describe('QoS 2, sent', () => {
  /** PUBLISH to a client of its own. */
  async function sent(
    name: string,
  ): Promise<{ message: From<'publish'> } & Awaited<ReturnType<typeof subscriber>>> {
    const one = await subscriber(`qos-2-${name}`, `qos/2/${name}`)
    await one.client.publish({ topic: `qos/2/${name}`, qos: 2, payload: name })
    return { ...one, message: await one.client.next('publish') }
  }

  it('[MQTT-4.3.3-1] each new message has an unused identifier', async () => {
    const { client, message } = await sent('ids')
    client.send({ cmd: 'pubrec', messageId: message.messageId!, reasonCode: 0 })
    await client.next('pubrel')
    await client.publish({ topic: 'qos/2/ids', qos: 2 })
    expect((await client.next('publish')).messageId).not.toBe(message.messageId)
  })

  it('[MQTT-4.3.3-2] with QoS 2 and DUP 0', async () => {
    const { message } = await sent('flags')
    expect(message.bytes[0]).toBe(0x34)
    expect(message.messageId).toBeGreaterThan(0)
  })

  it('[MQTT-4.3.3-3] it is unacknowledged until its PUBREC', async () => {
    const { message, again } = await sent('pubrec')
    expect(await (await again()).take()).toMatchObject({ messageId: message.messageId, dup: true, qos: 2 })
  })

  it('[MQTT-4.3.3-4] PUBREC is answered with PUBREL and the same identifier, unless it has failed', async () => {
    const { client, message } = await sent('pubrel')
    client.send({ cmd: 'pubrec', messageId: message.messageId!, reasonCode: 0 })
    expect(await client.next('pubrel')).toMatchObject({ messageId: message.messageId })
    const other = await sent('failed')
    other.client.send({ cmd: 'pubrec', messageId: other.message.messageId!, reasonCode: 0x80 })
    await other.client.ping()
    expect(other.client.waiting('pubrel')).toEqual([])
  })

  it('[MQTT-4.3.3-5] PUBREL is unacknowledged until PUBCOMP', async () => {
    const { client, message, again } = await sent('pubcomp')
    const { messageId = 0 } = message
    client.send({ cmd: 'pubrec', messageId, reasonCode: 0 })
    await client.next('pubrel')
    const next = await again()
    expect(await next.next('pubrel')).toMatchObject({ messageId })
    next.send({ cmd: 'pubcomp', messageId, reasonCode: 0 })
    await next.ping()
    await next.destroy()
    await expectNothing(await connect({ clientId: 'qos-2-pubcomp', clean: false, ...stored }))
  })

  it('[MQTT-4.3.3-6] the PUBLISH is not sent again after its PUBREL', async () => {
    const { client, message, again } = await sent('not-again')
    client.send({ cmd: 'pubrec', messageId: message.messageId!, reasonCode: 0 })
    await client.next('pubrel')
    const next = await again()
    await next.next('pubrel')
    await next.ping()
    expect(next.waiting('publish')).toEqual([])
  })

  it('[MQTT-4.3.3-7] a PUBLISH that was sent does not expire', async () => {
    const { client, again } = await subscriber('qos-2-expiry', 'qos/2/expiry')
    await client.publish({ topic: 'qos/2/expiry', qos: 2, properties: { messageExpiryInterval: 3 } })
    const { messageId } = await client.next('publish')
    await passed(3)
    expect(await (await again()).take()).toMatchObject({ messageId, dup: true })
  })
})

describe('QoS 2, received', () => {
  it('[MQTT-4.3.3-8] is answered with PUBREC and its identifier', async () => {
    const client = await connect()
    client.send(publishPacket({ topic: 'qos/2/in', qos: 2, messageId: 654 }))
    expect(await client.next('pubrec')).toMatchObject({ messageId: 654 })
  })

  it('[MQTT-4.3.3-9] after a PUBREC that refuses, the same identifier is a new message', async () => {
    const client = await connect()
    await client.subscribe('qos/2/refused')
    expect(await client.publish({ topic: 'no/topic', qos: 2, messageId: 9 })).toBe(0x87)
    expect(await client.publish({ topic: 'qos/2/refused', qos: 2, messageId: 9 })).toBe(0)
    expect(await client.take()).toMatchObject({ topic: 'qos/2/refused' })
  })

  it('[MQTT-4.3.3-10] until PUBREL the same identifier is the same message: PUBREC, and not delivered again', async () => {
    const client = await connect()
    await client.subscribe('qos/2/once')
    for (const dup of [false, true, true]) {
      client.send(publishPacket({ topic: 'qos/2/once', qos: 2, messageId: 3, dup }))
      await client.next('pubrec')
    }
    client.send({ cmd: 'pubrel', messageId: 3 })
    await client.next('pubcomp')
    await client.ping()
    expect(client.waiting('publish')).toHaveLength(1)
  })

  it('[MQTT-4.3.3-11] PUBREL is answered with PUBCOMP and its identifier', async () => {
    const client = await connect()
    client.send(publishPacket({ topic: 'qos/2/comp', qos: 2, messageId: 5 }))
    await client.next('pubrec')
    client.send({ cmd: 'pubrel', messageId: 5 })
    expect(await client.next('pubcomp')).toMatchObject({ messageId: 5 })
  })

  it('[MQTT-4.3.3-12] after PUBCOMP the same identifier is a new message', async () => {
    const client = await connect()
    await client.subscribe('qos/2/new')
    for (let i = 0; i < 2; i++) {
      await client.publish({ topic: 'qos/2/new', qos: 2, messageId: 4 })
      await client.take()
    }
  })

  it('[MQTT-4.3.3-13] the exchange goes on when the message has expired', async () => {
    const client = await connect()
    const properties = { messageExpiryInterval: 1 }
    client.send(publishPacket({ topic: 'qos/2/expired', qos: 2, messageId: 6, properties }))
    await client.next('pubrec')
    await passed()
    client.send({ cmd: 'pubrel', messageId: 6 })
    expect(await client.next('pubcomp')).toMatchObject({ messageId: 6, reasonCode: 0 })
  })
})

describe('delivery again', () => {
  it('[MQTT-4.4.0-1] happens when a session goes on, with the same identifiers, and at no other time', async () => {
    const { client, again } = await subscriber('retry', 'retry/a')
    await client.publish({ topic: 'retry/a', qos: 1, payload: '1' })
    await client.publish({ topic: 'retry/a', qos: 2, payload: '2' })
    const ids = [(await client.next('publish')).messageId, (await client.next('publish')).messageId]
    await client.publish({ topic: 'retry/other', qos: 1 })
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
    const next = await again()
    for (const messageId of ids) expect(await next.take()).toMatchObject({ messageId, dup: true })
  })

  it('[MQTT-4.4.0-2] what was refused with PUBACK or PUBREC from 0x80 on is not sent again', async () => {
    const { client, again } = await subscriber('refusing', 'retry/refused')
    await client.publish({ topic: 'retry/refused', qos: 1 })
    client.send({ cmd: 'puback', messageId: (await client.next('publish')).messageId!, reasonCode: 0x80 })
    await client.publish({ topic: 'retry/refused', qos: 2 })
    client.send({ cmd: 'pubrec', messageId: (await client.next('publish')).messageId!, reasonCode: 0x80 })
    await client.ping()
    await expectNothing(await again())
  })
})

it('[MQTT-4.5.0-1] a message is added to the sessions of all clients whose subscriptions match', async () => {
  const watchers = await Promise.all(
    ['a', 'b', 'c'].map((name) => subscriber(`receipt-${name}`, 'receipt/+')),
  )
  for (const { client } of watchers) await client.destroy()
  await (await connect()).publish({ topic: 'receipt/a', qos: 1, payload: 'x' })
  for (const { again } of watchers) expect((await (await again()).take()).topic).toBe('receipt/a')
})

describe('order', () => {
  it('[MQTT-4.6.0-5] messages of one client are sent in the order in which they came, per topic and QoS', async () => {
    const client = await connect()
    await client.subscribe('order/+')
    const publisher = await connect()
    for (let i = 0; i < 30; i++) {
      publisher.send(
        publishPacket({ topic: 'order/a', qos: (i % 3) as 0 | 1 | 2, messageId: i + 1, payload: String(i) }),
      )
      if (i % 3 === 2) publisher.send({ cmd: 'pubrel', messageId: i + 1 })
    }
    const came: number[] = []
    while (came.length < 30) came.push(Number((await client.take()).payload.toString()))
    for (const qos of [0, 1, 2]) {
      const ofQos = came.filter((i) => i % 3 === qos)
      expect(ofQos).toEqual(ofQos.toSorted((a, b) => a - b))
    }
  })

  it('[MQTT-4.6.0-6] every topic is ordered, also over a new connection', async () => {
    const { client, again } = await subscriber('ordered', 'order/again/#')
    const publisher = await connect()
    for (let i = 0; i < 10; i++) {
      await publisher.publish({ topic: `order/again/${i % 2}`, qos: 1, payload: String(i) })
    }
    await client.ping()
    const next = await again()
    const came: string[] = []
    for (let i = 0; i < 10; i++) came.push((await next.take()).payload.toString())
    for (const parity of [0, 1]) {
      expect(came.filter((i) => Number(i) % 2 === parity)).toEqual(
        [0, 2, 4, 6, 8].map((i) => String(i + parity)),
      )
    }
  })
})

describe('flow control', () => {
  it('[MQTT-4.9.0-1] the quota is not 0 at the beginning, and not above the receive maximum', async () => {
    const client = await connect({ properties: { receiveMaximum: 1 } })
    await client.subscribe('flow/first')
    for (let i = 0; i < 2; i++) await client.publish({ topic: 'flow/first', qos: 1 })
    await client.ping()
    expect(client.waiting('publish')).toHaveLength(1)
  })

  it('[MQTT-4.9.0-2] with the quota used up, no message at QoS 1 or 2 is sent', async () => {
    const client = await connect({ properties: { receiveMaximum: 1 } })
    await client.subscribe('flow/empty')
    for (const qos of [2, 1] as const)
      await client.publish({ topic: 'flow/empty', qos, payload: String(qos) })
    const first = await client.next('publish')
    client.send({ cmd: 'pubrec', messageId: first.messageId!, reasonCode: 0 })
    await client.next('pubrel')
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
    client.send({ cmd: 'pubcomp', messageId: first.messageId!, reasonCode: 0 })
    const second = await client.next('publish')
    expect(second.payload.toString()).toBe('1')
  })

  it('[MQTT-4.9.0-3] other packets are dealt with while the quota is used up', async () => {
    const client = await connect({ properties: { receiveMaximum: 1 } })
    await client.subscribe('flow/other')
    for (let i = 0; i < 2; i++) await client.publish({ topic: 'flow/other', qos: 1 })
    expect(await client.subscribe('flow/more')).toMatchObject({ granted: [2] })
    expect(await client.publish({ topic: 'flow/elsewhere', qos: 2 })).toBeLessThan(0x80)
    await client.ping()
    expect(client.waiting('publish')).toHaveLength(1)
  })
})
