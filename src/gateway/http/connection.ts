import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { DoorError, type DoorClient, type OpenDoorClient } from '../../broker/door/contract.ts'
import type { ListenerProfile } from '../../broker/listener-profile.ts'
import type { AdmissionRefusal } from '../../listeners/admission.ts'
import { refusalStatus, type HttpVisit } from '../../listeners/http-visit.ts'
import type { Peer } from '../../peer.ts'
import { checkBodyHead, readBody, throwAway, type BodyBounds } from './body.ts'
import type { Cors } from './cors.ts'
import { credentialsOf, Fingerprint } from './credentials.ts'
import { EventStream } from './event-stream.ts'
import { ALLOW, HttpProblem, problemBody, problemHeaders, problemOf, setSafetyHeaders } from './problem.ts'
import { isBelow, METHODS, parseRequest, type HttpAsk } from './request.ts'
import { contentTypeOf, describedBy } from './retained-answer.ts'

export interface HttpContext {
  readonly path: string
  readonly body: BodyBounds
  readonly idleTimeoutMs: number
  /** From an answer's last byte for a reader that takes nothing, to the end. */
  readonly drainTimeoutMs: number
  readonly maxTopicBytes: number
  readonly cors: Cors
  readonly openClient: OpenDoorClient
  readonly profile: ListenerProfile
  /** Takes one more event stream; false: there are too many. */
  addStream(stream: EventStream): boolean
  removeStream(stream: EventStream): void
  answered(status: number): void
  /** A bug. */
  failed(error: unknown): void
}

/** Requests that a client may send ahead of their answers. */
const MAX_PIPELINED_COUNT = 16

/**
 * One connection of HTTP/1.1: its requests, one after the other, as requests of one client of the broker for as long as
 * they bring the same credentials.
 *
 *   idle ──request──▶ busy ──answer──▶ idle   (the last answer, or a deadline ──▶ closed)
 */
export class HttpConnection {
  readonly #context: HttpContext
  readonly #socket: Socket
  readonly #visit: HttpVisit
  #client: { readonly door: DoorClient; readonly fingerprint: Fingerprint } | undefined
  /** Of the client that was opened last. */
  #lastAddress: string | undefined
  /** It has been asked for credentials, once. */
  #wasAsked = false
  #stream: EventStream | undefined
  #turn: Promise<void> = Promise.resolve()
  #waitingCount = 0
  /** This answer is the last. */
  #isLast = false
  /** The listener accepts no more. */
  #isStopping = false
  #deadline: NodeJS.Timeout | undefined

  constructor(context: HttpContext, socket: Socket, visit: HttpVisit) {
    this.#context = context
    this.#socket = socket
    this.#visit = visit
    socket.once('close', () => this.#closed())
  }

  /** An answer is on its way, or being thought of. */
  get isBusy(): boolean {
    return this.#waitingCount > 0
  }

  /** No further request is taken. */
  stop(): void {
    this.#isStopping = true
    // Of the client that is here the broker says when it has to go.
    if (this.#waitingCount === 0 && this.#client === undefined) this.#socket.end()
  }

  goOn(): void {
    this.#isStopping = false
  }

  request(request: IncomingMessage, response: ServerResponse): void {
    clearTimeout(this.#deadline)
    if (++this.#waitingCount > MAX_PIPELINED_COUNT) {
      this.#socket.destroy()
      return
    }
    // In their order, also those that came ahead of an answer.
    this.#turn = this.#turn
      .then(() => this.#answer(request, response))
      .catch((error: unknown) => {
        this.#context.failed(error)
        this.#socket.destroy()
      })
      .finally(() => {
        if (--this.#waitingCount === 0) this.#idle()
      })
  }

  #idle(): void {
    if (this.#isStopping && this.#client === undefined) this.#socket.end()
    this.#within(this.#context.idleTimeoutMs)
  }

  #within(ms: number): void {
    clearTimeout(this.#deadline)
    if (!this.#socket.destroyed) this.#deadline = setTimeout(() => this.#socket.destroy(), ms)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#socket.destroyed) return
    setSafetyHeaders(response)
    let phase: 'connect' | 'request' = 'connect'
    try {
      const peer = this.#identify(request)
      const ask = this.#read(request, response)
      if (ask !== undefined) {
        const client = await this.#clientFor(request, ask, peer)
        phase = 'request'
        await this.#serve(ask, client, request, response)
      }
    } catch (error) {
      await this.#refuse(error, phase, request, response)
    }
    await this.#sent(response)
  }

  /** Whose request it is. */
  #identify({ headers }: IncomingMessage): Peer {
    const forwardedFor = headers['x-forwarded-for']
    const verdict = this.#visit.identify(Array.isArray(forwardedFor) ? forwardedFor.join() : forwardedFor)
    if ('peer' in verdict) return verdict.peer
    throw this.#turnedAway(verdict.refusal)
  }

  #turnedAway(refusal: AdmissionRefusal): HttpProblem {
    this.#isLast = true
    return new HttpProblem(refusalStatus(refusal), 'too many connections, or too many refused credentials')
  }

  /** What needs nobody's word: undefined when it is answered by that alone. */
  #read(request: IncomingMessage, response: ServerResponse): HttpAsk | undefined {
    const { cors, path, body, maxTopicBytes } = this.#context
    const method = METHODS.find((known) => known === request.method)
    if (!cors.allow(request, response) && method !== 'OPTIONS')
      throw new HttpProblem(403, 'the origin is not allowed (http.allowedOrigins)')
    const target = request.url ?? ''
    if (method === undefined) {
      response.setHeader('Allow', ALLOW)
      throw new HttpProblem(405, `methods are ${ALLOW}`)
    }
    if (method === 'OPTIONS') {
      this.#options(target, request, response)
      return undefined
    }
    const ask = parseRequest({ method, target, path, accept: request.headers.accept })
    if (ask.topics.some((topic) => Buffer.byteLength(topic) > maxTopicBytes))
      throw new HttpProblem(414, `a topic has at most ${maxTopicBytes} bytes`)
    if (ask.kind === 'publish') checkBodyHead(request, body)
    if ((request.headersDistinct['authorization']?.length ?? 0) > 1)
      throw new HttpProblem(400, 'more than one Authorization header')
    return ask
  }

  #options(target: string, request: IncomingMessage, response: ServerResponse): void {
    if (!isBelow(target, this.#context.path)) throw new HttpProblem(404, 'no such path')
    this.#context.cors.preflight(request, response)
    response.setHeader('Allow', ALLOW)
    this.#head(response, 204).end()
  }

  /** The client of the last request, or a new one when it was another's. */
  async #clientFor(request: IncomingMessage, { clientId }: HttpAsk, peer: Peer): Promise<DoorClient> {
    const { authorization } = request.headers
    const fingerprint = new Fingerprint(authorization, clientId, peer.address)
    if (this.#client?.door.isOpen === true && this.#client.fingerprint.equals(fingerprint))
      return this.#client.door
    this.#client?.door.close()
    this.#client = undefined
    if (this.#isStopping) throw new HttpProblem(503, 'the broker is stopping')
    // That of another address has been asked for with its request.
    const refusal = this.#lastAddress === peer.address ? this.#visit.another() : undefined
    if (refusal !== undefined) throw this.#turnedAway(refusal)
    this.#lastAddress = peer.address
    try {
      const { profile, openClient } = this.#context
      const door = await openClient(
        {
          door: 'http',
          profile,
          peer,
          ...credentialsOf(authorization),
          ...(clientId !== undefined && { clientId }),
        },
        {
          message: (message, taken) =>
            this.#stream === undefined ? taken() : this.#stream.message(message, taken),
          revoked: (_filters, reason) => this.#revoked(reason),
          closed: (reason) => this.#clientGone(door, reason),
        },
      )
      this.#client = { door, fingerprint }
      if (this.#socket.destroyed) door.close()
      return door
    } catch (error) {
      // A guess on each connection, as in MQTT. Who has shown nothing is about to, but not for ever.
      if (authorization !== undefined || this.#wasAsked) this.#isLast = true
      this.#wasAsked = true
      throw error
    }
  }

  async #serve(
    ask: HttpAsk,
    client: DoorClient,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { qos, retain, topics } = ask
    const topic = topics[0]!
    switch (ask.kind) {
      case 'publish': {
        // Only now: nobody's body is read before he is let in.
        if (request.headers.expect !== undefined) response.writeContinue()
        const payload = await readBody(request, this.#context.body)
        const description = describedBy(request, ask.description)
        await client.publish({ topic, payload, qos, retain, ...description })
        this.#head(response, 204).end()
        return
      }
      case 'delete':
        await client.publish({ topic, payload: Buffer.alloc(0), qos, retain })
        this.#head(response, 204).end()
        return
      case 'read': {
        const found = await client.read(topic)
        if (found === undefined) throw new HttpProblem(404, 'no retained message')
        response.setHeader(
          'Content-Type',
          contentTypeOf(found.payload, request.headers.accept, found.properties?.contentType),
        )
        response.setHeader('Content-Length', found.payload.length)
        response.appendHeader('Vary', 'Accept')
        this.#head(response, 200).end(found.payload)
        return
      }
      case 'stream':
        await this.#serveStream(topics, ask, client, response)
        return
      default:
        return ask.kind satisfies never
    }
  }

  async #serveStream(
    filters: readonly string[],
    { qos }: HttpAsk,
    client: DoorClient,
    response: ServerResponse,
  ): Promise<void> {
    const stream = new EventStream(response, () => this.#client?.door)
    if (!this.#context.addStream(stream)) throw new HttpProblem(503, 'too many event streams')
    // It ends with the connection, and the subscription with it.
    this.#isLast = true
    this.#stream = stream
    try {
      await client.subscribe(filters.map((filter) => ({ filter, qos })))
      stream.begin()
      this.#context.answered(200)
      if (!client.isOpen) stream.end(new DoorError('gone', 'closed'))
      await new Promise<void>((resolve) => {
        if (response.closed || response.writableEnded) resolve()
        else response.once('close', resolve).once('finish', resolve)
      })
    } finally {
      this.#stream = undefined
      this.#context.removeStream(stream)
    }
  }

  /** Of filters of the stream: half of it would look like all of it. */
  #revoked(reason: DoorError): void {
    const wasOpen = this.#stream?.isOpen === true
    this.#stream?.end(reason)
    if (wasOpen) this.#within(this.#context.drainTimeoutMs)
  }

  /** The broker has ended it: a stream says why; else the next request is told, or the socket ends. */
  #clientGone(door: DoorClient, reason: DoorError): void {
    if (this.#client?.door !== door) return
    this.#client = undefined
    if (this.#stream !== undefined) {
      this.#stream.end(reason)
      this.#within(this.#context.drainTimeoutMs)
    } else if (reason.failure === 'unavailable' && this.#waitingCount === 0) this.#socket.end()
  }

  async #refuse(
    error: unknown,
    phase: 'connect' | 'request',
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    let problem = problemOf(error, phase)
    if (problem === undefined) {
      this.#context.failed(error)
      problem = new HttpProblem(500, 'internal error')
    }
    if (response.headersSent) {
      this.#socket.destroy()
      return
    }
    const hasMore = !request.complete
    this.#isLast ||= hasMore
    const body = problemBody(problem.status, problem.message)
    this.#head(response, problem.status, {
      ...problemHeaders(problem.status),
      'Content-Length': Buffer.byteLength(body),
    })
    if (hasMore) {
      // The whole answer first, so that it is there whatever becomes of the rest.
      if (request.method !== 'HEAD') response.write(body)
      await throwAway(request)
      response.end()
    } else response.end(body)
  }

  #head(response: ServerResponse, status: number, headers: OutgoingHttpHeaders = {}): ServerResponse {
    if (this.#isLast || this.#isStopping) response.setHeader('Connection', 'close')
    this.#context.answered(status)
    return response.writeHead(status, headers)
  }

  /** The answer is in the hands of the system; a client that does not take it is given up. */
  async #sent(response: ServerResponse): Promise<void> {
    if (response.writableFinished || response.closed) return
    this.#within(this.#context.drainTimeoutMs)
    await new Promise<void>((resolve) => response.once('close', resolve).once('finish', resolve))
  }

  #closed(): void {
    clearTimeout(this.#deadline)
    this.#client?.door.close()
    this.#client = undefined
  }
}
