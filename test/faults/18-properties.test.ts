import { describe, expect, it } from 'vitest'
import { decodeAuth } from '../../src/broker/packets/ending.ts'
import { PacketFault } from '../../src/broker/packets/fault.ts'
import type { Properties } from '../../src/broker/packets/properties.ts'
import { illegalStrings } from '../support/illegal-strings.ts'
import { openInspectedBroker, type InspectedBroker } from '../support/inspected-broker.ts'
import { Decoder } from '../support/received.ts'
import { field, Packet, packet, PacketReader, pingreq, subscribePacket, uint16 } from '../support/wire.ts'
import { propertiesField, propertyKinds, type PropertyType, varint } from '../support/wire-properties.ts'

/** Fault 18 of docs/reliability.md, for MQTT 5: every property in every packet, legal and in every way wrong. */

type Name = keyof Properties
const names = Object.keys(propertyKinds) as Name[]

const MALFORMED = 0x81
const PROTOCOL_ERROR = 0x82
const TOPIC_ALIAS_INVALID = 0x94

/** A packet that carries properties; `properties` are their bytes with the length in front. */
interface Carrier {
  readonly name: string
  readonly allowed: readonly Name[]
  /** Of this packet, but from the broker alone: the packet may have it, and a client must not send it. */
  readonly fromBroker: readonly Name[]
  /** The client is connected before. */
  readonly isOpen: boolean
  readonly with: (properties: Buffer) => Buffer
}

const message = ['payloadFormatIndicator', 'messageExpiryInterval', 'contentType', 'responseTopic'] as const
const problem = ['reasonString', 'userProperties'] as const
const connect = (flags: number, ...rest: readonly Buffer[]): Buffer =>
  packet(0x10, field('MQTT'), Buffer.of(5, flags), uint16(0), ...rest)
const acknowledgement = (name: string, first: number): Carrier => ({
  name,
  allowed: problem,
  fromBroker: [],
  isOpen: true,
  with: (properties) => packet(first, uint16(1), Buffer.of(0), properties),
})

/** MQTT 5, table 2-4. */
const carriers: readonly Carrier[] = [
  {
    name: 'CONNECT',
    allowed: [
      'sessionExpiryInterval',
      'receiveMaximum',
      'maximumPacketSize',
      'topicAliasMaximum',
      'requestResponseInformation',
      'requestProblemInformation',
      'userProperties',
      'authenticationMethod',
      'authenticationData',
    ],
    fromBroker: [],
    isOpen: false,
    with: (properties) => connect(2, properties, field('hostile')),
  },
  {
    name: 'the will',
    allowed: [...message, 'correlationData', 'willDelayInterval', 'userProperties'],
    fromBroker: [],
    isOpen: false,
    with: (properties) =>
      connect(6, propertiesField(), field('hostile'), properties, field('will'), field('gone')),
  },
  {
    name: 'PUBLISH',
    allowed: [...message, 'correlationData', 'topicAlias', 'userProperties'],
    fromBroker: ['subscriptionIdentifiers'], // [MQTT-3.3.4-6]
    isOpen: true,
    with: (properties) => packet(0x32, field('topic'), uint16(1), properties, Buffer.from('payload')),
  },
  acknowledgement('PUBACK', Packet.puback << 4),
  acknowledgement('PUBREC', Packet.pubrec << 4),
  acknowledgement('PUBREL', (Packet.pubrel << 4) | 2),
  acknowledgement('PUBCOMP', Packet.pubcomp << 4),
  {
    name: 'SUBSCRIBE',
    allowed: ['subscriptionIdentifiers', 'userProperties'],
    fromBroker: [],
    isOpen: true,
    with: (properties) => packet(0x82, uint16(1), properties, field('a'), Buffer.of(0)),
  },
  {
    name: 'UNSUBSCRIBE',
    allowed: ['userProperties'],
    fromBroker: [],
    isOpen: true,
    with: (properties) => packet(0xa2, uint16(1), properties, field('a')),
  },
  {
    name: 'DISCONNECT',
    // The interval was 0 at CONNECT, and may not become another (3.14.2.2.2): 0 is what is legal here.
    allowed: ['sessionExpiryInterval', ...problem],
    fromBroker: ['serverReference'],
    isOpen: true,
    with: (properties) => packet(0xe0, Buffer.of(0), properties),
  },
]

const auth: Carrier = {
  name: 'AUTH',
  allowed: ['authenticationMethod', 'authenticationData', ...problem],
  fromBroker: [],
  isOpen: true,
  with: (properties) => packet(0xf0, Buffer.of(0x18), properties),
}

/** What comes of it: reason codes, of which one must be said. Where the specification leaves a choice, there are two. */
type Case = readonly [what: string, bytes: Buffer, codes: readonly number[]]

const legalBytes: Readonly<Record<PropertyType, Buffer>> = {
  byte: Buffer.of(1),
  uint16: uint16(1),
  uint32: Buffer.of(0, 0, 0, 0),
  varint: varint(300),
  string: field('text'),
  binary: field(Buffer.of(0, 0xff)),
  pair: Buffer.concat([field('name'), field('value')]),
}
const isPositive: ReadonlySet<Name> = new Set([
  'receiveMaximum',
  'maximumPacketSize',
  'subscriptionIdentifiers',
])

function legal(name: Name): Buffer {
  const { id, type } = propertyKinds[name]
  const value = name === 'maximumPacketSize' ? Buffer.of(0, 1, 0, 0) : legalBytes[type]
  return Buffer.concat([Buffer.of(id), value])
}

function faultsOf(name: Name, carrier: Carrier): Case[] {
  const whole = legal(name)
  const { id, type } = propertyKinds[name]
  const cases: Case[] = []
  const add = (what: string, properties: Buffer, ...codes: readonly number[]): void => {
    cases.push([`${name}, ${what}`, carrier.with(propertiesField(properties)), codes])
  }
  const value = (what: string, bytes: Buffer, ...codes: readonly number[]): void =>
    add(what, Buffer.concat([Buffer.of(id), bytes]), ...codes)

  if (carrier.fromBroker.includes(name)) add('from a client', whole, PROTOCOL_ERROR)
  else if (!carrier.allowed.includes(name)) add('not of this packet', whole, MALFORMED) // 2.2.2.2
  if (!carrier.allowed.includes(name)) return cases

  if (name !== 'userProperties') add('twice', Buffer.concat([whole, whole]), PROTOCOL_ERROR)
  for (let length = 1; length < whole.length; length++)
    add(`cut after ${length} bytes`, whole.subarray(0, length), MALFORMED)
  add('with bytes behind it', Buffer.concat([whole, Buffer.of(0)]), MALFORMED)
  switch (type) {
    case 'byte':
      for (const wrong of [2, 0x80, 0xff]) value(`${wrong}`, Buffer.of(wrong), PROTOCOL_ERROR, MALFORMED)
      break
    case 'uint16':
    case 'uint32':
      if (isPositive.has(name)) value('0', Buffer.alloc(type === 'uint16' ? 2 : 4), PROTOCOL_ERROR)
      if (name === 'topicAlias') {
        value('0', uint16(0), TOPIC_ALIAS_INVALID)
        value('above the maximum', uint16(65_535), TOPIC_ALIAS_INVALID)
      }
      break
    case 'varint':
      value('0', Buffer.of(0), PROTOCOL_ERROR)
      value('of five bytes', Buffer.of(0x80, 0x80, 0x80, 0x80, 1), MALFORMED)
      value('that never ends', Buffer.of(0xff), MALFORMED)
      value('in more bytes than it takes', Buffer.of(0x81, 0), MALFORMED) // [MQTT-1.5.5-1]
      break
    case 'binary':
      value('longer than the packet', Buffer.of(0xff, 0xff, 1), MALFORMED)
      break
    case 'string':
      value('longer than the packet', Buffer.of(0xff, 0xff, 0x61), MALFORMED)
      for (const [what, bytes] of illegalStrings) value(what, field(bytes), MALFORMED)
      break
    case 'pair':
      for (const [what, bytes] of illegalStrings) {
        value(`name: ${what}`, Buffer.concat([field(bytes), field('v')]), MALFORMED)
        value(`value: ${what}`, Buffer.concat([field('n'), field(bytes)]), MALFORMED)
      }
      add('the second one cut', Buffer.concat([whole, whole.subarray(0, -1)]), MALFORMED)
  }
  return cases
}

/** Of the properties as a whole. */
function faultsOfAll(carrier: Carrier): Case[] {
  const one = legal('userProperties')
  const raw = (what: string, bytes: Buffer): Case => [what, carrier.with(bytes), [MALFORMED]]
  return [
    ...[0, 4, 5, 0x0a, 0x0c, 0x14, 0x1b, 0x20, 0x2b, 0x7f].map((id) =>
      raw(`unknown property ${id}`, propertiesField(Buffer.of(id, 0, 0, 0))),
    ),
    raw('a property of two bytes', propertiesField(Buffer.of(0x80, 1, 0))),
    raw(
      'a known property in two bytes',
      propertiesField(Buffer.concat([Buffer.of(0xa6, 0), one.subarray(1)])),
    ),
    raw('longer than the packet', Buffer.concat([varint(5_000), one])),
    raw('the longest length', Buffer.concat([Buffer.of(0xff, 0xff, 0xff, 0x7f), one])),
    raw('a length of five bytes', Buffer.concat([Buffer.of(0x80, 0x80, 0x80, 0x80, 1), one])),
    raw('a length in more bytes than it takes', Buffer.concat([Buffer.of(0x80 | one.length, 0), one])),
    raw('a length that is too short', Buffer.concat([varint(one.length - 1), one])),
  ]
}

const casesOf = (carrier: Carrier): Case[] => [
  ...names.flatMap((name) => faultsOf(name, carrier)),
  ...faultsOfAll(carrier),
]

interface Answer {
  readonly code: number | undefined
  readonly isClosed: boolean
}

let connections = 0

/** What is said to it, synchronously: no handler and no store is asked before a packet was read. */
async function answerTo(broker: InspectedBroker, { isOpen }: Carrier, bytes: Buffer): Promise<Answer> {
  const clientId = `hostile-${++connections}`
  const transport = isOpen ? await broker.connect({ clientId, version: 5 }) : broker.open()
  transport.takeWritten()
  transport.send(Buffer.concat([bytes, pingreq]))
  const decoder = new Decoder()
  decoder.isMqtt5 = true
  let code: number | undefined
  new PacketReader((first, body) => {
    const answer = decoder.decode(first, body)
    if (answer.type === 'connack') code = answer.code
    else if (answer.type === 'disconnect') code = answer.reasonCode
  }).receive(transport.takeWritten())
  const isClosed = transport.isEnded
  if (!isClosed) transport.lose()
  return { code, isClosed }
}

const hex = (code: number | undefined): string => (code === undefined ? 'nothing' : `0x${code.toString(16)}`)

describe('properties of MQTT 5', () => {
  it.each(carriers)(
    '$name: each fault is told by its reason code, and harms nobody else',
    async (carrier) => {
      const broker = await openInspectedBroker({ config: { limits: { banFailures: 0 } } })
      const bystander = await broker.connect({ clientId: 'bystander', version: 5 })
      bystander.send(subscribePacket(1, [['#', 1]], {}))
      await bystander.answer()
      const wrong: string[] = []
      const cases = casesOf(carrier)
      for (const [what, bytes, codes] of cases) {
        const { code, isClosed } = await answerTo(broker, carrier, bytes)
        const isSaid = code !== undefined && codes.includes(code)
        if (!isSaid || !isClosed) wrong.push(`${what}: ${hex(code)}, not ${codes.map(hex).join(' or ')}`)
      }
      expect(wrong).toEqual([])
      expect(cases.length).toBeGreaterThan(names.length)
      bystander.takeWritten()
      bystander.send(pingreq)
      expect(await bystander.answer()).toEqual(Buffer.of(Packet.pingresp << 4, 0))
      expect(broker.broker.connections.size).toBe(1)
      expect(broker.reported).toEqual([])
    },
  )

  it.each(carriers)('$name: what it may have is taken', async (carrier) => {
    const broker = await openInspectedBroker({ config: { limits: { banFailures: 0 } } })
    const refused: string[] = []
    // These need more than to be well-formed: enhanced authentication, and an alias that the broker has allowed.
    const apart: readonly Name[] = ['authenticationMethod', 'authenticationData', 'topicAlias']
    for (const name of carrier.allowed.filter((allowed) => !apart.includes(allowed))) {
      const twice = name === 'userProperties' ? [legal(name), legal(name)] : [legal(name)]
      const { code = 0 } = await answerTo(
        broker,
        carrier,
        carrier.with(propertiesField(Buffer.concat(twice))),
      )
      if (code >= 0x80) refused.push(`${name}: ${hex(code)}`)
    }
    expect(refused).toEqual([])
  })

  it('AUTH: each fault is told by its reason code', () => {
    const method = legal('authenticationMethod')
    const wrong: string[] = []
    for (const [what, bytes, codes] of casesOf(auth)) {
      const code = faultOf(() => decodeAuth(bytes, bytes.length < 130 ? 2 : 3, bytes.length))
      if (code === undefined || !codes.includes(code))
        wrong.push(`${what}: ${hex(code)}, not ${codes.map(hex).join(' or ')}`)
    }
    expect(wrong).toEqual([])
    const bytes = auth.with(propertiesField(method))
    expect(decodeAuth(bytes, 2, bytes.length).properties).toEqual({ authenticationMethod: 'text' })
  })
})

function faultOf(work: () => unknown): number | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    if (error instanceof PacketFault) return error.reasonCode
    throw error
  }
}
