import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export interface HeldConnectionsLimits {
  readonly maxConnections: number
  /** Under way at once, of one connection. */
  readonly maxRequests: number
}

interface Held {
  readonly socket: Socket
  /** Requests under way. */
  requestCount: number
}

/** The connections of an HTTP server that strangers can reach, and how much of it each of them has. */
export class HeldConnections {
  readonly #limits: HeldConnectionsLimits
  /** By where they come from, which is the same of a TLS socket and the one below it; the longest without a request first. */
  readonly #open = new Map<string, Held>()

  constructor(limits: HeldConnectionsLimits) {
    this.#limits = limits
  }

  /**
   * When one too many comes, the one goes that has been without a request for longest: who holds connections open must not
   * keep probes out, whose failure restarts the broker.
   */
  opened(socket: Socket): void {
    const place = placeOf(socket)
    const held: Held = { socket, requestCount: 0 }
    this.#open.set(place, held)
    socket.once('close', () => {
      if (this.#open.get(place) === held) this.#open.delete(place)
    })
    if (this.#open.size <= this.#limits.maxConnections) return
    for (const [other, { socket: idle, requestCount }] of this.#open) {
      if (requestCount > 0) continue
      this.#open.delete(other)
      idle.destroy()
      return
    }
  }

  /** False: its connection has too many under way, or is gone. */
  requested({ socket }: IncomingMessage, response: ServerResponse): boolean {
    const place = placeOf(socket)
    const held = this.#open.get(place)
    if (held === undefined || held.requestCount >= this.#limits.maxRequests) return false
    held.requestCount++
    response.once('close', () => {
      held.requestCount--
      if (this.#open.get(place) !== held) return
      this.#open.delete(place)
      this.#open.set(place, held)
    })
    return true
  }
}

const placeOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`
