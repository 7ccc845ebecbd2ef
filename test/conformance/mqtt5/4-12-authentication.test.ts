import { describe, expect, it } from 'vitest'
import { connect5, Mqtt5Client, type From } from '../../support/mqtt5-client.ts'
import { packet } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'

const world = brokerOfFile()
const method = 'rounds'

function auth(said: string, reasonCode = 0x18, authenticationMethod = method): From<'auth'> {
  const properties = { authenticationMethod, authenticationData: Buffer.from(said) }
  return { cmd: 'auth', reasonCode, properties } as From<'auth'>
}

/** CONNECT with a method; nothing is waited for. */
async function begin(said: string, authenticationMethod = method): Promise<Mqtt5Client> {
  const client = await Mqtt5Client.open(world.port)
  client.send({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: true,
    clientId: '',
    properties: { authenticationMethod, authenticationData: Buffer.from(said) },
  })
  return client
}

/** Connected after two rounds. */
async function authenticated(): Promise<Mqtt5Client> {
  const client = await begin('hello')
  await client.next('auth')
  client.send(auth('good'))
  expect(await client.next('connack')).toMatchObject({ reasonCode: 0 })
  return client
}

describe('AUTH', () => {
  it('[MQTT-3.15.1-1] its flags must be 0', async () => {
    const client = await authenticated()
    client.send(packet(0xf1, Buffer.of(0x19, 0)))
    expect(await client.untilClosed()).toBe(0x81)
  })

  it('[MQTT-3.15.2-1] it has a reason code of its table', async () => {
    const client = await authenticated()
    client.send(auth('hello', 0x19))
    await client.next('auth')
    client.send(auth('good'))
    await client.next('auth')
    const codes = client.received.flatMap((one) => (one.cmd === 'auth' ? [one.reasonCode] : []))
    expect(codes).toEqual([0x18, 0x18, 0x00])
    client.send(auth('hello', 0x42))
    expect([0x81, 0x82]).toContain(await client.untilClosed())
  })
})

describe('authentication by a method', () => {
  it('[MQTT-4.12.0-1] one that the broker does not know is refused, and the connection closed', async () => {
    const client = await begin('hello', 'unknown')
    expect([0x87, 0x8c]).toContain((await client.next('connack')).reasonCode)
    expect(await client.untilClosed()).toBeUndefined()
  })

  it('[MQTT-4.12.0-2] AUTH of the broker that asks for more has the reason code 0x18', async () => {
    const client = await begin('hello')
    expect(await client.next('auth')).toMatchObject({ reasonCode: 0x18 })
  })

  it('[MQTT-4.12.0-3] AUTH of the client that answers must have it too', async () => {
    for (const reasonCode of [0x00, 0x19]) {
      const client = await begin('hello')
      await client.next('auth')
      client.send(auth('good', reasonCode))
      await client.untilClosed()
      expect(client.waiting('connack').filter((one) => one.reasonCode === 0)).toEqual([])
    }
  })

  it('[MQTT-4.12.0-4] when it is refused, the connection is closed', async () => {
    const client = await begin('hello')
    await client.next('auth')
    client.send(auth('bad'))
    expect(await client.next('connack')).toMatchObject({ reasonCode: 0x87 })
    expect(await client.untilClosed()).toBeUndefined()
  })

  it('[MQTT-4.12.0-5] every AUTH and the CONNACK name the method', async () => {
    const client = await begin('hello')
    for (let i = 0; i < 2; i++) {
      expect((await client.next('auth')).properties?.authenticationMethod).toBe(method)
      client.send(auth(i === 0 ? 'hello' : 'good'))
    }
    expect((await client.next('connack')).properties?.authenticationMethod).toBe(method)
    const other = await begin('hello')
    await other.next('auth')
    other.send(auth('good', 0x18, 'another'))
    await other.untilClosed()
    expect(other.waiting('connack').filter((one) => one.reasonCode === 0)).toEqual([])
  })

  it('[MQTT-4.12.0-6] without a method there is no AUTH, and none in the CONNACK', async () => {
    const client = await Mqtt5Client.open(world.port)
    const connack = await client.connect({ clientId: 'no-method' })
    expect(connack.reasonCode).toBe(0)
    expect(connack.properties?.authenticationMethod).toBeUndefined()
    await client.ping()
    expect(client.waiting('auth')).toEqual([])
  })

  it('[MQTT-4.12.0-7] AUTH of a client that has named no method is a protocol error', async () => {
    const client = await connect5(world.port)
    client.send(auth('hello', 0x19))
    expect(await client.untilClosed()).toBe(0x82)
  })

  it('[MQTT-4.12.1-1] a client may authenticate again, by the same method', async () => {
    const client = await authenticated()
    client.send(auth('hello', 0x19))
    expect(await client.next('auth')).toMatchObject({ reasonCode: 0x18 })
    // Packets go on meanwhile.
    await client.ping()
    client.send(auth('good'))
    expect(await client.next('auth')).toMatchObject({
      reasonCode: 0,
      properties: { authenticationMethod: method },
    })
    client.send(auth('hello', 0x19, 'another'))
    expect([0x82, 0x8c]).toContain(await client.untilClosed())
  })

  it('[MQTT-4.12.1-2] if that fails, the connection is closed, with the reason in a DISCONNECT', async () => {
    const client = await authenticated()
    client.send(auth('bad', 0x19))
    expect(await client.untilClosed()).toBe(0x87)
  })
})
