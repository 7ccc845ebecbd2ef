import { describe, expect, it } from 'vitest'
import { connect5, Mqtt5Client, type ConnectInput } from '../../support/mqtt5-client.ts'
import { field, packet, uint16 } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { connectBytes, properties, SURROGATE, userProperty } from './bytes.ts'

const world = brokerOfFile()
const open = (): Promise<Mqtt5Client> => Mqtt5Client.open(world.port)
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)

/** Reason code of the CONNACK, if there is one, of a connection that the broker then closes. */
async function refusal(bytes: Buffer): Promise<number | undefined> {
  const client = await open()
  client.send(bytes)
  await client.untilClosed()
  expect(client.waiting('disconnect')).toEqual([])
  return client.waiting('connack')[0]?.reasonCode
}

/** It must not be accepted; that the broker says why is optional. */
async function expectMalformed(bytes: Buffer): Promise<void> {
  expect([undefined, 0x81, 0x82]).toContain(await refusal(bytes))
}

const WILL = [properties(), field('will/topic'), field('gone')]
const stored = { properties: { sessionExpiryInterval: 100 } }

describe('CONNECT', () => {
  it('[MQTT-3.1.0-1] the first packet must be CONNECT', async () => {
    const client = await open()
    client.send({ cmd: 'pingreq' })
    await client.untilClosed()
    expect(client.received).toEqual([])
  })

  it('[MQTT-3.1.0-2] a second CONNECT is a protocol error', async () => {
    const client = await connect()
    client.send(connectBytes({}))
    expect(await client.untilClosed()).toBe(0x82)
  })

  it('[MQTT-3.1.2-1] another protocol name is refused, and the connection closed', async () => {
    for (const protocol of ['MQTX', 'mqtt', '']) {
      expect([undefined, 0x81, 0x84]).toContain(await refusal(connectBytes({ protocol })))
    }
  })

  it('[MQTT-3.1.2-2] a protocol version that is not known is refused, and the connection closed', async () => {
    for (const level of [6, 2, 0]) {
      const client = await open()
      client.send(connectBytes({ level }))
      await client.untilClosed()
      expect(client.received.filter((one) => one.cmd === 'connack' && one.reasonCode === 0)).toEqual([])
    }
  })

  it('[MQTT-3.1.2-3] the reserved flag must be 0', async () => {
    await expectMalformed(connectBytes({ flags: 0x03 }))
  })

  it('[MQTT-3.1.2-4] clean start drops the session that is there', async () => {
    const clientId = 'clean-start'
    const first = await connect({ clientId, ...stored })
    await first.subscribe('connect/clean')
    await first.destroy()
    const again = await connect({ clientId, ...stored })
    await again.publish({ topic: 'connect/clean', qos: 1 })
    await again.ping()
    expect(again.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.1.2-5] without clean start, the session that is there goes on', async () => {
    const clientId = 'goes-on'
    const first = await connect({ clientId, ...stored })
    await first.subscribe('connect/goes-on')
    await first.destroy()
    const again = await open()
    expect(await again.connect({ clientId, clean: false, ...stored })).toMatchObject({ sessionPresent: true })
    await again.publish({ topic: 'connect/goes-on', qos: 1, payload: 'x' })
    expect(await again.take()).toMatchObject({ topic: 'connect/goes-on' })
  })

  it('[MQTT-3.1.2-6] without clean start, a session is made where there is none', async () => {
    const client = await open()
    const connack = await client.connect({ clientId: 'new-session', clean: false, ...stored })
    expect(connack).toMatchObject({ reasonCode: 0, sessionPresent: false })
  })

  it('[MQTT-3.1.2-7] a will is kept while the client is connected', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/kept')
    const client = await connect({ will: { topic: 'will/kept', payload: 'gone', qos: 1 } })
    await client.ping()
    await watcher.ping()
    expect(watcher.waiting('publish')).toEqual([])
    await client.destroy()
    expect((await watcher.take()).payload.toString()).toBe('gone')
  })

  it('[MQTT-3.1.2-8] a will is published when the connection ends without DISCONNECT', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/lost/#')
    const client = await connect({ will: { topic: 'will/lost/1', payload: 'gone', qos: 1 } })
    await client.destroy()
    expect(await watcher.take()).toMatchObject({ topic: 'will/lost/1' })
    const faulty = await connect({ will: { topic: 'will/lost/2', payload: 'gone', qos: 1 } })
    faulty.send(Buffer.of(0x00, 0x00))
    expect(await watcher.take()).toMatchObject({ topic: 'will/lost/2' })
  })

  it('[MQTT-3.1.2-9] with the will flag, its properties, topic and payload must be there', async () => {
    await expectMalformed(connectBytes({ flags: 0x06, payload: [field('no-will')] }))
    await expectMalformed(
      connectBytes({ flags: 0x06, payload: [field('no-payload'), properties(), field('will/t')] }),
    )
  })

  it('[MQTT-3.1.2-10] a will is published once, and not after DISCONNECT', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/once/#')
    const will = { topic: 'will/once/a', payload: 'gone', qos: 1 as const }
    const left = await connect({ clientId: 'will-once', will, ...stored })
    left.send({ cmd: 'disconnect', reasonCode: 0 })
    await left.untilClosed()
    const lost = await connect({ clientId: 'will-once', clean: false, will, ...stored })
    await lost.destroy()
    await watcher.take()
    const without = await connect({ clientId: 'will-once', clean: false })
    await without.destroy()
    const last = await connect({ will: { topic: 'will/once/last', payload: '', qos: 1 } })
    await last.destroy()
    expect(await watcher.take()).toMatchObject({ topic: 'will/once/last' })
  })

  it('[MQTT-3.1.2-11] without the will flag, will QoS must be 0', async () => {
    await expectMalformed(connectBytes({ flags: 0x0a }))
  })

  it('[MQTT-3.1.2-12] will QoS must not be 3', async () => {
    await expectMalformed(connectBytes({ flags: 0x1e, payload: [field('qos-3'), ...WILL] }))
  })

  it('[MQTT-3.1.2-13] without the will flag, will retain must be 0', async () => {
    await expectMalformed(connectBytes({ flags: 0x22 }))
  })

  it('[MQTT-3.1.2-14] without will retain, the will is not retained', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/not-retained')
    await (await connect({ will: { topic: 'will/not-retained', payload: 'gone', qos: 1 } })).destroy()
    expect(await watcher.take()).toMatchObject({ retain: false })
    const later = await connect()
    await later.subscribe('will/not-retained')
    await later.ping()
    expect(later.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.1.2-15] with will retain, the will is retained', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/retained')
    await (
      await connect({ will: { topic: 'will/retained', payload: 'gone', qos: 1, retain: true } })
    ).destroy()
    await watcher.take()
    const later = await connect()
    await later.subscribe('will/retained')
    expect(await later.take()).toMatchObject({ retain: true, payload: Buffer.from('gone') })
  })

  it('[MQTT-3.1.2-16] without the user name flag there must be no user name', async () => {
    await expectMalformed(connectBytes({ payload: [field('no-flag'), field('user')] }))
  })

  it('[MQTT-3.1.2-17] with the user name flag there must be a user name', async () => {
    await expectMalformed(connectBytes({ flags: 0x82 }))
  })

  it('[MQTT-3.1.2-18] without the password flag there must be no password', async () => {
    await expectMalformed(
      connectBytes({ flags: 0x82, payload: [field(''), field('user'), field('password')] }),
    )
  })

  it('[MQTT-3.1.2-19] with the password flag there must be a password, with a user name or without', async () => {
    await expectMalformed(connectBytes({ flags: 0x42 }))
    const client = await open()
    client.send(connectBytes({ flags: 0x42, payload: [field(''), field('password')] }))
    expect(await client.next('connack')).toMatchObject({ reasonCode: 0 })
  })

  it('[MQTT-3.1.2-22] silence of one and a half keep alive times ends the connection, with its will', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/silent')
    const client = await connect({ keepalive: 1, will: { topic: 'will/silent', payload: '', qos: 1 } })
    expect(await client.untilClosed()).toBe(0x8d)
    await watcher.take()
  })

  it('[MQTT-3.1.2-23] a session with an expiry interval is kept after the connection', async () => {
    const clientId = 'kept'
    const first = await connect({ clientId, ...stored })
    await first.subscribe('connect/kept')
    first.send({ cmd: 'disconnect', reasonCode: 0 })
    await first.untilClosed()
    await (await connect()).publish({ topic: 'connect/kept', qos: 1, payload: 'meanwhile' })
    const again = await connect({ clientId, clean: false })
    expect((await again.take()).payload.toString()).toBe('meanwhile')
  })

  it('[MQTT-3.1.2-24] nothing larger than the maximum packet size of the client is sent to it', async () => {
    const client = await connect({ clientId: 'size', properties: { maximumPacketSize: 60 } })
    await client.subscribe('connect/size')
    const fits = 60 - 2 - field('connect/size').length - 2 - 1
    await client.publish({ topic: 'connect/size', qos: 1, payload: 'x'.repeat(fits + 1) })
    await client.publish({ topic: 'connect/size', qos: 1, payload: 'x'.repeat(fits) })
    const { bytes } = await client.take()
    expect(bytes).toHaveLength(60)
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.1.2-25] what is too large for a client is dropped as if it had been delivered', async () => {
    const client = await connect({
      clientId: 'large',
      properties: { maximumPacketSize: 60, receiveMaximum: 1 },
    })
    await client.subscribe('connect/large')
    for (const payload of ['x'.repeat(60), 'y'.repeat(60), 'small']) {
      await client.publish({ topic: 'connect/large', qos: 1, payload })
    }
    expect((await client.take()).payload.toString()).toBe('small')
  })

  it('[MQTT-3.1.2-26] aliases of the broker are not above the topic alias maximum of the client', async () => {
    const client = await connect({ properties: { topicAliasMaximum: 1 } })
    await client.subscribe('connect/alias/#')
    for (const name of ['a', 'b', 'a', 'b'])
      await client.publish({ topic: `connect/alias/${name}`, payload: name })
    await client.ping()
    const messages = client.waiting('publish')
    expect(messages).toHaveLength(4)
    for (const { properties: said } of messages) expect([undefined, 1]).toContain(said?.topicAlias)
  })

  it('[MQTT-3.1.2-27] without a topic alias maximum the broker uses no alias', async () => {
    const client = await connect()
    await client.subscribe('connect/no-alias')
    for (let i = 0; i < 3; i++) await client.publish({ topic: 'connect/no-alias' })
    await client.ping()
    const messages = client.waiting('publish')
    expect(messages.map(({ topic }) => topic)).toEqual(Array.from({ length: 3 }, () => 'connect/no-alias'))
    for (const { properties: said } of messages) expect(said?.topicAlias).toBeUndefined()
  })

  it('[MQTT-3.1.2-28] no response information for who has not asked for it', async () => {
    for (const fields of [{}, { properties: { requestResponseInformation: false } }]) {
      const connack = await (await open()).connect(fields)
      expect(connack.properties?.responseInformation).toBeUndefined()
    }
  })

  it('[MQTT-3.1.2-29] no reason strings in other packets than CONNACK and DISCONNECT for who does not want them', async () => {
    const client = await connect({ properties: { requestProblemInformation: false } })
    expect((await client.subscribe('no/told')).properties).toBeUndefined()
    expect(await client.publish({ topic: 'no/topic', qos: 1 })).toBe(0x87)
    expect(await client.publish({ topic: 'no/topic', qos: 2 })).toBe(0x87)
    for (const one of client.received) {
      if (one.cmd === 'connack' || one.cmd === 'disconnect') continue
      expect(one).not.toHaveProperty('properties.reasonString')
      expect(one).not.toHaveProperty('properties.userProperties')
    }
    const asking = await connect()
    const suback = await asking.subscribe('no/told')
    expect(suback.properties?.reasonString).toBeTypeOf('string')
  })
})

describe('the payload of CONNECT', () => {
  it('[MQTT-3.1.3-1] its fields come in their order', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/order')
    const client = await open()
    client.send(
      connectBytes({
        flags: 0xc6,
        payload: [
          field('in-order'),
          properties(),
          field('will/order'),
          field('gone'),
          field('user'),
          field('secret'),
        ],
      }),
    )
    expect(await client.next('connack')).toMatchObject({ reasonCode: 0 })
    await client.destroy()
    expect(await watcher.take()).toMatchObject({ topic: 'will/order', payload: Buffer.from('gone') })
    const refused = [
      field('in-order'),
      properties(),
      field('will/order'),
      field('gone'),
      field('refused'),
      field('x'),
    ]
    expect(await refusal(connectBytes({ flags: 0xc6, payload: refused }))).toBe(0x86)
  })

  it('[MQTT-3.1.3-2] the client id names the session', async () => {
    for (const clientId of ['named-a', 'named-b']) {
      const client = await connect({ clientId, ...stored })
      await client.subscribe(`connect/${clientId}`)
      await client.destroy()
    }
    const again = await connect({ clientId: 'named-b', clean: false, ...stored })
    await again.publish({ topic: 'connect/named-a', qos: 1 })
    await again.publish({ topic: 'connect/named-b', qos: 1 })
    expect(await again.take()).toMatchObject({ topic: 'connect/named-b' })
  })

  it('[MQTT-3.1.3-3] the client id must be there', async () => {
    await expectMalformed(connectBytes({ payload: [] }))
  })

  it('[MQTT-3.1.3-4] the client id must be UTF-8', async () => {
    await expectMalformed(connectBytes({ payload: [field(SURROGATE)] }))
  })

  it('[MQTT-3.1.3-5] client ids of 1 to 23 letters and digits are allowed', async () => {
    for (const clientId of ['a', '0123456789abcdefghijklm', 'nopqrstuvwxyzABCDEFGHIJ', 'KLMNOPQRSTUVWXYZ']) {
      expect(await (await open()).connect({ clientId })).toMatchObject({ reasonCode: 0 })
    }
  })

  it('[MQTT-3.1.3-6] a client without a client id is given one of its own', async () => {
    const [one, two] = await Promise.all(
      [0x02, 0x00].map(async (flags) => {
        const client = await open()
        client.send(connectBytes({ flags }))
        return await client.next('connack')
      }),
    )
    expect(one).toMatchObject({ reasonCode: 0 })
    expect(two).toMatchObject({ reasonCode: 0 })
    expect(one?.properties?.assignedClientIdentifier).toBeTypeOf('string')
    expect(two?.properties?.assignedClientIdentifier).toBeTypeOf('string')
    expect(one?.properties?.assignedClientIdentifier).not.toBe(two?.properties?.assignedClientIdentifier)
  })

  it('[MQTT-3.1.3-7] the assigned client id is told, and holds as if the client had said it', async () => {
    const first = await open()
    const { properties: told } = await first.connect(stored)
    await first.subscribe('connect/assigned')
    await first.destroy()
    const again = await open()
    const clientId = told!.assignedClientIdentifier!
    expect(await again.connect({ clientId, clean: false })).toMatchObject({ sessionPresent: true })
  })

  it('[MQTT-3.1.3-8] a client id that is refused gets CONNACK 0x85, and the connection is closed', async () => {
    expect(await refusal(connectBytes({ payload: [field('x'.repeat(300))] }))).toBe(0x85)
  })

  it('[MQTT-3.1.3-9] a client that is back before the will delay is over takes its will back', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/delayed/#')
    const will = {
      topic: 'will/delayed/a',
      payload: '',
      qos: 1 as const,
      properties: { willDelayInterval: 3 },
    }
    const first = await connect({ clientId: 'delayed', will, ...stored })
    await first.destroy()
    const again = await connect({ clientId: 'delayed', clean: false, ...stored })
    // That of another one, of as long a delay and lost later, comes.
    const last = { ...will, topic: 'will/delayed/last' }
    const other = await connect({ clientId: 'delayed-too', will: last, ...stored })
    await other.destroy()
    expect(await watcher.take()).toMatchObject({ topic: 'will/delayed/last' })
    await again.ping()
  })

  it('[MQTT-3.1.3-10] user properties of a will keep their order', async () => {
    const watcher = await connect()
    await watcher.subscribe('will/users')
    const pairs = [userProperty('b', '1'), userProperty('a', '2'), userProperty('b', '0')]
    const client = await open()
    client.send(
      connectBytes({
        flags: 0x06,
        payload: [field(''), properties(...pairs), field('will/users'), field('')],
      }),
    )
    await client.next('connack')
    await client.destroy()
    expect((await watcher.take()).bytes.includes(Buffer.concat(pairs))).toBe(true)
  })

  it('[MQTT-3.1.3-11] the will topic must be UTF-8', async () => {
    const payload = [field(''), properties(), field(SURROGATE), field('')]
    await expectMalformed(connectBytes({ flags: 0x06, payload }))
  })

  it('[MQTT-3.1.3-12] the user name must be UTF-8', async () => {
    await expectMalformed(connectBytes({ flags: 0x82, payload: [field(''), field(SURROGATE)] }))
  })
})

describe('CONNECT actions', () => {
  it('[MQTT-3.1.4-1] a CONNECT that is not as 3.1 says is not accepted', async () => {
    await expectMalformed(packet(0x10, field('MQTT'), Buffer.of(5)))
    await expectMalformed(connectBytes({ properties: properties(Buffer.of(0x21, 0, 0)) }))
    await expectMalformed(
      connectBytes({ properties: properties(Buffer.of(0x21, 0, 1), Buffer.of(0x21, 0, 1)) }),
    )
    await expectMalformed(
      connectBytes({ properties: properties(Buffer.concat([Buffer.of(0x23), uint16(1)])) }),
    )
  })

  it('[MQTT-3.1.4-2] who is not authenticated is told so, and the connection is closed', async () => {
    expect(await refusal(connectBytes({ flags: 0x82, payload: [field(''), field('refused')] }))).toBe(0x86)
  })

  it('[MQTT-3.1.4-3] the connection that has the client id is ended with DISCONNECT 0x8E', async () => {
    const first = await connect({ clientId: 'taken-over' })
    await connect({ clientId: 'taken-over' })
    expect(await first.untilClosed()).toBe(0x8e)
  })

  it('[MQTT-3.1.4-4] clean start is dealt with before the CONNACK', async () => {
    await (await connect({ clientId: 'clean-first', ...stored })).destroy()
    const kept = await open()
    expect(await kept.connect({ clientId: 'clean-first', clean: false, ...stored })).toMatchObject({
      sessionPresent: true,
    })
    const clean = await open()
    expect(await clean.connect({ clientId: 'clean-first', ...stored })).toMatchObject({
      sessionPresent: false,
    })
  })

  it('[MQTT-3.1.4-5] who is accepted gets CONNACK 0', async () => {
    expect(await (await open()).connect({ clientId: 'accepted' })).toMatchObject({ reasonCode: 0 })
  })

  it('[MQTT-3.1.4-6] what comes behind a CONNECT that is refused is not processed', async () => {
    const watcher = await connect()
    await watcher.subscribe('connect/behind/#')
    const client = await open()
    client.send(connectBytes({ flags: 0x82, payload: [field(''), field('refused')] }), {
      cmd: 'publish',
      topic: 'connect/behind/refused',
      payload: '',
      qos: 0,
      dup: false,
      retain: false,
    })
    await client.untilClosed()
    await watcher.publish({ topic: 'connect/behind/last' })
    expect(await watcher.take()).toMatchObject({ topic: 'connect/behind/last' })
  })
})
