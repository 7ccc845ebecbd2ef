import { describe, expect, it } from 'vitest'
import { connect5 } from '../../support/mqtt5-client.ts'
import { field, packet, uint16 } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { BYTE_ORDER_MARK, properties, publishBytes, SURROGATE, userProperty } from './bytes.ts'

const world = brokerOfFile()

describe('data representation', () => {
  it('[MQTT-1.5.4-1] a string with a surrogate in UTF-8 is malformed', async () => {
    const client = await connect5(world.port)
    client.send(publishBytes(SURROGATE))
    expect(await client.untilClosed()).toBe(0x81)
  })

  it('[MQTT-1.5.4-2] a string with U+0000 is malformed', async () => {
    const contentType = properties(Buffer.concat([Buffer.of(0x03), field('text\0')]))
    for (const bytes of [publishBytes('data/a\0b'), publishBytes('data/null', contentType)]) {
      const client = await connect5(world.port)
      client.send(bytes)
      expect(await client.untilClosed()).toBe(0x81)
    }
  })

  it('[MQTT-1.5.4-3] a byte order mark is kept, and is a character like others', async () => {
    const client = await connect5(world.port)
    await client.subscribe('data/bom/#')
    const topic = Buffer.concat([Buffer.from('data/bom/'), BYTE_ORDER_MARK])
    client.send(publishBytes(topic, Buffer.concat([properties(), BYTE_ORDER_MARK])))
    const { bytes } = await client.next('publish')
    expect(bytes.subarray(2)).toEqual(Buffer.concat([field(topic), properties(), BYTE_ORDER_MARK]))
  })

  it('[MQTT-1.5.5-1] a variable byte integer in more bytes than it takes is malformed', async () => {
    const client = await connect5(world.port)
    client.send(publishBytes('data/long', Buffer.of(0x80, 0x00)))
    expect(await client.untilClosed()).toBe(0x81)
  })

  it('[MQTT-1.5.7-1] a string pair with one string that is no UTF-8 is malformed', async () => {
    for (const pair of [userProperty(SURROGATE, 'value'), userProperty('name', 'a\0')]) {
      const client = await connect5(world.port)
      client.send(publishBytes('data/pair', properties(pair)))
      expect(await client.untilClosed()).toBe(0x81)
    }
  })
})

describe('packet format', () => {
  it('[MQTT-2.1.3-1] reserved flags of the fixed header must have their value', async () => {
    for (const first of [0x43, 0x51, 0x60, 0x71, 0x80, 0xa0, 0xc1, 0xe8]) {
      const client = await connect5(world.port)
      client.send(packet(first, uint16(1)))
      expect(await client.untilClosed(), first.toString(16)).toBe(0x81)
    }
  })

  it('[MQTT-2.2.1-2] a PUBLISH at QoS 0 has no packet identifier', async () => {
    const client = await connect5(world.port)
    await client.subscribe('data/none')
    client.send(publishBytes('data/none', Buffer.concat([properties(), Buffer.from('x')])))
    const { bytes } = await client.next('publish')
    expect(bytes.subarray(2)).toEqual(Buffer.concat([field('data/none'), Buffer.from('\0x')]))
  })

  it('[MQTT-2.2.1-3] packet identifier 0 of a client is refused', async () => {
    const publish = packet(0x32, field('data/zero'), uint16(0), properties())
    const subscribe = packet(0x82, uint16(0), properties(), field('data/zero'), Buffer.of(0))
    const unsubscribe = packet(0xa2, uint16(0), properties(), field('data/zero'))
    for (const bytes of [publish, subscribe, unsubscribe]) {
      const client = await connect5(world.port)
      client.send(bytes)
      expect(await client.untilClosed()).toBeGreaterThanOrEqual(0x81)
    }
  })

  it('[MQTT-2.2.1-4] the broker gives each new PUBLISH an identifier that is not 0 and not in use', async () => {
    const client = await connect5(world.port)
    await client.subscribe('data/ids')
    for (let i = 0; i < 4; i++) await client.publish({ topic: 'data/ids', qos: 1 })
    await client.ping()
    const ids = client.waiting('publish').map(({ messageId }) => messageId)
    expect(ids).toHaveLength(4)
    expect(new Set(ids).size).toBe(4)
    expect(ids).not.toContain(0)
  })

  it('[MQTT-2.2.1-5] acknowledgements have the identifier of their PUBLISH', async () => {
    const client = await connect5(world.port)
    client.send({
      cmd: 'publish',
      topic: 'data/5',
      payload: '',
      qos: 1,
      dup: false,
      retain: false,
      messageId: 4_711,
    })
    expect(await client.next('puback')).toMatchObject({ messageId: 4_711 })
    client.send({
      cmd: 'publish',
      topic: 'data/5',
      payload: '',
      qos: 2,
      dup: false,
      retain: false,
      messageId: 4_712,
    })
    expect(await client.next('pubrec')).toMatchObject({ messageId: 4_712 })
    client.send({ cmd: 'pubrel', messageId: 4_712 })
    expect(await client.next('pubcomp')).toMatchObject({ messageId: 4_712 })
  })

  it('[MQTT-2.2.1-6] SUBACK and UNSUBACK have the identifier of their request', async () => {
    const client = await connect5(world.port)
    client.send({ cmd: 'subscribe', messageId: 77, subscriptions: [{ topic: 'data/6', qos: 0 }] })
    expect(await client.next('suback')).toMatchObject({ messageId: 77 })
    client.send({ cmd: 'unsubscribe', messageId: 78, unsubscriptions: ['data/6'] })
    expect(await client.next('unsuback')).toMatchObject({ messageId: 78 })
  })

  it('[MQTT-2.2.2-1] a packet without properties says so with a property length of 0', async () => {
    const client = await connect5(world.port)
    await client.subscribe('data/length')
    client.send(publishBytes('data/length'))
    expect((await client.next('publish')).bytes.at(-1)).toBe(0)
    const suback = await client.subscribe('data/length/more')
    expect(suback.bytes.subarray(2)).toEqual(
      Buffer.concat([uint16(suback.messageId!), properties(), Buffer.of(2)]),
    )
  })
})
