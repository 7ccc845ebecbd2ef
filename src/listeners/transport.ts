import type { DisconnectReason, RefuseReason } from '../hooks/types.ts'
import type { Peer } from '../peer.ts'

/** How long a peer has to take its last bytes and to close its own end. */
export const DEFAULT_GRACE_MS = 5_000

/** Receives what a transport reads. Attached once, before the first byte is delivered. */
export interface TransportReceiver {
  /** Bytes in the order in which they came. The receiver may keep the buffer. */
  data(chunk: Buffer): void
  /** `pendingBytes` has fallen to zero after a `write` that had to wait. */
  drained(): void
  /** The transport is gone, and nothing follows. Called exactly once. */
  closed(error?: Error): void
}

/**
 * What MQTT 3.1.1 cannot say, told to clients in this process beside their packets. Each is called in the middle of the
 * broker's own work: it must not throw, and nothing may be sent from within.
 */
export interface SideChannel {
  /** The address of the peer may be somebody else's: credentials that are refused do not lead to its ban. */
  readonly mayBeForged: boolean
  /** The CONNECT leads to nothing, for the reason that is logged; CONNACK and the end follow. */
  connectRefused(reason: string): void
  /**
   * Of a PUBLISH at QoS 0, in their order: it was handed on, or `refused`. At QoS 1 and 2 refusals only, before the
   * acknowledgement that MQTT asks for all the same.
   */
  published(messageId: number, refused: RefuseReason | undefined): void
  /** Rights have changed: these are subscribed to no more, in the words of the SUBSCRIBE. The connection stays. */
  revoked(filters: readonly string[]): void
  /** Why the connection ends, before it does. */
  ended(reason: DisconnectReason): void
}

/** A byte stream with a peer at its end: the only thing the broker knows of sockets. */
export interface Transport {
  readonly peer: Peer
  /** Undefined for sockets. */
  readonly sideChannel?: SideChannel
  /** Bytes accepted by {@link write} that the operating system has not yet taken. */
  readonly pendingBytes: number
  attach(receiver: TransportReceiver): void
  /** Queues bytes; never blocks and never throws. The buffer must not be changed afterwards. */
  write(bytes: Buffer): void
  /** As {@link write}, several buffers in one system call. */
  writev(buffers: readonly Buffer[]): void
  /** Stops reading from the socket (TCP pushes back to the sender); some chunks may still come. */
  pause(): void
  resume(): void
  /**
   * Sends what is queued, then closes; destroyed after `graceMs` if the peer does not take it.
   * What still comes in is read and thrown away: bytes left unread would turn the close into a reset,
   * and a reset can destroy what the peer has not yet read.
   */
  end(graceMs?: number): void
  destroy(): void
}
