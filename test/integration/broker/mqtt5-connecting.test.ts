import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, RefuseReason, type Handler } from '../../../src/hooks/types.ts'
import { eventOf, openBroker, portOf } from '../../support/broker-world.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { RawClient } from '../../support/raw-client.ts'
import type { Of } from '../../support/received.ts'
import { type ConnectFields, connectPacket, packet, Packet, publishPacket } from '../../support/wire.ts'

const handler: Handler = {
  name: 'by-name',
  authConnect(session) {
    if (session.username === 'wrong')
      throw new AuthError('the password is the neighbour', RefuseReason.badCredentials)
    if (session.username === 'away') throw new AuthError('the database is away', RefuseReason.unavailable)
    if (session.password?.toString() === 'token') session.username = 'by-token'
    if (session.username === undefined) throw new AuthError()
  },
  authPublish: (_session, { topic }) => {
    if (topic === 'forbidden') throw new AuthError('no')
  },
  authSubscribe: () => {},
}

let broker: TestBroker
const port = (name: string): number => portOf(broker, name)

beforeAll(async () => {
  broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', name: 'main', port: 0 },
        { type: 'tcp', name: 'old', port: 0, protocolVersions: ['3.1.1'] },
        { type: 'tcp', name: 'open', port: 0, allowAnonymous: true },
      ],
      limits: {
        maxInflightIncoming: 77,
        maxPacketBytes: 5_000,
        maxKeepaliveSeconds: 100,
        maxClientIdBytes: 30,
        maxConnectionsPerUser: 2,
        banFailures: 0,
      },
      mqtt5: { maxIncomingTopicAliases: 9, responseInformation: 'replies/{username}/{clientId}' },
    },
    { handlers: [handler] },
  )
  return () => broker.stop()
})

async function open(name = 'main'): Promise<RawClient> {
  const client = await RawClient.open({ port: port(name), version: 5 })
  onTestFinished(() => client.destroy())
  return client
}

async function connack(fields: Partial<ConnectFields> = {}, name = 'main'): Promise<Of<'connack'>> {
  const client = await open(name)
  return client.connect({ clientId: 'c', username: 'u', keepaliveSeconds: 60, version: 5, ...fields })
}

/** What every client is told here. */
const TOLD = { receiveMaximum: 77, maximumPacketSize: 5_000, topicAliasMaximum: 9 }

describe('a CONNACK that accepts', () => {
  it('says what is not as it goes without saying, and no more', async () => {
    expect(await connack()).toEqual({ type: 'connack', sessionPresent: false, code: 0, properties: TOLD })
  })

  it('says nothing where all is as it goes without saying', async () => {
    const plain = await openBroker({
      limits: { maxInflightIncoming: 65_535, maxPacketBytes: 268_435_460 },
      mqtt5: { maxIncomingTopicAliases: 0 },
    })
    const client = await RawClient.open({ port: plain.port })
    onTestFinished(() => client.destroy())
    expect(await client.connect({ clientId: 'c', version: 5 })).toMatchObject({ code: 0, properties: {} })
  })

  it('names a client that has no name [MQTT-3.2.2-16]', async () => {
    const { properties } = await connack({ clientId: '' })
    const { assignedClientIdentifier } = properties!
    expect(assignedClientIdentifier).toMatch(/^auto-/)
    // It goes on as that.
    expect(await connack({ clientId: assignedClientIdentifier! })).toMatchObject({
      code: 0,
      properties: TOLD,
    })
  })

  it.each([0, 101])(
    'sets a keep alive of %i s to the most that is allowed [MQTT-3.2.2-22]',
    async (keepaliveSeconds) => {
      expect((await connack({ keepaliveSeconds })).properties).toEqual({ ...TOLD, serverKeepAlive: 100 })
    },
  )

  it('says what topics for responses begin with to those who ask, and can have one [MQTT-3.1.2-28]', async () => {
    const properties = { requestResponseInformation: 1 } as const
    expect((await connack({ properties })).properties).toEqual({
      ...TOLD,
      responseInformation: 'replies/u/c',
    })
    expect((await connack({ properties, clientId: 'a#' })).properties).toEqual(TOLD)
  })

  it('is only as large as the client wants it, or is none [MQTT-3.1.2-24]', async () => {
    const asks = { requestResponseInformation: 1 } as const
    const few = await connack({ properties: { ...asks, maximumPacketSize: 20 } })
    expect(few).toMatchObject({ code: 0, properties: TOLD })
    const client = await open()
    client.send(
      connectPacket({ clientId: 'tiny', username: 'u', version: 5, properties: { maximumPacketSize: 10 } }),
    )
    await client.untilClosed()
    expect(client.received).toEqual([])
  })

  it('comes for a password without a user name, also where the anonymous are let in without a question', async () => {
    const fields = { username: undefined, password: 'token' } as unknown as ConnectFields
    expect(await connack(fields)).toMatchObject({ code: 0 })
    expect(await connack({ ...fields, password: 'stolen' }, 'open')).toMatchObject({ code: 0x87 })
    expect(await connack({ username: undefined } as unknown as ConnectFields, 'open')).toMatchObject({
      code: 0,
    })
  })
})

describe('a CONNACK that refuses', () => {
  it.each<
    [what: string, fields: Partial<ConnectFields>, code: number, text: string | undefined, name?: string]
  >([
    ['a client id that is too long', { clientId: 'x'.repeat(31) }, 0x85, 'client id longer than 30 bytes'],
    ['credentials, without a word about them', { username: 'wrong' }, 0x86, undefined],
    ['while nobody can say', { username: 'away' }, 0x88, undefined],
    ['a version that is not served here', {}, 0x84, 'MQTT 5 is not served on this listener', 'old'],
    ['a will that is not allowed', { will: { topic: 'forbidden' } }, 0x87, undefined],
    ['a will with a wildcard', { will: { topic: 'a/#' } }, 0x90, 'will: wildcard in a topic name'],
    [
      'a will that is not the text it says it is',
      { will: { topic: 'a', payload: Buffer.of(0xff), properties: { payloadFormatIndicator: 1 } } },
      0x99,
      expect.any(String) as string,
    ],
    ['what is malformed', { flags: 0x01 }, 0x81, 'reserved connect flag is set'],
    [
      'a property that is 0 and may not be',
      { properties: { receiveMaximum: 0 } },
      0x82,
      'receiveMaximum is 0',
    ],
    [
      'more user properties than are taken',
      { properties: { userProperties: Array.from({ length: 101 }, () => ['a', 'b'] as const) } },
      0x97,
      expect.any(String) as string,
    ],
  ])('%s', async (_what, fields, code, text, name = 'main') => {
    const client = await open(name)
    const {
      code: said,
      properties,
      sessionPresent,
    } = await client.connect({ clientId: 'c', username: 'u', version: 5, ...fields })
    expect([said, properties?.reasonString, sessionPresent]).toEqual([code, text, false])
    await client.untilClosed()
  })

  it('a further client of a user who has as many as are allowed', async () => {
    for (const clientId of ['one', 'two'])
      expect(await connack({ username: 'many', clientId })).toMatchObject({ code: 0 })
    expect(await connack({ username: 'many', clientId: 'three' })).toMatchObject({ code: 0x97 })
  })

  it('a version to come, in the form of MQTT 5', async () => {
    const client = await open()
    client.send(connectPacket({ clientId: 'c', level: 6 }))
    expect(await client.next('connack')).toMatchObject({ code: 0x84 })
    await client.untilClosed()
  })
})

describe('the DISCONNECT of the broker', () => {
  it('says that the session was taken over, and not by whom', async () => {
    const client = await open()
    await client.connect({ clientId: 'taken', username: 'u1', version: 5 })
    await connack({ clientId: 'taken', username: 'u1' })
    expect(await client.next('disconnect')).toEqual({ type: 'disconnect', reasonCode: 0x8e, properties: {} })
    await client.untilClosed()
  })

  it('says that a packet was too large, with no more words than fit', async () => {
    for (const [maximumPacketSize, reasonString] of [
      [1_000, expect.stringContaining('5000 are allowed')],
      [20, undefined],
    ]) {
      const client = await open()
      const properties = { maximumPacketSize: maximumPacketSize as number }
      await client.connect({ clientId: 'large', username: 'u2', version: 5, properties })
      client.send(publishPacket({ topic: 'a', payload: Buffer.alloc(5_000), properties: {} }))
      const { reasonCode, properties: said } = await client.next('disconnect')
      expect([reasonCode, said.reasonString]).toEqual([0x95, reasonString])
    }
  })

  it('says what is wrong with a packet', async () => {
    const client = await open()
    await client.connect({ clientId: 'second', username: 'u3', version: 5 })
    client.send(connectPacket({ clientId: 'second', username: 'u3', version: 5 }))
    expect(await client.next('disconnect')).toMatchObject({
      reasonCode: 0x82,
      properties: { reasonString: 'second CONNECT' },
    })
    const other = await open()
    await other.connect({ clientId: 'suback', username: 'u3', version: 5 })
    other.send(packet(Packet.suback << 4, Buffer.of(0, 1, 0, 0)))
    expect(await other.next('disconnect')).toMatchObject({ reasonCode: 0x81 })
    expect(await eventOf(broker, 'client disconnected', { client: 'suback' })).toMatchObject({
      reasonCode: 0x81,
    })
  })

  it('names another server when the broker stops, and none where none is configured', async () => {
    for (const [serverReference, reasonCode] of [
      ['b.example.com', 0x9c],
      ['', 0x8b],
    ] as const) {
      const stopping = await startTestBroker({ mqtt5: { serverReference } })
      const client = await RawClient.open({ port: stopping.port })
      onTestFinished(() => client.destroy())
      await client.connect({ clientId: 'c', version: 5 })
      const old = await RawClient.open({ port: stopping.port })
      onTestFinished(() => old.destroy())
      await old.connect({ clientId: 'old' })
      await stopping.stop()
      const properties = serverReference === '' ? {} : { serverReference }
      expect(await client.next('disconnect')).toEqual({ type: 'disconnect', reasonCode, properties })
      expect(old.received).toHaveLength(1)
    }
  })
})
