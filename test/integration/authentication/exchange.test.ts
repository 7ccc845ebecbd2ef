import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, noOpinion, RefuseReason, type Handler, type Session } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectRaw, eventOf, eventsOf, openBroker, openRaw } from '../../support/broker-world.ts'
import { RawClient } from '../../support/raw-client.ts'
import {
  authPacket,
  connectPacket,
  disconnectPacket,
  pingreq,
  publishPacket,
  type ConnectFields,
} from '../../support/wire.ts'

// Exchanges of AUTH (MQTT 5, 4.12), with a handler that asks for the client's answers one after the other.

const again = 0x19
const proceed = 0x18

/** Method `count`: says 1, 2, ... to each answer; `bye` ends it, as the user that the first message has named. */
const counting: Handler = {
  name: 'counting',
  authMethods: ['count'],
  authenticate(session, exchange, data) {
    const said = data?.toString() ?? ''
    if (exchange.state === undefined) {
      exchange.state = { name: said, rounds: 0 }
      if (said === 'later')
        return new Promise((resolve) => releases.push(() => resolve({ success: undefined })))
      // Too early: nobody has proved to be that one.
      if (said === 'eve later') {
        session.username = 'eve'
        return new Promise((_, reject) => releases.push(() => reject(new AuthError('not eve'))))
      }
    }
    const state = exchange.state as { name: string; rounds: number }
    if (said === 'wrong') throw new AuthError('a wrong answer', RefuseReason.badCredentials)
    if (said === 'told')
      throw new AuthError('for the log', RefuseReason.notAuthorized, {
        reasonCode: 0x97,
        reasonString: 'for the client',
        userProperties: [['why', 'quota']],
      })
    if (said === 'nothing') return undefined as never
    if (said === 'bye') {
      session.username = state.name
      session.connackProperties?.push(['hello', state.name])
      return { success: Buffer.from('good') }
    }
    return { continue: Buffer.from(String(++state.rounds)) }
  },
  vetoConnect({ username }) {
    if (username === 'vetoed') throw new AuthError('not this one')
  },
  authPublish({ username }) {
    publishers.push(username)
  },
  authSubscribe() {},
  connect: (session) => void connected.push(session),
  disconnect: ({ id }) => void gone.push(id),
}
/** Knows no method of its own, and looks at all. */
const looking: Handler = {
  name: 'looking',
  authenticate({ id }) {
    if (id === 'looked-at') throw new AuthError('seen by another handler')
    return noOpinion
  },
}
const connected: Session[] = []
const publishers: unknown[] = []
const gone: string[] = []
const releases: (() => void)[] = []
let broker: TestBroker

beforeAll(async () => {
  broker = await startTestBroker(
    {
      // Who names a method is asked about it here as well.
      listeners: [{ type: 'tcp', port: 0, allowAnonymous: true }],
      auth: { maxRounds: 4 },
      limits: { banFailures: 0 },
    },
    { handlers: [looking, counting] },
  )
})
afterAll(() => broker.stop())
beforeEach(() => {
  connected.length = 0
  publishers.length = 0
  gone.length = 0
})

function connectFields(clientId: string, first: string, more: Partial<ConnectFields> = {}): ConnectFields {
  const properties = { authenticationMethod: 'count', authenticationData: Buffer.from(first) }
  return { clientId, version: 5, properties, ...more }
}

function auth(data: string, reasonCode = proceed, authenticationMethod = 'count'): Buffer {
  return authPacket({
    reasonCode,
    properties: { authenticationMethod, authenticationData: Buffer.from(data) },
  })
}

/** CONNECT with a method; resolves when the broker has asked for more. */
async function begin(clientId: string, first = 'ann', port = broker.port): Promise<RawClient> {
  const client = await RawClient.open({ port, version: 5 })
  onTestFinished(() => client.destroy())
  client.send(connectPacket(connectFields(clientId, first)))
  expect(await client.next('auth')).toMatchObject({
    reasonCode: proceed,
    properties: { authenticationMethod: 'count', authenticationData: Buffer.from('1') },
  })
  return client
}

async function open(clientId: string, name?: string): Promise<RawClient> {
  const client = await begin(clientId, name)
  client.send(auth('bye'))
  expect(await client.next('connack')).toMatchObject({ code: 0 })
  return client
}

/** The CONNACK of a CONNECT that is refused at once. */
async function refusal(fields: ConnectFields) {
  const client = await openRaw(broker.port)
  const connack = await client.connect(fields)
  await client.untilClosed()
  return connack
}

describe('CONNECT with an authentication method', () => {
  it('exchanges AUTH before the CONNACK, which repeats the method and has the last data', async () => {
    const client = await begin('c1')
    client.send(auth('go on'))
    expect(await client.next('auth')).toMatchObject({ properties: { authenticationData: Buffer.from('2') } })
    expect(connected).toEqual([])
    client.send(auth('bye'))
    expect(await client.next('connack')).toMatchObject({
      code: 0,
      properties: {
        authenticationMethod: 'count',
        authenticationData: Buffer.from('good'),
        userProperties: [['hello', 'ann']],
      },
    })
    await client.ping()
    expect(connected).toMatchObject([
      { id: 'c1', username: 'ann', properties: { authenticationMethod: 'count' } },
    ])
    expect(connected[0]!.properties).not.toHaveProperty('authenticationData')
  })

  it.each([
    ['is not known: 0x8c', { properties: { authenticationMethod: 'other' } }, 0x8c],
    [
      'is refused with its reason',
      { properties: { authenticationMethod: 'count', authenticationData: Buffer.from('wrong') } },
      0x86,
    ],
    [
      'is answered by nothing, which is a failure',
      { properties: { authenticationMethod: 'count', authenticationData: Buffer.from('nothing') } },
      0x88,
    ],
  ])('that %s', async (_, fields, code) => {
    expect(await refusal({ clientId: 'c2', version: 5, ...fields })).toMatchObject({ code })
    expect(connected).toEqual([])
  })

  it('tells the client what the handler says for it, and nothing of what is for the log', async () => {
    const connack = await refusal(connectFields('c2-told', 'told'))
    expect(connack).toMatchObject({
      code: 0x97,
      properties: { reasonString: 'for the client', userProperties: [['why', 'quota']] },
    })
    expect(await eventOf(broker, 'connection refused', { client: 'c2-told' })).toMatchObject({
      detail: 'for the log',
      handler: 'counting',
    })
    expect((await refusal(connectFields('c2', 'wrong'))).properties).toEqual({})
  })

  it('is refused by a handler that looks at all, and by vetoConnect', async () => {
    expect(await refusal(connectFields('looked-at', 'ann'))).toMatchObject({ code: 0x87 })
    const client = await begin('c3', 'vetoed')
    client.send(auth('bye'))
    expect(await client.next('connack')).toMatchObject({ code: 0x87 })
    await client.untilClosed()
    expect(gone).toEqual(expect.arrayContaining(['looked-at', 'c3']))
  })

  it.each([
    ['another packet', [pingreq]],
    ['a message', [publishPacket({ topic: 'a', properties: {} })]],
    ['AUTH with another method', [auth('x', proceed, 'other')]],
    ['AUTH that begins again', [auth('x', again)]],
    ['AUTH with a reason that no client has', [auth('x', 0)]],
  ])('does not take %s before the CONNACK', async (_, packets) => {
    const client = await begin('c4')
    client.send(...packets)
    expect(await client.next('connack')).toMatchObject({ code: 0x82 })
    await client.untilClosed()
  })

  it('takes what comes before the CONNACK one after the other', async () => {
    const client = await begin('c5')
    client.send(auth('a'), auth('bye'), pingreq)
    expect(await client.next('auth')).toMatchObject({ properties: { authenticationData: Buffer.from('2') } })
    await client.next('connack')
    await client.next('pingresp')
  })

  it('may be given up with DISCONNECT, or by leaving', async () => {
    const client = await begin('c6')
    client.send(disconnectPacket())
    await client.untilClosed()
    await (await begin('c7')).destroy()
    await expect.poll(() => gone).toEqual(expect.arrayContaining(['c6', 'c7']))
    expect(client.received.map(({ type }) => type)).toEqual(['auth'])
  })

  it('takes a client id over when it has succeeded, and not before', async () => {
    const first = await open('c12')
    const guess = await begin('c12', 'eve')
    await first.ping()
    guess.send(auth('wrong'))
    expect(await guess.next('connack')).toMatchObject({ code: 0x86 })
    await first.ping()
    const second = await begin('c12')
    await first.ping()
    second.send(auth('bye'))
    expect(await first.next('disconnect')).toMatchObject({ reasonCode: 0x8e })
    expect(await second.next('connack')).toMatchObject({ code: 0 })
  })

  it('has a bound of rounds', async () => {
    const client = await begin('c8')
    for (let round = 2; round <= 4; round++) {
      client.send(auth('more'))
      await client.next('auth')
    }
    client.send(auth('more'))
    expect(await client.next('connack')).toMatchObject({ code: 0x87 })
  })

  it('has the deadline of a CONNECT', async () => {
    const own = await openBroker({ limits: { connectTimeoutMs: 1_000 } }, counting)
    const client = await begin('c9', 'ann', own.port)
    expect(await client.next('connack')).toMatchObject({ code: 0x87 })
    await client.untilClosed()
    expect(eventsOf(own, 'connection refused', { reason: 'connect-timeout' })).toHaveLength(1)
  })

  it('is not asked about clients without a method, and their AUTH is a protocol error', async () => {
    const client = await connectRaw(broker.port, { clientId: 'c10', version: 5 })
    client.send(auth('ann', again))
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x82 })
    await client.untilClosed()
    const old = await connectRaw(broker.port, { clientId: 'c11' })
    old.send(auth('ann', again))
    await old.untilClosed()
  })
})

describe('authenticating again', () => {
  it('goes on beside all else, and ends with AUTH 0', async () => {
    const client = await open('a1')
    client.send(auth('ann', again))
    expect(await client.next('auth')).toMatchObject({
      reasonCode: proceed,
      properties: { authenticationMethod: 'count', authenticationData: Buffer.from('1') },
    })
    await client.publish({ topic: 'meanwhile', qos: 1 })
    client.send(auth('bye'))
    expect(await client.next('auth')).toMatchObject({
      reasonCode: 0,
      properties: { authenticationMethod: 'count', authenticationData: Buffer.from('good') },
    })
    client.send(auth('ann', again))
    await client.next('auth')
    await client.ping()
    expect(connected).toHaveLength(1)
  })

  it('that fails ends the connection, and counts as a guess', async () => {
    const client = await open('a2')
    client.send(auth('told', again))
    expect(await client.next('disconnect')).toMatchObject({
      reasonCode: 0x97,
      properties: { reasonString: 'for the client', userProperties: [['why', 'quota']] },
    })
    await client.untilClosed()
    expect(await eventOf(broker, 'client disconnected', { client: 'a2' })).toMatchObject({
      reason: 'revoked',
    })
    const banning = await openBroker({ limits: { banFailures: 1 } }, counting)
    const other = await begin('a3', 'ann', banning.port)
    other.send(auth('bye'))
    await other.next('connack')
    other.send(auth('wrong', again))
    expect(await other.next('disconnect')).toMatchObject({ reasonCode: 0x87 })
    await eventOf(banning, 'address banned')
  })

  it('cannot make another user of it', async () => {
    const client = await open('a4')
    client.send(auth('eve', again))
    await client.next('auth')
    client.send(auth('bye'))
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x87 })
    expect(connected[0]).toMatchObject({ username: 'ann' })
  })

  it('does not make another user of it while a handler looks', async () => {
    const client = await open('a6')
    client.send(auth('eve later', again))
    await client.publish({ topic: 'meanwhile', qos: 1 })
    expect(publishers).toEqual(['ann'])
    for (const release of releases.splice(0)) release()
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x87 })
    expect(connected[0]).toMatchObject({ username: 'ann' })
  })

  it.each([
    ['with another method', [auth('ann', again, 'other')]],
    ['that continues nothing', [auth('bye')]],
    ['twice at once', [auth('ann', again), auth('ann', again)]],
    ['before the handler has answered', [auth('later', again), auth('x')]],
  ])('%s is a protocol error', async (_, packets) => {
    const client = await open('a5')
    client.send(...packets)
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x82 })
    await client.untilClosed()
    for (const release of releases.splice(0)) release()
  })
})
