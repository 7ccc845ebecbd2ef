import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { ErrorCode, PeerError } from '../../errors.ts'
import type { WireTls } from './socket.ts'
import type { WebSocketAddress } from './url.ts'
import type { Wire, WireEvents } from './wire.ts'

/** [MQTT-6.0.0-3] */
const SUBPROTOCOL = 'mqtt'
/** Of one message, which may hold several packets. */
const MAX_MESSAGE_BYTES = 1_048_576
/** RFC 6455, 7.4.1. */
const CloseCode = { normal: 1000, unsupportedData: 1003 } as const
/** Small buffers are joined into messages up to this: each costs a header, and an event at the other end. */
const JOINED_MESSAGE_MAX_BYTES = 65_536

/** The server has answered with something else than a WebSocket. */
export class HttpAnswer extends Error {
  readonly status: number

  constructor(status: number) {
    super(`HTTP status ${status}`)
    this.status = status
  }
}

export function openWebSocket(address: WebSocketAddress, tls: WireTls | undefined, events: WireEvents): Wire {
  const webSocket = new WebSocket(address.url, SUBPROTOCOL, {
    // Costs memory and time, and what goes through a tunnel is mostly compressed or encrypted.
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    followRedirects: false,
    ...(tls && {
      secureContext: tls.secureContext,
      rejectUnauthorized: tls.rejectUnauthorized,
      ...(tls.servername === undefined ? {} : { servername: tls.servername }),
    }),
  })
  return new WebSocketWire(webSocket, events)
}

/** MQTT as a stream of bytes in binary messages, however it is cut [MQTT-6.0.0-2]. `ws` turns Nagle's algorithm off. */
class WebSocketWire implements Wire {
  readonly #webSocket: WebSocket
  readonly #written: () => void
  #socket: Socket | undefined

  constructor(webSocket: WebSocket, events: WireEvents) {
    this.#webSocket = webSocket
    webSocket.once('upgrade', (response) => (this.#socket = response.socket))
    this.#written = () => {
      if (webSocket.readyState === WebSocket.OPEN) events.written()
    }
    let failure: Error | undefined
    webSocket.once('open', () => events.opened())
    webSocket.on('message', (data, isBinary) => {
      if (isBinary) {
        events.data(data as Buffer)
        return
      }
      failure ??= new PeerError(ErrorCode.protocol, 'text message: MQTT travels in binary ones')
      webSocket.close(CloseCode.unsupportedData) // [MQTT-6.0.0-1]
    })
    webSocket.once('unexpected-response', (_request, response) => {
      failure = new HttpAnswer(response.statusCode ?? 0)
      response.destroy()
      webSocket.terminate()
    })
    webSocket.on('error', (error) => (failure ??= error))
    webSocket.once('close', () => events.closed(failure))
  }

  get pendingBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  write(chunks: readonly Buffer[]): void {
    if (this.#webSocket.readyState !== WebSocket.OPEN) return
    this.#socket?.cork()
    for (const message of joined(chunks)) this.#webSocket.send(message, this.#written)
    this.#socket?.uncork()
  }

  end(): void {
    this.#webSocket.close(CloseCode.normal)
  }

  destroy(): void {
    this.#webSocket.terminate()
  }
}

/** The same bytes in fewer buffers. They will be copied anyway, to be masked (RFC 6455, 5.3). */
function joined(chunks: readonly Buffer[]): Buffer[] {
  const messages: Buffer[] = []
  let run: Buffer[] = []
  let runBytes = 0
  for (const chunk of chunks) {
    if (runBytes > 0 && runBytes + chunk.length > JOINED_MESSAGE_MAX_BYTES) {
      messages.push(run.length === 1 ? run[0]! : Buffer.concat(run, runBytes))
      run = []
      runBytes = 0
    }
    run.push(chunk)
    runBytes += chunk.length
  }
  if (runBytes > 0) messages.push(run.length === 1 ? run[0]! : Buffer.concat(run, runBytes))
  return messages
}
