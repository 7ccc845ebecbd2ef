import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createMetrics } from './metrics.ts'
import type { BrokerReadModel } from './read-model.ts'
import { createRoutes } from './routes.ts'

/** From the first byte of a request to its last. Nothing that is served here has a body. */
const REQUEST_TIMEOUT_MS = 5_000
/** A connection on which nothing moves, also one that does not take its answer. */
const IDLE_TIMEOUT_MS = 15_000
const KEEP_ALIVE_MS = 10_000
/** Probes and a few scrapers; more would be a mistake, or somebody who means harm. */
const MAX_CONNECTIONS = 100
const MAX_HEADER_BYTES = 8_192

export interface AdminOptions {
  readonly host: string
  /** 0: the system chooses. */
  readonly port: number
  readonly model: BrokerReadModel
  readonly log: Log
}

export interface AdminServer {
  /** `http://127.0.0.1:8080`, with the port that is really listened on. */
  readonly url: string
  /** Stops accepting, and ends the connections that are left. */
  close(): Promise<void>
}

/** Serves health and metrics. Rejects with TMQ_LISTEN when it cannot listen. */
export async function startAdminServer(options: AdminOptions): Promise<AdminServer> {
  const { host, port, model, log } = options
  const metrics = createMetrics(model)
  const routes = createRoutes({ model, metrics, log })
  // Hono answers errors itself, so the listener never rejects.
  const answer = getRequestListener((request) => routes.fetch(request), {
    overrideGlobalObjects: false,
    // HTTP/1.0 without a Host, as health checks of proxies send it.
    hostname: 'localhost',
  })
  const server = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    (request, response) => void answer(request, response),
  )
  server.maxConnections = MAX_CONNECTIONS
  server.setTimeout(IDLE_TIMEOUT_MS, (socket) => socket.destroy())
  try {
    await listen(server, host, port)
  } catch (error) {
    metrics.close()
    throw error
  }
  server.on('error', (error) => log.error({ err: error }, 'admin server failed'))
  return {
    url: urlOf(server.address() as AddressInfo),
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

function urlOf({ address, family, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
