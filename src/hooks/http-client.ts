import { readFile } from 'node:fs/promises'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { ClientTls } from '../config/client-tls-schema.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/**
 * Why there is no answer. `connection`: the other side has not had the request, and somebody else may be asked.
 * `queued`: it has waited for a connection for most of its time, which says nothing about the other side.
 */
export type HttpFault = 'connection' | 'timeout' | 'queued' | 'broken-off' | 'too-large'

export class HttpFailure extends Error {
  readonly fault: HttpFault
  /** On a kept connection, which the other side may have closed just now. */
  readonly wasKept: boolean
  override name = 'HttpFailure'

  constructor(fault: HttpFault, message: string, wasKept = false) {
    super(message)
    this.fault = fault
    this.wasKept = wasKept
  }
}

export interface HttpClientOptions {
  /** To each host; further requests wait, under their deadline. */
  readonly maxSockets: number
  readonly keepAliveMs: number
  /** From the call to the last byte of the answer. */
  readonly timeoutMs: number
  readonly maxResponseBytes: number
  /** Names of files. */
  readonly tls?: ClientTls | undefined
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

export interface HttpResponse {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

/** Requests to a few hosts over connections that are kept. Redirects are answers like others. */
export interface HttpClient {
  /** Rejects with {@link HttpFailure}. */
  request(url: URL, request: HttpRequest): Promise<HttpResponse>
  /** Certificates are read again. Rejects with TMQ_FILE; those from before then stay. */
  reload(): Promise<void>
  /** Ends what is under way. */
  close(): void
}

/** So many kept connections may turn out to be gone, one after the other. */
const MAX_KEPT_TRIES = 3

interface TlsMaterial {
  readonly ca?: Buffer
  readonly cert?: Buffer
  readonly key?: Buffer
  readonly passphrase?: string
  readonly servername?: string
}

/** Rejects with TMQ_FILE when a certificate cannot be read. */
export async function createHttpClient(options: HttpClientOptions): Promise<HttpClient> {
  const pool = { keepAlive: true, maxSockets: options.maxSockets, timeout: options.keepAliveMs }
  const plain = new HttpAgent(pool)
  let secure = new HttpsAgent({ ...pool, ...(await readTls(options.tls)) })

  async function request(url: URL, asked: HttpRequest): Promise<HttpResponse> {
    const untilMs = performance.now() + options.timeoutMs
    for (let tries = 1; ; tries++) {
      try {
        return await send(url, asked, url.protocol === 'https:' ? secure : plain, { ...options, untilMs })
      } catch (error) {
        if (!(error instanceof HttpFailure && error.wasKept) || tries === MAX_KEPT_TRIES) throw error
      }
    }
  }

  return {
    request,
    async reload() {
      if (options.tls === undefined) return
      const before = secure
      secure = new HttpsAgent({ ...pool, ...(await readTls(options.tls)) })
      // Those under way end by themselves: without keep-alive their sockets are not used again.
      for (const sockets of Object.values(before.freeSockets))
        for (const socket of sockets ?? []) socket.destroy()
    },
    close() {
      plain.destroy()
      secure.destroy()
    },
  }
}

async function readTls({ ca, cert, key, passphrase, servername }: ClientTls = {}): Promise<TlsMaterial> {
  return {
    ...(ca !== undefined && { ca: await read(ca) }),
    ...(cert !== undefined && { cert: await read(cert) }),
    ...(key !== undefined && { key: await read(key) }),
    ...(passphrase !== undefined && { passphrase }),
    ...(servername !== undefined && { servername }),
  }
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new TunnelMQError(ErrorCode.file, `${file}: cannot be read: ${why}`, { cause: error })
  }
}

function send(
  url: URL,
  { method, headers, body }: HttpRequest,
  agent: HttpAgent | HttpsAgent,
  { timeoutMs, untilMs, maxResponseBytes }: HttpClientOptions & { readonly untilMs: number },
): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const isSecure = url.protocol === 'https:'
    const content = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const request = (isSecure ? httpsRequest : httpRequest)(url, {
      method,
      agent,
      headers: { ...headers, ...content },
    })
    // Until then the other side cannot have had anything of it.
    let isConnected = false
    let sentAtMs = Infinity
    request.once('socket', (socket) => {
      sentAtMs = performance.now()
      if (request.reusedSocket || !socket.connecting) isConnected = true
      else socket.once(isSecure ? 'secureConnect' : 'connect', () => (isConnected = true))
    })
    let isAnswered = false
    const fail = (fault: HttpFault, message: string, wasKept = false): void => {
      clearTimeout(timer)
      reject(new HttpFailure(fault, message, wasKept))
      request.destroy()
    }
    const timer = setTimeout(
      () => {
        if (sentAtMs >= untilMs - timeoutMs / 2)
          fail('queued', `no answer within ${timeoutMs} ms, as too many others were asked before`)
        else if (isConnected) fail('timeout', `no answer within ${timeoutMs} ms`)
        else fail('connection', `no connection within ${timeoutMs} ms`)
      },
      Math.max(0, untilMs - performance.now()),
    )
    request.on('error', (error) => {
      const wasKept = request.reusedSocket && !isAnswered
      fail(isConnected && !wasKept ? 'broken-off' : 'connection', error.message, wasKept)
    })
    request.once('response', (response) => {
      isAnswered = true
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > maxResponseBytes) fail('too-large', `the answer is longer than ${maxResponseBytes} bytes`)
        else chunks.push(chunk)
      })
      response.once('error', (error) => fail('broken-off', error.message))
      response.once('close', () => {
        if (!response.complete) fail('broken-off', 'the answer was broken off')
      })
      response.once('end', () => {
        clearTimeout(timer)
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) })
      })
    })
    request.end(body)
  })
}
