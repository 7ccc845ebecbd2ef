import { connect as connectSocket, isIP, type Socket } from 'node:net'
import { connect as connectTls, type SecureContext } from 'node:tls'
import type { SocketAddress } from './url.ts'
import type { Wire, WireEvents } from './wire.ts'

/** What TLS is done with. */
export interface WireTls {
  readonly secureContext: SecureContext
  /** Instead of the host of the URL: sent to the server, and looked for in its certificate. */
  readonly servername: string | undefined
  /** False: any certificate will do. */
  readonly rejectUnauthorized: boolean
}

export function openSocket(address: SocketAddress, tls: WireTls | undefined, events: WireEvents): Wire {
  const { host, port, path } = address
  if (tls === undefined) {
    const socket = address.transport === 'unix' ? connectSocket({ path }) : connectSocket({ host, port })
    return new SocketWire(socket, 'connect', events)
  }
  const { secureContext, rejectUnauthorized } = tls
  const servername = tls.servername ?? (isIP(host) === 0 ? host : undefined)
  const socket = connectTls({
    host,
    port,
    secureContext,
    rejectUnauthorized,
    ...(servername === undefined ? {} : { servername }),
  })
  return new SocketWire(socket, 'secureConnect', events)
}

class SocketWire implements Wire {
  readonly #socket: Socket
  readonly #written: () => void

  constructor(socket: Socket, openedEvent: 'connect' | 'secureConnect', events: WireEvents) {
    this.#socket = socket
    this.#written = () => {
      if (!socket.destroyed) events.written()
    }
    let failure: Error | undefined
    // With Nagle's algorithm a keystroke waits for the acknowledgement of the one before.
    socket.once('connect', () => socket.setNoDelay(true))
    socket.once(openedEvent, () => events.opened())
    socket.on('data', (chunk: Buffer) => events.data(chunk))
    socket.on('error', (error) => (failure = error))
    socket.once('close', () => events.closed(failure))
  }

  get pendingBytes(): number {
    return this.#socket.writableLength
  }

  write(chunks: readonly Buffer[]): void {
    const socket = this.#socket
    if (!socket.writable) return
    const last = chunks.length - 1
    if (last === 0) {
      socket.write(chunks[0]!, this.#written)
      return
    }
    socket.cork()
    for (let i = 0; i < last; i++) socket.write(chunks[i]!)
    if (last > 0) socket.write(chunks[last]!, this.#written)
    socket.uncork()
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}
