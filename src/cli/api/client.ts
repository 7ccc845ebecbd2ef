import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { apiFailure, connectFailure } from './failure.ts'
import type { ApiPlace, ApiTarget } from './target.ts'

const TIMEOUT_MS = 30_000
/** A retained message of the largest packet of MQTT, as base64 in JSON. */
const MAX_ANSWER_BYTES = 400 * 1_048_576

export interface ApiRequest {
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly body?: unknown
  /** Of the record that is changed: refused if it has another one by now. */
  readonly revision?: number | undefined
  /** Beyond the ordinary deadline. */
  readonly waitMs?: number
  readonly signal?: AbortSignal
}

/** The API of a broker, asked by a command. */
export interface ApiClient {
  readonly target: ApiTarget
  /** Pods that have not answered what was asked so far. */
  readonly missingPods: ReadonlySet<string>
  /** `path` behind /api/v1, its parts encoded. Rejects with a TunnelMQError, or a CommandFailure for 404. */
  ask<Answer>(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    request?: ApiRequest,
  ): Promise<Answer>
  /** GET; undefined: 404. */
  find<Answer>(path: string, request?: ApiRequest): Promise<Answer | undefined>
  /** For what answers with nothing; false: 404. */
  act(method: 'POST' | 'DELETE', path: string, request?: ApiRequest): Promise<boolean>
}

/** `pod`: asks this one alone. */
export function createApiClient(target: ApiTarget, pod: string | undefined): ApiClient {
  const missingPods = new Set<string>()

  async function send(method: string, path: string, request: ApiRequest): Promise<Answered> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS + (request.waitMs ?? 0))
    const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal])
    try {
      const { body, revision } = request
      const words = { method, path: pathOf(target, path, request, pod), body, revision, key: target.key }
      const answered = await exchange(target, words, signal)
      for (const name of answered.missingPods) missingPods.add(name)
      return answered
    } catch (error) {
      if (request.signal?.aborted) throw error
      throw connectFailure(target, timeout.aborted ? new Error('no answer in time') : error)
    }
  }

  return {
    target,
    missingPods,
    async ask<Answer>(method: string, path: string, request: ApiRequest = {}) {
      const answered = await send(method, path, request)
      if (answered.status >= 300) throw apiFailure(target, answered)
      return thing(target, answered) as Answer
    },
    async find<Answer>(path: string, request: ApiRequest = {}) {
      const answered = await send('GET', path, request)
      if (isNotThere(answered)) return undefined
      if (answered.status >= 300) throw apiFailure(target, answered)
      return thing(target, answered) as Answer
    },
    async act(method, path, request = {}) {
      const answered = await send(method, path, request)
      if (answered.status >= 300 && !isNotThere(answered)) throw apiFailure(target, answered)
      return answered.status < 300
    },
  }
}

/** JSON of a path that needs no key: `/live`. Rejects when there is none. */
export async function askHealth(place: ApiPlace, path: string, timeoutMs: number): Promise<unknown> {
  const answered = await exchange(place, { method: 'GET', path }, AbortSignal.timeout(timeoutMs))
  return parsed(place, answered)
}

/** Said by the API, and not by a server that knows none. */
function isNotThere({ status, isProblem }: Answered): boolean {
  return status === 404 && isProblem
}

/** What came back. */
export interface Answered {
  readonly status: number
  readonly isProblem: boolean
  readonly text: string
  readonly missingPods: readonly string[]
}

function pathOf(
  { url }: ApiTarget,
  path: string,
  { query = {} }: ApiRequest,
  pod: string | undefined,
): string {
  const words = Object.entries({ ...query, pod }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
  )
  const prefix = url.pathname.replace(/\/$/, '')
  return `${prefix}/api/v1${path}${words.length === 0 ? '' : `?${words.join('&')}`}`
}

interface Words {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly revision?: number | undefined
  readonly key?: string
}

/** Not `fetch`: that cannot be given a CA, or a certificate to compare. */
async function exchange(place: ApiPlace, words: Words, signal: AbortSignal): Promise<Answered> {
  const { method, path, body, revision, key } = words
  const socket = await connect(place, signal)
  try {
    const request = httpRequest({
      createConnection: () => socket,
      method,
      path,
      signal,
      headers: {
        host: place.url.host,
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
        ...(revision !== undefined && { 'if-match': `"${revision}"` }),
        accept: 'application/json',
        connection: 'close',
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
    })
    request.end(body === undefined ? undefined : JSON.stringify(body))
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const missing = response.headers['x-tunnelmq-missing-pods']
    return {
      status: response.statusCode ?? 0,
      isProblem: response.headers['content-type']?.startsWith('application/problem+json') ?? false,
      text: await textOf(response),
      missingPods: String(missing ?? '')
        .split(/[\s,]+/)
        .filter((name) => name !== ''),
    }
  } finally {
    socket.destroy()
  }
}

/** Nothing is sent, and no key, before it is known who is at the other end. */
async function connect({ url, ca, certificate }: ApiPlace, signal: AbortSignal): Promise<Socket> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isTls = url.protocol === 'https:'
  const port = url.port === '' ? (isTls ? 443 : 80) : Number(url.port)
  if (!isTls) {
    const socket = connectTcp({ host, port })
    await established(socket, 'connect', signal)
    return socket
  }
  const socket = connectTls({
    host,
    port,
    ...(/[a-z]/i.test(host) && !host.includes(':') && { servername: host }),
    ...(ca && { ca }),
    // It is compared below.
    rejectUnauthorized: certificate === undefined,
  })
  await established(socket, 'secureConnect', signal)
  if (certificate !== undefined) {
    const seen = socket.getPeerX509Certificate()?.fingerprint256
    if (seen !== new X509Certificate(certificate).fingerprint256) {
      socket.destroy()
      throw new Error('it shows another certificate than admin.tls.cert; was that renewed a moment ago?')
    }
  }
  return socket
}

async function established(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  try {
    await once(socket, event, { signal })
    // An error between two requests of ours has nobody to tell; the request reports its own.
    socket.on('error', () => undefined)
  } catch (error) {
    socket.on('error', () => undefined).destroy()
    throw error
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function parsed(place: ApiPlace, { text }: Answered): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    throw notOurs(place, error)
  }
}

/** What the API answers with, wherever it has something to say: an object or a list. */
function thing(place: ApiPlace, answered: Answered): object {
  const answer = parsed(place, answered)
  if (typeof answer !== 'object' || answer === null) throw notOurs(place, undefined)
  return answer
}

function notOurs({ url }: ApiPlace, cause: unknown): TunnelMQError {
  const message = `what answers at ${url.origin} is not the API of TunnelMQ: is this its admin port?`
  return new TunnelMQError(ErrorCode.unreachable, message, { cause })
}
