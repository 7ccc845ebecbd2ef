import { STATUS_CODES, createServer, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { WebSocketConfig } from '../config/schema.ts'
import type { Peer } from '../peer.ts'
import type { AdmissionRefusal } from './admission.ts'
import type { Transport } from './transport.ts'
import { SUBPROTOCOLS, createUpgrader } from './websocket.ts'

const MAX_REQUEST_HEADER_BYTES = 16_384

/** Whom a request in order is from, or why it may not come in. */
export type UpgradeVerdict =
  | { readonly peer: Peer }
  | { readonly refusal: AdmissionRefusal; readonly detail: string }

export interface UpgradeRefusal {
  /** Admission's word; without it, the request itself is at fault. */
  readonly reason?: AdmissionRefusal
  readonly detail: string
  /** Answers the client and ends the socket. */
  farewell(): void
}

/** What becomes of one socket's request. */
export interface UpgradeOutcome {
  /** Asked once the request is in order, with its X-Forwarded-For. */
  admit(forwardedFor: string | undefined): UpgradeVerdict
  refused(refusal: UpgradeRefusal): void
  connected(transport: Transport): void
}

/** The HTTP side of a WebSocket listener, for sockets that others have accepted. */
export interface WebSocketDoor {
  /** Reads the request. The caller holds the deadline. */
  accept(socket: Socket, outcome: UpgradeOutcome): void
}

/** Builds the door; it never listens itself. */
export function createWebSocketDoor(config: WebSocketConfig): WebSocketDoor {
  const outcomes = new WeakMap<Duplex, UpgradeOutcome>()
  const upgrader = createUpgrader(config, (socket, message) => refuse(socket, 400, message))

  const server = createServer({ maxHeaderSize: MAX_REQUEST_HEADER_BYTES })
  server.on('request', (request) => {
    const found = pathOf(request) === config.path
    refuse(request.socket, found ? 426 : 404, 'not a WebSocket request')
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(socket, 400, error.message))
  server.on('upgrade', (request, _socket, head) => upgrade(request, head))

  function refuse(socket: Duplex, status: number, detail: string, reason?: AdmissionRefusal): void {
    const outcome = outcomes.get(socket)
    outcomes.delete(socket) // what is pipelined behind a refused request is not looked at
    outcome?.refused({
      ...(reason === undefined ? {} : { reason }),
      detail,
      farewell() {
        if (!socket.writable) return
        socket.end(plainResponse(status, detail))
        // Read what is left, or the close becomes a reset and the answer is lost.
        socket.resume()
      },
    })
  }

  function upgrade(request: IncomingMessage, head: Buffer): void {
    const { socket } = request
    const fault = requestFault(request, config)
    if (fault !== undefined) {
      refuse(socket, fault.status, fault.detail)
      return
    }
    const forwardedFor = request.headers['x-forwarded-for']
    const outcome = outcomes.get(socket)
    if (outcome === undefined) {
      socket.destroy()
      return
    }
    const verdict = outcome.admit(Array.isArray(forwardedFor) ? forwardedFor.join() : forwardedFor)
    if ('refusal' in verdict) {
      refuse(socket, 503, verdict.detail, verdict.refusal)
      return
    }
    upgrader.upgrade(request, head, verdict.peer, (transport) => outcome.connected(transport))
  }

  return {
    accept(socket, outcome) {
      outcomes.set(socket, outcome)
      server.emit('connection', socket)
    },
  }
}

/** What is wrong with the request, as an HTTP status and words. */
function requestFault(
  request: IncomingMessage,
  config: WebSocketConfig,
): { status: number; detail: string } | undefined {
  if (pathOf(request) !== config.path) return { status: 404, detail: 'no such path' }
  const { origin } = request.headers
  // Only browsers send an origin, and only their users need protection from other sites' pages.
  if (origin !== undefined && !originAllowed(origin, config.allowedOrigins)) {
    return { status: 403, detail: 'origin not allowed' }
  }
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  if (!SUBPROTOCOLS.some((name) => offered.includes(name))) {
    return { status: 400, detail: "subprotocol 'mqtt' or 'mqttv3.1' is required" } // [MQTT-6.0.0-3]
  }
  return undefined
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0] ?? ''
}

function originAllowed(origin: string, allowed: readonly string[]): boolean {
  if (allowed.length === 0) return true
  return allowed.some((entry) => entry === '*' || entry.toLowerCase() === origin.toLowerCase())
}

function plainResponse(status: number, detail: string): string {
  const body = `${detail}\n`
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 426 ? ['Upgrade: websocket'] : []), // RFC 9110, 15.5.22
    '',
    body,
  ].join('\r\n')
}
