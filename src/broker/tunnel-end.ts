import type { Decision } from '../hooks/decision.ts'
import type { DisconnectReason, TunnelRequest } from '../hooks/types.ts'
import type { TunnelEnd } from '../tunnel/router/end.ts'
import { wrapFrame } from '../tunnel/router/packet.ts'
import type { Connection } from './connection.ts'
import { writeFrame5 } from './delivery5.ts'
import { Message } from './message.ts'
import { ReasonCode } from './packets/reason.ts'

const TOO_LARGE: DisconnectReason = {
  kind: 'limit',
  detail: 'a frame of a tunnel is larger than the maximum packet size of the client',
  reasonCode: ReasonCode.packetTooLarge,
}

/** A connection as an end of tunnels. */
export class ConnectionEnd implements TunnelEnd {
  readonly isBroker = false
  readonly #connection: Connection
  #drainListeners: (() => void)[] = []

  constructor(connection: Connection) {
    this.#connection = connection
  }

  get name(): string {
    return this.#connection.clientId
  }

  get mountpoint(): string {
    return this.#connection.profile.mountpoint
  }

  get username(): string | undefined {
    return this.#connection.session!.username
  }

  get address(): string {
    return this.#connection.transport.peer.address
  }

  get port(): number {
    return this.#connection.transport.peer.port
  }

  get pendingBytes(): number {
    return this.#connection.outbound.pendingBytes
  }

  authTunnel(request: TunnelRequest): Decision | Promise<Decision> {
    return this.#connection.profile.guard.authTunnel(this.#connection.session!, request)
  }

  deliver(topic: string, packet: Buffer | undefined, frame: Buffer): void {
    if (this.#connection.version === 5) this.#deliver5(topic, frame)
    else this.#connection.sendTunnelPacket(packet ?? wrapFrame(topic, frame))
  }

  #deliver5(topic: string, frame: Buffer): void {
    const connection = this.#connection
    const bytes = writeFrame5(connection, topic, frame)
    if (bytes === 0) {
      // A stream with a gap would only wait. Not within the router's own work.
      setImmediate(() => connection.close(TOO_LARGE))
      return
    }
    if (connection.tap === undefined) return
    const message = new Message(topic, frame, 0, false, '', 0, 0)
    connection.tap.delivered(connection, message, { qos: 0, messageId: 0, dup: false, retain: false, bytes })
  }

  onceDrained(listener: () => void): void {
    this.#drainListeners.push(listener)
    // What is only gathered may all be taken at the end of this turn, of which nothing is told.
    if (!this.#connection.outbound.waiting) setImmediate(() => this.drained())
  }

  /** The connection has taken some of what waited, or has ended. */
  drained(): void {
    if (this.#drainListeners.length === 0) return
    const listeners = this.#drainListeners
    this.#drainListeners = []
    for (const listener of listeners) listener()
  }

  hold(): void {
    this.#connection.hold()
  }

  release(): void {
    this.#connection.release()
  }
}
