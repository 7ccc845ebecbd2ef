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

/** A byte stream with a peer at its end: the only thing the broker knows of sockets. */
export interface Transport {
  readonly peer: Peer
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
