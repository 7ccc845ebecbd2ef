import { describe, expect, it } from 'vitest'
import { AuthError, RefuseReason, type Handler, type SubscribeRequest } from '../../../src/hooks/types.ts'
import {
  connectRaw,
  eventOf,
  eventsOf,
  openBroker,
  openRaw,
  refusalCode,
} from '../../support/broker-world.ts'
import { ackPacket, Packet, publishPacket } from '../../support/wire.ts'

// The table of refusals in docs/handlers.md: a test for each cell of its column for MQTT.

const noSecrets: Handler = {
  name: 'no secrets',
  authConnect() {},
  authPublish(_session, message) {
    if (message.topic.startsWith('secret')) throw new AuthError('secret topic')
  },
  authSubscribe(_session, subscriptions) {
    for (const subscription of subscriptions) {
      if (subscription.topic.startsWith('secret')) subscription.refused = 'secret filter'
    }
  },
}

describe('authConnect that refuses', () => {
  it.each([
    [RefuseReason.notAuthorized, 5],
    [RefuseReason.badCredentials, 4],
    [RefuseReason.unavailable, 3],
    [RefuseReason.identifierRejected, 2],
  ])('as %s is CONNACK %i and the end', async (reason, code) => {
    const broker = await openBroker(
      {},
      {
        name: 'strict',
        authConnect() {
          throw new AuthError('because', reason)
        },
      },
    )
    expect(await refusalCode(broker.port, { clientId: 'c1', username: 'ann', password: 'x' })).toBe(code)
    expect(eventsOf(broker, 'connection refused')).toHaveLength(1)
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      address: '127.0.0.1',
      reason,
      detail: 'because',
      handler: 'strict',
      client: 'c1',
      username: 'ann',
    })
  })

  it.each([
    ['that throws', 3, () => Promise.reject(new TypeError('a bug'))],
    ['that has no opinion', 5, undefined],
    ['that never answers', 3, () => new Promise<void>(() => {})],
  ])('a handler %s refuses with CONNACK %i', async (_, code, answer) => {
    const handler: Handler = answer === undefined ? { authPublish() {} } : { authConnect: answer }
    const broker = await openBroker({ auth: { timeoutMs: 50 } }, handler)
    expect(await refusalCode(broker.port, { clientId: 'c1' })).toBe(code)
  })

  it('gives the same CONNACK for an unknown name as for a wrong password', async () => {
    const broker = await openBroker({}, { authPublish() {} })
    expect(await refusalCode(broker.port, { clientId: 'c1', username: 'nobody', password: 'x' })).toBe(4)
  })
})

describe('authPublish that refuses', () => {
  it('with onRefusedPublish drop: acknowledged as the QoS asks, delivered to nobody, counted', async () => {
    const broker = await openBroker({ auth: { onRefusedPublish: 'drop' } }, noSecrets)
    const got: string[] = []
    broker.subscribe('#', (topic) => void got.push(topic))
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    for (const qos of [0, 1, 2]) await client.publish({ topic: 'secret/x', qos, retain: true })
    await client.publish({ topic: 'open', qos: 1 })
    expect(got).toEqual(['open'])
    expect(await client.subscribe(['open', 1], ['#', 1])).toEqual([1, 1])
    await client.ping()
    expect(client.waitingMessages).toEqual([])
  })

  it.each([0, 1, 2])(
    'with onRefusedPublish disconnect: closed without an acknowledgement (QoS %i)',
    async (qos) => {
      const broker = await openBroker({ auth: { onRefusedPublish: 'disconnect' } }, noSecrets)
      const client = await connectRaw(broker.port, { clientId: 'c1' })
      client.send(publishPacket({ topic: 'secret/x', qos }))
      await client.untilClosed()
      expect(client.received).toHaveLength(1) // CONNACK
      expect(await eventOf(broker, 'client disconnected', { client: 'c1' })).toMatchObject({
        reason: 'kicked',
        detail: 'publish refused: secret topic',
      })
    },
  )

  it('does not let anybody publish to $SYS, before any handler is asked', async () => {
    const asked: string[] = []
    const broker = await openBroker(
      {},
      { authConnect() {}, authPublish: (_, { topic }) => void asked.push(topic), authSubscribe() {} },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['$SYS/#', 1])).toEqual([1])
    for (const topic of ['$SYS/broker/version', '$SYS', '$share/g/x', '$tunnel/a/b']) {
      await client.publish({ topic, payload: 'forged', qos: 1, retain: true })
    }
    await client.publish({ topic: '$other', payload: 'x', qos: 1 })
    await client.ping()
    expect(client.waitingMessages).toEqual([])
    expect(asked).toEqual(['$other'])
  })

  it('is asked about a QoS 2 message once, however often it is sent', async () => {
    const asked: string[] = []
    const broker = await openBroker(
      {},
      { authConnect() {}, authPublish: (_, { topic }) => void asked.push(topic) },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    client.send(publishPacket({ topic: 'a', qos: 2, messageId: 7 }))
    await client.nextAck('pubrec', 7)
    client.send(publishPacket({ topic: 'a', qos: 2, messageId: 7, dup: true }))
    await client.nextAck('pubrec', 7)
    client.send(ackPacket(Packet.pubrel, 7))
    await client.nextAck('pubcomp', 7)
    expect(asked).toEqual(['a'])
  })
})

describe('authSubscribe that refuses', () => {
  it.each([true, false])(
    'is SUBACK 0x80 for that filter alone, which is stored nowhere (clean %s)',
    async (clean) => {
      const broker = await openBroker({}, noSecrets)
      const client = await connectRaw(broker.port, { clientId: 'c1', clean })
      expect(await client.subscribe(['open/1', 1], ['secret/#', 2], ['open/2', 0])).toEqual([1, 0x80, 0])
      await broker.publish({ topic: 'secret/x', payload: 'no', qos: 1 })
      await broker.publish({ topic: 'open/1', payload: 'yes', qos: 1 })
      expect(await client.nextMessages(1)).toMatchObject([{ topic: 'open/1' }])
      await client.destroy()
      const again = await openRaw(broker.port)
      expect(await again.connect({ clientId: 'c1', clean })).toMatchObject({ sessionPresent: !clean })
      await broker.publish({ topic: 'secret/x', payload: 'no', qos: 1 })
      await again.ping()
      expect(again.waitingMessages.filter(({ topic }) => topic.startsWith('secret'))).toEqual([])
    },
  )

  it('by throwing refuses every filter of that packet', async () => {
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        authSubscribe() {
          throw new AuthError()
        },
      },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['a', 1], ['b', 1])).toEqual([0x80, 0x80])
  })

  it('asks once for a packet, with all filters; the group of a shared one apart', async () => {
    const asked: SubscribeRequest[][] = []
    const broker = await openBroker(
      {},
      { authConnect() {}, authSubscribe: (_, requests) => void asked.push(structuredClone(requests)) },
    )
    const client = await connectRaw(broker.port, { clientId: 'c1' })
    expect(await client.subscribe(['a', 0], ['$share/g/b/#', 1])).toEqual([0, 1])
    expect(asked).toEqual([
      [
        { topic: 'a', qos: 0 },
        { topic: 'b/#', qos: 1, shareGroup: 'g' },
      ],
    ])
  })
})

describe('authDeliver that refuses', () => {
  it.each([true, false])('is silent: not delivered, and the rest goes on (clean %s)', async (clean) => {
    const broker = await openBroker(
      {},
      { authConnect() {}, authDeliver: (_, { topic }) => (topic.endsWith('/private') ? false : undefined) },
      { authDeliver: () => true },
    )
    await broker.publish({ topic: 'old/private', payload: 'kept', retain: true, qos: 1 })
    await broker.publish({ topic: 'old/public', payload: 'kept', retain: true, qos: 1 })
    const client = await connectRaw(broker.port, { clientId: 'c1', clean })
    expect(await client.subscribe(['#', 2])).toEqual([2])
    for (const qos of [0, 1, 2] as const) {
      await broker.publish({ topic: 'a/private', payload: 'x', qos })
      await broker.publish({ topic: `a/public${qos}`, payload: 'x', qos })
    }
    const topics = (await client.takeUntil('a/public2')).map(({ topic }) => topic).sort()
    expect(topics).toEqual(['a/public0', 'a/public1', 'a/public2', 'old/public'])
    expect(client.waitingMessages).toEqual([])
  })
})

describe('a will that is refused', () => {
  const will = { topic: 'secret/will', payload: 'gone', qos: 1 }

  it('with onRefusedWill reject: CONNACK 5', async () => {
    const broker = await openBroker({ auth: { onRefusedWill: 'reject' } }, noSecrets)
    expect(await refusalCode(broker.port, { clientId: 'c1', will })).toBe(5)
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      reason: 'will-refused',
      detail: 'secret topic',
    })
  })

  it('with onRefusedWill strip: connected without it', async () => {
    const broker = await openBroker({ auth: { onRefusedWill: 'strip' } }, noSecrets)
    const got: string[] = []
    broker.subscribe('#', (topic) => void got.push(topic))
    const client = await connectRaw(broker.port, { clientId: 'c1', will })
    await client.destroy()
    const next = await connectRaw(broker.port, { clientId: 'c1', will: { ...will, topic: 'open/will' } })
    await next.destroy()
    await expect.poll(() => got).toEqual(['open/will'])
  })

  it('is refused for $SYS whatever the handlers say', async () => {
    const broker = await openBroker({}, { authConnect() {}, authPublish() {} })
    expect(await refusalCode(broker.port, { clientId: 'c1', will: { topic: '$SYS/broker/version' } })).toBe(5)
  })
})
