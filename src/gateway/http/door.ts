import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { OpenDoorClient } from '../../broker/door/contract.ts'
import type { ListenerProfile } from '../../broker/listener-profile.ts'
import type { HttpConfig } from '../../config/http-schema.ts'
import type { HttpCounters } from '../../counters.ts'
import type { HttpEntrance } from '../../listeners/http-visit.ts'
import type { Log } from '../../log.ts'
import { HttpConnection, type HttpContext } from './connection.ts'
import { createCors } from './cors.ts'
import type { EventStream } from './event-stream.ts'
import { rawProblem, type ProblemStatus } from './problem.ts'

export interface HttpDoorOptions {
  readonly config: HttpConfig
  readonly limits: { readonly maxTopicBytes: number; readonly drainTimeoutMs: number }
  readonly profile: ListenerProfile
  readonly openClient: OpenDoorClient
  readonly counters: HttpCounters
  readonly log: Log
}

/**
 * HTTP for clients that speak no MQTT (docs/http.md): each request is put to the broker by a door client, so that whatever
 * holds for MQTT holds here. The server never listens itself; sockets come from `listeners/`.
 */
export function createHttpDoor(options: HttpDoorOptions): HttpEntrance {
  const { config, limits, profile, openClient, counters, log } = options
  const streams = new Set<EventStream>()
  const connections = new Map<Duplex, HttpConnection>()
  let isStopped = false
  let pings: NodeJS.Timeout | undefined
  const context: HttpContext = {
    path: config.path,
    body: { maxBytes: config.maxBodyBytes, timeoutMs: config.bodyTimeoutMs },
    idleTimeoutMs: config.idleTimeoutMs,
    drainTimeoutMs: limits.drainTimeoutMs,
    maxTopicBytes: limits.maxTopicBytes,
    cors: createCors(config.allowedOrigins),
    openClient,
    profile,
    addStream(stream) {
      if (streams.size >= config.maxEventStreams) return false
      streams.add(stream)
      counters.eventStreams++
      pings ??= setInterval(ping, config.eventStreamPingMs)
      return true
    },
    removeStream(stream) {
      if (!streams.delete(stream)) return
      counters.eventStreams--
      if (streams.size > 0) return
      clearInterval(pings)
      pings = undefined
    },
    answered: (status) => counters.answered(status),
    failed: (error) => log.error({ err: error, listener: profile.name }, 'internal error'),
  }
  function ping(): void {
    for (const stream of streams) stream.ping()
  }

  const server = createServer({
    maxHeaderSize: config.maxHeaderBytes,
    // Also where Node as a whole is told otherwise: what is read one way here and another way by a proxy is an attack.
    insecureHTTPParser: false,
    requireHostHeader: true,
    keepAliveTimeout: config.idleTimeoutMs,
    noDelay: true,
    // Deadlines are ours: those of Node are watched by servers that listen.
    requestTimeout: 0,
    headersTimeout: 0,
  })
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    const connection = connections.get(request.socket)
    if (connection === undefined) request.socket.destroy()
    else connection.request(request, response)
  }
  server.on('request', take)
  // `100 Continue` is said when the client is let in, and not before.
  server.on('checkContinue', take)
  // Of other expectations a server need know nothing (RFC 9110, 10.1.1).
  server.on('checkExpectation', take)
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    // As below: it would be taken for the answer to the request before.
    if (connections.get(socket)?.isBusy ?? false) {
      socket.destroy()
      return
    }
    counters.answered(405)
    socket.end(rawProblem(405, 'this is no proxy'))
  })

  const faults = new WeakMap<Duplex, (detail: string, farewell: () => void) => void>()
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const farewell = (): void => {
      // Behind an answer that is on its way, another one would be taken for a part of it.
      if (!socket.writable || (connections.get(socket)?.isBusy ?? false)) {
        socket.destroy()
        return
      }
      const [status, detail] = faultOf(error)
      counters.answered(status)
      socket.end(rawProblem(status, detail))
      socket.resume()
    }
    const fail = faults.get(socket)
    if (fail === undefined) socket.destroy()
    else fail(error.message, farewell)
  })

  return {
    accept(socket, visit) {
      const connection = new HttpConnection(context, socket, visit)
      if (isStopped) connection.stop()
      connections.set(socket, connection)
      faults.set(socket, (detail, farewell) => visit.failed(detail, farewell))
      socket.once('close', () => connections.delete(socket))
      server.emit('connection', socket)
    },
    stopAccepting() {
      isStopped = true
      for (const connection of connections.values()) connection.stop()
    },
    acceptAgain() {
      isStopped = false
      for (const connection of connections.values()) connection.goOn()
    },
  }
}

function faultOf({ code }: NodeJS.ErrnoException): [ProblemStatus, string] {
  return code === 'HPE_HEADER_OVERFLOW'
    ? [431, 'the headers are too long']
    : [400, 'this is not HTTP/1.1 as RFC 9112 has it']
}
