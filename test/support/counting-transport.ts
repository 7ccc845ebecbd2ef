import type { Transport, TransportReceiver } from '../../src/listeners/transport.ts'
import type { Peer } from '../../src/peer.ts'

const peer: Peer = {
  address: '192.0.2.1',
  port: 40_000,
  addressSource: 'socket',
  socketAddress: '192.0.2.1',
  listener: 'fake',
  transport: 'tcp',
}

/** A byte stream without a socket, for more connections than sockets would allow. What is written is counted. */
export class CountingTransport implements Transport {
  readonly peer = peer
  readonly pendingBytes = 0
  writtenBytes = 0
  #receiver: TransportReceiver | undefined
  /** The broker has ended it. */
  isEnded = false

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver
  }

  /** Bytes from the client; as with a socket, nothing is delivered once it was ended. */
  feed(chunk: Buffer): void {
    if (!this.isEnded) this.#receiver?.data(chunk)
  }

  /** The client is gone. */
  vanish(): void {
    this.isEnded = true
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.closed()
  }

  write(bytes: Buffer): void {
    this.writtenBytes += bytes.length
  }

  writev(buffers: readonly Buffer[]): void {
    for (const bytes of buffers) this.write(bytes)
  }

  // Chunks may come after `pause`, and here all do.
  pause(): void {}

  resume(): void {}

  end(): void {
    if (this.isEnded) return
    this.isEnded = true
    setImmediate(() => this.vanish())
  }

  destroy(): void {
    this.end()
  }
}
