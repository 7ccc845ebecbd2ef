import type { DisconnectReason } from '../hooks/types.ts'
import type { Connection } from './connection.ts'
import type { ConnectPacket } from './packets/connect.ts'
import type { ReasonPacket } from './packets/ending.ts'
import type { PublishInput } from './packets/publish.ts'
import type { SubscribePacket, UnsubscribePacket } from './packets/subscribe.ts'
import type { PacketType } from './packets/types.ts'

/** Where packets go. CONNECT, PINGREQ and DISCONNECT go on to Aedes; the message path is ours (docs/decisions/0002). */
export interface PacketHandler {
  connect(connection: Connection, packet: ConnectPacket): void
  /** `fields` is valid during the call only. */
  publish(connection: Connection, fields: PublishInput): void
  /** PUBACK, PUBREC or PUBCOMP. */
  acknowledge(connection: Connection, type: PacketType, messageId: number, reasonCode: number): void
  release(connection: Connection, messageId: number): void
  subscribe(connection: Connection, packet: SubscribePacket): void
  unsubscribe(connection: Connection, packet: UnsubscribePacket): void
  /** AUTH. A PacketFault may be thrown. */
  authenticate(connection: Connection, packet: ReasonPacket): void
  /** DISCONNECT of MQTT 5, before it goes on. A PacketFault may be thrown. */
  disconnecting(connection: Connection, packet: ReasonPacket): void
  /** Of what goes on to Aedes; `go` sends it there. Without it, it goes at once. */
  control?(
    connection: Connection,
    cmd: 'pingreq' | 'disconnect',
    go: () => void,
    reasonCode: number | undefined,
  ): void
  refused(connection: Connection, reason: string, detail: string): void
  gone(connection: Connection, reason: DisconnectReason): void
  /** Something of ours threw: a bug, which costs this connection and no other. */
  failed(connection: Connection, error: unknown): void
}
