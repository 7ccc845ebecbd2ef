import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { AuthError, RefuseReason, type Handler, type SubscribeRequest } from '../../../src/hooks/types.ts'
import { connectRaw } from '../../support/broker-world.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import type { RawClient } from '../../support/raw-client.ts'
import type { Of, Published } from '../../support/received.ts'
import type { WireProperties } from '../../support/wire-properties.ts'
import { ackPacket, Packet, type ConnectFields } from '../../support/wire.ts'

/** What the handler was asked, in order. */
let asked: SubscribeRequest[] = []

const handler: Handler = {
  name: 'rules',
  authConnect: () => {},
  authSubscribe: (_session, subscriptions) => {
    asked.push(...subscriptions.map((one) => ({ ...one })))
    for (const one of subscriptions) {
      const [rule] = one.topic.split('/')
      if (rule === 'secret') one.refused = true
      else if (rule === 'quota') Object.assign(one, { refused: 'enough', refusedCode: 0x97 })
      else if (rule === 'low') one.qos = 0
      else if (rule === 'bad') one.topic = 'a#'
      else if (rule === 'rewritten') one.topic = `real/${one.topic}`
      else if (rule === 'away') throw new AuthError('the service is away', RefuseReason.unavailable)
      else if (rule === 'all')
        throw new AuthError('rule 7', RefuseReason.notAuthorized, {
          reasonCode: 0x8f,
          reasonString: 'not here',
        })
      // Those of a client are its own.
      Object.assign(one, { noLocal: true, subscriptionIdentifier: 99 })
    }
  },
}

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker(
    { limits: { maxSubscriptionsPerClient: 8, maxTopicLevels: 5 } },
    { handlers: [handler] },
  )
})
afterAll(() => broker.stop())
beforeEach(() => {
  asked = []
})

let count = 0
const newId = (): string => `c${++count}`

/** Speaks MQTT 5. */
function connect(fields: Partial<ConnectFields> = {}): Promise<RawClient> {
  return connectRaw(broker.port, { clientId: newId(), version: 5, ...fields })
}

/** Its session outlives the connection. */
function connectStored(clientId: string): Promise<RawClient> {
  return connect({ clientId, clean: false, properties: { sessionExpiryInterval: 3_600 } })
}

/** Reason code of the DISCONNECT that ends the connection. */
async function endOf(client: RawClient): Promise<number> {
  const { reasonCode } = await client.next('disconnect')
  await client.untilClosed()
  return reasonCode
}

async function refused(client: RawClient, properties: WireProperties = {}): Promise<Of<'suback'>> {
  return await client.subscribeWith(properties, ['a/b/c/d/e/f', 1], ['secret/a', 1])
}

const shown = ({ topic, payload, qos, retain }: Published): string =>
  `${topic}=${payload.toString()} ${qos}${retain ? ' retained' : ''}`

/** What has come when the broker has answered; QoS 1 and 2 are acknowledged. */
async function taken(client: RawClient): Promise<Published[]> {
  await client.ping()
  const got: Published[] = []
  while (client.waitingMessages.length > 0) {
    const message = await client.next('publish')
    got.push(message)
    await client.acknowledge(message)
  }
  return got
}

describe('SUBACK of MQTT 5', () => {
  it('has a code for each filter, in their order, and why one is refused [MQTT-3.9.3-1]', async () => {
    const client = await connect()
    const filters = [
      ['plain', 2],
      ['secret/a', 1],
      ['a/b/c/d/e/f', 1],
      ['$share/g/x', 2],
      ['low/a', 2],
      ['quota/a', 1],
      ['bad/a', 0],
      ['$tunnel/agent/service/client/down', 0],
    ] as const
    const suback = await client.subscribeWith({}, ...filters)
    expect(suback.codes).toEqual([2, 0x87, 0x8f, 1, 0, 0x97, 0x83, 0x87])
    expect(suback.properties?.reasonString).toBe('longer than this broker allows, or more levels')
    const { subscriptionList } = (await broker.operations.client({ id: `c${count}`, mountpoint: '' }))!
    expect(subscriptionList.map(({ filter, qos }) => [filter, qos])).toEqual([
      ['plain', 2],
      ['$share/g/x', 1],
      ['low/a', 0],
    ])
    // The same for a client that knows only one failure.
    const old = await connectRaw(broker.port, { clientId: newId() })
    expect(await old.subscribe(...filters.filter(([filter]) => !filter.includes('/b/')))).toEqual([
      2, 0x80, 1, 0, 0x80, 0x80, 0x80,
    ])
  })

  it('says what a handler has for the client, and nothing of its rules', async () => {
    const client = await connect()
    expect(await client.subscribeWith({}, ['all/a', 1], ['other', 1])).toMatchObject({
      codes: [0x8f, 0x8f],
      properties: { reasonString: 'not here' },
    })
    const away = await client.subscribeWith({}, ['away/a', 1])
    expect(away).toMatchObject({ codes: [0x80], properties: {} })
    const secret = await client.subscribeWith({}, ['secret/a', 1])
    expect([away, secret].map(({ properties }) => properties)).toEqual([{}, {}])
  })

  it('has no reason string for a client that wants none [MQTT-3.1.2-29]', async () => {
    const client = await connect({ properties: { requestProblemInformation: 0 } })
    expect(await refused(client)).toMatchObject({ codes: [0x8f, 0x87], properties: {} })
  })

  it('refuses what is beyond the bound of a client; a filter that it has may be replaced', async () => {
    const client = await connect()
    const filters = Array.from({ length: 7 }, (_, index) => [`t/${index}`, 1] as const)
    // A filter that comes twice counts once.
    const first = await client.subscribeWith({}, ...filters, ['t/0', 0], ['t/7', 1], ['t/8', 1])
    expect(first.codes).toEqual([1, 1, 1, 1, 1, 1, 1, 0, 1, 0x97])
    expect(first.properties?.reasonString).toContain('too many subscriptions')
    expect(await client.subscribe(['t/3', 2], ['t/8', 0])).toEqual([2, 0x97])
    expect(await client.unsubscribe('t/0')).toEqual([0])
    expect(await client.subscribe(['t/8', 0])).toEqual([0])
  })

  it('refuses what is behind very many filters of one packet; handlers are not asked about it', async () => {
    const client = await connect()
    const filters = Array.from({ length: 1_002 }, () => ['t/1', 1] as const)
    const codes = await client.subscribe(...filters)
    expect(codes.slice(998)).toEqual([1, 1, 0x97, 0x97])
    expect(asked).toHaveLength(1_000)
  })

  it('is not sent for what breaks the protocol: the connection ends', async () => {
    const shared = await connect()
    void shared.subscribe(['$share/g/a', 1, { noLocal: true }]).catch(() => {})
    expect(await endOf(shared)).toBe(0x82) // [MQTT-3.8.3-4]
    for (const filter of ['a/#/b', '$share//a', '$share/g', '$share/+/a']) {
      const client = await connect()
      void client.subscribe([filter, 0]).catch(() => {})
      expect(await endOf(client)).toBe(0x81)
    }
  })
})

describe('UNSUBACK of MQTT 5', () => {
  it('says for each filter whether there was a subscription [MQTT-3.11.3-1]', async () => {
    const client = await connect()
    const down = `$tunnel/c${count}/service/x/down`
    await client.subscribe(['a', 1], ['rewritten/a', 1])
    expect(await client.unsubscribe('a', 'a', 'never', 'a/b/c/d/e/f', 'rewritten/a', down)).toEqual([
      0, 0x11, 0x11, 0x8f, 0, 0x11,
    ])
  })
})

describe('retained messages of a new subscription', () => {
  it.each([
    [0, true, true],
    [1, true, false],
    [2, false, false],
  ])('with retain handling %i [MQTT-3.3.1-9..11]', async (retainHandling, first, again) => {
    const topic = `kept${retainHandling}/a`
    await broker.publish({ topic, payload: 'x', qos: 1, retain: true })
    const client = await connect()
    for (const comes of [first, again]) {
      await client.subscribe([topic, 1, { retainHandling }])
      expect((await taken(client)).map(shown)).toEqual(comes ? [`${topic}=x 1 retained`] : [])
    }
    // It is new once more.
    await client.unsubscribe(topic)
    await client.subscribe([topic, 0, { retainHandling }])
    expect((await taken(client)).map(shown)).toEqual(first ? [`${topic}=x 0 retained`] : [])
  })

  it('are those of the first, where a packet has a filter twice', async () => {
    await broker.publish({ topic: 'twice', payload: 'x', qos: 1, retain: true })
    const client = await connect()
    await client.subscribe(['twice', 1, { retainHandling: 1 }], ['twice', 0, { retainHandling: 1 }])
    expect((await taken(client)).map(shown)).toEqual(['twice=x 0 retained'])
    await client.subscribe(['twice', 1, { retainHandling: 1 }], ['twice', 1, { retainHandling: 2 }])
    expect(await taken(client)).toEqual([])
  })

  it.each([true, false])(
    'carry its identifier alone, also from a stored queue (clean start: %s)',
    async (clean) => {
      for (const qos of [0, 1, 2] as const)
        await broker.publish({ topic: `known/${qos}`, payload: 'x', qos, retain: true })
      const client = clean ? await connect() : await connectStored(newId())
      await client.subscribeWith({ subscriptionIdentifiers: [7] }, ['#', 2, { retainHandling: 2 }])
      await client.subscribeWith({ subscriptionIdentifiers: [268_435_455] }, ['known/+', 1])
      const got = await taken(client)
      const byTopic = got.toSorted((a, b) => a.topic.localeCompare(b.topic))
      expect(byTopic.map((one) => [shown(one), one.properties])).toEqual([
        ['known/0=x 0 retained', { subscriptionIdentifiers: [268_435_455] }],
        ['known/1=x 1 retained', { subscriptionIdentifiers: [268_435_455] }],
        ['known/2=x 1 retained', { subscriptionIdentifiers: [268_435_455] }],
      ])
      await client.subscribe(['known/0', 1])
      expect((await taken(client)).map(({ properties }) => properties)).toEqual([{}])
    },
  )
})

describe('a subscription with no local', () => {
  it.each([0, 1, 2])(
    'does not bring back what the client has published (QoS %i) [MQTT-3.8.3-3]',
    async (qos) => {
      const topic = `own${qos}`
      const id = newId()
      const client = await connectStored(id)
      const other = await connect()
      for (const one of [client, other]) await one.subscribe([topic, 2, { noLocal: true }])
      await client.publish({ topic, payload: 'own', qos, retain: true, properties: {} })
      await other.publish({ topic, payload: 'other', qos, properties: {} })
      expect((await taken(client)).map(shown)).toEqual([`${topic}=other ${qos}`])
      expect((await taken(other)).map(shown)).toEqual([`${topic}=own ${qos}`])
      // The retained one is its own as well; and so are those that a stored session would keep.
      await client.subscribe([topic, 2, { noLocal: true }])
      expect(await taken(client)).toEqual([])
      await client.destroy()
      const again = await connectStored(id)
      await again.publish({ topic, payload: 'later', qos, properties: {} })
      expect(await taken(again)).toEqual([])
      await again.subscribe([topic, 2, { retainHandling: 2 }])
      await again.publish({ topic, payload: 'now', qos, properties: {} })
      expect((await taken(again)).map(shown)).toEqual([`${topic}=now ${qos}`])
    },
  )
})

describe('overlapping subscriptions', () => {
  it.each([true, false])(
    'bring what the client has published itself as those without no local have it (stored: %s)',
    async (isStored) => {
      const client = isStored ? await connectStored(newId()) : await connect()
      await client.subscribeWith({ subscriptionIdentifiers: [1] }, ['over/#', 2, { noLocal: true }])
      await client.subscribeWith({ subscriptionIdentifiers: [2] }, ['over/+', 1])
      await client.subscribeWith({ subscriptionIdentifiers: [3] }, ['+/x', 0])
      await client.publish({ topic: 'over/x', payload: 'own', qos: 2, properties: {} })
      await broker.publish({ topic: 'over/x', payload: 'other', qos: 2 })
      const got = await taken(client)
      expect(got.map(shown)).toEqual(['over/x=own 1', 'over/x=other 2'])
      const identifiers = got.map(({ properties }) => properties?.subscriptionIdentifiers?.toSorted())
      expect(identifiers).toEqual([
        [2, 3],
        [1, 2, 3],
      ])
    },
  )

  it('one of which is shared bring a copy each, with its own identifier and options [MQTT-3.3.4-5]', async () => {
    const client = await connect()
    await client.subscribeWith({ subscriptionIdentifiers: [1] }, [
      '$share/own/both',
      1,
      { retainAsPublished: true },
    ])
    await client.subscribeWith({ subscriptionIdentifiers: [2] }, ['both', 1])
    await broker.publish({ topic: 'both', payload: 'x', qos: 1, retain: true })
    const got = (await taken(client)).map(({ retain, properties }) => [
      properties?.subscriptionIdentifiers,
      retain,
    ])
    expect(got).toHaveLength(2)
    for (const copy of [
      [[1], true],
      [[2], false],
    ])
      expect(got).toContainEqual(copy)
  })
})

describe('a subscription that is made again', () => {
  it('has the new options, and loses no message [MQTT-3.8.4-3], [MQTT-3.8.4-4]', async () => {
    const id = newId()
    const client = await connectStored(id)
    await client.subscribeWith({ subscriptionIdentifiers: [1] }, ['again', 1])
    const sent = (async () => {
      for (let i = 0; i < 40; i++) await broker.publish({ topic: 'again', payload: String(i), qos: 1 })
    })()
    for (let i = 0; i < 10; i++)
      await client.subscribeWith({ subscriptionIdentifiers: [2] }, [
        'again',
        1,
        { noLocal: i % 2 === 1, retainAsPublished: true, retainHandling: 1 },
      ])
    await sent
    const got: string[] = []
    while (got.length < 40) got.push(...(await taken(client)).map(({ payload }) => payload.toString()))
    expect(got).toEqual(Array.from({ length: 40 }, (_, index) => String(index)))
    const { subscriptionList } = (await broker.operations.client({ id, mountpoint: '' }))!
    expect(subscriptionList).toEqual([
      {
        filter: 'again',
        qos: 1,
        shareGroup: null,
        noLocal: true,
        retainAsPublished: true,
        retainHandling: 1,
        subscriptionIdentifier: 2,
      },
    ])
  })
})

describe('handlers', () => {
  it('are shown the options, and again when the session comes back; what they change of them is ignored', async () => {
    const id = newId()
    const client = await connectStored(id)
    const userProperties = [['tenant', 'acme']] as const
    await client.subscribeWith({ subscriptionIdentifiers: [5], userProperties: [...userProperties] }, [
      'shown/a',
      2,
      { retainAsPublished: true, retainHandling: 2 },
    ])
    const options = { retainAsPublished: true, retainHandling: 2, subscriptionIdentifier: 5 }
    expect(asked).toEqual([{ topic: 'shown/a', qos: 2, noLocal: false, ...options, userProperties }])
    await client.destroy()
    asked = []
    await connectStored(id)
    expect(asked).toEqual([{ topic: 'shown/a', qos: 2, ...options }])
  })

  it('see nothing of it from clients before MQTT 5', async () => {
    const client = await connectRaw(broker.port, { clientId: newId() })
    await client.subscribe(['shown/b', 1])
    expect(asked).toEqual([{ topic: 'shown/b', qos: 1 }])
  })
})

describe('a shared subscription', () => {
  it('has members of both versions, each of which gets its share at the QoS of its own', async () => {
    const old = await connectRaw(broker.port, { clientId: newId() })
    const [at1, at0] = [await connect(), await connect()]
    expect(await old.subscribe(['$share/mixed/jobs', 2])).toEqual([1])
    expect(await at1.subscribe(['$share/mixed/jobs', 2])).toEqual([1])
    expect(await at0.subscribe(['$share/mixed/jobs', 0])).toEqual([0]) // [MQTT-4.8.2-3]
    for (let i = 0; i < 9; i++) await broker.publish({ topic: 'jobs', payload: String(i), qos: 2 })
    const shares = [await taken(old), await taken(at1), await taken(at0)]
    expect(shares.map((share) => share.map(({ qos }) => qos))).toEqual([
      [1, 1, 1],
      [1, 1, 1],
      [0, 0, 0],
    ])
    const all = shares.flat().map(({ payload }) => Number(payload.toString()))
    expect(all.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('gives what a member has refused to no other [MQTT-4.8.2-6], and what it left to the next [MQTT-4.8.2-5]', async () => {
    const [refusing, other] = [await connect(), await connect()]
    await refusing.subscribe(['$share/refusing/work', 1])
    await broker.publish({ topic: 'work', payload: 'refused', qos: 1 })
    const message = await refusing.next('publish')
    refusing.send(ackPacket(Packet.puback, message.messageId, { reasonCode: 0x83 }))
    await other.subscribe(['$share/refusing/work', 1])
    await refusing.ping()
    // In turn: one for each, and the first leaves without an answer.
    for (const payload of ['a', 'b']) await broker.publish({ topic: 'work', payload, qos: 1 })
    await refusing.next('publish')
    await refusing.destroy()
    const got: string[] = []
    while (got.length < 2) got.push(...(await taken(other)).map(({ payload }) => payload.toString()))
    expect(got.toSorted()).toEqual(['a', 'b'])
  })

  it('is sent no retained messages, whatever its retain handling', async () => {
    await broker.publish({ topic: 'retained/shared', payload: 'x', qos: 1, retain: true })
    const client = await connect()
    await client.subscribe(['$share/retained/retained/+', 1, { retainHandling: 0 }])
    expect(await taken(client)).toEqual([])
  })
})

it('frames of tunnels are granted as in MQTT 3.1.1, whatever the options', async () => {
  const id = newId()
  const client = await connect({ clientId: id })
  const options = { noLocal: true, retainAsPublished: true, retainHandling: 1 }
  const suback = await client.subscribeWith(
    { subscriptionIdentifiers: [3] },
    [`$tunnel/+/+/${id}/down`, 1, options],
    ['$tunnel/+/+/other/down', 0],
    [`$share/g/$tunnel/+/+/${id}/down`, 0],
  )
  expect(suback.codes).toEqual([0, 0x87, 0x87])
  expect(await client.unsubscribe(`$tunnel/+/+/${id}/down`, `$tunnel/+/+/${id}/down`)).toEqual([0, 0x11])
})
