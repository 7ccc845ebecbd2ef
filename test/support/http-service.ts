import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface ServiceCall {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Of the connection that it came over. */
  readonly port: number
}

/** `hang`: never; `reset`: the connection is cut instead. Without a status: 200. */
export type ServiceReply =
  | 'hang'
  | 'reset'
  | { readonly status?: number; readonly headers?: Record<string, string>; readonly body: string | object }

/** An HTTP server in the hands of the test. */
export interface HttpService {
  readonly url: string
  readonly calls: ServiceCall[]
  /** Connections that it was given, since the start. */
  readonly connectionCount: number
  reply: (call: ServiceCall) => ServiceReply | Promise<ServiceReply>
  /** The port is free afterwards, and nobody is there. */
  stop(): Promise<void>
  /** On the same port again. */
  start(): Promise<void>
}

/** Stopped when the test ends, or by who shares it with a whole file. */
export async function startHttpService(
  reply: HttpService['reply'],
  life: 'of the test' | 'of the file' = 'of the test',
): Promise<HttpService> {
  let server: Server | undefined
  let port = 0
  let connectionCount = 0
  const sockets = new Set<Socket>()

  const service: HttpService = {
    get url() {
      return `http://127.0.0.1:${port}/hook`
    },
    get connectionCount() {
      return connectionCount
    },
    calls: [],
    reply,
    async start() {
      const made = createServer((request, response) => {
        const chunks: Buffer[] = []
        request.on('data', (chunk: Buffer) => chunks.push(chunk))
        request.on('end', () => {
          const { url = '', headers } = request
          const body = Buffer.concat(chunks).toString()
          const call = { path: url, headers, body, port: request.socket.remotePort ?? 0 }
          service.calls.push(call)
          void Promise.resolve(service.reply(call)).then((answer) => {
            if (answer === 'hang') return
            if (answer === 'reset') {
              request.socket.destroy()
              return
            }
            const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body)
            response.writeHead(answer.status ?? 200, answer.headers).end(text)
          })
        })
      })
      made.on('connection', (socket) => {
        connectionCount++
        sockets.add(socket)
        socket.on('close', () => sockets.delete(socket))
      })
      await new Promise<void>((resolve) => made.listen(port, '127.0.0.1', resolve))
      port = (made.address() as AddressInfo).port
      server = made
    },
    async stop() {
      const closed = new Promise<void>((resolve) =>
        server === undefined ? resolve() : server.close(() => resolve()),
      )
      for (const socket of sockets) socket.destroy()
      await closed
      server = undefined
    },
  }
  await service.start()
  if (life === 'of the test') onTestFinished(() => service.stop())
  return service
}
