import { describe, expect, it } from 'vitest'
import {
  connect5,
  publishPacket,
  type ConnectInput,
  type From,
  type Mqtt5Client,
  type PublishInput,
} from '../../support/mqtt5-client.ts'
import { field, packet, uint16 } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'
import { properties, publishBytes, SURROGATE, userProperty } from './bytes.ts'

const world = brokerOfFile({ limits: { maxInflightIncoming: 8 } })
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)
const stored = { properties: { sessionExpiryInterval: 100 } }

/** What a subscriber of its topic gets. */
async function forwarded(input: PublishInput): Promise<From<'publish'>> {
  const client = await connect()
  await client.subscribe(input.topic)
  client.send(publishPacket(input))
  return await client.take()
}

/** Nothing of this comes to who subscribes now, with these options. */
async function expectNotRetained(topic: string, options: { rh?: number } = {}): Promise<void> {
  const client = await connect()
  await client.subscribe({ topic, qos: 1, ...options })
  await client.ping()
  expect(client.waiting('publish')).toEqual([])
}

/** Reason code of the DISCONNECT that these bytes lead to. */
async function ended(bytes: Buffer): Promise<number | undefined> {
  const client = await connect()
  client.send(bytes)
  return await client.untilClosed()
}

describe('the fixed header of PUBLISH', () => {
  it('[MQTT-3.3.1-1] DUP is 1 when a PUBLISH is delivered again', async () => {
    const first = await connect({ clientId: 'again', ...stored })
    await first.subscribe('publish/again')
    await first.publish({ topic: 'publish/again', qos: 1 })
    const { messageId, dup } = await first.next('publish')
    expect(dup).toBe(false)
    await first.destroy()
    const again = await connect({ clientId: 'again', clean: false })
    expect(await again.take()).toMatchObject({ dup: true, messageId })
  })

  it('[MQTT-3.3.1-2] DUP is 0 at QoS 0', async () => {
    expect(await ended(publishBytes('publish/dup', properties(), 0x38))).toBe(0x81)
    expect(await forwarded({ topic: 'publish/dup' })).toMatchObject({ dup: false })
  })

  it('[MQTT-3.3.1-3] DUP of a PUBLISH that comes in is not passed on', async () => {
    expect(await forwarded({ topic: 'publish/dup-in', qos: 1, dup: true, messageId: 5 })).toMatchObject({
      dup: false,
    })
  })

  it('[MQTT-3.3.1-4] QoS 3 is malformed', async () => {
    expect(await ended(publishBytes('publish/qos-3', Buffer.concat([uint16(1), properties()]), 0x36))).toBe(
      0x81,
    )
  })

  it('[MQTT-3.3.1-5] with RETAIN, a message takes the place of what was retained for its topic', async () => {
    const client = await connect()
    for (const payload of ['old', 'new'])
      await client.publish({ topic: 'publish/retain', retain: true, qos: 1, payload })
    await client.subscribe('publish/retain')
    expect(await client.take()).toMatchObject({ payload: Buffer.from('new'), retain: true })
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.3.1-6] an empty payload with RETAIN removes what was retained', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/removed', retain: true, qos: 1, payload: 'x' })
    await client.publish({ topic: 'publish/removed', retain: true, qos: 1 })
    await expectNotRetained('publish/removed')
  })

  it('[MQTT-3.3.1-7] an empty payload is not retained', async () => {
    await (await connect()).publish({ topic: 'publish/empty', retain: true, qos: 1 })
    await expectNotRetained('publish/empty')
  })

  it('[MQTT-3.3.1-8] without RETAIN, nothing is retained or replaced', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/not/1', qos: 1, payload: 'x' })
    await expectNotRetained('publish/not/1')
    await client.publish({ topic: 'publish/not/2', retain: true, qos: 1, payload: 'kept' })
    await client.publish({ topic: 'publish/not/2', qos: 1, payload: 'x' })
    await client.publish({ topic: 'publish/not/2', qos: 1 })
    await client.subscribe('publish/not/2')
    expect(await client.take()).toMatchObject({ payload: Buffer.from('kept') })
  })

  it('[MQTT-3.3.1-9] retain handling 0: what is retained is sent with each subscription', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/rh/0', retain: true, qos: 1, payload: 'x' })
    for (let i = 0; i < 2; i++) {
      await client.subscribe({ topic: 'publish/rh/0', qos: 1, rh: 0 })
      expect(await client.take()).toMatchObject({ topic: 'publish/rh/0', retain: true })
    }
  })

  it('[MQTT-3.3.1-10] retain handling 1: only if the subscription is new', async () => {
    const client = await connect()
    await client.publish({ topic: 'publish/rh/1', retain: true, qos: 1, payload: 'x' })
    await client.subscribe({ topic: 'publish/rh/1', qos: 1, rh: 1 })
    expect(await client.take()).toMatchObject({ topic: 'publish/rh/1', retain: true })
    await client.subscribe({ topic: 'publish/rh/1', qos: 0, rh: 1 })
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.3.1-11] retain handling 2: nothing', async () => {
    await (await connect()).publish({ topic: 'publish/rh/2', retain: true, qos: 1, payload: 'x' })
    await expectNotRetained('publish/rh/2', { rh: 2 })
  })

  it('[MQTT-3.3.1-12] without retain as published, RETAIN is 0 in what is forwarded', async () => {
    const client = await connect()
    await client.subscribe({ topic: 'publish/rap/0', qos: 1, rap: false })
    await client.publish({ topic: 'publish/rap/0', qos: 1, retain: true, payload: 'x' })
    expect(await client.take()).toMatchObject({ retain: false })
  })

  it('[MQTT-3.3.1-13] with retain as published, RETAIN is as it was', async () => {
    const client = await connect()
    await client.subscribe({ topic: 'publish/rap/1', qos: 1, rap: true })
    for (const retain of [true, false]) {
      await client.publish({ topic: 'publish/rap/1', qos: 1, retain, payload: 'x' })
      expect(await client.take()).toMatchObject({ retain })
    }
  })
})

describe('the variable header of PUBLISH', () => {
  it('[MQTT-3.3.2-1] the topic must be UTF-8', async () => {
    expect(await ended(publishBytes(SURROGATE))).toBe(0x81)
  })

  it('[MQTT-3.3.2-2] the topic must not have wildcards', async () => {
    for (const topic of ['publish/#', 'publish/+/x', '#', 'a+']) {
      expect([0x81, 0x82, 0x90]).toContain(await ended(publishBytes(topic)))
    }
  })

  it('[MQTT-3.3.2-3] the topic of what is forwarded matches the filter', async () => {
    const client = await connect()
    await client.subscribe('publish/match/+/x')
    for (const name of ['a/y', 'a/x', 'x', 'b/x'])
      await client.publish({ topic: `publish/match/${name}`, qos: 1 })
    expect((await client.take()).topic).toBe('publish/match/a/x')
    expect((await client.take()).topic).toBe('publish/match/b/x')
  })

  it('[MQTT-3.3.2-4] the payload format indicator is passed on', async () => {
    const message = await forwarded({ topic: 'publish/format', properties: { payloadFormatIndicator: true } })
    expect(message.properties?.payloadFormatIndicator).toBe(true)
    expect((await forwarded({ topic: 'publish/format' })).properties).toBeUndefined()
  })

  it('[MQTT-3.3.2-7] aliases do not outlast their connection', async () => {
    const first = await connect({ clientId: 'alias', ...stored })
    await first.publish({ topic: 'publish/alias', qos: 1, properties: { topicAlias: 1 } })
    await first.destroy()
    const again = await connect({ clientId: 'alias', clean: false })
    again.send(publishBytes('', properties(Buffer.of(0x23, 0, 1))))
    expect(await again.untilClosed()).toBe(0x82)
  })

  it('[MQTT-3.3.2-8] alias 0 is refused', async () => {
    expect(await ended(publishBytes('publish/alias-0', properties(Buffer.of(0x23, 0, 0))))).toBe(0x94)
  })

  it('[MQTT-3.3.2-9] an alias above the maximum of the broker is refused', async () => {
    expect(await ended(publishBytes('publish/alias-max', properties(Buffer.of(0x23, 0xff, 0xff))))).toBe(0x94)
  })

  it('[MQTT-3.3.2-11] aliases of the broker are from 1 to the maximum of the client, and stand for their topic', async () => {
    const client = await connect({ properties: { topicAliasMaximum: 2 } })
    await client.subscribe('publish/out/#')
    const names = ['a', 'b', 'c', 'a', 'b', 'c', 'a']
    for (const name of names) await client.publish({ topic: `publish/out/${name}`, payload: name, qos: 1 })
    const topics = new Map<number, string>()
    for (const name of names) {
      const { topic, payload, properties: said } = await client.take()
      const alias = said?.topicAlias
      if (alias !== undefined && topic !== '') topics.set(alias, topic)
      expect([undefined, 1, 2]).toContain(alias)
      expect(topic === '' ? topics.get(alias!) : topic).toBe(`publish/out/${name}`)
      expect(payload.toString()).toBe(name)
    }
  })

  it('[MQTT-3.3.2-12] aliases from 1 to the maximum of the broker are taken', async () => {
    const client = await connect()
    const maximum = (client.received[0] as From<'connack'>).properties?.topicAliasMaximum ?? 0
    expect(maximum).toBeGreaterThan(0)
    await client.subscribe('publish/in/#')
    for (const alias of [1, maximum]) {
      const one = properties(Buffer.concat([Buffer.of(0x23), uint16(alias)]))
      client.send(publishBytes(`publish/in/${alias}`, one), publishBytes('', one))
      for (let i = 0; i < 2; i++) expect((await client.take()).topic).toBe(`publish/in/${alias}`)
    }
  })

  it('[MQTT-3.3.2-13] the response topic must be UTF-8', async () => {
    const responseTopic = Buffer.concat([Buffer.of(0x08), field(SURROGATE)])
    expect(await ended(publishBytes('publish/response', properties(responseTopic)))).toBe(0x81)
  })

  it('[MQTT-3.3.2-14] the response topic must not have wildcards', async () => {
    for (const topic of ['a/#', '+/a']) {
      const responseTopic = Buffer.concat([Buffer.of(0x08), field(topic)])
      expect([0x81, 0x82, 0x90]).toContain(
        await ended(publishBytes('publish/response', properties(responseTopic))),
      )
    }
  })

  it('[MQTT-3.3.2-15] the response topic is passed on', async () => {
    const message = await forwarded({
      topic: 'publish/to',
      properties: { responseTopic: 'publish/answer/ä' },
    })
    expect(message.properties?.responseTopic).toBe('publish/answer/ä')
  })

  it('[MQTT-3.3.2-16] the correlation data is passed on', async () => {
    const correlationData = Buffer.from([0, 255, 1])
    const message = await forwarded({ topic: 'publish/correlation', properties: { correlationData } })
    expect(message.properties?.correlationData).toEqual(correlationData)
  })

  it('[MQTT-3.3.2-17] user properties are passed on', async () => {
    const message = await forwarded({
      topic: 'publish/user',
      properties: { userProperties: { name: 'ä value' } },
    })
    expect(message.properties?.userProperties).toEqual({ name: 'ä value' })
  })

  it('[MQTT-3.3.2-18] user properties keep their order', async () => {
    const pairs = properties(
      userProperty('b', '1'),
      userProperty('a', ''),
      userProperty('b', '0'),
      userProperty('', 'z'),
    )
    const client = await connect()
    await client.subscribe('publish/order')
    client.send(publishBytes('publish/order', pairs))
    expect((await client.take()).bytes.subarray(2)).toEqual(Buffer.concat([field('publish/order'), pairs]))
  })

  it('[MQTT-3.3.2-19] the content type must be UTF-8', async () => {
    const contentType = Buffer.concat([Buffer.of(0x03), field(SURROGATE)])
    expect(await ended(publishBytes('publish/type', properties(contentType)))).toBe(0x81)
  })

  it('[MQTT-3.3.2-20] the content type is passed on', async () => {
    const message = await forwarded({ topic: 'publish/type', properties: { contentType: 'text/plain' } })
    expect(message.properties?.contentType).toBe('text/plain')
  })
})

describe('message expiry', () => {
  it('[MQTT-3.3.2-5] a message whose interval is over before its delivery began is dropped', async () => {
    const first = await connect({ clientId: 'expiring', ...stored })
    await first.subscribe('publish/expiring')
    await first.destroy()
    const publisher = await connect()
    const publish = (payload: string, messageExpiryInterval: number): Promise<number> =>
      publisher.publish({ topic: 'publish/expiring', qos: 1, payload, properties: { messageExpiryInterval } })
    await publish('short', 1)
    await publish('long', 100)
    await new Promise((resolve) => setTimeout(resolve, 1_050))
    const again = await connect({ clientId: 'expiring', clean: false })
    expect((await again.take()).payload.toString()).toBe('long')
    await again.ping()
    expect(again.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.3.2-6] the interval is sent without the time that the message has waited', async () => {
    const publisher = await connect()
    const messageExpiryInterval = 100
    await publisher.publish({
      topic: 'publish/waited',
      qos: 1,
      retain: true,
      payload: 'x',
      properties: { messageExpiryInterval },
    })
    await new Promise((resolve) => setTimeout(resolve, 1_050))
    await publisher.subscribe('publish/waited')
    const left = (await publisher.take()).properties?.messageExpiryInterval
    expect(left).toBeLessThan(100)
    expect(left).toBeGreaterThan(0)
  })
})

describe('PUBLISH actions', () => {
  it('[MQTT-3.3.4-1] the answer is as the QoS says: none, PUBACK, PUBREC', async () => {
    const client = await connect()
    client.send(
      publishPacket({ topic: 'publish/answer' }),
      publishPacket({ topic: 'publish/answer', qos: 1, messageId: 11 }),
      publishPacket({ topic: 'publish/answer', qos: 2, messageId: 12 }),
    )
    await client.ping()
    await client.next('pubrec')
    const answers = client.received.filter(({ cmd }) => cmd.startsWith('pub'))
    expect(answers.map(({ cmd, messageId }) => `${cmd} ${messageId}`)).toEqual(['puback 11', 'pubrec 12'])
  })

  it('[MQTT-3.3.4-2] of overlapping subscriptions the highest QoS holds', async () => {
    const client = await connect()
    await client.subscribe([
      { topic: 'publish/over/#', qos: 0 },
      { topic: 'publish/over/a', qos: 2 },
      { topic: 'publish/over/+', qos: 1 },
    ])
    await client.publish({ topic: 'publish/over/a', qos: 2 })
    const messages = [await client.take()]
    await client.ping()
    messages.push(...client.waiting('publish'))
    expect(Math.max(...messages.map(({ qos }) => qos))).toBe(2)
  })

  it('[MQTT-3.3.4-3] subscription identifiers are sent with what their subscriptions match', async () => {
    const client = await connect()
    await client.subscribe('publish/id/a', { subscriptionIdentifier: 7 })
    await client.subscribe('publish/id/b')
    await client.publish({ topic: 'publish/id/a' })
    await client.publish({ topic: 'publish/id/b' })
    expect((await client.take()).properties?.subscriptionIdentifier).toBe(7)
    expect((await client.take()).properties).toBeUndefined()
  })

  it('[MQTT-3.3.4-4] a message that is sent once has the identifiers of all subscriptions that match', async () => {
    const client = await connect()
    await client.subscribe('publish/ids/#', { subscriptionIdentifier: 1 })
    await client.subscribe('publish/ids/+', { subscriptionIdentifier: 300_000 })
    await client.subscribe('publish/ids/a')
    await client.publish({ topic: 'publish/ids/a', qos: 1 })
    const { properties: said } = await client.take()
    expect(new Set([said?.subscriptionIdentifier].flat())).toEqual(new Set([1, 300_000]))
    await client.ping()
    expect(client.waiting('publish')).toEqual([])
  })

  it('[MQTT-3.3.4-6] a subscription identifier from a client is a protocol error', async () => {
    expect(await ended(publishBytes('publish/id', properties(Buffer.of(0x0b, 1))))).toBe(0x82)
  })

  it('[MQTT-3.3.4-7] more than the receive maximum of the broker ends the connection', async () => {
    const client = await connect()
    const maximum = (client.received[0] as From<'connack'>).properties?.receiveMaximum
    expect(maximum).toBe(8)
    for (let messageId = 1; messageId <= 8; messageId++) {
      client.send(publishPacket({ topic: 'publish/quota', qos: 2, messageId }))
      await client.next('pubrec')
    }
    client.send(publishPacket({ topic: 'publish/quota', qos: 2, messageId: 9 }))
    expect(await client.untilClosed()).toBe(0x93)
  })

  it('[MQTT-3.3.4-9] no more messages are on their way than the client has said', async () => {
    const client = await connect({ properties: { receiveMaximum: 2 } })
    await client.subscribe('publish/window')
    const publisher = await connect()
    for (let i = 0; i < 4; i++)
      await publisher.publish({ topic: 'publish/window', qos: 1, payload: String(i) })
    await client.ping()
    expect(client.waiting('publish')).toHaveLength(2)
    for (let i = 0; i < 4; i++) expect((await client.take()).payload.toString()).toBe(String(i))
  })

  it('[MQTT-3.3.4-10] other packets do not wait for the client to acknowledge', async () => {
    const client = await connect({ properties: { receiveMaximum: 1 } })
    await client.subscribe('publish/other')
    for (let i = 0; i < 2; i++) await client.publish({ topic: 'publish/other', qos: 1 })
    await client.publish({ topic: 'publish/other', qos: 2 })
    await client.subscribe('publish/others')
    await client.unsubscribe('publish/others')
    await client.ping()
    expect(client.waiting('publish')).toHaveLength(1)
  })

  it('a PUBLISH whose fields do not fit in it is malformed', async () => {
    expect(await ended(packet(0x30, uint16(9), Buffer.from('short')))).toBe(0x81)
  })
})
