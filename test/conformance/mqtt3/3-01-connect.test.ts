import { describe, expect, it } from 'vitest'
import { openRaw, refusalCode } from '../../support/broker-world.ts'
import type { RawClient } from '../../support/raw-client.ts'
import {
  connectPacket,
  disconnect,
  field,
  packet,
  pingreq,
  publishPacket,
  subscribePacket,
  uint16,
  type ConnectFields,
} from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { clientsOf } from './clients.ts'

const world = brokerOfFile()
const open = (): Promise<RawClient> => openRaw(world.port)
const { connect } = clientsOf(world)
const refused = (fields: Partial<ConnectFields>): Promise<number> =>
  refusalCode(world.port, { clientId: '', ...fields })

/** The broker closes the connection without a word. */
async function expectClosed(...bytes: readonly Buffer[]): Promise<void> {
  const client = await open()
  client.send(...bytes)
  await client.untilClosed()
  expect(client.received).toEqual([])
}

function connectBytes(flags: number, ...payload: readonly Buffer[]): Buffer {
  return packet(0x10, field('MQTT'), Buffer.of(4, flags), uint16(0), ...payload)
}

const SURROGATE = Buffer.from([0x61, 0xed, 0xa0, 0x80])

describe('CONNECT', () => {
  it('[MQTT-3.1.0-1] the first packet must be CONNECT', async () => {
    await expectClosed(pingreq, connectPacket({ clientId: 'late' }))
  })

  it('[MQTT-3.1.0-2] a second CONNECT ends the connection', async () => {
    const client = await connect({ clientId: 'twice' })
    client.send(connectPacket({ clientId: 'twice' }))
    await client.untilClosed()
  })

  it('[MQTT-3.1.2-1] with another protocol name it is not taken for MQTT', async () => {
    for (const protocol of ['MQTX', 'mqtt', ''])
      await expectClosed(connectPacket({ clientId: 'x', protocol }))
  })

  it('[MQTT-3.1.2-2] with a protocol level that is not known: CONNACK 1, and the end', async () => {
    for (const level of [0, 2, 3]) expect(await refused({ level })).toBe(1)
  })

  it('[MQTT-3.1.2-3] the reserved flag must be 0', async () => {
    await expectClosed(connectPacket({ clientId: 'x', flags: 3 }))
  })

  it('[MQTT-3.1.2-4] with clean session 0, the session goes on', async () => {
    const first = await connect({ clientId: 'goes-on', clean: false })
    await first.subscribe(['connect/goes-on', 1])
    await first.disconnect()
    const again = await connect({ clientId: 'goes-on', clean: false })
    await again.publish({ topic: 'connect/goes-on', qos: 1 })
    await again.nextMessages(1)
  })

  it('[MQTT-3.1.2-5] messages at QoS 1 and 2 are kept for it meanwhile', async () => {
    const first = await connect({ clientId: 'away', clean: false })
    await first.subscribe(['connect/away', 2])
    await first.destroy()
    const publisher = await connect()
    for (const qos of [1, 2]) await publisher.publish({ topic: 'connect/away', qos })
    const again = await connect({ clientId: 'away', clean: false })
    expect((await again.nextMessages(2)).map(({ qos }) => qos)).toEqual([1, 2])
  })

  it('[MQTT-3.1.2-6] with clean session 1, what was there is dropped, and nothing is kept', async () => {
    const first = await connect({ clientId: 'clean', clean: false })
    await first.subscribe(['connect/clean', 1])
    await first.disconnect()
    const clean = await connect({ clientId: 'clean' })
    await clean.publish({ topic: 'connect/clean', qos: 1 })
    await clean.subscribe(['connect/clean/2', 1])
    await clean.disconnect()
    const last = await open()
    expect(await last.connect({ clientId: 'clean', clean: false })).toMatchObject({ sessionPresent: false })
    await last.publish({ topic: 'connect/clean/2', qos: 1 })
    await last.ping()
    expect([...clean.received, ...last.received].filter(({ type }) => type === 'publish')).toEqual([])
  })

  it('[MQTT-3.1.2-7] retained messages stay when the session of their publisher ends', async () => {
    const first = await connect({ clientId: 'retaining' })
    await first.publish({ topic: 'connect/retained', qos: 1, retain: true, payload: 'x' })
    await first.disconnect()
    const client = await connect()
    await client.subscribe(['connect/retained', 0])
    await client.nextMessages(1)
  })

  it('[MQTT-3.1.2-8] a will is published when the connection ends without DISCONNECT', async () => {
    const watcher = await connect()
    await watcher.subscribe(['will/lost/+', 1])
    await (await connect({ will: { topic: 'will/lost/1', qos: 1 } })).destroy()
    expect((await watcher.nextMessages(1))[0]?.topic).toBe('will/lost/1')
    const faulty = await connect({ will: { topic: 'will/lost/2', qos: 1 } })
    faulty.send(Buffer.of(0, 0))
    expect((await watcher.nextMessages(1))[0]?.topic).toBe('will/lost/2')
  })

  it('[MQTT-3.1.2-9] with the will flag, topic and message must be there', async () => {
    await expectClosed(connectBytes(0x06, field('no-will')))
    await expectClosed(connectBytes(0x06, field('no-message'), field('will/topic')))
  })

  it('[MQTT-3.1.2-10] a will is published once, and not after DISCONNECT', async () => {
    const watcher = await connect()
    await watcher.subscribe(['will/once/+', 1])
    const will = { topic: 'will/once/a', qos: 1 }
    await (await connect({ clientId: 'once', clean: false, will })).disconnect()
    await (await connect({ clientId: 'once', clean: false, will })).destroy()
    await watcher.nextMessages(1)
    await (await connect({ clientId: 'once', clean: false })).destroy()
    await (await connect({ will: { topic: 'will/once/last', qos: 1 } })).destroy()
    expect((await watcher.nextMessages(1))[0]?.topic).toBe('will/once/last')
  })

  it('[MQTT-3.1.2-11] without the will flag, there is no will and there are no will flags', async () => {
    await expectClosed(connectBytes(0x02, field('will'), field('will/topic'), field('message')))
    await expectClosed(connectBytes(0x2a, field('will')))
  })

  it('[MQTT-3.1.2-12] without the will flag, no will is published', async () => {
    const watcher = await connect()
    await watcher.subscribe(['will/none/#', 1])
    await (await connect({ clientId: 'no-will' })).destroy()
    await (await connect({ will: { topic: 'will/none/last', qos: 1 } })).destroy()
    expect((await watcher.nextMessages(1))[0]?.topic).toBe('will/none/last')
  })

  it('[MQTT-3.1.2-13] without the will flag, will QoS must be 0', async () => {
    await expectClosed(connectPacket({ clientId: 'x', flags: 0x0a }))
  })

  it('[MQTT-3.1.2-14] will QoS must not be 3', async () => {
    await expectClosed(connectBytes(0x1e, field('x'), field('will/topic'), field('')))
  })

  it('[MQTT-3.1.2-15] without the will flag, will retain must be 0', async () => {
    await expectClosed(connectPacket({ clientId: 'x', flags: 0x22 }))
  })

  it.each([
    ['[MQTT-3.1.2-16] without will retain, the will is not retained', false],
    ['[MQTT-3.1.2-17] with will retain, the will is retained', true],
  ])('%s', async (_, retain) => {
    const topic = `will/retain/${retain}`
    const watcher = await connect()
    await watcher.subscribe([topic, 1])
    await (await connect({ will: { topic, payload: 'gone', qos: 1, retain } })).destroy()
    await watcher.nextMessages(1)
    const later = await connect()
    await later.subscribe([topic, 1])
    await later.ping()
    expect(later.waitingMessages.map((one) => one.retain)).toEqual(retain ? [true] : [])
  })

  it('[MQTT-3.1.2-18] without the user name flag there must be no user name', async () => {
    await expectClosed(connectBytes(0x02, field('x'), field('user')))
  })

  it('[MQTT-3.1.2-19] with the user name flag there must be a user name', async () => {
    await expectClosed(connectBytes(0x82, field('x')))
  })

  it('[MQTT-3.1.2-20] without the password flag there must be no password', async () => {
    await expectClosed(connectBytes(0x82, field('x'), field('user'), field('password')))
  })

  it('[MQTT-3.1.2-21] with the password flag there must be a password', async () => {
    await expectClosed(connectBytes(0xc2, field('x'), field('user')))
  })

  it('[MQTT-3.1.2-22] there is no password without a user name', async () => {
    await expectClosed(connectBytes(0x42, field('x'), field('password')))
  })

  it('[MQTT-3.1.2-24] silence of one and a half keep alive times ends the connection, with its will', async () => {
    const watcher = await connect()
    await watcher.subscribe(['will/silent', 1])
    const client = await connect({ keepaliveSeconds: 1, will: { topic: 'will/silent', qos: 1 } })
    await client.untilClosed()
    await watcher.nextMessages(1)
  })
})

describe('the payload of CONNECT', () => {
  it('[MQTT-3.1.3-1] its fields come in their order', async () => {
    const watcher = await connect()
    await watcher.subscribe(['will/order', 1])
    const will = { topic: 'will/order', payload: 'gone', qos: 1 }
    const fields = { clientId: 'in-order', will, password: 'secret' }
    await (await connect({ ...fields, username: 'user' })).destroy()
    expect((await watcher.nextMessages(1))[0]).toMatchObject({
      topic: 'will/order',
      payload: Buffer.from('gone'),
    })
    expect(await refused({ ...fields, username: 'refused' })).toBe(4)
  })

  it('[MQTT-3.1.3-2] the client id names the session', async () => {
    for (const clientId of ['named-a', 'named-b']) {
      const client = await connect({ clientId, clean: false })
      await client.subscribe([`connect/${clientId}`, 1])
      await client.disconnect()
    }
    const again = await connect({ clientId: 'named-b', clean: false })
    for (const name of ['named-a', 'named-b']) await again.publish({ topic: `connect/${name}`, qos: 1 })
    expect((await again.nextMessages(1))[0]?.topic).toBe('connect/named-b')
  })

  it('[MQTT-3.1.3-3] the client id must be there', async () => {
    await expectClosed(connectBytes(0x02))
  })

  it('[MQTT-3.1.3-4] the client id must be UTF-8', async () => {
    await expectClosed(connectBytes(0x02, field(SURROGATE)))
  })

  it('[MQTT-3.1.3-5] client ids of 1 to 23 letters and digits are allowed', async () => {
    for (const clientId of ['a', '0123456789abcdefghijklm', 'nopqrstuvwxyzABCDEFGHIJ', 'KLMNOPQRSTUVWXYZ']) {
      await connect({ clientId })
    }
  })

  it('[MQTT-3.1.3-6] clients without a client id are given each one of its own', async () => {
    const clients = [await connect(), await connect()]
    for (const client of clients) await client.ping()
  })

  it('[MQTT-3.1.3-7] a client without a client id must have clean session 1', async () => {
    expect(await refused({ clean: false })).not.toBe(0)
  })

  it('[MQTT-3.1.3-8] or it gets CONNACK 2, and the end', async () => {
    expect(await refused({ clean: false })).toBe(2)
  })

  it('[MQTT-3.1.3-9] a client id that is refused gets CONNACK 2, and the end', async () => {
    expect(await refused({ clientId: 'x'.repeat(300) })).toBe(2)
  })

  it('[MQTT-3.1.3-10] the will topic must be UTF-8', async () => {
    await expectClosed(connectBytes(0x06, field('x'), field(SURROGATE), field('')))
  })

  it('[MQTT-3.1.3-11] the user name must be UTF-8', async () => {
    await expectClosed(connectBytes(0x82, field('x'), field(SURROGATE)))
  })

  it('MQTT 3.1: the client id has 1 to 23 characters; without one: CONNACK 2', async () => {
    const old = { protocol: 'MQIsdp', level: 3 }
    for (const clientId of ['a', 'x'.repeat(23)]) await connect({ ...old, clientId })
    expect(await refused(old)).toBe(2)
    expect(await refused({ ...old, clean: false })).toBe(2)
  })
})

describe('CONNECT actions', () => {
  it('[MQTT-3.1.4-1] a CONNECT that is not as 3.1 says is closed without CONNACK', async () => {
    await expectClosed(packet(0x10, field('MQTT'), Buffer.of(4)))
    await expectClosed(connectBytes(0x02, field('x'), Buffer.of(0)))
    await expectClosed(Buffer.of(0x11, 0))
  })

  it('[MQTT-3.1.4-2] the connection that has the client id is ended', async () => {
    const first = await connect({ clientId: 'taken-over' })
    await connect({ clientId: 'taken-over' })
    await first.untilClosed()
  })

  it('[MQTT-3.1.4-3] clean session is dealt with before the CONNACK', async () => {
    const fields = { clientId: 'clean-first', clean: false }
    await (await connect(fields)).disconnect()
    const kept = await open()
    expect(await kept.connect(fields)).toMatchObject({ sessionPresent: true })
    const clean = await open()
    expect(await clean.connect({ clientId: 'clean-first' })).toMatchObject({ sessionPresent: false })
  })

  it('[MQTT-3.1.4-4] who is accepted gets CONNACK 0', async () => {
    expect(await (await open()).connect({ clientId: 'accepted' })).toMatchObject({ code: 0 })
  })

  it('[MQTT-3.1.4-5] what comes behind a CONNECT that is refused is not processed', async () => {
    const watcher = await connect()
    await watcher.subscribe(['connect/behind/+', 1])
    const client = await open()
    client.send(
      connectPacket({ clientId: 'x', username: 'refused' }),
      publishPacket({ topic: 'connect/behind/refused' }),
    )
    await client.untilClosed()
    await watcher.publish({ topic: 'connect/behind/last' })
    expect((await watcher.nextMessages(1))[0]?.topic).toBe('connect/behind/last')
  })
})

describe('CONNACK', () => {
  it('[MQTT-3.2.0-1] is the first packet of the broker, also where messages wait', async () => {
    const fields = { clientId: 'waiting', clean: false }
    const first = await connect(fields)
    await first.subscribe(['connack/waiting', 1])
    await first.disconnect()
    await (await connect()).publish({ topic: 'connack/waiting', qos: 1 })
    const again = await open()
    again.send(connectPacket(fields), subscribePacket(1, [['connack/x', 0]]), pingreq)
    await again.nextMessages(1)
    expect(again.received[0]?.type).toBe('connack')
  })

  it('[MQTT-3.2.2-1] no session is present with clean session 1', async () => {
    await (await connect({ clientId: 'no-present', clean: false })).disconnect()
    expect(await (await open()).connect({ clientId: 'no-present' })).toMatchObject({
      type: 'connack',
      code: 0,
      sessionPresent: false,
    })
  })

  it('[MQTT-3.2.2-2] a session that is there is present with clean session 0', async () => {
    await (await connect({ clientId: 'present', clean: false })).destroy()
    expect(await (await open()).connect({ clientId: 'present', clean: false })).toMatchObject({
      sessionPresent: true,
    })
  })

  it('[MQTT-3.2.2-3] one that is not there is not', async () => {
    expect(await (await open()).connect({ clientId: 'new', clean: false })).toMatchObject({
      sessionPresent: false,
    })
  })

  it('[MQTT-3.2.2-4] a refusal has session present 0', async () => {
    await (await connect({ clientId: 'refused', clean: false })).destroy()
    const connack = await (await open()).connect({ clientId: 'refused', clean: false, username: 'refused' })
    expect(connack).toMatchObject({ code: 4, sessionPresent: false })
  })

  it('[MQTT-3.2.2-5] after a refusal the connection is closed', async () => {
    expect(await refused({ username: 'refused' })).toBe(4)
  })
})

describe('DISCONNECT', () => {
  it('[MQTT-3.14.1-1] its reserved flags must be 0', async () => {
    const watcher = await connect()
    await watcher.subscribe(['disconnect/flags', 1])
    const client = await connect({ will: { topic: 'disconnect/flags', qos: 1 } })
    client.send(Buffer.of(0xe1, 0))
    await client.untilClosed()
    // It was none: the will is published.
    await watcher.nextMessages(1)
  })

  it('[MQTT-3.14.4-3] it takes the will back', async () => {
    const watcher = await connect()
    await watcher.subscribe(['disconnect/will/+', 1])
    const client = await connect({ will: { topic: 'disconnect/will/back', qos: 1 } })
    client.send(disconnect)
    await client.untilClosed()
    await watcher.publish({ topic: 'disconnect/will/last' })
    expect((await watcher.nextMessages(1))[0]?.topic).toBe('disconnect/will/last')
  })
})
