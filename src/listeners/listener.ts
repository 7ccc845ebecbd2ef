import { createServer, type Server } from 'node:net'
import type { ListenerConfig, StreamListenerConfig } from '../config/schema.ts'
import type { Admission } from './admission.ts'
import { bind, listenerName, listenerUrl } from './bind.ts'
import { createCidrList } from './cidr.ts'
import { createEntrance, type EntranceBounds } from './entrance.ts'
import type { HttpEntrance } from './http-visit.ts'
import { Lobby, type RefusedConnection } from './lobby.ts'
import { DEFAULT_MAX_HEADER_BYTES } from './proxy-protocol.ts'
import { openTlsDoor, type TlsDoor } from './tls.ts'
import type { Transport } from './transport.ts'
import type { VisitReceiver } from './visit.ts'

export interface ListenerEvents {
  /** A client is connected. The transport reads nothing before its receiver is attached. */
  connection(transport: Transport): void
  /** A socket that never became a connection. Once for each; health checks that send nothing are not told. */
  refused(refusal: RefusedConnection): void
  /** The listener itself: certificates that could not be reloaded, or an `accept` that failed. It goes on. */
  error(error: Error): void
}

export interface ListenerBounds extends EntranceBounds {
  /** Sockets on their way to a connection at once; in a TLS handshake some 50 KiB each. */
  readonly maxPending: number
}

export const defaultListenerBounds: ListenerBounds = {
  proxyHeaderTimeoutMs: 5_000,
  tlsHandshakeTimeoutMs: 10_000,
  upgradeTimeoutMs: 10_000,
  maxProxyHeaderBytes: DEFAULT_MAX_HEADER_BYTES,
  maxPending: 4_096,
}

export interface ListenerOptions {
  readonly events: ListenerEvents
  /** One for all listeners of a broker. */
  readonly admission: Admission
  readonly bounds?: Partial<ListenerBounds>
  /** Of `http` and `https`: who takes their sockets. */
  readonly http?: HttpEntrance
  /** Of a listener whose protocol is not MQTT. */
  readonly visits?: VisitReceiver
}

export interface Listener {
  readonly name: string
  readonly config: ListenerConfig
  /** `mqtt://127.0.0.1:1883`, `mqtts://`, `ws://host:port/path`, `wss://`, `http://host:port/path`, `https://`, `unix:/path` or `coap://`. */
  readonly url: string
  readonly port: number | undefined
  readonly connectionCount: number
  /** Unix time in ms at which its certificate ends, the one that clients are shown now; undefined without TLS. */
  readonly certificateEndsAtMs: number | undefined
  /**
   * Frees the address and puts out sockets that are not connections yet; connections stay. (UDP has no sockets of
   * connections: there the address is kept while there are clients, and nobody new is let in.)
   */
  stopAccepting(): Promise<void>
  /**
   * After {@link stopAccepting}: listens on the same address and port again.
   * Rejects with TMQ_LISTEN when somebody else has them by now; it may be tried again.
   */
  acceptAgain(): Promise<void>
  /** Reads the certificate files again. Rejects if they are bad, and then the old ones stay. Without TLS: nothing. */
  reloadCertificates(): Promise<void>
  /** As {@link stopAccepting}, and destroys the connections; resolves when the last socket is closed. */
  close(): Promise<void>
}

/** A dead peer that sends no MQTT keep-alive is found by TCP. */
const TCP_KEEPALIVE_MS = 60_000

/**
 * Opens one listener of the configuration: each socket that comes through becomes a Transport with its true Peer.
 * @throws {TunnelMQError} TMQ_LISTEN (address), TMQ_FILE (certificates) or TMQ_CONFIG (`trustedProxies`).
 */
export async function openListener(
  config: StreamListenerConfig,
  options: ListenerOptions,
): Promise<Listener> {
  const { events, admission, http } = options
  const bounds = { ...defaultListenerBounds, ...options.bounds }
  const trusted = createCidrList(config.type === 'unix' ? [] : config.trustedProxies)
  const tls =
    'tls' in config && config.tls !== undefined
      ? await openTlsDoor(config.tls, (error) => events.error(error))
      : undefined
  let server = createListeningServer(config)
  const port = await bindOrCloseTls(server, config, tls)

  const name = listenerName(config, port)
  const lobby = new Lobby({
    listener: { name, maxConnections: config.maxConnections },
    transport: config.type,
    admission,
    maxPending: bounds.maxPending,
    refused: (refusal) => events.refused(refusal),
  })
  const entrance = createEntrance({
    config,
    bounds,
    lobby,
    trusted,
    tls,
    http,
    visits: options.visits,
    connected: (transport) => events.connection(transport),
  })
  /** Of each server that was opened: once it does not listen, and its last socket is closed. */
  const closed: Promise<void>[] = []
  let state: 'accepting' | 'stopped' | 'closed' = 'accepting'
  serve(server)

  function serve(opened: Server): void {
    opened.on('connection', (socket) => entrance.enter(socket))
    opened.on('error', (error) => events.error(error))
    closed.push(new Promise((resolve) => opened.once('close', resolve)))
  }
  function stop(): void {
    if (server.listening) server.close()
    lobby.dismissPending()
    http?.stopAccepting()
  }
  async function acceptAgain(): Promise<void> {
    if (state !== 'stopped') return
    state = 'accepting'
    // A new one: the old one is closed when the last of its connections is, and may have some still.
    const again = createListeningServer(config)
    try {
      await bind(again, port === undefined || config.type === 'unix' ? config : { ...config, port })
    } catch (error) {
      if (state === 'accepting') state = 'stopped'
      throw error
    }
    serve(again)
    server = again
    http?.acceptAgain()
    // Told to stop meanwhile.
    if (state !== 'accepting') stop()
  }
  return {
    name,
    config,
    port,
    url: listenerUrl(config, port),
    get connectionCount() {
      return lobby.connectionCount
    },
    get certificateEndsAtMs() {
      return tls?.certificateEndsAtMs
    },
    stopAccepting() {
      if (state === 'accepting') state = 'stopped'
      stop()
      return Promise.resolve()
    },
    acceptAgain,
    reloadCertificates: () => tls?.reload() ?? Promise.resolve(),
    async close() {
      state = 'closed'
      stop()
      tls?.close()
      await lobby.dismissAll()
      await Promise.all(closed)
    },
  }
}

function createListeningServer({ type }: StreamListenerConfig): Server {
  // A stream through a tunnel is TCP as it is without one: each direction ends by itself.
  const allowHalfOpen = type === 'proxy'
  return createServer({
    allowHalfOpen,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEPALIVE_MS,
  })
}

async function bindOrCloseTls(
  server: Server,
  config: StreamListenerConfig,
  tls: TlsDoor | undefined,
): Promise<number | undefined> {
  try {
    return await bind(server, config)
  } catch (error) {
    tls?.close()
    throw error
  }
}
