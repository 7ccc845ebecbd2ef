import type { InterceptedControl } from '../../hooks/interceptor.ts'
import { Allowed, decodeProperties } from '../packets/properties.ts'
import { FieldReader } from '../packets/strings.ts'
import { ConnackCode, PacketType, type ProtocolVersion } from '../packets/types.ts'

/** What of a packet of ours that is no PUBLISH can be shown; undefined: it is none that is. Pure. */
export function controlOf(packet: Buffer, version: ProtocolVersion): InterceptedControl | undefined {
  const type = (packet[0]! >> 4) as PacketType
  const body = behindVarint(packet, 1)
  switch (type) {
    case PacketType.connack:
      return {
        cmd: 'connack',
        sessionPresent: packet[body] === 1,
        returnCode: packet[body + 1] ?? ConnackCode.accepted,
      }
    case PacketType.suback:
      return { cmd: 'suback', messageId: packet.readUInt16BE(body), granted: codesOf(packet, body, version) }
    case PacketType.unsuback: {
      const messageId = packet.readUInt16BE(body)
      if (version < 5) return { cmd: 'unsuback', messageId }
      return { cmd: 'unsuback', messageId, reasonCodes: codesOf(packet, body, version) }
    }
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubrel:
    case PacketType.pubcomp: {
      const acknowledged = { cmd: ACKS[type], messageId: packet.readUInt16BE(body) }
      // It may be left out: success (MQTT 5, 3.4.2.1).
      return version < 5 ? acknowledged : { ...acknowledged, reasonCode: packet[body + 2] ?? 0 }
    }
    case PacketType.auth:
      return { cmd: 'auth', reasonCode: packet[body] ?? 0, method: methodOf(packet, body + 1) }
    case PacketType.pingresp:
      return { cmd: 'pingresp' }
    default:
      return undefined
  }
}

export const ACKS = {
  [PacketType.puback]: 'puback',
  [PacketType.pubrec]: 'pubrec',
  [PacketType.pubrel]: 'pubrel',
  [PacketType.pubcomp]: 'pubcomp',
} as const

/** One for each filter: the last field, behind the properties of MQTT 5. */
function codesOf(packet: Buffer, body: number, version: ProtocolVersion): readonly number[] {
  let start = body + 2
  if (version === 5) {
    const length = new FieldReader(packet, start, packet.length).varint('property length')
    start = behindVarint(packet, start) + length
  }
  return Object.freeze([...packet.subarray(start)])
}

function methodOf(packet: Buffer, start: number): string {
  if (start >= packet.length) return ''
  const { authenticationMethod = '' } = decodeProperties(
    new FieldReader(packet, start, packet.length),
    Allowed.auth,
    'AUTH',
  )
  return authenticationMethod
}

/** A length of one byte or more begins at `start`. */
function behindVarint(packet: Buffer, start: number): number {
  let at = start
  while (packet[at]! & 0x80) at++
  return at + 1
}
