import type { Socket } from 'node:net'
import type { Peer } from '../peer.ts'

/** A socket that has come through a listener, and whose protocol is not MQTT. It is in the lobby until it is `connected`. */
export interface Visit {
  readonly peer: Peer
  /** Its first request is complete: no deadline of the lobby is on it any more. */
  connected(): void
  /** It is not: reported and closed; `farewell` says why to the client, and ends the socket. */
  failed(detail: string, farewell: () => void): void
}

/** Speaks the protocol of a listener that is a door (docs/decisions/0011). */
export interface VisitReceiver {
  /** For the first request of a socket. */
  readonly requestTimeoutMs: number
  receive(socket: Socket, visit: Visit): void
}
