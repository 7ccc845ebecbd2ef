import type { Peer } from '../../src/peer.ts'
import type { Transport, TransportReceiver } from '../../src/listeners/transport.ts'

const peer: Peer = {
  address: '192.0.2.1',
  port: 1234,
  addressSource: 'socket',
  socketAddress: '192.0.2.1',
  listener: 'test',
  transport: 'tcp',
}

/** A transport without a socket: the test is the peer, and decides how fast it reads. */
export class FakeTransport implements Transport {
  readonly peer = peer
  pendingBytes = 0
  /** The peer does not read: what is written stays pending until {@link take}. */
  isSlow = false
  isPaused = false
  /** `end` or `destroy` was called. */
  isEnded = false
  /** Each `write` and `writev` as one piece. */
  readonly writes: Buffer[] = []
  #receiver: TransportReceiver | undefined
  #takenWrites = 0

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver
  }

  write(bytes: Buffer): void {
    this.writev([bytes])
  }

  writev(buffers: readonly Buffer[]): void {
    if (this.isEnded) throw new Error('written after the end')
    // Not copied: who changes a buffer afterwards breaks the contract, and the test shall see it.
    const bytes = buffers.length === 1 ? buffers[0]! : Buffer.concat(buffers)
    this.writes.push(bytes)
    if (this.isSlow) this.pendingBytes += bytes.length
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  end(): void {
    this.isEnded = true
  }

  destroy(): void {
    this.isEnded = true
  }

  /** Everything written so far. */
  get written(): Buffer {
    return Buffer.concat(this.writes)
  }

  /** What was written since the last call. */
  takeWritten(): Buffer {
    const bytes = Buffer.concat(this.writes.slice(this.#takenWrites))
    this.#takenWrites = this.writes.length
    return bytes
  }

  // --- the peer

  /** Bytes come. */
  send(bytes: Buffer): void {
    this.#receiver!.data(bytes)
  }

  /** The peer takes all that is pending. */
  take(): void {
    this.pendingBytes = 0
    this.#receiver!.drained()
  }

  /** The connection is lost. */
  lose(error?: Error): void {
    this.#receiver!.closed(error)
  }
}
