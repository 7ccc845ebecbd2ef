import type { Socket } from 'node:net'
import type { Peer } from '../peer.ts'
import { DEFAULT_GRACE_MS, type Transport, type TransportReceiver } from './transport.ts'

/**
 * A TCP, TLS or unix socket as a {@link Transport}.
 *
 *   open ──end(), or the peer's FIN──▶ ending ──both ends closed, or grace over──▶ closed
 */
export class StreamTransport implements Transport {
  readonly peer: Peer
  readonly #socket: Socket
  #receiver: TransportReceiver | undefined
  #phase: 'open' | 'ending' | 'closed' = 'open'
  #error: Error | undefined
  #graceTimer: NodeJS.Timeout | undefined
  #writeWaits = false

  constructor(socket: Socket, peer: Peer) {
    this.peer = peer
    this.#socket = socket
    socket.on('error', (error) => (this.#error = error))
    socket.once('close', () => this.#closed())
    // The peer's FIN: its last bytes are delivered before; ours get the grace to be taken.
    socket.once('end', () => this.end())
  }

  get pendingBytes(): number {
    return this.#socket.writableLength
  }

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver
    if (this.#phase === 'closed') {
      receiver.closed(this.#error)
      return
    }
    this.#socket.on('data', (chunk: Buffer) => {
      if (this.#phase === 'open') receiver.data(chunk)
    })
  }

  write(bytes: Buffer): void {
    if (this.#phase !== 'open') return
    this.#socket.write(bytes, this.#written)
    this.#writeWaits = this.#socket.writableLength > 0
  }

  writev(buffers: readonly Buffer[]): void {
    if (this.#phase !== 'open' || buffers.length === 0) return
    this.#socket.cork()
    for (const bytes of buffers) this.#socket.write(bytes, this.#written)
    this.#socket.uncork()
    this.#writeWaits = this.#socket.writableLength > 0
  }

  pause(): void {
    if (this.#phase === 'open') this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  end(graceMs = DEFAULT_GRACE_MS): void {
    if (this.#phase !== 'open') return
    this.#phase = 'ending'
    this.#graceTimer = setTimeout(() => this.#socket.destroy(), graceMs)
    this.#socket.end()
    this.#socket.resume()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  // One function for all writes: Node gathers the callbacks of one turn when they are the same.
  readonly #written = (): void => {
    if (!this.#writeWaits || this.#socket.writableLength > 0) return
    this.#writeWaits = false
    if (this.#phase === 'open') this.#receiver?.drained()
  }

  #closed(): void {
    this.#phase = 'closed'
    clearTimeout(this.#graceTimer)
    this.#receiver?.closed(this.#error)
  }
}
