import { ErrorCode } from '../../errors.ts'
import { malformed, PacketFault, protocolError } from './fault.ts'
import { ReasonCode } from './reason.ts'
import { FieldReader } from './strings.ts'
import type { UserProperties } from '../../hooks/types.ts'

/** Every property of MQTT 5 by name (2.2.2.2). Of all but user properties and subscription identifiers there is one. */
export interface Properties {
  payloadFormatIndicator?: 0 | 1
  /** Seconds. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  /** In a PUBLISH to a client there may be several. */
  subscriptionIdentifiers?: number[]
  /** Seconds; 0xffffffff: never. */
  sessionExpiryInterval?: number
  assignedClientIdentifier?: string
  /** Seconds. */
  serverKeepAlive?: number
  authenticationMethod?: string
  authenticationData?: Buffer
  requestProblemInformation?: 0 | 1
  /** Seconds. */
  willDelayInterval?: number
  requestResponseInformation?: 0 | 1
  responseInformation?: string
  serverReference?: string
  reasonString?: string
  receiveMaximum?: number
  topicAliasMaximum?: number
  topicAlias?: number
  maximumQos?: 0 | 1
  retainAvailable?: 0 | 1
  userProperties?: UserProperties
  /** Bytes. */
  maximumPacketSize?: number
  wildcardSubscriptionAvailable?: 0 | 1
  subscriptionIdentifierAvailable?: 0 | 1
  sharedSubscriptionAvailable?: 0 | 1
}

type Type = 'bit' | 'uint16' | 'uint32' | 'varint' | 'string' | 'binary' | 'pair'
type Name = keyof Properties

export interface Kind {
  readonly id: number
  readonly name: Name
  readonly type: Type
  /** 0 is a protocol error. */
  readonly isPositive?: true
  /** May come more than once, in these packets. */
  readonly isList?: true
}

/** In the order in which the broker writes them. */
export const KINDS: readonly Kind[] = [
  { id: 0x01, name: 'payloadFormatIndicator', type: 'bit' },
  { id: 0x02, name: 'messageExpiryInterval', type: 'uint32' },
  { id: 0x03, name: 'contentType', type: 'string' },
  { id: 0x08, name: 'responseTopic', type: 'string' },
  { id: 0x09, name: 'correlationData', type: 'binary' },
  { id: 0x0b, name: 'subscriptionIdentifiers', type: 'varint', isPositive: true, isList: true },
  { id: 0x11, name: 'sessionExpiryInterval', type: 'uint32' },
  { id: 0x12, name: 'assignedClientIdentifier', type: 'string' },
  { id: 0x13, name: 'serverKeepAlive', type: 'uint16' },
  { id: 0x15, name: 'authenticationMethod', type: 'string' },
  { id: 0x16, name: 'authenticationData', type: 'binary' },
  { id: 0x17, name: 'requestProblemInformation', type: 'bit' },
  { id: 0x18, name: 'willDelayInterval', type: 'uint32' },
  { id: 0x19, name: 'requestResponseInformation', type: 'bit' },
  { id: 0x1a, name: 'responseInformation', type: 'string' },
  { id: 0x1c, name: 'serverReference', type: 'string' },
  { id: 0x1f, name: 'reasonString', type: 'string' },
  { id: 0x21, name: 'receiveMaximum', type: 'uint16', isPositive: true },
  { id: 0x22, name: 'topicAliasMaximum', type: 'uint16' },
  { id: 0x23, name: 'topicAlias', type: 'uint16' },
  { id: 0x24, name: 'maximumQos', type: 'bit' },
  { id: 0x25, name: 'retainAvailable', type: 'bit' },
  { id: 0x26, name: 'userProperties', type: 'pair', isList: true },
  { id: 0x27, name: 'maximumPacketSize', type: 'uint32', isPositive: true },
  { id: 0x28, name: 'wildcardSubscriptionAvailable', type: 'bit' },
  { id: 0x29, name: 'subscriptionIdentifierAvailable', type: 'bit' },
  { id: 0x2a, name: 'sharedSubscriptionAvailable', type: 'bit' },
]
const KIND_OF_ID: readonly (Kind | undefined)[] = Array.from({ length: 0x2b }, (_, id) =>
  KINDS.find((kind) => kind.id === id),
)

/** What may be in each packet from a client (MQTT 5, table 2-4). */
export const Allowed = {
  connect: names(
    'sessionExpiryInterval',
    'authenticationMethod',
    'authenticationData',
    'requestProblemInformation',
    'requestResponseInformation',
    'receiveMaximum',
    'topicAliasMaximum',
    'userProperties',
    'maximumPacketSize',
  ),
  will: names(
    'payloadFormatIndicator',
    'messageExpiryInterval',
    'contentType',
    'responseTopic',
    'correlationData',
    'willDelayInterval',
    'userProperties',
  ),
  publish: names(
    'payloadFormatIndicator',
    'messageExpiryInterval',
    'contentType',
    'responseTopic',
    'correlationData',
    'topicAlias',
    'userProperties',
  ),
  acknowledgement: names('reasonString', 'userProperties'),
  subscribe: names('subscriptionIdentifiers', 'userProperties'),
  unsubscribe: names('userProperties'),
  disconnect: names('sessionExpiryInterval', 'reasonString', 'userProperties'),
  auth: names('authenticationMethod', 'authenticationData', 'reasonString', 'userProperties'),
} as const

/** Of packets that the broker itself has written. */
export const ANY_PROPERTY: ReadonlySet<Name> = new Set(KINDS.map(({ name }) => name))

const FROM_BROKER: ReadonlyMap<ReadonlySet<Name>, Name> = new Map<ReadonlySet<Name>, Name>([
  [Allowed.publish, 'subscriptionIdentifiers'],
  [Allowed.disconnect, 'serverReference'],
])

function names(...all: Name[]): ReadonlySet<Name> {
  return new Set(all)
}

/** Of a packet without properties. */
export const NO_PROPERTIES: Readonly<Properties> = Object.freeze({})

/** What one packet may cost: a property is an object or two, and of five bytes. */
export interface PropertyBounds {
  readonly maxPropertyBytes: number
  readonly maxUserProperties: number
}

export const UNBOUNDED: PropertyBounds = {
  maxPropertyBytes: Number.POSITIVE_INFINITY,
  maxUserProperties: Number.POSITIVE_INFINITY,
}

/**
 * The properties at the reader's position, and the reader behind them.
 * @throws PacketFault, malformed: an identifier that is unknown or not of this packet, a value that is none; a protocol error: one too often, 0 where that is not allowed. Quota exceeded: more than `bounds` allow.
 */
export function decodeProperties(
  fields: FieldReader,
  allowed: ReadonlySet<Name>,
  packet: string,
  bounds: PropertyBounds = UNBOUNDED,
): Readonly<Properties> {
  const length = fields.varint('property length')
  if (length === 0) return NO_PROPERTIES
  if (length > fields.end - fields.position)
    throw malformed(`properties of ${packet} reach beyond the packet`)
  if (length > bounds.maxPropertyBytes)
    throw tooMuch(`properties of ${length} bytes in ${packet}; at most ${bounds.maxPropertyBytes} here`)
  const reader = new FieldReader(fields.bytes, fields.position, fields.position + length)
  fields.position += length
  const properties: Properties = {}
  while (!reader.atEnd) {
    const id = reader.varint('property identifier')
    const kind = KIND_OF_ID[id]
    if (kind === undefined) throw malformed(`property 0x${id.toString(16)} is unknown`)
    const { name } = kind
    if (!allowed.has(name)) {
      // Of this packet, and only the broker may send it: [MQTT-3.3.4-6], 3.14.2.2.5. Else not of it: 2.2.2.2.
      if (FROM_BROKER.get(allowed) === name) throw protocolError(`${name} in ${packet} of a client`)
      throw malformed(`${name} in ${packet}`)
    }
    // [MQTT-3.8.2.1.2]: one subscription identifier in a SUBSCRIBE.
    const isAgain = name in properties && name !== 'userProperties'
    if (isAgain && !(kind.isList && allowed === ANY_PROPERTY))
      throw protocolError(`${name} twice in ${packet}`)
    const value = readValue(reader, kind)
    if (kind.isPositive === true && value === 0) throw protocolError(`${name} is 0`)
    if (name === 'userProperties') {
      const pairs = (properties.userProperties ??= []) as (readonly [string, string])[]
      if (pairs.length >= bounds.maxUserProperties)
        throw tooMuch(`more than ${bounds.maxUserProperties} user properties in ${packet}`)
      pairs.push(value as [string, string])
    } else if (name === 'subscriptionIdentifiers') {
      ;(properties.subscriptionIdentifiers ??= []).push(value as number)
    } else (properties as Record<Name, unknown>)[name] = value
  }
  return properties
}

function tooMuch(detail: string): PacketFault {
  return new PacketFault(ReasonCode.quotaExceeded, detail, ErrorCode.limit)
}

function readValue(reader: FieldReader, { name, type }: Kind): number | string | Buffer | [string, string] {
  switch (type) {
    case 'bit': {
      const value = reader.byte(name)
      if (value > 1) throw protocolError(`${name} is neither 0 nor 1`)
      return value
    }
    case 'uint16':
      return reader.uint16(name)
    case 'uint32':
      return reader.uint32(name)
    case 'varint':
      return reader.varint(name)
    case 'string':
      return reader.string(name)
    case 'binary':
      // The chunk of the network that it lies in is not kept alive.
      return Buffer.from(reader.binary(name))
    case 'pair':
      return [reader.string('name of a user property'), reader.string('value of a user property')]
    default:
      return type satisfies never
  }
}
