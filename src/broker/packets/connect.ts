import type { Will } from '../../hooks/types.ts'
import { malformed, protocolError } from './fault.ts'
import {
  Allowed,
  decodeProperties,
  NO_PROPERTIES,
  type Properties,
  type PropertyBounds,
} from './properties.ts'
import { checkResponseTopic } from './publish.ts'
import { FieldReader } from './strings.ts'
import type { ProtocolVersion } from './types.ts'

/** What a CONNECT packet says (MQTT 3.1.1 and MQTT 5, 3.1), strictly checked. */
export interface ConnectPacket {
  readonly protocolVersion: ProtocolVersion
  /** It is a bridge: not sent what it has published itself, and RETAIN as it was published (docs/bridge.md). MQTT 5 has options for that. */
  readonly isBridge: boolean
  /** Clean session; MQTT 5: clean start. */
  readonly clean: boolean
  /** Empty before MQTT 5. */
  readonly properties: Readonly<Properties>
  readonly keepaliveSeconds: number
  readonly clientId: string
  readonly will: Will | undefined
  /** Of the will; empty before MQTT 5. */
  readonly willProperties: Readonly<Properties>
  readonly username: string | undefined
  readonly password: Buffer | undefined
}

/** The protocol level is one that this broker does not speak: CONNACK 1, then close. [MQTT-3.1.2-2] */
export interface UnsupportedVersion {
  readonly unsupportedVersion: number
}

const CLEAN = 0x02
const WILL = 0x04
const WILL_RETAIN = 0x20
const PASSWORD = 0x40
const USERNAME = 0x80
/** Of the protocol level: mosquitto's word for a bridge (`try_private`), which others have taken over. */
const BRIDGE = 0x80

/** The version that a CONNECT asks for, also if the rest of it cannot be read: what it is told is in that version. */
export function saysMqtt5(bytes: Buffer, start: number): boolean {
  return bytes.subarray(start, start + MQTT5.length).equals(MQTT5)
}

const MQTT5 = Buffer.from('00044d51545405', 'hex')

/** @throws PeerError when the packet is malformed. */
export function decodeConnect(
  bytes: Buffer,
  start: number,
  end: number,
  bounds?: PropertyBounds,
): ConnectPacket | UnsupportedVersion {
  const fields = new FieldReader(bytes, start, end)
  const protocol = fields.string('protocol name')
  const level = fields.byte('protocol level')
  if (protocol !== 'MQTT' && protocol !== 'MQIsdp') throw malformed('unknown protocol name') // [MQTT-3.1.2-1]
  const protocolVersion = versionOf(protocol, level)
  if (protocolVersion === undefined) return { unsupportedVersion: level }

  const flags = fields.byte('connect flags')
  if (flags & 0x01) throw malformed('reserved connect flag is set') // [MQTT-3.1.2-3]
  const willQos = (flags >> 3) & 0x03
  const hasWill = (flags & WILL) !== 0
  if (!hasWill && (willQos !== 0 || flags & WILL_RETAIN)) throw malformed('will flags without a will') // [MQTT-3.1.2-11]
  if (willQos === 3) throw malformed('will QoS 3') // [MQTT-3.1.2-14]
  // [MQTT-3.1.2-22] MQTT 5 allows that.
  if (protocolVersion < 5 && flags & PASSWORD && !(flags & USERNAME))
    throw malformed('password without a username')

  const keepaliveSeconds = fields.uint16('keep alive')
  const properties =
    protocolVersion < 5 ? NO_PROPERTIES : decodeProperties(fields, Allowed.connect, 'CONNECT', bounds)
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined)
    throw protocolError('authentication data without a method')
  const clientId = fields.string('client id')
  const willProperties =
    protocolVersion < 5 || !hasWill
      ? NO_PROPERTIES
      : decodeProperties(fields, Allowed.will, 'the will', bounds)
  checkResponseTopic(willProperties.responseTopic)
  const will = hasWill
    ? {
        topic: fields.string('will topic'),
        payload: Buffer.from(fields.binary('will message')),
        qos: willQos as 0 | 1 | 2,
        retain: (flags & WILL_RETAIN) !== 0,
        ...(willProperties !== NO_PROPERTIES && willFactsOf(willProperties)),
      }
    : undefined
  const username = flags & USERNAME ? fields.string('username') : undefined
  const password = flags & PASSWORD ? Buffer.from(fields.binary('password')) : undefined
  if (!fields.atEnd) throw malformed('bytes after the last field of CONNECT')
  return {
    protocolVersion,
    isBridge: level !== protocolVersion,
    properties,
    willProperties,
    clean: (flags & CLEAN) !== 0,
    keepaliveSeconds,
    clientId,
    will,
    username,
    password,
  }
}

/** What they say of the message, and of when it is sent (MQTT 5, 3.1.3.2). */
function willFactsOf({
  willDelayInterval,
  messageExpiryInterval,
  ...properties
}: Readonly<Properties>): Partial<Will> {
  return {
    ...(Object.keys(properties).length > 0 && { properties }),
    ...(messageExpiryInterval !== undefined && { messageExpirySeconds: messageExpiryInterval }),
    ...(willDelayInterval !== undefined && { delaySeconds: willDelayInterval }),
  }
}

function versionOf(protocol: string, level: number): ProtocolVersion | undefined {
  if (protocol === 'MQTT' && level === 5) return 5
  const version = level & ~BRIDGE
  if (protocol === 'MQTT') return version === 4 ? 4 : undefined
  return version === 3 ? 3 : undefined
}
