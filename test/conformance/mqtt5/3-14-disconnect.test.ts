import { expect, it } from 'vitest'
import { connect5, publishPacket, Mqtt5Client, type ConnectInput } from '../../support/mqtt5-client.ts'
import { field, packet } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { connectBytes, properties, publishBytes } from './bytes.ts'

const world = brokerOfFile()
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)

/** 3.14.2.1, table 3-10: what a broker may say. */
const CODES = new Set([
  0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
  0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
])

it('[MQTT-3.14.0-1] there is no DISCONNECT before a CONNACK that accepts', async () => {
  const bad = [
    Buffer.of(0xc0, 0),
    connectBytes({ flags: 0x03 }),
    connectBytes({ properties: properties(Buffer.of(0x21, 0, 0)) }),
    connectBytes({ flags: 0x82, payload: [field(''), field('refused')] }),
    packet(0x10, field('MQTT')),
  ]
  for (const bytes of bad) {
    const client = await Mqtt5Client.open(world.port)
    client.send(bytes)
    expect(await client.untilClosed()).toBeUndefined()
  }
})

it('[MQTT-3.14.1-1] with reserved flags DISCONNECT is malformed, and answered with DISCONNECT 0x81', async () => {
  const client = await connect()
  client.send(Buffer.of(0xe1, 0))
  expect(await client.untilClosed()).toBe(0x81)
})

it('[MQTT-3.14.2-1] DISCONNECT has a reason code of its table', async () => {
  const faults = [
    packet(0x30, Buffer.of(0)),
    publishBytes('disconnect/#'),
    publishBytes('disconnect/alias', properties(Buffer.of(0x23, 0xff, 0xff))),
    publishBytes('disconnect/id', properties(Buffer.of(0x0b, 1))),
    packet(0xf0, Buffer.of(0x18, 0)),
    // Codes that clients may not say.
    packet(0xe0, Buffer.of(0x42)),
    packet(0xe0, Buffer.of(0x8b)),
  ]
  for (const bytes of faults) {
    const client = await connect()
    client.send(bytes)
    expect(CODES).toContain(await client.untilClosed())
  }
})

it('[MQTT-3.14.2-2] DISCONNECT of the broker has no session expiry interval', async () => {
  const fields = { clientId: 'no-interval', properties: { sessionExpiryInterval: 100 } }
  const first = await connect(fields)
  await connect(fields)
  await first.untilClosed()
  const { reasonCode, properties: said } = await first.next('disconnect')
  expect(reasonCode).toBe(0x8e)
  expect(said?.sessionExpiryInterval).toBeUndefined()
})

it.each([
  [
    '[MQTT-3.14.2-3] DISCONNECT has no reason string that makes it larger than the client takes',
    'reasonString',
  ],
  [
    '[MQTT-3.14.2-4] DISCONNECT has no user properties that make it larger than the client takes',
    'userProperties',
  ],
])('%s', async (_, property) => {
  for (const maximumPacketSize of [1_000, 60]) {
    const client = await Mqtt5Client.open(world.port)
    const authenticationMethod = 'rounds'
    const good = { authenticationMethod, authenticationData: Buffer.from('good') }
    await client.connect({ clientId: property, properties: { ...good, maximumPacketSize } })
    const bad = { authenticationMethod, authenticationData: Buffer.from('bad') }
    client.send({ cmd: 'auth', reasonCode: 0x19, properties: bad })
    const { bytes, reasonCode, properties: said } = await client.next('disconnect')
    expect(reasonCode).toBe(0x87)
    expect(bytes.length).toBeLessThanOrEqual(maximumPacketSize)
    expect(said !== undefined && property in said).toBe(maximumPacketSize > 60)
  }
})

it('[MQTT-3.14.4-1] nothing is sent after DISCONNECT', async () => {
  const client = await connect()
  await client.subscribe('disconnect/after')
  const publisher = await connect()
  publisher.send(...Array.from({ length: 20 }, () => publishPacket({ topic: 'disconnect/after' })))
  client.send(Buffer.of(0xe1, 0), Buffer.of(0xc0, 0), Buffer.of(0xc0, 0))
  await client.untilClosed()
  expect(client.received.filter(({ cmd }) => cmd === 'pingresp')).toEqual([])
  expect(client.received.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x81 })
})

it('[MQTT-3.14.4-2] the connection is closed after DISCONNECT, whoever sends it', async () => {
  const faulty = await connect()
  faulty.send(Buffer.of(0xe1, 0))
  expect(await faulty.untilClosed()).toBe(0x81)
  const leaving = await connect()
  leaving.send({ cmd: 'disconnect', reasonCode: 0 })
  expect(await leaving.untilClosed()).toBeUndefined()
})

it('[MQTT-3.14.4-3] DISCONNECT 0 takes the will back; 4 does not', async () => {
  const watcher = await connect()
  await watcher.subscribe('disconnect/will/#')
  for (const reasonCode of [0, 4]) {
    const topic = `disconnect/will/${reasonCode}`
    const client = await connect({ will: { topic, payload: 'gone', qos: 1 } })
    client.send({ cmd: 'disconnect', reasonCode })
    await client.untilClosed()
  }
  expect((await watcher.take()).topic).toBe('disconnect/will/4')
})

it('[MQTT-4.13.1-1] a malformed packet or protocol error ends the connection with its reason code, and no other one', async () => {
  const bystander = await connect()
  const faults: readonly (readonly [Buffer, number])[] = [
    [Buffer.of(0x00, 0x00), 0x81],
    [Buffer.of(0xc0, 0x01, 0x00), 0x81],
    [publishBytes('errors/unknown', properties(Buffer.of(0x7f, 0))), 0x81],
    [publishBytes('errors/beyond', Buffer.of(9)), 0x81],
    [publishBytes('errors/twice', properties(Buffer.of(0x01, 1), Buffer.of(0x01, 1))), 0x82],
    [publishBytes('errors/misplaced', properties(Buffer.of(0x13, 0, 1))), 0x82],
    [publishBytes(''), 0x82],
  ]
  for (const [bytes, code] of faults) {
    const client = await connect()
    client.send(bytes)
    const said = await client.untilClosed()
    // Which of the two it is, is not always said.
    expect(code === 0x81 ? [0x81] : [0x81, 0x82], bytes.toString('hex')).toContain(said)
  }
  await bystander.ping()
})

it('[MQTT-4.13.2-1] CONNACK or DISCONNECT from 0x80 on means that the connection is closed', async () => {
  const refused = await Mqtt5Client.open(world.port)
  expect(await refused.connect({ username: 'refused' })).toMatchObject({ reasonCode: 0x86 })
  await refused.untilClosed()
  const client = await connect()
  client.send({ cmd: 'disconnect', reasonCode: 0x80 })
  await client.untilClosed()
})
