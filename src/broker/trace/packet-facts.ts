import type { TracePacket } from '../../admin/api/resources.ts'
import { FrameType, HEADER_BYTES } from '../../tunnel/protocol/frame.ts'
import { parseFrameTopic } from '../../tunnel/protocol/names.ts'
import { decodeConnect, type ConnectPacket } from '../packets/connect.ts'
import { ANY_PROPERTY, decodeProperties, NO_PROPERTIES, type Properties } from '../packets/properties.ts'
import { PublishFields } from '../packets/publish.ts'
import { reasonText } from '../packets/reason.ts'
import { FieldReader } from '../packets/strings.ts'
import { decodeSubscribe, decodeUnsubscribe, type RequestedSubscription } from '../packets/subscribe.ts'
import {
  ConnackCode,
  PacketType,
  SUBACK_FAILURE,
  VERSION_NAMES,
  type ProtocolVersion,
} from '../packets/types.ts'
import { propertyFacts } from './property-facts.ts'

/** A packet as a trace shows it, beside when, where and whose. */
export type PacketFacts = Omit<TracePacket, 'at' | 'pod' | 'client' | 'direction'>

/** Of topics and details; what is longer is cut, so that a packet that is kept has a bound. */
export const MAX_TEXT_CHARACTERS = 256
const MAX_PAYLOAD_BYTES = 256

const NAMES = new Map(Object.entries(PacketType).map(([name, type]) => [type as number, name.toUpperCase()]))
const FRAMES = new Map(Object.entries(FrameType).map(([name, type]) => [type as number, name.toUpperCase()]))
const CONNACKS = new Map<number, string>([
  [ConnackCode.accepted, 'accepted'],
  [ConnackCode.unacceptableProtocol, 'refused: unacceptable protocol version'],
  [ConnackCode.identifierRejected, 'refused: identifier rejected'],
  [ConnackCode.unavailable, 'refused: server unavailable'],
  [ConnackCode.badCredentials, 'refused: bad user name or password'],
  [ConnackCode.notAuthorized, 'refused: not authorized'],
])

/** One again and again, as connections have: a topic that repeats is not decoded again. */
const publish = new PublishFields()

/** Where a packet is, and what has to be known to read it. */
export interface PacketPlace {
  readonly bytes: Buffer
  readonly packetStart: number
  readonly bodyStart: number
  readonly end: number
  readonly version: ProtocolVersion
  /** What a topic alias stands for. */
  readonly topicOfAlias: (alias: number) => string | undefined
}

/** The packet in words. What is malformed is said so. Never throws. */
export function packetFacts(place: PacketPlace, withPayload: boolean): PacketFacts {
  const { bytes, packetStart, end } = place
  const type = bytes[packetStart]! >> 4
  const base = factsOf(NAMES.get(type) ?? `type ${type}`, end - packetStart)
  try {
    return { ...base, ...bodyFacts(type, place, base.bytes, withPayload) }
  } catch (error) {
    return { ...base, detail: clip(`malformed: ${error instanceof Error ? error.message : String(error)}`) }
  }
}

export function factsOf(type: string, bytes: number): PacketFacts {
  return {
    type,
    bytes,
    qos: null,
    retain: null,
    dup: null,
    messageId: null,
    topic: null,
    detail: null,
    payload: null,
  }
}

function bodyFacts(
  type: number,
  place: PacketPlace,
  size: number,
  withPayload: boolean,
): Partial<PacketFacts> {
  const { bytes, bodyStart, end, version } = place
  const is5 = version === 5
  switch (type) {
    case PacketType.connect: {
      const packet = decodeConnect(bytes, bodyStart, end)
      if ('unsupportedVersion' in packet) return { detail: `protocol level ${packet.unsupportedVersion}` }
      // Its length would tell how long the password is.
      const secretBytes = (packet.password?.length ?? 0) + secretBytesOf(packet.properties)
      return { detail: connectDetail(packet), bytes: size - secretBytes }
    }
    case PacketType.connack: {
      const present = (bytes[bodyStart]! & 1) !== 0 ? ['session present'] : []
      const code = bytes[bodyStart + 1]!
      if (!is5) return { detail: [CONNACKS.get(code) ?? `code ${code}`, ...present].join(', ') }
      const properties = propertiesAt(place, bodyStart + 2)
      const result = code === 0 ? 'accepted' : `refused: ${reasonText(code)}`
      return {
        detail: sentence([result, ...present, ...propertyFacts(properties)]),
        bytes: size - secretBytesOf(properties),
      }
    }
    case PacketType.publish: {
      const packet = readPublish(place)
      return publishFacts(packet, withPayload, packet.properties)
    }
    case PacketType.subscribe: {
      const { messageId, subscriptions, properties } = decodeSubscribe(bytes, bodyStart, end, version)
      const filters = list(subscriptions, subscriptionText)
      return { messageId, detail: sentence([filters, ...propertyFacts(properties)]) }
    }
    case PacketType.suback:
    case PacketType.unsuback: {
      const fields = new FieldReader(bytes, bodyStart, end)
      const messageId = fields.uint16('packet identifier')
      const properties = is5 ? decodeProperties(fields, ANY_PROPERTY, 'packet') : NO_PROPERTIES
      const codes = [...bytes.subarray(fields.position, end)]
      const text = type === PacketType.suback ? grantedText : reasonText
      return { messageId, detail: sentence([list(codes, text), ...propertyFacts(properties)]) || null }
    }
    case PacketType.unsubscribe: {
      const { messageId, filters, properties } = decodeUnsubscribe(bytes, bodyStart, end, version)
      const names = list(filters, (filter) => filter)
      return { messageId, detail: sentence([names, ...propertyFacts(properties)]) }
    }
    case PacketType.disconnect:
    case PacketType.auth:
      return reasonFacts(place, bodyStart, size)
    default:
      // Acknowledgements have an identifier; PINGREQ and PINGRESP have nothing.
      if (end - bodyStart < 2) return {}
      return { messageId: bytes.readUInt16BE(bodyStart), ...reasonFacts(place, bodyStart + 2, size) }
  }
}

/** A reason code and properties, where they are not left out (MQTT 5, 3.4.2.1 and 3.14.2.1). */
function reasonFacts(place: PacketPlace, start: number, size: number): Partial<PacketFacts> {
  if (start >= place.end) return {}
  const code = place.bytes[start]!
  const properties = start + 1 < place.end ? propertiesAt(place, start + 1) : NO_PROPERTIES
  return {
    detail: sentence([reasonText(code), ...propertyFacts(properties)]),
    bytes: size - secretBytesOf(properties),
  }
}

function propertiesAt({ bytes, end }: PacketPlace, start: number): Readonly<Properties> {
  return decodeProperties(new FieldReader(bytes, start, end), ANY_PROPERTY, 'packet')
}

function secretBytesOf({ authenticationData }: Readonly<Properties>): number {
  return authenticationData?.length ?? 0
}

/** A PUBLISH; its topic is that of its alias, where it has one alone. @throws PeerError when malformed. */
export function readPublish(
  place: PacketPlace,
): PublishFacts & { readonly properties: Readonly<Properties> } {
  if (place.version === 5) return readPublish5(place)
  publish.decode(place.bytes, place.packetStart, place.bodyStart, place.end)
  return publish
}

function readPublish5(place: PacketPlace): ReturnType<typeof readPublish> {
  const { bytes, packetStart, bodyStart, end, topicOfAlias } = place
  const first = bytes[packetStart]!
  const qos = (first >> 1) & 3
  const fields = new FieldReader(bytes, bodyStart, end)
  const named = fields.string('topic')
  const messageId = qos === 0 ? 0 : fields.uint16('packet identifier')
  const properties = decodeProperties(fields, ANY_PROPERTY, 'PUBLISH')
  const { topicAlias = 0 } = properties
  return {
    topic: named === '' ? (topicOfAlias(topicAlias) ?? '') : named,
    qos,
    retain: (first & 1) !== 0,
    dup: (first & 8) !== 0,
    messageId,
    payload: bytes.subarray(fields.position, end),
    properties,
  }
}

function grantedText(code: number): string {
  if (code < SUBACK_FAILURE) return `QoS ${code}`
  return code === SUBACK_FAILURE ? 'refused' : `refused: ${reasonText(code)}`
}

function subscriptionText(subscription: RequestedSubscription): string {
  const { filter, qos, noLocal, retainAsPublished, retainHandling = 0 } = subscription
  const options = [
    noLocal === true ? ' no local' : '',
    retainAsPublished === true ? ' retain as published' : '',
    retainHandling > 0 ? ` retain handling ${retainHandling}` : '',
  ]
  return `${filter} QoS ${qos}${options.join('')}`
}

export interface PublishFacts {
  readonly topic: string
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  readonly messageId: number
  readonly payload: Buffer
}

export function publishFacts(
  packet: PublishFacts,
  withPayload: boolean,
  properties: Readonly<Properties> = NO_PROPERTIES,
): Partial<PacketFacts> {
  const { topic, qos, retain, dup, messageId, payload } = packet
  const frame = frameDetail(topic, payload)
  return {
    topic: clip(topic),
    qos,
    retain,
    dup,
    messageId: qos === 0 ? null : messageId,
    detail: sentence([frame ?? `${payload.length} bytes of payload`, ...propertyFacts(properties)]),
    payload:
      withPayload && frame === undefined ? payload.subarray(0, MAX_PAYLOAD_BYTES).toString('base64') : null,
  }
}

/** A frame of a tunnel carries what others say to each other: its type and length are shown, never its bytes. */
function frameDetail(topic: string, payload: Buffer): string | undefined {
  if (parseFrameTopic(topic) === undefined) return undefined
  const type = payload.length < HEADER_BYTES ? undefined : FRAMES.get(payload[0]!)
  return `tunnel frame ${type ?? 'of no known type'}, ${payload.length} bytes`
}

function connectDetail(packet: ConnectPacket): string {
  const { protocolVersion, clean, keepaliveSeconds, username, password, isBridge, properties } = packet
  return sentence([
    `MQTT ${VERSION_NAMES[protocolVersion]}`,
    ...(isBridge ? ['bridge'] : []),
    `clean ${protocolVersion < 5 ? 'session' : 'start'} ${clean ? 1 : 0}`,
    `keep alive ${keepaliveSeconds} s`,
    username === undefined ? 'no username' : `username ${JSON.stringify(username)}`,
    password === undefined ? 'no password' : 'with a password',
    ...propertyFacts(properties),
    ...willDetail(packet),
  ])
}

function willDetail({ will, willProperties }: ConnectPacket): string[] {
  if (will === undefined) return []
  const { topic, qos, retain, payload } = will
  return [
    `will to ${topic} QoS ${qos}${retain ? ' retain' : ''}, ${payload.length} bytes`,
    ...propertyFacts(willProperties),
  ]
}

function sentence(parts: readonly string[]): string {
  return clip(parts.join(', '))
}

function list<T>(items: readonly T[], textOf: (item: T) => string): string {
  let text = ''
  for (const item of items) {
    text += text === '' ? textOf(item) : `, ${textOf(item)}`
    if (text.length > MAX_TEXT_CHARACTERS) break
  }
  return clip(text)
}

export function clip(text: string): string {
  return text.length <= MAX_TEXT_CHARACTERS ? text : `${text.slice(0, MAX_TEXT_CHARACTERS - 1)}…`
}
