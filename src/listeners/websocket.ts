import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import type { WebSocketConfig } from '../config/schema.ts'
import { ErrorCode, PeerError } from '../errors.ts'
import type { Peer } from '../peer.ts'
import { DEFAULT_GRACE_MS, type Transport, type TransportReceiver } from './transport.ts'

/** [MQTT-6.0.0-4] for 3.1.1, and what clients of 3.1 ask for; of several that are offered, the first of these. */
export const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'] as const

/** Pieces of one message that are kept; each costs some 100 bytes beyond its own. */
const MAX_FRAGMENTS = 4_096
/** A message may come in packets as small as this, on the average. */
const MIN_CHUNK_BYTES = 256

/** RFC 6455, 7.4.1. */
const CloseCode = { normal: 1000, unsupportedData: 1003 } as const

/** Small buffers are joined into frames up to this: one header and one event at the client instead of many. */
const JOINED_FRAME_MAX_BYTES = 65_536

export interface Upgrader {
  upgrade(request: IncomingMessage, head: Buffer, peer: Peer, connected: (transport: Transport) => void): void
}

/** Does the handshake of RFC 6455, 4.2; `fault` is told of requests that are not in order, and answers them. */
export function createUpgrader(
  config: WebSocketConfig,
  fault: (socket: Duplex, message: string) => void,
): Upgrader {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    // Compression would let small frames become large ones, and costs memory for each connection.
    perMessageDeflate: false,
    maxPayload: config.maxPayloadBytes,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: Math.max(MAX_FRAGMENTS, Math.ceil(config.maxPayloadBytes / MIN_CHUNK_BYTES)),
    handleProtocols: (offered) => SUBPROTOCOLS.find((name) => offered.has(name)) ?? false,
  })
  server.on('wsClientError', (error, socket) => fault(socket, error.message))
  return {
    upgrade(request, head, peer, connected) {
      const { socket } = request
      server.handleUpgrade(request, socket, head, (webSocket) =>
        connected(new WebSocketTransport(webSocket, socket, peer)),
      )
    },
  }
}

/** A WebSocket as a {@link Transport}: MQTT as a stream of bytes in binary messages, however it is cut. */
class WebSocketTransport implements Transport {
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
    // ws has said why, and waits for the peer's answer for longer than we do.
    webSocket.on('error', (error) => {
      this.#error ??= error
      this.end()
    })
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
