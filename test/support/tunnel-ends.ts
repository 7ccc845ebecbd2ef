import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { onTestFinished } from 'vitest'
import { AgentEndpoint, type AgentSettings } from '../../src/tunnel/agent.ts'
import { ClientEndpoint, type ClientSettings } from '../../src/tunnel/client.ts'
import type { TunnelLog } from '../../src/tunnel/log.ts'
import { createStreams } from '../../src/tunnel/protocol/create-streams.ts'
import type { StreamsLimits } from '../../src/tunnel/protocol/streams.ts'
import { joinedLinks, type MemoryLinks } from './tunnel-memory-link.ts'

export interface LoggedEvent {
  readonly message: string
  readonly [field: string]: unknown
}

/** Keeps what is logged. */
export function recordingLog(): TunnelLog & { readonly events: LoggedEvent[] } {
  const events: LoggedEvent[] = []
  const record =
    (level: string) =>
    (fields: object, message: string): void =>
      void events.push({ level, message, ...fields })
  return {
    events,
    debug: record('debug'),
    info: record('info'),
    warn: record('warn'),
    error: record('error'),
  }
}

export interface Ends {
  readonly agent: AgentEndpoint
  readonly client: ClientEndpoint
  readonly links: MemoryLinks
  readonly agentLog: LoggedEvent[]
  readonly clientLog: LoggedEvent[]
}

/** An agent `pi7` and a client `laptop` with no broker between, closed when the test ends. */
export function openEnds(
  services: AgentSettings['services'],
  options: {
    agent?: Omit<AgentSettings, 'services'>
    client?: ClientSettings
    limits?: Partial<StreamsLimits>
  } = {},
): Ends {
  const { limits = {} } = options
  const links = joinedLinks()
  const agentLog = recordingLog()
  const clientLog = recordingLog()
  const agent = new AgentEndpoint(
    { services, log: agentLog, ...options.agent },
    { link: links.agent, streams: createStreams({ role: 'agent', limits, firstStreamId: 0 }) },
  )
  const client = new ClientEndpoint(
    { log: clientLog, ...options.client },
    { link: links.client, streams: createStreams({ role: 'client', limits, firstStreamId: 0xffff_fffe }) },
  )
  onTestFinished(async () => {
    await client.close()
    await agent.close()
  })
  return { agent, client, links, agentLog: agentLog.events, clientLog: clientLog.events }
}

/** A TCP server on a free port, its sockets destroyed when the test ends; returns `127.0.0.1:port`. */
export async function openTarget(serve: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Sends back what it gets, and ends when its client ends. */
export const echo = (socket: Socket): void => void socket.pipe(socket)

/** A TCP connection that allows half-open, destroyed when the test ends. */
export async function dialPort(port: number | undefined): Promise<Socket> {
  const socket = connect({ port: port!, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** Number and SHA-256 of all bytes until the end. Not by iterating: that would destroy the other direction too. */
export async function digestOf(source: Readable): Promise<string> {
  const hash = createHash('sha256')
  let byteCount = 0
  source.on('data', (bytes: Buffer) => {
    byteCount += bytes.length
    hash.update(bytes)
  })
  await once(source, 'end')
  return `${byteCount} ${hash.digest('hex')}`
}

export function digest(bytes: Buffer): string {
  return `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`
}

/** All of it, as text. */
export async function textOf(source: Readable): Promise<string> {
  const parts: Buffer[] = []
  source.on('data', (bytes: Buffer) => parts.push(bytes))
  await once(source, 'end')
  return Buffer.concat(parts).toString()
}

/** The code of the error with which it closes; undefined: in order. */
export function closeCodeOf(socket: Socket): Promise<string | undefined> {
  let code: string | undefined
  socket.on('error', (error: NodeJS.ErrnoException) => (code = error.code))
  socket.resume()
  return new Promise((resolve) => socket.once('close', () => resolve(code)))
}

export interface Later<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
}

/** A promise that a server resolves when it has heard enough. */
export function later<T>(): Later<T> {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((settle) => (resolve = settle))
  return { promise, resolve }
}
