import type { Duplex } from 'node:stream'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { AgentDirectory, type AgentListener } from './directory.ts'
import { silentOwner, type Channel } from './endpoint/channel.ts'
import { parseDestination, type Destination } from './endpoint/checked-name.ts'
import { Endpoint } from './endpoint/endpoint.ts'
import { Opener } from './endpoint/opener.ts'
import { Pipe, type PipeEnd } from './endpoint/pipe.ts'
import { resetSocket } from './endpoint/socket-end.ts'
import { TunnelStream } from './endpoint/tunnel-stream.ts'
import { startForward, type Forward, type ForwardOptions } from './forward.ts'
import type { Link } from './link/link.ts'
import { silentLog, type TunnelLog } from './log.ts'
import { MAX_ADDRESS_CHARS, type OpenSource } from './protocol/open-payload.ts'
import { ResetCode } from './protocol/reset-code.ts'
import type { Streams } from './protocol/streams.ts'
import type { AgentInfo } from './status.ts'
import { TunnelError } from './tunnel-error.ts'

export interface ClientSettings {
  /** Streams that may be on their way to be opened at once. Default 1,000. */
  readonly maxOpening?: number
  /** Default: silent. */
  readonly log?: TunnelLog
}

export interface ClientParts {
  readonly link: Link
  readonly streams: Streams
}

export interface OpenOptions {
  /** Gives up; the promise rejects with its reason. */
  readonly signal?: AbortSignal
  /** The TCP connection for which this is done; the agent does not believe it (docs/tunnel-protocol.md 5.6). */
  readonly source?: OpenSource
}

export interface CarryOptions {
  readonly source?: OpenSource | undefined
  /** The target is connected. */
  opened?(channel: Channel): void
  /** It was not opened; the socket is reset. */
  failed?(error: TunnelError): void
  /** It was open, and has ended. */
  ended?(end: PipeEnd, channel: Channel): void
}

/** A client: opens streams to the services of agents. It comes back by itself when its broker was away. */
export interface TunnelClient {
  readonly id: string
  readonly isConnected: boolean
  /** Streams that are open or being opened. */
  readonly streams: number
  /** Resolves when it is connected; rejects with TMQ_UNREACHABLE after the time. */
  connected(timeoutMs?: number): Promise<void>
  /**
   * A stream to `agent/service`, as a Duplex, once its target is connected.
   * Rejects with a {@link TunnelError} that says what was in the way.
   */
  openStream(to: string, options?: OpenOptions): Promise<TunnelStream>
  /** A local port, or unix socket, each connection to which is carried to `to`. */
  forward(options: ForwardOptions): Promise<Forward>
  /** Agents by their retained status, sorted by name. */
  agents(timeoutMs?: number): Promise<AgentInfo[]>
  /** What is known now, and each change; returns the function that ends it. */
  watchAgents(listener: AgentListener): () => void
  /** Ends forwards and streams; what has ended in order is delivered first, within `graceMs`. */
  close(graceMs?: number): Promise<void>
}

const MAX_OPENING = 1_000
const CONNECT_TIMEOUT_MS = 30_000
const GRACE_MS = 1_000

/** The client's end of a link. */
export class ClientEndpoint implements TunnelClient {
  readonly id: string
  readonly #log: TunnelLog
  readonly #endpoint: Endpoint
  readonly #directory: AgentDirectory
  readonly #opener: Opener
  readonly #forwards = new Set<Forward>()
  #wasLost = false
  #closed: Promise<void> | undefined

  constructor(settings: ClientSettings, { link, streams }: ClientParts) {
    this.id = link.name
    this.#log = settings.log ?? silentLog
    this.#directory = new AgentDirectory(link)
    this.#endpoint = new Endpoint({
      link,
      streams,
      log: this.#log,
      up: () => {
        this.#directory.forgetLookups()
        // Who was told of the loss wants to hear of its end.
        this.#log[this.#wasLost ? 'warn' : 'info']({ client: this.id }, 'tunnel client connected')
      },
      down: (reason) => {
        this.#directory.forgetLookups()
        this.#wasLost = true
        this.#log.warn({ client: this.id, reason }, 'tunnel client lost its connection')
      },
      status: (agent, payload) => this.#directory.told(agent, payload),
    })
    this.#opener = new Opener({
      link,
      endpoint: this.#endpoint,
      directory: this.#directory,
      maxOpening: settings.maxOpening ?? MAX_OPENING,
    })
  }

  get isConnected(): boolean {
    return this.#endpoint.isUp
  }

  get streams(): number {
    return this.#endpoint.streamCount
  }

  connected(timeoutMs = CONNECT_TIMEOUT_MS): Promise<void> {
    return this.#endpoint.untilUp(timeoutMs)
  }

  async openStream(to: string, { signal, source }: OpenOptions = {}): Promise<TunnelStream> {
    const destination = parseDestination(to)
    this.#mustBeOpen()
    // It may come from a header that somebody else has written.
    if (source !== undefined && source.address.length > MAX_ADDRESS_CHARS)
      throw new TunnelMQError(
        ErrorCode.usage,
        `source.address is longer than ${MAX_ADDRESS_CHARS} characters`,
      )
    signal?.throwIfAborted()
    return await new Promise<TunnelStream>((resolve, reject) => {
      const giveUp = (): void => channel.fail(ResetCode.reset, 'the client has given up')
      const channel = this.#opener.start(destination, source, (opening, attempt) => {
        const over = (): void => {
          attempt.over()
          signal?.removeEventListener('abort', giveUp)
        }
        return {
          ...silentOwner,
          accepted: () => {
            over()
            resolve(new TunnelStream(opening, to))
          },
          reset: (code, reason, by) => {
            over()
            if (signal?.aborted) reject(signal.reason as Error)
            else void attempt.explain({ code, reason, by }).then(reject)
          },
        }
      })
      signal?.addEventListener('abort', giveUp, { once: true })
    })
  }

  /** Joins a socket that was accepted, which must allow half-open, to a new stream; bytes may go with the OPEN. */
  carry(socket: Duplex, to: Destination, options: CarryOptions = {}): void {
    try {
      this.#mustBeOpen()
      this.#opener.start(to, options.source, (channel, attempt) => {
        let isOpen = false
        return new Pipe(channel, socket, {
          accepted: () => {
            isOpen = true
            attempt.over()
            options.opened?.(channel)
          },
          ended: (end) => {
            attempt.over()
            if (isOpen || end.kind === 'closed') options.ended?.(end, channel)
            else void attempt.explain(end).then((error) => options.failed?.(error))
          },
        })
      })
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error
      resetSocket(socket)
      options.failed?.(error)
    }
  }

  /**
   * As {@link carry}, for a socket whose other end is told how it went: it is paused, and read when the stream is open,
   * behind `first`; when it never is, it is left as it is. Returns what gives up.
   * @throws {TunnelError} when it is known already that it cannot be opened.
   */
  carryWhenOpen(
    socket: Duplex,
    to: Destination,
    options: CarryOptions & { readonly first?: Buffer | undefined },
  ): () => void {
    this.#mustBeOpen()
    const opening = this.#opener.start(to, options.source, (channel, attempt) => ({
      ...silentOwner,
      accepted: () => {
        attempt.over()
        options.opened?.(channel)
        if (options.first !== undefined) channel.write(options.first)
        channel.owner = new Pipe(channel, socket, { ended: (end) => options.ended?.(end, channel) })
        socket.resume()
      },
      reset: (code, reason, by) => {
        attempt.over()
        void attempt.explain({ code, reason, by }).then((error) => options.failed?.(error))
      },
    }))
    return () => opening.fail(ResetCode.reset, 'the client has given up')
  }

  async forward(options: ForwardOptions): Promise<Forward> {
    const forward = await startForward(options, {
      log: this.#log,
      carry: (socket, to, carryOptions) => this.carry(socket, to, carryOptions),
      closed: (ended) => void this.#forwards.delete(ended),
    })
    this.#forwards.add(forward)
    if (this.#closed !== undefined) await forward.close()
    return forward
  }

  agents(timeoutMs?: number): Promise<AgentInfo[]> {
    return this.#directory.list(timeoutMs)
  }

  watchAgents(listener: AgentListener): () => void {
    return this.#directory.watch(listener)
  }

  close(graceMs = GRACE_MS): Promise<void> {
    return (this.#closed ??= this.#close(graceMs))
  }

  async #close(graceMs: number): Promise<void> {
    await Promise.all([...this.#forwards].map((forward) => forward.close()))
    await this.#endpoint.settle(graceMs)
    await this.#endpoint.close(ResetCode.shutdown, 'the client stops', graceMs)
  }

  #mustBeOpen(): void {
    if (this.#closed !== undefined) throw new TunnelError(ResetCode.shutdown, `client ${this.id} is closed`)
  }
}
