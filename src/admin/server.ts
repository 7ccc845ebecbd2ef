import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import { getRequestListener } from '@hono/node-server'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Api } from './api/api.ts'
import type { Guard } from './api/guard.ts'
import { HeldConnections } from './held-connections.ts'
import { createMetrics } from './metrics.ts'
import type { BrokerReadModel } from './read-model.ts'
import { createRoutes } from './routes.ts'

/** From the first byte of a request to its last, with its body. */
const REQUEST_TIMEOUT_MS = 5_000
/** A connection on which nothing moves, also one that does not take its answer. */
const IDLE_TIMEOUT_MS = 15_000
const KEEP_ALIVE_MS = 10_000
/** Probes, scrapers, some dashboards; more would be a mistake, or somebody who means harm. */
const MAX_CONNECTIONS = 256
/**
 * Nobody who means well sends the next request before the answer. All that come in one segment, some thousands, would be
 * worked on at once, and their answers wait in memory.
 */
const MAX_REQUESTS_OF_CONNECTION = 4
/** Of a request line and headers, beside a client id or topic in its URL. */
const HEADER_BYTES = 4_096
/** Of each byte of a client id or topic in a URL. */
const URL_CHARACTERS = 3
/** Of names that are as long as they may be by default. */
const NAME_BYTES = 4_096

export interface AdminServerOptions {
  readonly host: string
  /** 0: the system chooses. */
  readonly port: number
  /** Certificate and key; undefined: HTTP. */
  readonly tls?: SecureContextOptions | undefined
  readonly model: BrokerReadModel
  readonly api?: (() => Promise<Api>) | undefined
  readonly metricsGuard?: Guard | undefined
  readonly hasDashboard?: boolean
  /** Bytes of the longest client id or topic that there may be, which has to fit into a URL. */
  readonly longestNameBytes?: number
  readonly log: Log
}

export interface AdminServer {
  /** `http://127.0.0.1:8080`, with the port that is really listened on. */
  readonly url: string
  /** A new certificate, for connections that come later. */
  setTls(context: SecureContextOptions): void
  /** Stops accepting, and ends the connections that are left. */
  close(): Promise<void>
}

/** Serves health, metrics, API and dashboard. Rejects with TMQ_LISTEN when it cannot listen. */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const { host, port, tls, model, log, longestNameBytes = 0 } = options
  const metrics = createMetrics(model)
  const routes = createRoutes({ ...options, metrics })
  // Hono answers errors itself, so the listener never rejects.
  const answer = getRequestListener(
    (request, { incoming }) => routes.fetch(request, { address: incoming.socket.remoteAddress ?? '' }),
    {
      overrideGlobalObjects: false,
      // HTTP/1.0 without a Host, as health checks of proxies send it.
      hostname: 'localhost',
    },
  )
  const bounds = {
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: 1_000,
    maxHeaderSize: HEADER_BYTES + URL_CHARACTERS * Math.max(NAME_BYTES, longestNameBytes),
  }
  const connections = new HeldConnections({
    maxConnections: MAX_CONNECTIONS,
    maxRequests: MAX_REQUESTS_OF_CONNECTION,
  })
  const listener: RequestListener = (request, response) => {
    if (connections.requested(request, response)) void answer(request, response)
    else request.socket.destroy()
  }
  const tlsServer =
    tls && createTlsServer({ ...bounds, ...tls, handshakeTimeout: REQUEST_TIMEOUT_MS }, listener)
  const server: Server = tlsServer ?? createServer(bounds, listener)
  server.on('connection', (socket: Socket) => connections.opened(socket))
  server.setTimeout(IDLE_TIMEOUT_MS, (socket) => socket.destroy())
  try {
    await listen(server, host, port)
  } catch (error) {
    metrics.close()
    throw error
  }
  server.on('error', (error) => log.error({ err: error }, 'admin server failed'))
  const scheme = tls === undefined ? 'http' : 'https'
  return {
    url: urlOf(scheme, server.address() as AddressInfo),
    setTls: (context) => tlsServer?.setSecureContext(context),
    close: () => {
      metrics.close()
      return close(server)
    },
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      const message = `admin cannot listen on ${host}:${port}: ${reasonOf(error)}`
      reject(new TunnelMQError(ErrorCode.listen, message, { cause: error }))
    }
    server.once('error', fail)
    server.listen({ host, port }, () => {
      server.off('error', fail)
      resolve()
    })
  })
}

function reasonOf(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return 'the port is in use (EADDRINUSE)'
    case 'EACCES':
      return 'this user may not listen there (EACCES)'
    case 'EADDRNOTAVAIL':
      return 'this machine does not have the address (EADDRNOTAVAIL)'
    default:
      return error.message
  }
}

function urlOf(scheme: string, { address, family, port }: AddressInfo): string {
  return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
