import { expect, it } from 'vitest'
import { connect5, Mqtt5Client, type ConnectInput } from '../../support/mqtt5-client.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { properties, publishBytes } from './bytes.ts'

const world = brokerOfFile({ limits: { maxPacketBytes: 10_000 } })
const without = brokerOfFile({ mqtt5: { maxIncomingTopicAliases: 0 } })
const open = (): Promise<Mqtt5Client> => Mqtt5Client.open(world.port)
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)

const stored = { properties: { sessionExpiryInterval: 100 } }
const refused = { username: 'refused' }

/** 3.2.2.2, table 3-1. */
const CODES = new Set([
  0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a,
  0x9b, 0x9c, 0x9d, 0x9f,
])

it('[MQTT-3.2.0-1] the first packet of the broker is CONNACK, also where messages wait', async () => {
  const clientId = 'waiting'
  const first = await connect({ clientId, ...stored })
  await first.subscribe('connack/waiting')
  await first.destroy()
  await (await connect()).publish({ topic: 'connack/waiting', qos: 1 })
  const again = await open()
  await again.connect({ clientId, clean: false })
  await again.take()
  expect(again.received.map(({ cmd }) => cmd)).toEqual(['connack', 'publish'])
})

it('[MQTT-3.2.0-2] there is one CONNACK', async () => {
  const client = await connect()
  await client.subscribe('connack/one')
  await client.ping()
  expect(client.received.filter(({ cmd }) => cmd === 'connack')).toHaveLength(1)
})

it('[MQTT-3.2.2-1] the flags of CONNACK but session present are 0', async () => {
  await (await connect({ clientId: 'flags', ...stored })).destroy()
  const again = await open()
  expect((await again.connect({ clientId: 'flags', clean: false })).bytes[2]).toBe(1)
  expect((await (await open()).connect()).bytes[2]).toBe(0)
})

it('[MQTT-3.2.2-2] no session is present after a clean start', async () => {
  await (await connect({ clientId: 'clean', ...stored })).destroy()
  expect(await (await open()).connect({ clientId: 'clean', ...stored })).toMatchObject({
    reasonCode: 0,
    sessionPresent: false,
  })
})

it('[MQTT-3.2.2-3] session present says whether there was a session', async () => {
  const fields = { clientId: 'present', clean: false, ...stored }
  const first = await open()
  expect(await first.connect(fields)).toMatchObject({ reasonCode: 0, sessionPresent: false })
  await first.destroy()
  expect(await (await open()).connect(fields)).toMatchObject({ reasonCode: 0, sessionPresent: true })
})

it('[MQTT-3.2.2-6] a refusal has session present 0', async () => {
  await (await connect({ clientId: 'refused-session', ...stored })).destroy()
  const connack = await (await open()).connect({ clientId: 'refused-session', clean: false, ...refused })
  expect(connack).toMatchObject({ reasonCode: 0x86, sessionPresent: false })
})

it('[MQTT-3.2.2-7] after a refusal the connection is closed', async () => {
  const client = await open()
  expect(await client.connect(refused)).toMatchObject({ reasonCode: 0x86 })
  await client.untilClosed()
})

it('[MQTT-3.2.2-8] CONNACK has one of the reason codes of its table', async () => {
  const fields = [{}, refused, { clientId: 'x'.repeat(300) }, { clientId: '$tunnelmq-x' }]
  for (const one of fields) {
    expect(CODES).toContain((await (await open()).connect(one)).reasonCode)
  }
})

it('[MQTT-3.2.2-15] a packet above the maximum packet size of the broker ends the connection', async () => {
  const client = await open()
  const { properties: told } = await client.connect()
  expect(told?.maximumPacketSize).toBe(10_000)
  client.send(publishBytes('connack/large', Buffer.alloc(10_000)))
  expect(await client.untilClosed()).toBe(0x95)
})

it('[MQTT-3.2.2-16] an assigned client id is used by no other session', async () => {
  const ids = new Set<string | undefined>()
  for (let i = 0; i < 5; i++) ids.add((await (await open()).connect()).properties?.assignedClientIdentifier)
  expect(ids.size).toBe(5)
})

it('[MQTT-3.2.2-17] an alias above the topic alias maximum of the broker ends the connection', async () => {
  const client = await open()
  const { properties: told } = await client.connect()
  const maximum = told?.topicAliasMaximum ?? 0
  client.send({
    cmd: 'publish',
    topic: 'connack/alias',
    payload: '',
    qos: 0,
    dup: false,
    retain: false,
    properties: { topicAlias: maximum + 1 },
  })
  expect(await client.untilClosed()).toBe(0x94)
})

it('[MQTT-3.2.2-18] where the broker takes no aliases, any ends the connection', async () => {
  const client = await Mqtt5Client.open(without.port)
  const { properties: told } = await client.connect()
  expect(told?.topicAliasMaximum ?? 0).toBe(0)
  client.send(publishBytes('connack/no-alias', properties(Buffer.of(0x23, 0, 1))))
  expect(await client.untilClosed()).toBe(0x94)
})

it.each([
  ['[MQTT-3.2.2-19] CONNACK has no reason string that makes it larger than the client takes', 'refused'],
  ['[MQTT-3.2.2-20] CONNACK has no user properties that make it larger than the client takes', 'greeted'],
])('%s', async (_, username) => {
  const told = await (await open()).connect({ clientId: username, username })
  expect(told.properties).toHaveProperty(username === 'refused' ? 'reasonString' : 'userProperties')
  const limited = await (
    await open()
  ).connect({ clientId: username, username, properties: { maximumPacketSize: 60 } })
  expect(limited.reasonCode).toBe(told.reasonCode)
  expect(limited.bytes.length).toBeLessThanOrEqual(60)
})

it('[MQTT-3.2.2-22] without a server keep alive, that of the client holds', async () => {
  const client = await open()
  const { properties: told } = await client.connect({ keepalive: 1 })
  expect(told?.serverKeepAlive).toBeUndefined()
  expect(await client.untilClosed()).toBe(0x8d)
})
