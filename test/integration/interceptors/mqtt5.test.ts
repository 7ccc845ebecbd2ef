import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type {
  Direction,
  InterceptedConnect,
  InterceptedPacket,
  Interception,
  InterceptedPublish,
} from '../../../src/hooks/interceptor.ts'
import { AuthError, noOpinion, RefuseReason, type Handler } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectRaw, openRaw } from '../../support/broker-world.ts'
import { field, packet as packetOf, publishPacket, uint16 } from '../../support/wire.ts'

// What interceptors see of MQTT 5, and may change.

let broker: TestBroker
let seen: { at: string; direction: Direction; packet: InterceptedPacket }[] = []
/** By place and direction, for PUBLISH. */
const changes = new Map<string, (packet: InterceptedPublish) => Interception>()
/** Before the handlers. */
let changesConnect: ((packet: InterceptedConnect) => Interception) | undefined
const permissive: Handler = {
  name: 'permissive',
  authConnect: ({ connackProperties }) => void connackProperties?.push(['hello', 'there']),
  authenticate: () => noOpinion,
}

beforeAll(async () => {
  const place = (at: 'before' | 'after') => ({
    at,
    interceptor: {
      name: at,
      intercept(_session: unknown, packet: InterceptedPacket, direction: Direction) {
        seen.push({ at, direction, packet })
        if (packet.cmd === 'connect' && at === 'before') return changesConnect?.(packet)
        if (packet.cmd === 'unsubscribe' && packet.unsubscriptions.length > 2)
          return { ...packet, unsubscriptions: packet.unsubscriptions.map((filter) => `own/${filter}`) }
        return packet.cmd === 'publish' ? changes.get(`${at} ${direction}`)?.(packet) : undefined
      },
    },
  })
  broker = await startTestBroker(
    {},
    { handlers: [permissive], interceptors: [place('before'), place('after')] },
  )
})
afterAll(() => broker.stop())
beforeEach(() => {
  seen = []
  changes.clear()
  changesConnect = undefined
})

const shownOf = (cmd: string, direction: Direction, at = 'before') =>
  seen.filter((one) => one.packet.cmd === cmd && one.direction === direction && one.at === at)[0]?.packet

describe('interceptors', () => {
  it('see what a CONNECT of MQTT 5 says, and reason codes', async () => {
    const client = await connectRaw(broker.port, {
      clientId: 'c1',
      version: 5,
      properties: { receiveMaximum: 7, userProperties: [['a', 'b']] },
    })
    expect(shownOf('connect', 'up')).toMatchObject({
      protocolVersion: 5,
      properties: { receiveMaximum: 7, userProperties: [['a', 'b']] },
    })
    expect(shownOf('connect', 'up', 'after')).toMatchObject({ properties: { receiveMaximum: 7 } })
    expect(shownOf('connack', 'down')).toEqual({ cmd: 'connack', sessionPresent: false, returnCode: 0 })
    expect(await client.subscribe(['a', 1], ['b', 2])).toEqual([1, 2])
    expect(shownOf('suback', 'down')).toMatchObject({ granted: [1, 2] })
    await client.unsubscribe('a', 'other')
    expect(shownOf('unsuback', 'down')).toMatchObject({ reasonCodes: [0, 0x11] })
    await client.publish({ topic: 'nobody', qos: 1 })
    expect(shownOf('puback', 'down')).toMatchObject({ reasonCode: 0x10 })
    await client.disconnect({ reasonCode: 4 })
    expect(shownOf('disconnect', 'up')).toEqual({ cmd: 'disconnect', reasonCode: 4 })
  })

  it('see the properties of a message on its whole way', async () => {
    const client = await connectRaw(broker.port, { clientId: 'c2', version: 5 })
    await client.subscribe(['t', 0])
    const properties = {
      contentType: 'text/plain',
      correlationData: Buffer.of(1, 2),
      userProperties: [['a', 'b']] as const,
      payloadFormatIndicator: 1 as const,
    }
    client.send(publishPacket({ topic: 't', properties: { ...properties, messageExpiryInterval: 60 } }))
    expect((await client.next('publish')).properties).toMatchObject(properties)
    const publishes = seen.filter(({ packet }) => packet.cmd === 'publish')
    expect(publishes.map(({ at, direction }) => `${at} ${direction}`)).toEqual([
      'before up',
      'after up',
      'before down',
      'after down',
    ])
    for (const { packet } of publishes) expect(packet).toMatchObject({ properties, messageExpirySeconds: 60 })
  })

  it.each(['before up', 'after up', 'before down', 'after down'])(
    'change them %s, also of a client of 3.1.1',
    async (place) => {
      const receiver = await connectRaw(broker.port, { clientId: 'c3', version: 5 })
      await receiver.subscribe(['t', 0])
      changes.set(place, (packet) => ({
        ...packet,
        properties: { contentType: 'made/here' },
        messageExpirySeconds: 30,
      }))
      const sender = await connectRaw(broker.port, { clientId: 'c4' })
      await sender.publish({ topic: 't', payload: 'x' })
      const { properties } = await receiver.next('publish')
      expect(properties).toEqual({ contentType: 'made/here', messageExpiryInterval: 30 })
    },
  )

  it.each(['before down', 'after down'])(
    'give a message another topic %s, and it stays of its subscription',
    async (place) => {
      const client = await connectRaw(broker.port, { clientId: 'c6', version: 5 })
      await client.subscribeWith({ subscriptionIdentifiers: [7] }, ['t', 0, { retainAsPublished: true }])
      changes.set(place, (packet) => ({ ...packet, topic: 'other' }))
      client.send(publishPacket({ topic: 't', retain: true, properties: {} }))
      expect(await client.next('publish')).toMatchObject({
        topic: 'other',
        retain: true,
        properties: { subscriptionIdentifiers: [7] },
      })
    },
  )

  it('take them away, and fail over what cannot be', async () => {
    const client = await connectRaw(broker.port, { clientId: 'c5', version: 5 })
    await client.subscribe(['t', 0])
    changes.set('after up', ({ properties: _all, ...packet }) => packet)
    client.send(publishPacket({ topic: 't', properties: { contentType: 'x' } }))
    expect((await client.next('publish')).properties).toEqual({})
    changes.set('after up', (packet) => ({ ...packet, properties: { responseTopic: 'a/#' } }))
    client.send(publishPacket({ topic: 't', properties: {} }))
    expect(await client.next('disconnect')).toMatchObject({ properties: {} })
    await client.untilClosed()
  })

  it.each([
    ['', /^auto-/],
    ['given', /^given$/],
  ])('may leave a client without an id, or give it one: %j', async (clientId, assigned) => {
    changesConnect = (packet) => ({ ...packet, username: 'ann', clientId })
    const client = await openRaw(broker.port)
    const { code, properties } = await client.connect({ clientId: '', version: 5, clean: false })
    expect(code).toBe(0)
    expect(properties?.assignedClientIdentifier).toMatch(assigned)
  })

  it('refuse and end in their own words, user properties included', async () => {
    const reasonString = 'for the client'
    const userProperties = [['why', 'quota']] as const
    const told = { reasonString, userProperties }
    const refuse = (): never => {
      throw new AuthError('for the log', RefuseReason.notAuthorized, { reasonCode: 0x97, ...told })
    }
    changesConnect = ({ clientId }) => (clientId === 'c6' ? refuse() : undefined)
    const refused = await openRaw(broker.port)
    const { code, properties } = await refused.connect({ clientId: 'c6', version: 5 })
    expect({ code, properties }).toEqual({ code: 0x97, properties: told })
    const client = await connectRaw(broker.port, { clientId: 'c7', version: 5 })
    changes.set('before up', refuse)
    client.send(publishPacket({ topic: 't', properties: {} }))
    expect(await client.next('disconnect')).toMatchObject({ reasonCode: 0x97, properties: told })
  })

  it('may give other names to as many filters as a packet has room for', async () => {
    const client = await connectRaw(broker.port, { clientId: 'c9', version: 5 })
    const filters = Array.from({ length: 120_000 }, (_, index) => field(String(index)))
    client.send(packetOf(0xa2, uint16(1), Buffer.of(0), Buffer.concat(filters)))
    expect((await client.nextAck('unsuback', 1)).codes).toHaveLength(filters.length)
  })

  it('cannot drop at QoS 2 what was accepted when it is sent again', async () => {
    const client = await connectRaw(broker.port, { clientId: 'c8', version: 5 })
    const packet = { topic: 't', qos: 2, messageId: 9, properties: {} } as const
    client.send(publishPacket(packet))
    await client.nextAck('pubrec', 9)
    changes.set('before up', () => null)
    client.send(publishPacket({ ...packet, dup: true }), publishPacket({ ...packet, messageId: 10 }))
    expect(await client.nextAck('pubrec', 9)).toMatchObject({ reasonCode: 0 })
    expect(await client.nextAck('pubrec', 10)).toMatchObject({ reasonCode: 0x87 })
  })
})
