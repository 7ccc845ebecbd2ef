import type { Socket } from 'node:net'
import type { ProxyHeader } from './proxy-header.ts'
import { createProxyDecoder } from './proxy-protocol.ts'

export interface ProxyReaderOptions {
  readonly maxHeaderBytes: number
  /** `headerBytes`: taken from the socket; what came behind them is back in it, to be read by the next protocol. */
  header(header: ProxyHeader, headerBytes: number): void
  invalid(reason: string): void
}

/**
 * Takes the PROXY header off a socket that nobody else reads yet. The caller holds the deadline.
 * If the socket ends or closes first, nothing is called.
 */
export function readProxyHeader(socket: Socket, options: ProxyReaderOptions): void {
  const decoder = createProxyDecoder(options.maxHeaderBytes)
  let takenBytes = 0

  // Reading by 'readable' leaves the socket neither flowing nor paused, as TLS and HTTP expect to find it.
  function onReadable(): void {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) return
    takenBytes += chunk.length
    const outcome = decoder.receive(chunk)
    if (outcome.kind === 'needMore') return
    stop()
    if (outcome.kind === 'invalid') {
      options.invalid(outcome.reason)
      return
    }
    if (outcome.rest.length > 0) socket.unshift(outcome.rest)
    options.header(outcome.header, takenBytes - outcome.rest.length)
  }
  function stop(): void {
    socket.off('readable', onReadable)
    socket.off('close', stop)
  }
  socket.on('readable', onReadable)
  socket.once('close', stop)
}
