import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mqtt, { type IConnackPacket } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { deriveKeys, formatStoredKeys } from '../../../src/hooks/scram/stored-keys.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { eventOf } from '../../support/broker-world.ts'
import { RawClient } from '../../support/raw-client.ts'
import { ScramClient } from '../../support/scram-client.ts'
import { authPacket, connectPacket } from '../../support/wire.ts'

// SCRAM-SHA-256 over MQTT 5, from a file, with rights by name.

const method = { authenticationMethod: 'SCRAM-SHA-256' }
let folder: string
let file: string
let broker: TestBroker

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-scram-'))
  file = join(folder, 'scram.txt')
  await writeFile(file, (await Promise.all(['ann', 'bob'].map(lineOf))).join(''))
  await writeFile(join(folder, 'acl'), 'user ann\ntopic readwrite ann/#\n')
  broker = await startTestBroker({
    listeners: [{ type: 'tcp', port: 0 }],
    limits: { banFailures: 0 },
    handlers: [
      { type: 'scram', file },
      { type: 'acl-file', file: join(folder, 'acl') },
    ],
  })
})
afterAll(async () => {
  await broker.stop()
  await rm(folder, { recursive: true })
})

async function lineOf(name: string): Promise<string> {
  return `${name}:${formatStoredKeys(await deriveKeys(`password of ${name}`, { iterations: 4_096 }))}\n`
}

function auth(data: Buffer, reasonCode = 0x18): Buffer {
  return authPacket({ reasonCode, properties: { ...method, authenticationData: data } })
}

/** CONNECT and the first round; resolves to the client and what the broker has said. */
async function begin(scram: ScramClient, clientId: string) {
  const client = await RawClient.open({ port: broker.port, version: 5 })
  onTestFinished(() => client.destroy())
  const properties = { ...method, authenticationData: scram.first }
  client.send(connectPacket({ clientId, version: 5, properties }))
  const { properties: said } = await client.next('auth')
  return { client, challenge: said.authenticationData! }
}

async function open(name: string, clientId: string): Promise<RawClient> {
  const scram = new ScramClient(name, `password of ${name}`)
  const { client, challenge } = await begin(scram, clientId)
  client.send(auth(scram.final(challenge)))
  const connack = await client.next('connack')
  expect(connack).toMatchObject({ code: 0, properties: method })
  expect(connack.properties?.authenticationData).toEqual(scram.expected)
  return client
}

describe('a client that authenticates with SCRAM-SHA-256', () => {
  it('is who it says, proves the broker to itself, and has its rights', async () => {
    const client = await open('ann', 's1')
    expect(await client.subscribe(['ann/#', 1], ['bob/#', 1])).toEqual([1, 0x87])
    expect(await eventOf(broker, 'client connected', { client: 's1' })).toMatchObject({ username: 'ann' })
  })

  it('may be MQTT.js', async () => {
    const scram = new ScramClient('ann', 'password of ann')
    const client = mqtt.connect(broker.url, {
      protocolVersion: 5,
      clientId: 's2',
      reconnectPeriod: 0,
      properties: { ...method, authenticationData: scram.first },
    })
    onTestFinished(() => client.endAsync(true))
    client.handleAuth = ({ properties }, answer) => {
      const authenticationData = scram.final(properties!.authenticationData!)
      answer(undefined, { cmd: 'auth', reasonCode: 0x18, properties: { ...method, authenticationData } })
    }
    const connack = await new Promise<IConnackPacket>((resolve) => client.once('connect', resolve))
    expect(connack.properties).toMatchObject({ authenticationData: scram.expected })
    await client.publishAsync('ann/x', 'y', { qos: 1 })
  })

  it.each([
    ['a wrong password', new ScramClient('ann', 'guess')],
    ['a name that is not there', new ScramClient('eve', 'guess')],
  ])('is refused with %s, in the same words', async (_, scram) => {
    const { client, challenge } = await begin(scram, 's3')
    client.send(auth(scram.final(challenge)))
    const connack = await client.next('connack')
    expect(connack).toMatchObject({ code: 0x86 })
    expect(connack.properties).toEqual({})
    await client.untilClosed()
  })

  it.each([
    ['another nonce', (scram: ScramClient, challenge: Buffer) => scram.final(challenge, 'mine')],
    ['more than fits', () => Buffer.alloc(5_000, 'x')],
    ['what is no message', () => Buffer.of(0xff)],
  ])('is refused with %s', async (_, answer) => {
    const scram = new ScramClient('ann', 'password of ann')
    const { client, challenge } = await begin(scram, 's4')
    client.send(auth(answer(scram, challenge)))
    expect(await client.next('connack')).toMatchObject({ code: 0x86 })
  })

  it('may try methods that nobody knows before, and has guessed nothing with them', async () => {
    const strict = await startTestBroker({
      listeners: [{ type: 'tcp', port: 0 }],
      limits: { banFailures: 2 },
      handlers: [{ type: 'scram', file }],
    })
    onTestFinished(() => strict.stop())
    const scram = new ScramClient('ann', 'guess')
    const connect = async (authenticationMethod: string) => {
      const client = await RawClient.open({ port: strict.port, version: 5 })
      onTestFinished(() => client.destroy())
      const properties = { authenticationMethod, authenticationData: scram.first }
      client.send(connectPacket({ clientId: 's10', version: 5, properties }))
      return client
    }
    for (const other of ['SCRAM-SHA-512', 'SCRAM-SHA-1', 'PLAIN']) {
      expect(await (await connect(other)).next('connack')).toMatchObject({ code: 0x8c })
      expect(await eventOf(strict, 'connection refused')).toMatchObject({ reason: 'authentication-method' })
    }
    for (let guess = 0; guess < 2; guess++) {
      const client = await connect(method.authenticationMethod)
      const { properties } = await client.next('auth')
      client.send(auth(scram.final(properties.authenticationData!)))
      expect(await client.next('connack')).toMatchObject({ code: 0x86 })
    }
    await eventOf(strict, 'address banned')
  })

  it('does not disturb another one who does the same at once', async () => {
    const [one, two] = [new ScramClient('ann', 'password of ann'), new ScramClient('ann', 'password of ann')]
    const [first, second] = await Promise.all([begin(one, 's5'), begin(two, 's6')])
    // The answer to somebody else's challenge.
    first.client.send(auth(one.final(second.challenge)))
    second.client.send(auth(two.final(second.challenge)))
    expect(await first.client.next('connack')).toMatchObject({ code: 0x86 })
    expect(await second.client.next('connack')).toMatchObject({ code: 0 })
  })

  it('may authenticate again, and not as somebody else', async () => {
    const client = await open('bob', 's7')
    const again = async (name: string) => {
      const scram = new ScramClient(name, `password of ${name}`)
      client.send(auth(scram.first, 0x19))
      const { properties } = await client.next('auth')
      client.send(auth(scram.final(properties.authenticationData!)))
      return scram
    }
    const scram = await again('bob')
    expect(await client.next('auth')).toMatchObject({
      reasonCode: 0,
      properties: { authenticationData: scram.expected },
    })
    client.send(auth(new ScramClient('ann', 'password of ann').first, 0x19))
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x87 })
  })

  it('is disconnected when its entry changes, and others stay', async () => {
    const [ann, bob] = [await open('ann', 's8'), await open('bob', 's9')]
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.replace(/^bob:.*\n/m, await lineOf('bob')))
    await broker.reload()
    expect(await bob.next('disconnect')).toMatchObject({ reasonCode: 0x87 })
    await ann.ping()
    await open('bob', 's9')
  })
})
