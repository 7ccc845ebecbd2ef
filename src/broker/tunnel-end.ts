import type { Decision } from '../hooks/decision.ts'
import type { TunnelRequest } from '../hooks/types.ts'
import type { TunnelEnd } from '../tunnel/router/end.ts'
import type { Connection } from './connection.ts'

/** A connection as an end of tunnels. */
export class ConnectionEnd implements TunnelEnd {
  readonly isBroker = false
  readonly #connection: Connection

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

  deliver(_topic: string, packet: Buffer): void {
    this.#connection.sendTunnelPacket(packet)
  }

  hold(): void {
    this.#connection.hold()
  }

  release(): void {
    this.#connection.release()
  }
}
