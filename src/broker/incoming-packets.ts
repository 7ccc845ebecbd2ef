import type { DisconnectReason } from '../hooks/types.ts'
import { checkMethod } from './authenticating.ts'
import type { Connection } from './connection.ts'
import { cutText } from './cut-text.ts'
import type { PacketHandler } from './packet-handler.ts'
import { decodeAcknowledgement, decodeMessageId } from './packets/acknowledgement.ts'
import { decodeConnect, saysMqtt5 } from './packets/connect.ts'
import { decodeAuth, decodeDisconnect, type ReasonPacket } from './packets/ending.ts'
import { malformed, PacketFault, protocolError } from './packets/fault.ts'
import type { PropertyBounds } from './packets/properties.ts'
import { PublishFields } from './packets/publish.ts'
import { ReasonCode } from './packets/reason.ts'
import { decodeSubscribe, decodeUnsubscribe } from './packets/subscribe.ts'
import { PacketType } from './packets/types.ts'

/** Packets of one connection, decoded in its version, on their way to whoever deals with them. */
export class IncomingPackets {
  readonly #connection: Connection
  readonly #handler: PacketHandler
  readonly #bounds: PropertyBounds | undefined
  #publish: PublishFields | undefined

  constructor(connection: Connection, handler: PacketHandler, bounds: PropertyBounds | undefined) {
    this.#connection = connection
    this.#handler = handler
    this.#bounds = bounds
  }

  topicOfAlias(alias: number): string | undefined {
    return this.#publish?.aliased(alias)
  }

  /** The first packet, whole. */
  takeConnect(packet: Buffer, bodyStart: number): void {
    const connection = this.#connection
    // It is answered in that version, whatever is wrong.
    if (saysMqtt5(packet, bodyStart)) connection.version = 5
    const connect = decodeConnect(packet, bodyStart, packet.length, this.#bounds)
    if ('unsupportedVersion' in connect) {
      // Of a version to come the answer of MQTT 5 is nearer. [MQTT-3.1.2-2]
      if (connect.unsupportedVersion > 5) connection.version = 5
      const detail = `protocol level ${connect.unsupportedVersion}; this broker speaks 3 (MQTT 3.1), 4 (MQTT 3.1.1) and 5`
      connection.refuse(ReasonCode.unsupportedProtocolVersion, 'protocol-version', detail, {
        clientText: detail,
      })
      return
    }
    connection.began(connect)
  }

  /** Between CONNECT and CONNACK, while a round of authentication waits for the client. [MQTT-3.1.2-30] */
  takeAuth(type: PacketType, bytes: Buffer, bodyStart: number, end: number): void {
    const connection = this.#connection
    try {
      if (type === PacketType.disconnect) {
        const { reasonCode } = decodeDisconnect(bytes, bodyStart, end, this.#bounds)
        connection.close({ kind: 'client', reasonCode })
        return
      }
      if (type !== PacketType.auth)
        throw protocolError('a packet before the CONNACK that is neither AUTH nor DISCONNECT')
      const packet = decodeAuth(bytes, bodyStart, end, this.#bounds)
      checkMethod(connection, packet.properties.authenticationMethod)
      if (packet.reasonCode !== ReasonCode.continueAuthentication)
        throw protocolError('AUTH before the CONNACK that does not continue')
      this.#handler.authenticate(connection, packet)
    } catch (error) {
      if (!(error instanceof PacketFault)) throw error
      connection.refuse(error.reasonCode, 'protocol', error.message, { clientText: error.message })
    }
  }

  /** A packet of an open connection; its body is `bodyStart` to `end`. @throws PacketFault */
  take(type: PacketType, bytes: Buffer, packetStart: number, bodyStart: number, end: number): void {
    const connection = this.#connection
    const handler = this.#handler
    switch (type) {
      case PacketType.publish: {
        const fields = (this.#publish ??= new PublishFields(
          connection.version === 5,
          connection.terms?.incomingTopicAliases,
          this.#bounds,
        ))
        fields.decode(bytes, packetStart, bodyStart, end)
        handler.publish(connection, fields)
        return
      }
      case PacketType.puback:
      case PacketType.pubrec:
      case PacketType.pubcomp:
        if (connection.version < 5 || end - bodyStart === 2) {
          const messageId = decodeMessageId(bytes, bodyStart, end)
          handler.acknowledge(connection, type, messageId, ReasonCode.success)
        } else {
          const { messageId, reasonCode } = decodeAcknowledgement(type, bytes, bodyStart, end, this.#bounds)
          handler.acknowledge(connection, type, messageId, reasonCode)
        }
        return
      case PacketType.pubrel:
        if (connection.version < 5) handler.release(connection, decodeMessageId(bytes, bodyStart, end))
        else
          handler.release(
            connection,
            decodeAcknowledgement(type, bytes, bodyStart, end, this.#bounds).messageId,
          )
        return
      case PacketType.subscribe:
        handler.subscribe(
          connection,
          decodeSubscribe(bytes, bodyStart, end, connection.version, this.#bounds),
        )
        return
      case PacketType.unsubscribe:
        handler.unsubscribe(
          connection,
          decodeUnsubscribe(bytes, bodyStart, end, connection.version, this.#bounds),
        )
        return
      case PacketType.disconnect:
        if (connection.version === 5) {
          this.#disconnect(decodeDisconnect(bytes, bodyStart, end, this.#bounds))
          return
        }
        if (end !== bodyStart) throw malformed('bytes where none are allowed')
        this.#control(type)
        return
      case PacketType.pingreq:
        if (end !== bodyStart) throw malformed('bytes where none are allowed')
        this.#control(type)
        return
      case PacketType.auth:
        if (connection.version < 5) throw malformed('AUTH before MQTT 5')
        handler.authenticate(connection, decodeAuth(bytes, bodyStart, end, this.#bounds))
        return
      case PacketType.connect:
        throw protocolError('second CONNECT') // [MQTT-3.1.0-2]
      default:
        throw malformed(`packet type ${type} does not come from a client`)
    }
  }

  /** A DISCONNECT without a reason but 0 discards the will. [MQTT-3.14.4-3] */
  #disconnect(packet: ReasonPacket): void {
    this.#handler.disconnecting(this.#connection, packet)
    const { reasonCode, properties } = packet
    const { reasonString: detail } = properties
    this.#control(PacketType.disconnect, {
      kind: 'client',
      ...(reasonCode !== ReasonCode.success && { reasonCode }),
      ...(detail !== undefined && { detail: cutText(detail) }),
    })
  }

  #control(
    type: typeof PacketType.pingreq | typeof PacketType.disconnect,
    reason: DisconnectReason = { kind: 'client' },
  ): void {
    const connection = this.#connection
    const isDisconnect = type === PacketType.disconnect
    const go = (): void => {
      if (isDisconnect) connection.reason ??= reason
      // Aedes would discard the will.
      if (isDisconnect && (reason.reasonCode ?? 0) !== 0) connection.close(reason)
      else connection.toEngine(Buffer.of(type << 4, 0))
    }
    if (this.#handler.control === undefined) go()
    else this.#handler.control(connection, isDisconnect ? 'disconnect' : 'pingreq', go, reason.reasonCode)
  }
}
