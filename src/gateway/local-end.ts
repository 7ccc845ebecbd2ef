import { allowedBy, type Decision } from '../hooks/decision.ts'
import { Routes, type Route } from '../tunnel/protocol/names.ts'
import type { TunnelEnd } from '../tunnel/router/end.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import type { TunnelRole } from '../tunnel/router/seats.ts'

export interface LocalEndOptions {
  readonly router: TunnelRouter
  readonly mountpoint: string
  /** `tunnel.name` of the configuration. */
  readonly name: string
  readonly role: TunnelRole
}

/** Takes the frames that come from one other end. */
export type FrameReceiver = (route: Route, frame: Buffer) => void

const allowed = allowedBy('tunnel.name')

/**
 * The broker itself as an agent, or as a client, of one mountpoint: what the router has in place of a connection.
 *
 * Frames wait for the end of the turn: the router hands over within the `send` of another end, and of this one, whose
 * machines are not to be entered twice. What waits is bounded as it is for a connection, by `pendingBytes`.
 */
export class LocalEnd implements TunnelEnd {
  readonly name: string
  readonly mountpoint: string
  readonly username = undefined
  // Of a stream without a client of its own to name.
  readonly address = '127.0.0.1'
  readonly port = 0
  readonly isBroker = true
  readonly role: TunnelRole
  readonly routes = new Routes()
  readonly router: TunnelRouter
  readonly #receivers = new Map<string, FrameReceiver>()
  #queue: { readonly topic: string; readonly frame: Buffer }[] = []
  #pendingBytes = 0
  #drainListeners: (() => void)[] = []

  constructor({ router, mountpoint, name, role }: LocalEndOptions) {
    this.router = router
    this.mountpoint = mountpoint
    this.name = name
    this.role = role
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

  /** The configuration has said what it does: no handler is asked. */
  authTunnel(): Decision {
    return allowed
  }

  deliver(topic: string, _packet: Buffer, frame: Buffer): void {
    this.#pendingBytes += frame.length
    if (this.#queue.push({ topic, frame }) === 1) setImmediate(this.#handOver)
  }

  onceDrained(listener: () => void): void {
    this.#drainListeners.push(listener)
  }

  // Nothing of it waits: `authTunnel` answers at once.
  hold(): void {}
  release(): void {}

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
