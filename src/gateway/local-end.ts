import { allowedBy, type Decision } from '../hooks/decision.ts'
import type { TunnelRequest } from '../hooks/types.ts'
import { Routes, type Route } from '../tunnel/protocol/names.ts'
import type { EndIdentity, TunnelEnd } from '../tunnel/router/end.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import type { TunnelRole } from '../tunnel/router/seats.ts'

export interface LocalEndOptions {
  readonly router: TunnelRouter
  readonly role: TunnelRole
  /** The broker itself, by `tunnel.name` of the configuration; or a client that came by a door. */
  readonly identity: { readonly name: string; readonly mountpoint: string } | EndIdentity
}

/** Takes the frames that come from one other end. */
export type FrameReceiver = (route: Route, frame: Buffer) => void

const allowed = allowedBy('tunnel.name')

/**
 * The broker itself as an agent, or as a client, of one mountpoint, or a client that came by a door: what the router has
 * in place of a connection.
 *
 * Frames wait for the end of the turn: the router hands over within the `send` of another end, and of this one, whose
 * machines are not to be entered twice. What waits is bounded as it is for a connection, by `pendingBytes`.
 */
export class LocalEnd implements TunnelEnd {
  readonly name: string
  readonly mountpoint: string
  readonly username: string | undefined
  readonly address: string
  readonly port: number
  readonly isBroker: boolean
  readonly isFleeting: boolean
  readonly role: TunnelRole
  readonly routes = new Routes()
  readonly router: TunnelRouter
  readonly #receivers = new Map<string, FrameReceiver>()
  #queue: { readonly topic: string; readonly frame: Buffer }[] = []
  #pendingBytes = 0
  #drainListeners: (() => void)[] = []
  readonly #client: EndIdentity | undefined
  #holdCount = 0
  #releaseListeners: (() => void)[] = []

  constructor({ router, role, identity }: LocalEndOptions) {
    const client = 'authTunnel' in identity ? identity : undefined
    this.router = router
    this.role = role
    this.name = identity.name
    this.mountpoint = identity.mountpoint
    this.username = client?.username
    // The broker's: of a stream without a client of its own to name.
    this.address = client?.address ?? '127.0.0.1'
    this.port = client?.port ?? 0
    this.isBroker = client === undefined
    this.isFleeting = client !== undefined
    this.#client = client
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  /** Frames of streams to this agent; of an agent's own end, without a name: all frames. */
  join(agent: string | undefined, receiver: FrameReceiver): void {
    if (this.#receivers.size === 0) this.router.attach(this, this.role)
    this.#receivers.set(agent ?? '', receiver)
  }

  leave(agent: string | undefined): void {
    if (this.#receivers.delete(agent ?? '') && this.#receivers.size === 0) this.router.detach(this, this.role)
  }

  /** Of the broker the configuration has said what it does: no handler is asked. */
  authTunnel(request: TunnelRequest): Decision | Promise<Decision> {
    return this.#client === undefined ? allowed : this.#client.authTunnel(request)
  }

  deliver(topic: string, _packet: Buffer | undefined, frame: Buffer): void {
    this.#pendingBytes += frame.length
    if (this.#queue.push({ topic, frame }) === 1) setImmediate(this.#handOver)
  }

  onceDrained(listener: () => void): void {
    this.#drainListeners.push(listener)
  }

  /** A handler is being asked: its frames wait. */
  get isHeld(): boolean {
    return this.#holdCount > 0
  }

  onceReleased(listener: () => void): void {
    this.#releaseListeners.push(listener)
  }

  hold(): void {
    this.#holdCount++
  }

  release(): void {
    if (--this.#holdCount > 0) return
    const listeners = this.#releaseListeners
    this.#releaseListeners = []
    for (const listener of listeners) listener()
  }

  /** The connection in whose place it is has ended. */
  drained(): void {}

  readonly #handOver = (): void => {
    const queue = this.#queue
    this.#queue = []
    this.#pendingBytes = 0
    for (const { topic, frame } of queue) {
      const route = this.routes.ofTopic(topic)
      if (route !== undefined) this.#receivers.get(this.role === 'serve' ? '' : route.agent)?.(route, frame)
    }
    const listeners = this.#drainListeners
    this.#drainListeners = []
    for (const listener of listeners) listener()
  }
}
