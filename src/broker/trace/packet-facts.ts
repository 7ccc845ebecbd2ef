import type { TracePacket } from '../../admin/api/resources.ts'
import { FrameType, HEADER_BYTES } from '../../tunnel/protocol/frame.ts'
import { parseFrameTopic } from '../../tunnel/protocol/names.ts'
import { decodeConnect, type ConnectPacket } from '../packets/connect.ts'
import { PublishFields } from '../packets/publish.ts'
import { decodeSubscribe, decodeUnsubscribe } from '../packets/subscribe.ts'
import { ConnackCode, PacketType, SUBACK_FAILURE } from '../packets/types.ts'

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

/** The packet at `packetStart` of `bytes`, whose body begins at `bodyStart`. What is malformed is said so. Never throws. */
export function packetFacts(
  bytes: Buffer,
  packetStart: number,
  bodyStart: number,
  end: number,
  withPayload: boolean,
): PacketFacts {
  const type = bytes[packetStart]! >> 4
  const base = factsOf(NAMES.get(type) ?? `type ${type}`, end - packetStart)
  try {
    return { ...base, ...bodyFacts(type, { bytes, packetStart, bodyStart, end }, withPayload) }
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

interface Place {
  readonly bytes: Buffer
  readonly packetStart: number
  readonly bodyStart: number
  readonly end: number
}

function bodyFacts(type: number, place: Place, withPayload: boolean): Partial<PacketFacts> {
  const { bytes, packetStart, bodyStart, end } = place
  switch (type) {
    case PacketType.connect: {
      const packet = decodeConnect(bytes, bodyStart, end)
      if ('unsupportedVersion' in packet) return { detail: `protocol level ${packet.unsupportedVersion}` }
      // Its length would tell how long the password is.
      return { detail: connectDetail(packet), bytes: end - packetStart - (packet.password?.length ?? 0) }
    }
    case PacketType.connack: {
      const present = (bytes[bodyStart]! & 1) !== 0 ? ', session present' : ''
      const code = bytes[bodyStart + 1]!
      return { detail: `${CONNACKS.get(code) ?? `code ${code}`}${present}` }
    }
    case PacketType.publish:
      publish.decode(bytes, packetStart, bodyStart, end)
      return publishFacts(publish, withPayload)
    case PacketType.subscribe: {
      const { messageId, subscriptions } = decodeSubscribe(bytes, bodyStart, end)
      return { messageId, detail: list(subscriptions, ({ filter, qos }) => `${filter} QoS ${qos}`) }
    }
    case PacketType.suback: {
      const codes = [...bytes.subarray(bodyStart + 2, end)]
      const detail = list(codes, (code) => (code === SUBACK_FAILURE ? 'refused' : `QoS ${code}`))
      return { messageId: bytes.readUInt16BE(bodyStart), detail }
    }
    case PacketType.unsubscribe: {
      const { messageId, filters } = decodeUnsubscribe(bytes, bodyStart, end)
      return { messageId, detail: list(filters, (filter) => filter) }
    }
    default:
      // Acknowledgements have an identifier; PINGREQ and DISCONNECT have nothing.
      return end - bodyStart >= 2 ? { messageId: bytes.readUInt16BE(bodyStart) } : {}
  }
}

export interface PublishFacts {
  readonly topic: string
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  readonly messageId: number
  readonly payload: Buffer
}

export function publishFacts(packet: PublishFacts, withPayload: boolean): Partial<PacketFacts> {
  const { topic, qos, retain, dup, messageId, payload } = packet
  const frame = frameDetail(topic, payload)
  return {
    topic: clip(topic),
    qos,
    retain,
    dup,
    messageId: qos === 0 ? null : messageId,
    detail: frame ?? `${payload.length} bytes of payload`,
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
  const { protocolVersion, clean, keepaliveSeconds, username, password, will, isBridge } = packet
  return clip(
    [
      `MQTT ${protocolVersion === 3 ? '3.1' : '3.1.1'}`,
      ...(isBridge ? ['bridge'] : []),
      `clean session ${clean ? 1 : 0}`,
      `keep alive ${keepaliveSeconds} s`,
      username === undefined ? 'no username' : `username ${JSON.stringify(username)}`,
      password === undefined ? 'no password' : 'with a password',
      ...(will === undefined
        ? []
        : [
            `will to ${will.topic} QoS ${will.qos}${will.retain ? ' retain' : ''}, ${will.payload.length} bytes`,
          ]),
    ].join(', '),
  )
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
