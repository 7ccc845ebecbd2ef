/** The bytes of one connection to a broker: a socket of TCP, TLS or unix, or a WebSocket. */
export interface Wire {
  /** Bytes that the operating system has not yet taken. */
  readonly pendingBytes: number
  /** All of them in one system call where that can be; they are kept and must not change. Nothing once it has ended. */
  write(chunks: readonly Buffer[]): void
  /** Sends what waits, then says that nothing follows. */
  end(): void
  /** Ends it at once; `closed` follows. */
  destroy(): void
}

/** What a wire tells. Nothing is told during the call that opens it. */
export interface WireEvents {
  /** Connected, and TLS and WebSocket have done their handshakes. */
  opened(): void
  /** The buffer may be kept. */
  data(chunk: Buffer): void
  /** Bytes of `write` have been taken. */
  written(): void
  /** Last, and always. Without an error: the other end, or we, have ended it in order. */
  closed(error: Error | undefined): void
}
