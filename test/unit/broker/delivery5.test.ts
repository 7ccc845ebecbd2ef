import type { IPublishPacket } from 'mqtt-packet'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Message } from '../../../src/broker/message.ts'
import type { QoS } from '../../../src/hooks/types.ts'
import type { StoredProperties } from '../../../src/store/contract.ts'
import { BrokerParts, type PartsClient } from '../../support/broker-parts.ts'

interface Sent {
  readonly topic?: string
  readonly payload?: string
  readonly qos?: QoS
  readonly publisher?: string
  readonly expiresAtMs?: number
  readonly properties?: StoredProperties
}

function messageOf(sent: Sent = {}): Message {
  const { topic = 'a/topic', payload = 'x', qos = 0, publisher = 'p', expiresAtMs = 0, properties } = sent
  return new Message(topic, Buffer.from(payload), qos, false, publisher, Date.now(), expiresAtMs, properties)
}

async function publish(parts: BrokerParts, sent: Sent = {}): Promise<void> {
  parts.dispatcher.dispatch(messageOf(sent), { retain: false }, () => {})
  await parts.quiet()
}

function publishes(client: PartsClient): IPublishPacket[] {
  return client.packets().filter((packet) => packet.cmd === 'publish')
}

const propertiesOf = (client: PartsClient): unknown[] =>
  publishes(client).map(({ properties = {} }) => ({ ...properties }))

afterEach(() => void vi.useRealTimers())

describe('a PUBLISH to a client of MQTT 5', () => {
  const properties: StoredProperties = {
    payloadFormatIndicator: 1,
    contentType: 'text/plain',
    responseTopic: 'answers/ü',
    correlationData: Buffer.of(0, 255),
    userProperties: [
      ['b', '1'],
      ['a', '2'],
      ['b', '3'],
    ],
  }

  it('has the properties of the message, user properties in their order; one of 3.1.1 has none', async () => {
    const parts = await BrokerParts.open()
    const five = await parts.connect('five', true, {})
    const four = await parts.connect('four', true)
    for (const client of [five, four]) await client.subscribe('#', 1)
    await publish(parts, { properties, qos: 1 })
    const [packet] = publishes(five)
    expect(packet).toMatchObject({ topic: 'a/topic', payload: Buffer.from('x'), qos: 1, messageId: 2 })
    const { userProperties, ...others } = packet!.properties!
    expect(others).toEqual({
      payloadFormatIndicator: true,
      contentType: 'text/plain',
      responseTopic: 'answers/ü',
      correlationData: Buffer.of(0, 255),
    })
    // This parser groups them by name.
    expect({ ...userProperties }).toEqual({ b: ['1', '3'], a: '2' })
    const bytes = messageOf({ properties }).wire5(false, false).bytes.toString('latin1')
    expect(['b\0\x011', 'a\0\x012', 'b\0\x013'].map((pair) => bytes.indexOf(pair))).toEqual(
      ['b\0\x011', 'a\0\x012', 'b\0\x013'].map((pair) => bytes.indexOf(pair)).sort((x, y) => x - y),
    )
    expect(four.received()).toEqual(['publish a/topic=x qos1 #2'])
  })

  it('is made once for a whole fan-out, with properties and without, and to known aliases', () => {
    for (const given of [undefined, properties]) {
      const message = messageOf({ ...(given && { properties: given }) })
      for (const withId of [false, true]) {
        for (const isAliased of [false, true])
          expect(message.wire5(withId, isAliased)).toBe(message.wire5(withId, isAliased))
      }
    }
  })

  it('counts the expiry down to the second, and is never sent with 0', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 })
    const parts = await BrokerParts.open()
    const client = await parts.connect('five', false, { receiveMaximum: 1 })
    await client.subscribe('#', 1)
    for (const seconds of [60, 60, 4, 2]) {
      await publish(parts, { qos: 1, expiresAtMs: 1_000_000 + seconds * 1_000 })
    }
    const left = (): unknown => publishes(client).map(({ properties: sent }) => sent?.messageExpiryInterval)
    expect(left()).toEqual([60])
    vi.setSystemTime(1_002_500)
    client.acknowledge('puback', 2)
    expect(left()).toEqual([58])
    vi.setSystemTime(1_003_999)
    client.acknowledge('puback', 3)
    expect(left()).toEqual([1])
    client.acknowledge('puback', 4)
    expect(left()).toEqual([])
    expect(parts.counters.dropped.expired).toBe(1)
  })

  it('carries the identifiers of all subscriptions that match and are not refused by No Local', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('five', false, {})
    await client.subscribe('a/#', 1, { subscriptionIdentifier: 1 })
    await client.subscribe('+/topic', 0, { subscriptionIdentifier: 268_435_455 })
    await client.subscribe('a/topic', 1, { subscriptionIdentifier: 7, noLocal: true })
    await client.subscribe('a/+', 1)
    await client.subscribe('b', 1, { subscriptionIdentifier: 8 })
    const identifiers = async (sent: Sent): Promise<unknown> => {
      await publish(parts, sent)
      return propertiesOf(client).map(
        (all) => (all as { subscriptionIdentifier?: unknown }).subscriptionIdentifier,
      )
    }
    expect(await identifiers({ qos: 1 })).toEqual([[1, 268_435_455, 7]])
    expect(await identifiers({ qos: 1, publisher: client.session.id })).toEqual([[1, 268_435_455]])
    expect(await identifiers({ topic: 'b' })).toEqual([8])
    // What holds when it is delivered is said.
    parts.subscriptions.remove(client.session, '+/topic')
    expect(await identifiers({})).toEqual([[1, 7]])
  })

  it('keeps RETAIN as it was published for a subscription that asks for that', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('five', true, {})
    await client.subscribe('a/+', 0, { retainAsPublished: true })
    await client.subscribe('b/+', 0)
    for (const topic of ['a/1', 'b/1']) await publish(parts, { topic, properties: { retain: true } })
    await publish(parts, { topic: 'a/2' })
    expect(publishes(client).map(({ topic, retain }) => `${topic} ${retain}`)).toEqual([
      'a/1 true',
      'b/1 false',
      'a/2 false',
    ])
  })
})

describe('a topic alias', () => {
  it('stands for the topic from its second message on, for as many topics as the client takes', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('five', true, { topicAliasMaximum: 2 })
    await client.subscribe('#', 1)
    const topics = ['a/long/topic', 'b/long/topic', 'c/long/topic', 'a']
    for (const topic of [...topics, ...topics]) await publish(parts, { topic, qos: 1 })
    expect(client.packets().map((packet) => packet.cmd)).toHaveLength(4)
    for (let id = 2; id < 6; id++) client.acknowledge('puback', id)
    const seen = publishes(client).map(({ topic, properties }) => [topic, properties?.topicAlias])
    expect(seen).toEqual([
      ['', 1],
      ['', 2],
      ['c/long/topic', undefined],
      ['a', undefined],
    ])
  })

  it('is introduced with the topic', async () => {
    const parts = await BrokerParts.open()
    const client = await parts.connect('five', true, { topicAliasMaximum: 1 })
    await client.subscribe('#', 0, { subscriptionIdentifier: 9 })
    for (let i = 0; i < 2; i++) await publish(parts, { topic: 'a/long/topic', payload: 'y'.repeat(10_000) })
    expect(
      publishes(client).map(({ topic, payload, properties }) => [topic, payload.length, { ...properties }]),
    ).toEqual([
      ['a/long/topic', 10_000, { topicAlias: 1, subscriptionIdentifier: 9 }],
      ['', 10_000, { topicAlias: 1, subscriptionIdentifier: 9 }],
    ])
  })
})

describe('what a client of MQTT 5 takes', () => {
  it('at once, QoS 1 and 2, is its receive maximum; a PUBREC that fails makes room', async () => {
    const parts = await BrokerParts.open({ maxInflight: 20 })
    const client = await parts.connect('five', false, { receiveMaximum: 2 })
    await client.subscribe('#', 2)
    for (let i = 0; i < 5; i++) await publish(parts, { qos: 2, payload: `${i}` })
    const payloads = (): string[] => publishes(client).map(({ payload }) => payload.toString())
    expect(payloads()).toEqual(['0', '1'])
    client.session.outbox.acknowledge(5, 2, 0x80)
    await parts.quiet()
    expect(payloads()).toEqual(['2'])
    client.acknowledge('pubrec', 3)
    await parts.quiet()
    expect(payloads()).toEqual([])
    client.acknowledge('pubcomp', 3)
    expect(payloads()).toEqual(['3'])
  })

  it.each([true, false])(
    'is as large as its maximum packet size; larger ones count as delivered (clean: %s)',
    async (clean) => {
      const parts = await BrokerParts.open()
      // Fixed header, topic, identifier, no properties.
      const maximumPacketSize = 2 + 2 + 'a/topic'.length + 2 + 1 + 20
      const client = await parts.connect('five', clean, { maximumPacketSize })
      await client.subscribe('#', 1)
      for (const bytes of [21, 20, 500]) await publish(parts, { qos: 1, payload: 'x'.repeat(bytes) })
      await publish(parts, { qos: 1, payload: 'end', properties: { contentType: 'x'.repeat(20) } })
      await publish(parts, { payload: 'y'.repeat(30) })
      await publish(parts, { payload: 'end' })
      expect(client.takeAndAcknowledge()).toEqual(['x'.repeat(20), 'end'])
      await parts.quiet()
      expect(parts.counters.dropped['too-large']).toBe(4)
      expect(client.session.outbox.inflightCount).toBe(0)
      expect(client.session.stored?.queuedCount ?? 0).toBe(0)
    },
  )

  it('is taken into account by shared subscriptions', async () => {
    const parts = await BrokerParts.open()
    const small = await parts.connect('small', true, { maximumPacketSize: 40, receiveMaximum: 1 })
    const large = await parts.connect('large', true, { receiveMaximum: 1 })
    for (const [index, client] of [small, large].entries())
      await client.subscribe('$share/g/#', 1, { subscriptionIdentifier: index + 1 })
    await large.subscribe('other', 1, { subscriptionIdentifier: 3 })
    const long = 'y'.repeat(50)
    for (let i = 0; i < 3; i++) await publish(parts, { qos: 1, payload: long })
    expect(propertiesOf(small)).toEqual([])
    const first = publishes(large)
    expect(first.map(({ properties }) => ({ ...properties }))).toEqual([{ subscriptionIdentifier: 2 }])
    large.acknowledge('puback', first[0]!.messageId!)
    expect(publishes(large)).toHaveLength(1)
    expect(parts.counters.dropped['too-large']).toBe(0)
    // With nobody left who could take it, it is dropped.
    large.lose()
    await parts.quiet()
    await publish(parts, { qos: 1, payload: 'short' })
    expect(publishes(small).map(({ payload }) => payload.toString())).toEqual(['short'])
    expect(parts.counters.dropped['too-large']).toBe(2)
  })
})
