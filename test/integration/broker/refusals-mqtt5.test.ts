import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { AuthError, RefuseReason, type Handler, type RefusalDetails } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectRaw, openBroker, openRaw, refusalCode } from '../../support/broker-world.ts'
import { publishPacket, type ConnectFields } from '../../support/wire.ts'

// The column for MQTT 5 of the table of refusals in docs/handlers.md: a test for each of its cells (stillAllowed:
// test/integration/authentication/scram.test.ts).

const details: RefusalDetails = {
  reasonCode: 0x97,
  reasonString: 'for the client',
  userProperties: [['why', 'quota']],
}
/** Refuses what is named after a reason. */
function refuse(name: string): void {
  const reason = Object.values(RefuseReason).find((one) => name.endsWith(one))
  if (reason !== undefined) throw new AuthError('for the log', reason)
  if (name.endsWith('bug')) throw new TypeError('for the log')
  if (name.endsWith('details')) throw new AuthError('for the log', RefuseReason.badCredentials, details)
}
const strict: Handler = {
  name: 'strict',
  authConnect: ({ id }) => refuse(id),
  authPublish: (_session, { topic }) => refuse(topic),
  authSubscribe(_session, subscriptions) {
    for (const subscription of subscriptions) {
      refuse(subscription.topic)
      if (subscription.topic === 'secret') subscription.refused = 'for the log'
      if (subscription.topic === 'quota') Object.assign(subscription, { refused: true, refusedCode: 0x97 })
    }
  },
  authDeliver: (_session, { topic, properties }) =>
    topic === 'private' || properties?.contentType === 'private' ? false : undefined,
}
let broker: TestBroker

beforeAll(async () => {
  broker = await startTestBroker({ limits: { banFailures: 0 } }, { handlers: [strict] })
})
afterAll(() => broker.stop())

async function refusal(fields: Partial<ConnectFields> & { clientId: string }, port = broker.port) {
  const client = await openRaw(port)
  const { code, properties } = await client.connect({ version: 5, ...fields })
  await client.untilClosed()
  return { code, properties }
}

const connect = (clientId: string, port = broker.port) => connectRaw(port, { clientId, version: 5 })

describe('for a client of MQTT 5', () => {
  it.each([
    [RefuseReason.identifierRejected, 0x85],
    [RefuseReason.unavailable, 0x88],
    [RefuseReason.badCredentials, 0x86],
    [RefuseReason.notAuthorized, 0x87],
    ['bug', 0x88],
  ])('authConnect that refuses as %s is CONNACK %i, without what is for the log', async (reason, code) => {
    expect(await refusal({ clientId: reason })).toEqual({ code, properties: {} })
  })

  it('authConnect may have a reason code of its own, a text and user properties', async () => {
    const { reasonString, userProperties } = details
    expect(await refusal({ clientId: 'details' })).toEqual({
      code: 0x97,
      properties: { reasonString, userProperties },
    })
    // Others are told by the reason.
    const old = await openRaw(broker.port)
    expect(await old.connect({ clientId: 'details' })).toMatchObject({ code: 4 })
  })

  it('nobody with an opinion is CONNACK 0x86 with a user name, 0x87 without', async () => {
    const nobody = await openBroker({}, { authPublish() {} })
    expect(await refusal({ clientId: 'c', username: 'ann' }, nobody.port)).toMatchObject({ code: 0x86 })
    expect(await refusal({ clientId: 'c' }, nobody.port)).toMatchObject({ code: 0x87 })
  })

  it('authPublish that refuses is PUBACK and PUBREC 0x87, or its own code and text', async () => {
    const client = await connect('p1')
    client.send(publishPacket({ topic: 'x/not-authorized', qos: 1, messageId: 1, properties: {} }))
    expect(await client.nextAck('puback', 1)).toMatchObject({ reasonCode: 0x87, properties: {} })
    client.send(publishPacket({ topic: 'x/bad-credentials', qos: 2, messageId: 2, properties: {} }))
    expect(await client.nextAck('pubrec', 2)).toMatchObject({ reasonCode: 0x87, properties: {} })
    client.send(publishPacket({ topic: 'x/details', qos: 1, messageId: 3, properties: {} }))
    expect(await client.nextAck('puback', 3)).toMatchObject({
      reasonCode: 0x97,
      properties: { reasonString: 'for the client' },
    })
    client.send(publishPacket({ topic: 'x/bug', qos: 1, messageId: 4, properties: {} }))
    expect(await client.nextAck('puback', 4)).toMatchObject({ reasonCode: 0x80 })
    await client.ping()
  })

  it('authPublish that changes properties in place has failed, also later on', async () => {
    const spoilt = await openBroker(
      {},
      {
        authConnect() {},
        async authPublish(_session, { topic, properties }) {
          await Promise.resolve()
          if (topic === 'field') Object.assign(properties!, { contentType: 5 })
          if (topic === 'list') (properties!.userProperties as unknown[]).push(['a'])
          if (topic === 'pair') Object.assign(properties!.userProperties![0]!, { 1: 5 })
        },
      },
    )
    const client = await connect('p4', spoilt.port)
    const properties = { contentType: 'a/b', userProperties: [['x', 'y']] as const }
    for (const [index, topic] of ['field', 'list', 'pair'].entries()) {
      client.send(publishPacket({ topic, qos: 1, messageId: index + 1, properties }))
      expect(await client.nextAck('puback', index + 1)).toMatchObject({ reasonCode: 0x80 })
    }
  })

  it('authPublish that makes nonsense of a topic later on refuses the message, and no connection ends', async () => {
    const spoilt = await openBroker(
      {},
      {
        authConnect() {},
        async authPublish(_session, message) {
          await Promise.resolve()
          Object.assign(message, { topic: 5 })
        },
      },
    )
    expect(await refusal({ clientId: 'w3', will: { topic: 'a', payload: 'x' } }, spoilt.port)).toMatchObject({
      code: 0x87,
    })
    const [client, other] = [await connect('p5', spoilt.port), await connect('p6', spoilt.port)]
    client.send(publishPacket({ topic: 'a', qos: 1, messageId: 1, properties: {} }))
    expect(await client.nextAck('puback', 1)).toMatchObject({ reasonCode: 0x80 })
    await Promise.all([client.ping(), other.ping()])
  })

  it('authPublish that is unavailable is DISCONNECT 0x89 at QoS 1', async () => {
    const client = await connect('p2')
    client.send(publishPacket({ topic: 'x/unavailable', qos: 1, properties: {} }))
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x89, properties: {} })
  })

  it('authPublish that refuses is DISCONNECT with onRefusedPublish disconnect', async () => {
    const closing = await openBroker({ auth: { onRefusedPublish: 'disconnect' } }, strict)
    const client = await connect('p3', closing.port)
    client.send(publishPacket({ topic: 'x/details', properties: {} }))
    expect(await client.next('disconnect')).toMatchObject({
      reasonCode: 0x97,
      properties: { reasonString: 'for the client' },
    })
    await client.untilClosed()
  })

  it.each([
    [RefuseReason.notAuthorized, 0x87, 5],
    // About the message, and not about who the client is.
    [RefuseReason.badCredentials, 0x87, 5],
    [RefuseReason.unavailable, 0x88, 3],
    ['bug', 0x88, 3],
    ['details', 0x97, 5],
  ])('a will that is refused as %s is CONNACK %i, before MQTT 5 %i', async (reason, code, before) => {
    const will = { topic: `x/${reason}`, payload: 'gone' }
    const told = { reasonString: details.reasonString, userProperties: details.userProperties }
    const properties = reason === 'details' ? told : {}
    expect(await refusal({ clientId: 'w0', will })).toEqual({ code, properties })
    expect(await refusalCode(broker.port, { clientId: 'w0', will })).toBe(before)
  })

  it('a will that is refused is CONNACK 0x87, or connected without it', async () => {
    const will = { topic: 'x/not-authorized', payload: 'gone', properties: { willDelayInterval: 60 } }
    expect(await refusal({ clientId: 'w1', will })).toMatchObject({ code: 0x87 })
    const stripping = await openBroker({ auth: { onRefusedWill: 'strip' } }, strict)
    const got: string[] = []
    stripping.subscribe('#', (topic) => void got.push(topic))
    // A clean start ends the session, and with it the delay of its will.
    for (const topic of [will.topic, 'open', will.topic]) {
      const fields = { clientId: 'w2', will: { ...will, topic }, properties: { sessionExpiryInterval: 60 } }
      await (await connectRaw(stripping.port, { version: 5, ...fields })).destroy()
    }
    await expect.poll(() => got).toEqual(['open'])
  })

  it('authSubscribe that refuses is a code for that filter, and what throws one for all', async () => {
    const client = await connect('s1')
    expect(await client.subscribe(['a', 1], ['secret', 1], ['quota', 0])).toEqual([1, 0x87, 0x97])
    expect(await client.subscribe(['a', 1], ['x/unavailable', 1])).toEqual([0x80, 0x80])
    expect(await client.subscribe(['a', 1], ['x/details', 1])).toEqual([0x97, 0x97])
  })

  it('authDeliver that refuses is silent', async () => {
    const client = await connect('d1')
    await client.subscribe(['#', 0])
    await broker.publish({ topic: 'private', payload: 'x' })
    client.send(publishPacket({ topic: 'x', properties: { contentType: 'private' } }))
    await client.ping()
    await broker.publish({ topic: 'public', payload: 'x' })
    expect((await client.takeUntil('public')).map(({ topic }) => topic)).toEqual(['public'])
  })
})
