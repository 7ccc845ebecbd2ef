import { describe, expect, it } from 'vitest'
import { openRaw } from '../../support/broker-world.ts'
import { ackPacket, connectPacket, field, packet, Packet, publishPacket, uint16 } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { clientsOf } from './clients.ts'

const world = brokerOfFile()
const { connect, expectEnd } = clientsOf(world)

async function retainedOf(topic: string): Promise<string[]> {
  const client = await connect()
  await client.subscribe([topic, 1])
  await client.ping()
  return client.waitingMessages.map(({ payload }) => payload.toString())
}

const SURROGATE = Buffer.from([0x61, 0xed, 0xa0, 0x80])

describe('data', () => {
  it('[MQTT-1.5.3-1] ill-formed UTF-8 ends the connection', async () => {
    await expectEnd(publishPacket({ topic: SURROGATE }))
    await expectEnd(packet(0x82, uint16(1), field(Buffer.of(0xff)), Buffer.of(0)))
  })

  it('[MQTT-1.5.3-2] U+0000 ends the connection', async () => {
    await expectEnd(publishPacket({ topic: 'data/\0' }))
    const client = await openRaw(world.port)
    client.send(connectPacket({ clientId: 'null', username: 'u\0' }))
    await client.untilClosed()
    expect(client.received).toEqual([])
  })

  it('[MQTT-1.5.3-3] a byte order mark is kept, and is a character like others', async () => {
    const client = await connect()
    await client.subscribe(['data/bom/\ufeffa', 0])
    for (const topic of ['data/bom/a', 'data/bom/\ufeffa']) await client.publish({ topic })
    await client.ping()
    expect(client.waitingMessages.map(({ topic }) => Buffer.from(topic).toString('hex'))).toEqual([
      Buffer.from('data/bom/\ufeffa').toString('hex'),
    ])
  })

  it.each([
    '[MQTT-2.2.2-1] reserved flags must have their value',
    '[MQTT-2.2.2-2] or the connection is closed',
  ])('%s', async () => {
    for (const first of [0x43, 0x51, 0x60, 0x71, 0x80, 0xa0, 0xc1, 0xe8, 0xf0]) {
      await expectEnd(packet(first, ...(first === 0xc1 || first === 0xe8 ? [] : [uint16(1)])))
    }
  })

  it('[MQTT-2.3.1-1] a packet identifier must not be 0', async () => {
    await expectEnd(publishPacket({ topic: 'data/id', qos: 1, messageId: 0 }))
    await expectEnd(packet(0x82, uint16(0), field('data/id'), Buffer.of(0)))
    await expectEnd(packet(0xa2, uint16(0), field('data/id')))
  })

  it('[MQTT-2.3.1-4] the broker uses an identifier that is free, and the same one when it sends again', async () => {
    const fields = { clientId: 'ids', clean: false }
    const client = await connect(fields)
    await client.subscribe(['data/ids', 1])
    for (let i = 0; i < 3; i++) await client.publish({ topic: 'data/ids', qos: 1 })
    const ids = (await client.nextMessages(3)).map(({ messageId }) => messageId)
    expect(new Set(ids).size).toBe(3)
    expect(ids).not.toContain(0)
    await client.destroy()
    const again = await connect(fields)
    expect((await again.nextMessages(3)).map(({ messageId }) => messageId)).toEqual(ids)
  })

  it('[MQTT-2.3.1-5] a PUBLISH at QoS 0 has no packet identifier', async () => {
    const client = await connect()
    await client.subscribe(['data/none', 1])
    await client.publish({ topic: 'data/none', payload: '\0\x01x' })
    expect((await client.nextMessages(1))[0]?.payload).toEqual(Buffer.from('\0\x01x'))
  })

  it('[MQTT-2.3.1-6] acknowledgements have the identifier of their PUBLISH', async () => {
    const client = await connect()
    client.send(publishPacket({ topic: 'data/6', qos: 1, messageId: 4_711 }))
    await client.nextAck('puback', 4_711)
    client.send(publishPacket({ topic: 'data/6', qos: 2, messageId: 4_712 }))
    await client.nextAck('pubrec', 4_712)
    client.send(ackPacket(Packet.pubrel, 4_712))
    await client.nextAck('pubcomp', 4_712)
  })

  it('[MQTT-2.3.1-7] SUBACK and UNSUBACK have the identifier of their request', async () => {
    const client = await connect()
    client.send(packet(0x82, uint16(77), field('data/7'), Buffer.of(0)))
    expect(await client.next('suback')).toMatchObject({ messageId: 77 })
    client.send(packet(0xa2, uint16(78), field('data/7')))
    expect(await client.next('unsuback')).toMatchObject({ messageId: 78 })
  })
})

describe('PUBLISH', () => {
  it('[MQTT-3.3.1-1] DUP is 1 when it is delivered again', async () => {
    const client = await connect({ clientId: 'again', clean: false })
    await client.subscribe(['publish/again', 1])
    await client.publish({ topic: 'publish/again', qos: 1 })
    expect((await client.nextMessages(1))[0]?.dup).toBe(false)
    await client.destroy()
    const again = await connect({ clientId: 'again', clean: false })
    expect((await again.nextMessages(1))[0]?.dup).toBe(true)
  })

  it('[MQTT-3.3.1-2] DUP is 0 at QoS 0', async () => {
    await expectEnd(publishPacket({ topic: 'publish/dup', dup: true }))
    const client = await connect()
    await client.subscribe(['publish/dup', 0])
    await client.publish({ topic: 'publish/dup', qos: 1 })
    expect((await client.nextMessages(1))[0]).toMatchObject({ qos: 0, dup: false })
  })

  it('[MQTT-3.3.1-3] DUP of a PUBLISH that comes in is not passed on', async () => {
    const client = await connect()
    await client.subscribe(['publish/dup-in', 1])
    await client.publish({ topic: 'publish/dup-in', qos: 1, dup: true })
    expect((await client.nextMessages(1))[0]?.dup).toBe(false)
  })

  it('[MQTT-3.3.1-4] QoS 3 ends the connection', async () => {
    await expectEnd(publishPacket({ topic: 'publish/qos', qos: 3 }))
  })

  it('[MQTT-3.3.1-5] with RETAIN it is kept, with its QoS, for subscriptions to come', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/kept', qos: 1, retain: true, payload: 'x' })
    await client.subscribe(['publish/kept', 2])
    expect((await client.nextMessages(1))[0]).toMatchObject({ qos: 1, payload: Buffer.from('x') })
  })

  it('[MQTT-3.3.1-6] a new subscription is sent the last retained message of each topic', async () => {
    const client = await connect()
    for (const [name, payload] of [
      ['a', 'old'],
      ['a', 'new'],
      ['b', 'only'],
    ] as const) {
      await client.publish({ topic: `publish/last/${name}`, qos: 1, retain: true, payload })
    }
    expect((await retainedOf('publish/last/+')).toSorted()).toEqual(['new', 'only'])
  })

  it('[MQTT-3.3.1-7] one at QoS 0 takes the place of what was retained', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/replaced', qos: 1, retain: true, payload: 'old' })
    await client.publish({ topic: 'publish/replaced', qos: 0, retain: true, payload: 'new' })
    await client.ping()
    expect(await retainedOf('publish/replaced')).toEqual(['new'])
  })

  it('[MQTT-3.3.1-8] RETAIN is 1 in what a new subscription is sent', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/flag', qos: 1, retain: true, payload: 'x' })
    await client.subscribe(['publish/flag', 1])
    expect((await client.nextMessages(1))[0]?.retain).toBe(true)
  })

  it('[MQTT-3.3.1-9] RETAIN is 0 in what an existing subscription is sent', async () => {
    const client = await connect()
    await client.subscribe(['publish/live', 1])
    await client.publish({ topic: 'publish/live', qos: 1, retain: true, payload: 'x' })
    expect((await client.nextMessages(1))[0]?.retain).toBe(false)
  })

  it('[MQTT-3.3.1-10] an empty payload with RETAIN is delivered, and removes what was retained', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/removed', qos: 1, retain: true, payload: 'x' })
    const watcher = await connect()
    await watcher.subscribe(['publish/removed', 1])
    await watcher.nextMessages(1)
    await client.publish({ topic: 'publish/removed', qos: 1, retain: true })
    expect((await watcher.nextMessages(1))[0]).toMatchObject({ payload: Buffer.alloc(0), retain: false })
    expect(await retainedOf('publish/removed')).toEqual([])
  })

  it('[MQTT-3.3.1-11] an empty payload is not retained', async () => {
    await (await connect()).publish({ topic: 'publish/empty', qos: 1, retain: true })
    expect(await retainedOf('publish/empty')).toEqual([])
  })

  it('[MQTT-3.3.1-12] without RETAIN nothing is retained, replaced or removed', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/not/1', qos: 1, payload: 'x' })
    await client.publish({ topic: 'publish/not/2', qos: 1, retain: true, payload: 'kept' })
    for (const payload of ['x', '']) await client.publish({ topic: 'publish/not/2', qos: 1, payload })
    expect(await retainedOf('publish/not/+')).toEqual(['kept'])
  })

  it('[MQTT-3.3.2-1] it begins with its topic, in UTF-8', async () => {
    await expectEnd(packet(0x30))
    await expectEnd(packet(0x30, uint16(9), Buffer.from('short')))
    await expectEnd(publishPacket({ topic: SURROGATE }))
  })

  it('[MQTT-3.3.2-2] its topic has no wildcards', async () => {
    for (const topic of ['publish/#', 'publish/+/x', 'a+']) await expectEnd(publishPacket({ topic }))
  })

  it('[MQTT-3.3.2-3] the topic of what is forwarded matches the filter', async () => {
    const client = await connect()
    await client.subscribe(['publish/match/+/x', 0])
    for (const name of ['a/y', 'a/x', 'x', 'b/x']) await client.publish({ topic: `publish/match/${name}` })
    await client.ping()
    expect(client.waitingMessages.map(({ topic }) => topic)).toEqual([
      'publish/match/a/x',
      'publish/match/b/x',
    ])
  })

  it('[MQTT-3.3.4-1] the answer is as the QoS says: none, PUBACK, PUBREC', async () => {
    const client = await connect()
    for (const qos of [0, 1, 2])
      client.send(publishPacket({ topic: 'publish/answer', qos, messageId: 10 + qos }))
    await client.nextAck('pubrec', 12)
    await client.ping()
    const answers = client.received.flatMap((one) =>
      'messageId' in one ? [`${one.type} ${one.messageId}`] : [],
    )
    expect(answers).toEqual(['puback 11', 'pubrec 12'])
  })

  it('[MQTT-3.3.5-1] of overlapping subscriptions the highest QoS holds', async () => {
    const client = await connect()
    await client.subscribe(['publish/over/#', 0], ['publish/over/a', 2], ['publish/over/+', 1])
    await client.publish({ topic: 'publish/over/a', qos: 2 })
    await client.ping()
    expect(Math.max(...client.waitingMessages.map(({ qos }) => qos))).toBe(2)
  })

  it('[MQTT-3.3.5-2] who may not publish is answered as the QoS asks, or its connection is closed', async () => {
    const watcher = await connect()
    await watcher.subscribe(['#', 1])
    const client = await connect()
    for (const qos of [1, 2]) await client.publish({ topic: 'no/topic', qos })
    await client.publish({ topic: 'publish/after', qos: 1 })
    expect((await watcher.takeUntil('publish/after')).filter(({ topic }) => topic === 'no/topic')).toEqual([])
  })

  it('[MQTT-3.6.1-1] the flags of PUBREL must be 0010', async () => {
    const client = await connect()
    client.send(publishPacket({ topic: 'publish/rel', qos: 2 }))
    await client.nextAck('pubrec', 1)
    client.send(packet(0x60, uint16(1)))
    await client.untilClosed()
  })
})

it('[MQTT-3.12.4-1] PINGREQ is answered with PINGRESP', async () => {
  const client = await connect()
  for (let i = 0; i < 3; i++) await client.ping()
})
