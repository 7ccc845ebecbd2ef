import fc from 'fast-check'
import mqttPacket, { type Packet as TwinPacket } from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { decodeAcknowledgement } from '../../../../src/broker/packets/acknowledgement.ts'
import { decodeConnect } from '../../../../src/broker/packets/connect.ts'
import {
  encodeAck5,
  encodeCodes5,
  encodeConnack5,
  encodeReason5,
} from '../../../../src/broker/packets/encode.ts'
import { decodeAuth, decodeDisconnect } from '../../../../src/broker/packets/ending.ts'
import { encodeProperties } from '../../../../src/broker/packets/encode-properties.ts'
import { Allowed, type Properties } from '../../../../src/broker/packets/properties.ts'
import { PublishFields } from '../../../../src/broker/packets/publish.ts'
import { decodeSubscribe, decodeUnsubscribe } from '../../../../src/broker/packets/subscribe.ts'
import { PacketType } from '../../../../src/broker/packets/types.ts'
import { encodeIdentifiers, encodePublish5 } from '../../../../src/broker/publish-wire.ts'
import { propertyKinds } from '../../../support/wire-properties.ts'

/** Packets of MQTT 5, written by us and read by mqtt-packet, and the reverse. */

type Name = keyof Properties
type Twin = Record<string, unknown>

const text = fc.string({ unit: 'grapheme', maxLength: 9 }).filter((value) => !value.includes('\0'))
const bytes = fc.uint8Array({ maxLength: 9 }).map((value) => Buffer.from(value))
const id = fc.integer({ min: 1, max: 65_535 })
const qos = fc.constantFrom(0 as const, 1 as const, 2 as const)

function valueOf(name: Name): fc.Arbitrary<unknown> {
  // A topic name.
  if (name === 'responseTopic') return text.map((rest) => `r${rest.replaceAll(/[+#]/g, '')}`)
  switch (propertyKinds[name].type) {
    case 'byte':
      return fc.constantFrom(0, 1)
    case 'uint16':
      return id
    case 'uint32':
      return fc.integer({ min: 1, max: 0xffff_ffff })
    case 'varint':
      return fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 1 })
    case 'binary':
      return bytes
    case 'pair':
      // The twin keeps them as an object, and loses an empty value that comes before another one of its name.
      return fc.array(
        fc.tuple(
          text.map((rest) => `n${rest}`),
          text.map((rest) => `v${rest}`),
        ),
        {
          minLength: 1,
          maxLength: 4,
        },
      )
    default:
      return text
  }
}

function anyOf(names: Iterable<Name>): fc.Arbitrary<Properties> {
  const model = Object.fromEntries([...names].map((name) => [name, valueOf(name)]))
  return fc.record(model, { requiredKeys: [] })
}

const twinNames: Partial<Record<Name, string>> = {
  subscriptionIdentifiers: 'subscriptionIdentifier',
  subscriptionIdentifierAvailable: 'subscriptionIdentifiersAvailable',
  maximumQos: 'maximumQoS',
}

/** As mqtt-packet has them. */
function asTwin(properties: Readonly<Properties>): Twin {
  const twin: Twin = {}
  for (const [key, value] of Object.entries(properties)) {
    const name = key as Name
    const twinName = twinNames[name] ?? name
    if (name === 'userProperties') {
      const grouped: Record<string, string | string[]> = {}
      for (const [pairName, pairValue] of value as [string, string][]) {
        const before = grouped[pairName]
        grouped[pairName] = before === undefined ? pairValue : [before, pairValue].flat()
      }
      twin[twinName] = grouped
    } else if (name === 'subscriptionIdentifiers') {
      const ids = value as number[]
      twin[twinName] = ids.length === 1 ? ids[0] : ids
    } else twin[twinName] = propertyKinds[name].type === 'byte' && name !== 'maximumQos' ? value === 1 : value
  }
  return twin
}

function twinReads(packet: Buffer): Twin {
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  const read: TwinPacket[] = []
  parser.on('packet', (one) => read.push(one))
  parser.on('error', (error) => {
    throw error
  })
  parser.parse(packet)
  expect(read).toHaveLength(1)
  return { ...read[0] }
}

/** A packet of the twin, and where its body is. */
function twinWrites(packet: Twin): { packet: Buffer; start: number; end: number } {
  const written = mqttPacket.generate(packet as unknown as TwinPacket, { protocolVersion: 5 })
  let start = 2
  while (written[start - 1]! & 0x80) start++
  // Between other bytes, as on a connection.
  return { packet: Buffer.concat([written, Buffer.alloc(9, 1)]), start, end: written.length }
}

const CONNACK: readonly Name[] = [
  'sessionExpiryInterval',
  'receiveMaximum',
  'maximumQos',
  'retainAvailable',
  'maximumPacketSize',
  'assignedClientIdentifier',
  'topicAliasMaximum',
  'reasonString',
  'userProperties',
  'wildcardSubscriptionAvailable',
  'subscriptionIdentifierAvailable',
  'sharedSubscriptionAvailable',
  'serverKeepAlive',
  'responseInformation',
  'serverReference',
  'authenticationMethod',
  'authenticationData',
]

const acks = [
  ['puback', PacketType.puback, [0, 0x10, 0x80, 0x87, 0x97, 0x99]],
  ['pubrec', PacketType.pubrec, [0, 0x10, 0x83, 0x90, 0x91]],
  ['pubrel', PacketType.pubrel, [0, 0x92]],
  ['pubcomp', PacketType.pubcomp, [0, 0x92]],
] as const

const check = <T>(arbitrary: fc.Arbitrary<T>, verify: (value: T) => void): void =>
  fc.assert(fc.property(arbitrary, verify), { numRuns: 60 })

describe('packets of MQTT 5 that the broker writes are read by mqtt-packet as they were meant', () => {
  it('CONNACK', () => {
    const any = fc.tuple(fc.boolean(), fc.constantFrom(0, 0x81, 0x87, 0x9d), anyOf(CONNACK))
    check(any, ([sessionPresent, code, properties]) => {
      const { properties: read = {}, ...rest } = twinReads(encodeConnack5(sessionPresent, code, properties))
      expect(rest).toMatchObject({ cmd: 'connack', sessionPresent, reasonCode: code })
      expect(read).toEqual(asTwin(properties))
    })
  })

  it.each(acks)('%s', (cmd, type, codes) => {
    const any = fc.tuple(id, fc.constantFrom(...codes), fc.option(anyOf(Allowed.acknowledgement)))
    check(any, ([messageId, code, properties]) => {
      const packet = encodeAck5(type, messageId, code, properties ?? undefined)
      const { properties: read = {}, ...rest } = twinReads(packet)
      expect(rest).toMatchObject({ cmd, messageId, reasonCode: code })
      expect(read).toEqual(asTwin(properties ?? {}))
    })
  })

  it.each([
    ['suback', PacketType.suback, [0, 1, 2, 0x80, 0x87, 0x8f, 0x97, 0x9e, 0xa1, 0xa2]],
    ['unsuback', PacketType.unsuback, [0, 0x11, 0x80, 0x87, 0x8f]],
  ] as const)('%s', (cmd, type, codes) => {
    const any = fc.tuple(
      id,
      fc.array(fc.constantFrom(...codes), { minLength: 1, maxLength: 200 }),
      anyOf(Allowed.acknowledgement),
    )
    check(any, ([messageId, granted, properties]) => {
      const { properties: read = {}, ...rest } = twinReads(encodeCodes5(type, messageId, granted, properties))
      expect(rest).toMatchObject({ cmd, messageId, granted })
      expect(read).toEqual(asTwin(properties))
    })
  })

  it.each([
    ['disconnect', PacketType.disconnect, [0, 0x81, 0x8e, 0x95, 0x9c], ['reasonString', 'serverReference']],
    ['auth', PacketType.auth, [0, 0x18], ['authenticationMethod', 'authenticationData', 'reasonString']],
  ] as const)('%s', (cmd, type, codes, names) => {
    const any = fc.tuple(fc.constantFrom(...codes), anyOf([...names, 'userProperties']))
    check(any, ([code, properties]) => {
      const { properties: read = {}, ...rest } = twinReads(encodeReason5(type, code, properties))
      expect(rest).toMatchObject({ cmd, reasonCode: code })
      expect(read).toEqual(asTwin(properties))
    })
  })

  it('PUBLISH, also with an alias and several subscription identifiers', () => {
    const identifiers = fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 3 })
    const of = [...Allowed.publish].filter((name) => name !== 'topicAlias')
    const any = fc.tuple(text, bytes, fc.option(id), anyOf(of), identifiers, fc.option(id))
    check(any, ([rest, payload, messageId, own, subscriptionIdentifiers, topicAlias]) => {
      const topic = `t${rest}`
      const encoded = encodeProperties(own)
      const { bytes: packet, ...at } = encodePublish5(
        topic,
        payload,
        messageId !== null,
        encoded.subarray(encoded[0]! < 128 ? 1 : 2),
        { hasAlias: topicAlias !== null, identifiers: encodeIdentifiers(subscriptionIdentifiers) },
      )
      if (topicAlias !== null) packet.writeUInt16BE(topicAlias, at.aliasAt)
      if (messageId !== null) {
        packet[0]! |= 2
        packet.writeUInt16BE(messageId, at.idAt)
      }
      const read = twinReads(packet)
      const sent = messageId === null ? { qos: 0 } : { qos: 1, messageId }
      expect(read).toMatchObject({ cmd: 'publish', topic, payload, ...sent })
      expect(read['properties'] ?? {}).toEqual(
        asTwin({
          ...own,
          ...(subscriptionIdentifiers.length > 0 && { subscriptionIdentifiers }),
          ...(topicAlias !== null && { topicAlias }),
        }),
      )
    })
  })
})

describe('packets of MQTT 5 that mqtt-packet has written are read as they were meant', () => {
  it('CONNECT', () => {
    const will = fc.record({
      topic: text,
      payload: bytes,
      qos,
      retain: fc.boolean(),
      properties: anyOf(Allowed.will),
    })
    const any = fc.record({
      clientId: text.map((rest) => `c${rest}`),
      clean: fc.boolean(),
      keepalive: fc.nat(65_535),
      // Data without a method is an error.
      properties: anyOf([...Allowed.connect].filter((name) => name !== 'authenticationData')),
      will: fc.option(will.map((one) => ({ ...one, topic: `w${one.topic}` }))),
      username: fc.option(text),
      password: fc.option(bytes),
    })
    check(any, ({ clientId, clean, keepalive, properties, will: willed, username, password }) => {
      const { packet, start, end } = twinWrites({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 5,
        ...{ clientId, clean, keepalive, properties: asTwin(properties) },
        ...(willed && { will: { ...willed, properties: asTwin(willed.properties) } }),
        ...(username !== null && { username }),
        // mqtt-packet does not write one without the other.
        ...(username !== null && password !== null && { password }),
      })
      const read = decodeConnect(packet, start, end)
      if ('unsupportedVersion' in read) throw new Error('not read')
      expect(read).toMatchObject({ protocolVersion: 5, clientId, clean, keepaliveSeconds: keepalive })
      expect(read.username).toBe(username ?? undefined)
      expect(read.password).toEqual(username === null ? undefined : (password ?? undefined))
      expect(asTwin(read.properties)).toEqual(asTwin(properties))
      expect(asTwin(read.willProperties)).toEqual(asTwin(willed?.properties ?? {}))
      const { properties: _, ...plain } = willed ?? { properties: undefined }
      expect(read.will ?? {}).toMatchObject(plain)
      expect(read.will === undefined).toBe(willed === null)
    })
  })

  it('PUBLISH, with topic aliases', () => {
    const names = [...Allowed.publish].filter((name) => name !== 'topicAlias')
    const any = fc.tuple(text, bytes, qos, id, anyOf(names), fc.option(fc.integer({ min: 1, max: 5 })))
    const fields = new PublishFields(true, 5)
    const topics = new Map<number, string>()
    check(any, ([rest, payload, at, messageId, properties, topicAlias]) => {
      const known = topicAlias === null ? undefined : topics.get(topicAlias)
      const topic = known === undefined || rest.length % 2 === 0 ? `t${rest}` : ''
      if (topicAlias !== null && topic !== '') topics.set(topicAlias, topic)
      const own = { ...asTwin(properties), ...(topicAlias !== null && { topicAlias }) }
      const { packet, start, end } = twinWrites({
        ...{ cmd: 'publish', topic, payload, qos: at, messageId, retain: false, dup: false, properties: own },
      })
      fields.decode(packet, 0, start, end)
      expect(fields.topic).toBe(topic === '' ? known : topic)
      expect(fields.payload).toEqual(payload)
      expect([fields.qos, fields.messageId]).toEqual([at, at === 0 ? 0 : messageId])
      expect(asTwin(fields.properties)).toEqual(asTwin(properties))
    })
  })

  it.each(acks)('%s', (cmd, type, codes) => {
    const any = fc.tuple(id, fc.constantFrom(...codes), anyOf(Allowed.acknowledgement))
    check(any, ([messageId, reasonCode, properties]) => {
      const { packet, start, end } = twinWrites({
        cmd,
        messageId,
        reasonCode,
        properties: asTwin(properties),
      })
      const read = decodeAcknowledgement(type, packet, start, end)
      expect(read).toMatchObject({ messageId, reasonCode })
      expect(asTwin(read.properties)).toEqual(asTwin(properties))
    })
  })

  it('SUBSCRIBE and UNSUBSCRIBE', () => {
    const subscription = fc.record({
      topic: text.map((rest) => `f${rest}`),
      qos,
      nl: fc.boolean(),
      rap: fc.boolean(),
      rh: fc.constantFrom(0 as const, 1 as const, 2 as const),
    })
    const any = fc.tuple(
      id,
      fc.array(subscription, { minLength: 1, maxLength: 5 }),
      anyOf(Allowed.subscribe),
      anyOf(Allowed.unsubscribe),
    )
    check(any, ([messageId, subscriptions, properties, plain]) => {
      const sub = twinWrites({ cmd: 'subscribe', messageId, subscriptions, properties: asTwin(properties) })
      const read = decodeSubscribe(sub.packet, sub.start, sub.end, 5)
      expect(read.messageId).toBe(messageId)
      expect(asTwin(read.properties)).toEqual(asTwin(properties))
      expect(read.subscriptions).toEqual(
        subscriptions.map(({ topic, nl, rap, rh, ...rest }) => ({
          ...{ filter: topic, qos: rest.qos, noLocal: nl, retainAsPublished: rap, retainHandling: rh },
        })),
      )
      const filters = subscriptions.map(({ topic }) => topic)
      const unsub = twinWrites({
        ...{ cmd: 'unsubscribe', messageId, unsubscriptions: filters, properties: asTwin(plain) },
      })
      const readToo = decodeUnsubscribe(unsub.packet, unsub.start, unsub.end, 5)
      expect([readToo.messageId, readToo.filters]).toEqual([messageId, filters])
      expect(asTwin(readToo.properties)).toEqual(asTwin(plain))
    })
  })

  it('DISCONNECT and AUTH', () => {
    const method = text.map((rest) => `m${rest}`)
    const any = fc.tuple(anyOf(Allowed.disconnect), anyOf(Allowed.auth), method, fc.constantFrom(0, 4, 0x81))
    check(any, ([properties, forAuth, authenticationMethod, reasonCode]) => {
      const end = twinWrites({ cmd: 'disconnect', reasonCode, properties: asTwin(properties) })
      const read = decodeDisconnect(end.packet, end.start, end.end)
      expect(read.reasonCode).toBe(reasonCode)
      expect(asTwin(read.properties)).toEqual(asTwin(properties))
      const own = { ...forAuth, authenticationMethod }
      const auth = twinWrites({ cmd: 'auth', reasonCode: 0x18, properties: asTwin(own) })
      expect(asTwin(decodeAuth(auth.packet, auth.start, auth.end).properties)).toEqual(asTwin(own))
    })
  })
})
