import type { DisconnectReason, QoS } from '../../hooks/types.ts'
import type { Connection } from '../connection.ts'
import type { Message } from '../message.ts'

/**
 * Who looks at the packets of a connection. A connection without one tests a field and does nothing else; one object is
 * for all connections. Nothing here throws, and no bytes may be kept.
 */
export interface Tap {
  /** A whole packet has come, and nobody has looked at it yet. */
  received(connection: Connection, bytes: Buffer, packetStart: number, bodyStart: number, end: number): void
  /** A whole packet goes out. */
  sent(connection: Connection, packet: Buffer): void
  /** As {@link sent}, but perhaps in pieces: Aedes writes so. */
  sentPiece(connection: Connection, bytes: Buffer): void
  /** A PUBLISH goes out, serialised for many: it is not decoded again. */
  delivered(connection: Connection, message: Message, how: Delivery): void
  /** Why its CONNECT is refused; `closed` follows. */
  refused(connection: Connection, why: string): void
  closed(connection: Connection, reason: DisconnectReason): void
}

export interface Delivery {
  readonly qos: QoS
  /** 0 at QoS 0. */
  readonly messageId: number
  readonly dup: boolean
  readonly retain: boolean
  /** Of the whole packet. */
  readonly bytes: number
  /** To a client of MQTT 5: subscription identifiers, as encoded properties. */
  readonly identifiers?: Buffer
}
