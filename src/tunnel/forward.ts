import { once } from 'node:events'
import { lstat, unlink } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { CarryOptions } from './client.ts'
import { parseDestination, type Destination } from './endpoint/checked-name.ts'
import { resetSocket } from './endpoint/socket-end.ts'
import { endFields } from './endpoint/stream-log.ts'
import type { TunnelLog } from './log.ts'
import type { OpenSource } from './protocol/open-payload.ts'

export interface ForwardOptions {
  /** Agent and service: `pi7/ssh`. */
  readonly to: string
  /** Default 127.0.0.1: this machine only. */
  readonly host?: string
  /** Default 0: the system chooses. */
  readonly port?: number
  /** A unix socket in place of host and port. */
  readonly path?: string
  /** Connections at once; more are reset. Default 1,000. */
  readonly maxConnections?: number
}

/** A local port that leads to a service. */
export interface Forward {
  readonly to: string
  /** Undefined for a unix socket. */
  readonly host: string | undefined
  readonly port: number | undefined
  readonly path: string | undefined
  /** Connections that are open. */
  readonly connections: number
  /** Listens no more, and resets its connections. */
  close(): Promise<void>
}

export interface ForwardParts {
  readonly log: TunnelLog
  carry(socket: Duplex, to: Destination, options: CarryOptions): void
  closed(forward: Forward): void
}

const MAX_CONNECTIONS = 1_000
const KEEP_ALIVE_MS = 60_000
const ANSWER_MS = 1_000

/** @throws {TunnelMQError} TMQ_LISTEN, with the address and what to do; TMQ_USAGE for a `to` that is none. */
export async function startForward(options: ForwardOptions, parts: ForwardParts): Promise<Forward> {
  const destination = parseDestination(options.to)
  const { to, host = '127.0.0.1', port = 0, path, maxConnections = MAX_CONNECTIONS } = options
  const { log } = parts
  const sockets = new Set<Socket>()
  const server = createServer({
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
  })
  server.on('connection', (socket) => {
    // Every socket, always: an 'error' without a listener would end the process.
    socket.on('error', () => undefined)
    // Node's own `maxConnections` ends them, as if the service had nothing to say.
    if (sockets.size >= maxConnections) {
      log.warn({ to, maxConnections }, 'forward refused a connection: too many are open')
      resetSocket(socket)
      return
    }
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    accept(socket)
  })
  const accept = (socket: Socket): void => {
    const source = sourceOf(socket)
    const fields = { to, ...source }
    parts.carry(socket, destination, {
      source,
      opened: () => log.info(fields, 'forward opened a stream'),
      failed: (error) => log.warn({ ...fields, reset: error.reset, reason: error.message }, 'forward failed'),
      ended: (end, channel) => log.info({ ...fields, ...endFields(channel, end) }, 'forward stream ended'),
    })
  }
  await listen(server, path === undefined ? { host, port } : { path })
  // Such as EMFILE at an accept: the connection is lost, the port stays.
  server.on('error', (error) => log.error({ err: error, to }, 'forward cannot accept'))

  const address = server.address()
  const bound = typeof address === 'object' && address !== null ? address : undefined
  const forward: Forward = {
    to,
    host: bound?.address,
    port: bound?.port,
    path,
    get connections() {
      return sockets.size
    },
    close: async () => {
      parts.closed(forward)
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) resetSocket(socket)
      await closed
    },
  }
  return forward
}

function sourceOf({ remoteAddress, remotePort }: Socket): OpenSource | undefined {
  if (remoteAddress === undefined || remotePort === undefined) return undefined
  return { address: remoteAddress.replace(/^::ffff:(?=\d+\.)/, ''), port: remotePort }
}

type Place = { readonly host: string; readonly port: number } | { readonly path: string }

async function listen(server: Server, place: Place): Promise<void> {
  try {
    if ('path' in place) await removeStaleSocket(place.path)
    server.listen(place)
    await once(server, 'listening')
  } catch (error) {
    server.close()
    const where = 'path' in place ? place.path : `${place.host}:${place.port}`
    const message = `cannot listen on ${where}: ${advice(error as NodeJS.ErrnoException)}`
    throw new TunnelMQError(ErrorCode.listen, message, { cause: error })
  }
}

/** Of a process that was killed: removed only if it is a socket, and nobody answers there. */
async function removeStaleSocket(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined)
  if (stats?.isSocket() !== true) return
  const probe = connect(path)
  try {
    await once(probe, 'connect', { signal: AbortSignal.timeout(ANSWER_MS) })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') await unlink(path)
  } finally {
    probe.destroy()
  }
}

function advice(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return 'in use by another process; stop that one, or choose another port or path'
    case 'EACCES':
    case 'EPERM':
      return 'no permission; choose a port from 1024 on, or a path in a folder of your own'
    case 'EADDRNOTAVAIL':
      return 'no interface of this machine has that address'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the host name cannot be resolved; use an address'
    default:
      return error.message
  }
}
