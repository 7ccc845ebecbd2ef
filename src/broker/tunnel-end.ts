import type { Decision } from '../hooks/decision.ts'
import type { TunnelRequest } from '../hooks/types.ts'
import type { TunnelEnd } from '../tunnel/router/end.ts'
import type { Connection } from './connection.ts'

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

  deliver(_topic: string, packet: Buffer): void {
    this.#connection.sendTunnelPacket(packet)
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
