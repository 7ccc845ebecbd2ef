import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { lstat, stat, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { basename, dirname } from 'node:path'
import type { ListenerConfig } from '../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/** Waiting in the kernel for us to accept; it caps this by net.core.somaxconn. */
const BACKLOG = 4_096

/**
 * Begins to listen. The caller adds its 'connection' listener when this returns, in the same turn. Resolves with the port, or undefined for a unix socket.
 * @throws {TunnelMQError} TMQ_LISTEN, naming the listener, the address and what to do.
 */
export async function bind(server: Server, config: ListenerConfig): Promise<number | undefined> {
  try {
    if (config.type === 'unix') {
      await removeStaleSocket(config.path)
      server.listen({ path: config.path, backlog: BACKLOG })
    } else {
      server.listen({ host: config.host, port: config.port, backlog: BACKLOG })
    }
    await once(server, 'listening')
    // Until here the umask holds (022: only the owner connects). Synchronous, so that no accept comes before the caller
    // has its 'connection' listener in place.
    if (config.type === 'unix') chmodSync(config.path, Number.parseInt(config.mode, 8))
  } catch (error) {
    server.close()
    throw listenError(config, error as NodeJS.ErrnoException)
  }
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : undefined
}

/** The name of a listener that was given none: type and port, or type and file. */
export function listenerName(config: ListenerConfig, port: number | undefined): string {
  if (config.name !== undefined) return config.name
  return config.type === 'unix' ? `unix-${basename(config.path)}` : `${config.type}-${port}`
}

/** Where clients find it: `mqtt://127.0.0.1:1883`, `mqtts://`, `ws://host:port/path`, `wss://`, `http://host:port/path`, `https://`, `unix:/path` or `coap://`. */
export function listenerUrl(config: ListenerConfig, port: number | undefined): string {
  switch (config.type) {
    case 'tcp':
      return `mqtt://${authority(config.host, port)}`
    case 'tls':
      return `mqtts://${authority(config.host, port)}`
    case 'ws':
    case 'wss':
      return `${config.type}://${authority(config.host, port)}${config.websocket.path}`
    case 'http':
    case 'https':
      return `${config.type}://${authority(config.host, port)}${config.http.path}`
    case 'unix':
      return `unix:${config.path}`
    case 'proxy':
      return `${config.tls === undefined ? 'socks5h' : 'https'}://${authority(config.host, port)}`
    case 'coap':
      return `coap://${authority(config.host, port)}`
    default:
      return config satisfies never
  }
}

function authority(host: string, port: number | undefined): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** A killed broker leaves its socket behind. It is removed only if it is a socket and nobody answers there. */
async function removeStaleSocket(path: string): Promise<void> {
  await stat(dirname(path)) // libuv would call a folder that does not exist a lack of permission
  const stats = await lstat(path).catch(() => undefined)
  if (stats === undefined) return
  if (!stats.isSocket()) throw Object.assign(new Error('a file that is no socket'), { code: 'EEXIST' })
  if (await answers(path)) throw Object.assign(new Error('in use'), { code: 'EADDRINUSE' })
  await unlink(path)
}

async function answers(path: string): Promise<boolean> {
  const probe = connect(path)
  try {
    await once(probe, 'connect')
    return true
  } catch (error) {
    // Anything but "refused" (no rights, backlog full) leaves the doubt, and the file.
    return (error as NodeJS.ErrnoException).code !== 'ECONNREFUSED'
  } finally {
    probe.destroy()
  }
}

/** With the listener, the address, and what to do. */
export function listenError(config: ListenerConfig, error: NodeJS.ErrnoException): TunnelMQError {
  const where = config.type === 'unix' ? config.path : authority(config.host, config.port)
  const who =
    config.name === undefined ? `listener (${config.type})` : `listener ${config.name} (${config.type})`
  const message = `${who} cannot listen on ${where}: ${listenAdvice(error, config.type)}`
  return new TunnelMQError(ErrorCode.listen, message, { cause: error })
}

/** Why a server cannot listen, and what to do about it. */
export function listenAdvice(error: NodeJS.ErrnoException, type: ListenerConfig['type']): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `in use by another process; stop that one, or choose another ${type === 'unix' ? 'path' : 'port'}`
    case 'EACCES':
    case 'EPERM':
      return type === 'unix'
        ? 'no permission in that folder; change its owner or mode, or choose another path'
        : 'no permission; choose a port from 1024 on, or grant the capability CAP_NET_BIND_SERVICE'
    case 'EADDRNOTAVAIL':
      return 'no interface of this machine has that address; use one of its own, 0.0.0.0 or ::'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the host name cannot be resolved; use an address'
    case 'EEXIST':
      return 'there is a file that is no socket; move it away, or choose another path'
    case 'ENOENT':
      return 'the folder does not exist; create it, or choose another path'
    case 'EINVAL':
      return `${error.message}; a path of a unix socket has at most 107 bytes`
    default:
      return error.message
  }
}
