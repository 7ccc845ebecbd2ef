import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { splitHostPort } from '../config/network-names.ts'
import type { TunnelListenConfig } from '../config/tunnel-schema.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { listenAdvice } from '../listeners/bind.ts'
import { canonicalAddress, createCidrList } from '../listeners/cidr.ts'
import { DEFAULT_MAX_HEADER_BYTES } from '../listeners/proxy-protocol.ts'
import { readProxyHeader } from '../listeners/proxy-reader.ts'
import type { Log } from '../log.ts'
import type { ClientEndpoint } from '../tunnel/client.ts'
import { parseDestination } from '../tunnel/endpoint/checked-name.ts'
import { resetSocket } from '../tunnel/endpoint/socket-end.ts'
import type { OpenSource } from '../tunnel/protocol/open-payload.ts'

export interface TunnelPortOptions {
  readonly config: TunnelListenConfig
  /** Where it stands in the configuration: `tunnel.listen.0`. */
  readonly entry: string
  readonly client: Pick<ClientEndpoint, 'carry'>
  /** By admission: too many of its credentials were refused. */
  readonly isBanned: (address: string) => boolean
  /** A connection was not let in. */
  readonly refused?: ((refusal: RefusedPortConnection) => void) | undefined
  readonly log: Log
}

export interface RefusedPortConnection {
  readonly bind: string
  /** As far as it was known. */
  readonly address: string
  readonly reason: string
}

/** An entry of `tunnel.listen`: a TCP port, each connection to which is a stream to one service of one agent. */
export interface TunnelPort {
  readonly bind: string
  readonly port: number
  readonly to: string
  readonly connectionCount: number
  /** Frees the address, and puts out who has not sent its PROXY header yet. */
  stopAccepting(): void
  /** After {@link stopAccepting}: on the same port. Rejects with TMQ_LISTEN when somebody else has it by now. */
  acceptAgain(): Promise<void>
  /** As {@link stopAccepting}, and resets the connections; resolves when the last socket is closed. */
  close(): Promise<void>
}

/** As for the listeners of MQTT. */
const PROXY_HEADER_TIMEOUT_MS = 5_000
const TCP_KEEPALIVE_MS = 60_000
/** Waiting in the kernel for us to accept. */
const BACKLOG = 4_096

type Refusal = 'max-connections' | 'proxy-header' | 'proxy-header-timeout' | 'banned' | 'address-not-allowed'

/** @throws {TunnelMQError} TMQ_LISTEN, naming the entry, the address and what to do. */
export async function openTunnelPort(options: TunnelPortOptions): Promise<TunnelPort> {
  const { config, entry, log } = options
  const door = new Door(options)
  const { bind, to } = config
  /** Of each server that was opened: once it does not listen, and its last socket is closed. */
  const closed: Promise<void>[] = []
  let state: 'accepting' | 'stopped' | 'closed' = 'accepting'
  let server = createPortServer()
  const port = await listen(server, config, entry)
  serve(server)

  function serve(opened: Server): void {
    opened.on('connection', (socket) => door.enter(socket))
    opened.on('error', (error) => log.error({ err: error, bind, to }, 'tunnel port cannot accept'))
    closed.push(new Promise((resolve) => opened.once('close', resolve)))
  }
  log.info({ bind, port, to, mountpoint: config.mountpoint }, 'tunnel port listening')

  function stopAccepting(): void {
    if (state === 'accepting') state = 'stopped'
    if (server.listening) server.close()
    door.dismissPending()
  }
  async function acceptAgain(): Promise<void> {
    if (state !== 'stopped') return
    state = 'accepting'
    const again = createPortServer()
    try {
      await listen(again, { ...config, bind: bind.slice(0, bind.lastIndexOf(':') + 1) + port }, entry)
    } catch (error) {
      if (state === 'accepting') state = 'stopped'
      throw error
    }
    serve(again)
    server = again
    // Told to stop meanwhile.
    if (state !== 'accepting') stopAccepting()
  }
  return {
    bind,
    port,
    to,
    get connectionCount() {
      return door.sockets.size
    },
    stopAccepting,
    acceptAgain,
    async close() {
      state = 'closed'
      stopAccepting()
      for (const socket of door.sockets) resetSocket(socket)
      await Promise.all(closed)
    },
  }
}

function createPortServer(): Server {
  return createServer({
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEPALIVE_MS,
  })
}

async function listen(server: Server, { bind, to }: TunnelListenConfig, entry: string): Promise<number> {
  try {
    const { host, port } = splitHostPort(bind)
    // Without a host all addresses, also where there is no IPv6.
    server.listen({ ...(host !== '' && { host }), port, backlog: BACKLOG })
    await once(server, 'listening')
  } catch (error) {
    server.close()
    const advice = listenAdvice(error as NodeJS.ErrnoException, 'tcp')
    const message = `${entry} (to ${to}) cannot listen on ${bind}: ${advice}`
    throw new TunnelMQError(ErrorCode.listen, message, { cause: error })
  }
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/**
 * The way of a socket into its stream; each refusal is one line, with the real address, and a TCP reset:
 *
 *   accept ─▶ PROXY header ─▶ bans, allow list ─▶ OPEN with the real address ─▶ joined to the stream
 */
class Door {
  /** All that are open. */
  readonly sockets = new Set<Socket>()
  readonly #pending = new Map<Socket, NodeJS.Timeout>()
  readonly #options: TunnelPortOptions
  readonly #allow: { contains(address: string): boolean }
  readonly #trusted: { contains(address: string): boolean }
  readonly #destination: ReturnType<typeof parseDestination>

  constructor(options: TunnelPortOptions) {
    const { allow, trustedProxies, to } = options.config
    this.#options = options
    this.#allow = allow.length === 0 ? { contains: () => true } : createCidrList(allow)
    this.#trusted = createCidrList(trustedProxies)
    this.#destination = parseDestination(to)
  }

  enter(socket: Socket): void {
    // Every socket, always: an 'error' without a listener would end the process.
    socket.on('error', () => undefined)
    const { remoteAddress, remotePort = 0 } = socket
    if (remoteAddress === undefined) {
      socket.destroy()
      return
    }
    const source = { address: canonicalAddress(remoteAddress), port: remotePort }
    const { proxyProtocol, maxConnections } = this.#options.config
    if (this.sockets.size >= maxConnections) {
      this.#refuse(socket, source, 'max-connections', `${maxConnections} are open`)
      return
    }
    this.sockets.add(socket)
    socket.once('close', () => this.#gone(socket))
    const expectsHeader =
      proxyProtocol === 'required' || (proxyProtocol === 'trusted' && this.#trusted.contains(source.address))
    if (expectsHeader) this.#awaitHeader(socket, source)
    else this.#admit(socket, source)
  }

  #awaitHeader(socket: Socket, own: OpenSource): void {
    const timer = setTimeout(
      () => this.#refuse(socket, own, 'proxy-header-timeout', `not within ${PROXY_HEADER_TIMEOUT_MS} ms`),
      PROXY_HEADER_TIMEOUT_MS,
    )
    this.#pending.set(socket, timer)
    socket.once('end', () => this.#endedEarly(socket, own))
    readProxyHeader(socket, {
      maxHeaderBytes: DEFAULT_MAX_HEADER_BYTES,
      header: ({ source = own }) => {
        this.#settled(socket)
        this.#admit(socket, { address: canonicalAddress(source.address), port: source.port })
      },
      invalid: (reason) => this.#refuse(socket, own, 'proxy-header', reason),
    })
  }

  /** A health check connects and ends, without a byte: that is nothing to report. */
  #endedEarly(socket: Socket, own: OpenSource): void {
    if (!this.#pending.has(socket)) return
    if (socket.bytesRead > 0) this.#refuse(socket, own, 'proxy-header', 'ended before it was complete')
    else socket.destroy()
  }

  #admit(socket: Socket, source: OpenSource): void {
    const { isBanned } = this.#options
    if (isBanned(source.address)) this.#refuse(socket, source, 'banned', 'too many refused logins')
    else if (!this.#allow.contains(source.address))
      this.#refuse(socket, source, 'address-not-allowed', 'not in allow')
    else this.#carry(socket, source)
  }

  #carry(socket: Socket, source: OpenSource): void {
    const { client, config, log } = this.#options
    client.carry(socket, this.#destination, {
      source,
      failed: ({ reset, message }) => {
        const fields = { bind: config.bind, to: config.to, ...source, reason: reset, detail: message }
        // Who has gone before the stream was open is nobody's failure: a health check.
        if (reset === 'reset') log.debug(fields, 'tunnel port connection closed early')
        else log.info(fields, 'tunnel port connection refused')
      },
    })
  }

  #refuse(socket: Socket, { address, port }: OpenSource, reason: Refusal, detail: string): void {
    const { config, refused, log } = this.#options
    this.#settled(socket)
    refused?.({ bind: config.bind, address, reason: `${reason}: ${detail}` })
    log.info(
      { bind: config.bind, to: config.to, address, port, reason, detail },
      'tunnel port connection refused',
    )
    resetSocket(socket)
  }

  dismissPending(): void {
    for (const socket of this.#pending.keys()) resetSocket(socket)
  }

  #settled(socket: Socket): void {
    clearTimeout(this.#pending.get(socket))
    this.#pending.delete(socket)
  }

  #gone(socket: Socket): void {
    this.#settled(socket)
    this.sockets.delete(socket)
  }
}
