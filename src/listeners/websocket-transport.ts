import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { ErrorCode, PeerError } from '../errors.ts'
import type { Peer } from '../peer.ts'
import { DEFAULT_GRACE_MS, type Transport, type TransportReceiver } from './transport.ts'

/** RFC 6455, 7.4.1. */
const CloseCode = { normal: 1000, unsupportedData: 1003 } as const

/** Small buffers are joined into frames up to this: one header and one event at the client instead of many. */
const JOINED_FRAME_MAX_BYTES = 65_536

/** A WebSocket as a {@link Transport}: MQTT as a stream of bytes in binary messages, however it is cut. */
export class WebSocketTransport implements Transport {
  readonly peer: Peer
  readonly #webSocket: WebSocket
  readonly #socket: Socket
  #receiver: TransportReceiver | undefined
  #phase: 'open' | 'ending' | 'closed' = 'open'
  #error: Error | undefined
  #graceTimer: NodeJS.Timeout | undefined
  #writeWaits = false

  constructor(webSocket: WebSocket, socket: Socket, peer: Peer) {
    this.peer = peer
    this.#webSocket = webSocket
    this.#socket = socket
    webSocket.pause()
    webSocket.on('message', (data, isBinary) => this.#message(data as Buffer, isBinary))
    webSocket.on('error', (error) => (this.#error ??= error))
    webSocket.once('close', () => this.#closed())
    // The closing handshake of a peer that then takes nothing must end as well.
    socket.once('end', () => this.end())
  }

  get pendingBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver
    if (this.#phase === 'closed') receiver.closed(this.#error)
    else this.#webSocket.resume()
  }

  write(bytes: Buffer): void {
    if (!this.#takesWrites()) return
    this.#webSocket.send(bytes, this.#written)
    this.#writeWaits = this.#webSocket.bufferedAmount > 0
  }

  writev(buffers: readonly Buffer[]): void {
    if (!this.#takesWrites()) return
    this.#socket.cork()
    for (const frame of joined(buffers)) this.#webSocket.send(frame, this.#written)
    this.#socket.uncork()
    this.#writeWaits = this.#webSocket.bufferedAmount > 0
  }

  pause(): void {
    if (this.#phase === 'open') this.#webSocket.pause()
  }

  resume(): void {
    this.#webSocket.resume()
  }

  end(graceMs = DEFAULT_GRACE_MS): void {
    this.#end(CloseCode.normal, graceMs)
  }

  destroy(): void {
    this.#webSocket.terminate()
  }

  #end(code: number, graceMs: number): void {
    if (this.#phase !== 'open') return
    this.#phase = 'ending'
    this.#graceTimer = setTimeout(() => this.#webSocket.terminate(), graceMs)
    this.#webSocket.close(code)
    this.#webSocket.resume() // or the peer's half of the closing handshake is never read
  }

  #message(data: Buffer, isBinary: boolean): void {
    if (this.#phase !== 'open') return
    if (isBinary) {
      if (data.length > 0) this.#receiver?.data(data)
      return
    }
    this.#error = new PeerError(ErrorCode.protocol, 'text frame: MQTT travels in binary frames')
    this.#end(CloseCode.unsupportedData, DEFAULT_GRACE_MS) // [MQTT-6.0.0-1]
  }

  // The peer may have begun to close; what ws is given from then on it counts as buffered for ever.
  #takesWrites(): boolean {
    return this.#phase === 'open' && this.#webSocket.readyState === WebSocket.OPEN
  }

  readonly #written = (): void => {
    if (!this.#writeWaits || this.#webSocket.bufferedAmount > 0) return
    this.#writeWaits = false
    if (this.#phase === 'open') this.#receiver?.drained()
  }

  #closed(): void {
    this.#phase = 'closed'
    clearTimeout(this.#graceTimer)
    this.#receiver?.closed(this.#error)
  }
}

/** The same bytes in fewer buffers; large ones are not copied. */
function joined(buffers: readonly Buffer[]): Buffer[] {
  const frames: Buffer[] = []
  let run: Buffer[] = []
  let runBytes = 0
  function flush(): void {
    const [only] = run
    if (only !== undefined) frames.push(run.length === 1 ? only : Buffer.concat(run, runBytes))
    run = []
    runBytes = 0
  }
  for (const buffer of buffers) {
    if (runBytes + buffer.length > JOINED_FRAME_MAX_BYTES) flush()
    run.push(buffer)
    runBytes += buffer.length
  }
  flush()
  return frames
}
