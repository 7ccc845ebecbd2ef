import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  DoorError,
  type DoorClient,
  type DoorCredentials,
  type OpenDoorClient,
} from '../../broker/door/contract.ts'
import type { ListenerProfile } from '../../broker/listener-profile.ts'
import type { ProxyConfig } from '../../config/proxy-schema.ts'
import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import type { Visit } from '../../listeners/visit.ts'
import type { Log } from '../../log.ts'
import type { Destination } from '../../tunnel/endpoint/checked-name.ts'
import { resetSocket } from '../../tunnel/endpoint/socket-end.ts'
import type { TunnelRouter } from '../../tunnel/router/router.ts'
import { headEnd, hostOfAuthority, isRefusal, parseHead, proxyCredentials } from './http-head.ts'
import { OneRequest } from './one-request.ts'
import { plainRequest } from './plain-request.ts'
import { httpAnswer, refusal, refusalOf, SocksReply, type Refusal } from './refusal.ts'
import { Socks, socksReply } from './socks.ts'
import { ProxyStream } from './stream.ts'
import { destinationOf } from './tunnel-name.ts'
import type { UserStreams } from './user-streams.ts'

export interface VisitorContext {
  readonly config: ProxyConfig
  readonly tunnel: Pick<TunnelConfig, 'resumeTimeoutMs'>
  readonly profile: ListenerProfile
  readonly router: TunnelRouter
  readonly openDoorClient: OpenDoorClient
  readonly users: UserStreams
  readonly log: Log
}

/** What is asked for, once it has been read. */
interface Wanted {
  readonly to: Destination
  /** What the stream is joined to: the socket, or one request on it; and what of it has been read already. */
  readonly through: () => { readonly socket: Duplex; readonly first: Buffer }
  /** Said when it is open. */
  readonly welcome: Buffer | undefined
}

const SOCKS5 = 0x05
const SOCKS4 = 0x04
const TLS = 0x16
/** Time to take an answer that is the last. */
const FAREWELL_MS = 1_000
const CONNECTED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n')
const NO_NAME = 'only names of tunnels are reached here'

/**
 * One socket of the proxy door, from its first byte to its last:
 *
 *   request ──read──▶ authenticating ──let in──▶ opening ──▶ open ──▶ closed     (SOCKS5: credentials, then the request)
 *      └────────────────────┴──── refused, with the answer of its protocol ──────────▶
 */
export class ProxyVisitor {
  readonly #context: VisitorContext
  readonly #socket: Socket
  readonly #visit: Visit
  readonly #deadline: NodeJS.Timeout
  #bytes: Buffer = Buffer.alloc(0)
  #socks: Socks | undefined
  #client: DoorClient | undefined
  #stream: ProxyStream | undefined
  #phase: 'request' | 'opening' | 'open' | 'closed' = 'request'
  #isConnected = false
  /** Somebody else's word is awaited, and not the client's. */
  #isBusy = false
  readonly #take = (chunk: Buffer): void => this.#receive(chunk)

  constructor(context: VisitorContext, socket: Socket, visit: Visit) {
    this.#context = context
    this.#socket = socket
    this.#visit = visit
    // The lobby has one of its own, until there are credentials.
    this.#deadline = setTimeout(
      () => this.#refuse(refusal(408, SocksReply.generalFailure, 'no complete request in time')),
      context.config.requestTimeoutMs,
    )
    socket.once('close', () => this.#close())
    socket.on('end', this.#endedEarly)
    socket.on('data', this.#take)
  }

  readonly #endedEarly = (): void => {
    if (this.#phase === 'request' && !this.#isBusy) this.#socket.destroy()
  }

  #receive(chunk: Buffer): void {
    if (this.#phase !== 'request') return
    if (this.#socks !== undefined) {
      this.#socks.receive(chunk)
      this.#readSocks(this.#socks)
      return
    }
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    const first = this.#bytes[0]!
    if (first === SOCKS5) {
      this.#socks = new Socks()
      this.#receive(this.#takeBytes())
    } else if (first >= 0x41 && first <= 0x7a) this.#readHttp()
    else this.#fail(strangerOf(first), first === SOCKS4 ? SOCKS4_REFUSED : undefined)
  }

  #takeBytes(): Buffer {
    const bytes = this.#bytes
    this.#bytes = Buffer.alloc(0)
    return bytes
  }

  // --- SOCKS5

  #readSocks(socks: Socks): void {
    for (let step = socks.next(); step !== undefined; step = socks.next()) {
      switch (step.kind) {
        case 'reply':
          if (step.ends !== undefined) return this.#fail(step.ends, step.bytes)
          this.#socket.write(step.bytes)
          break
        case 'credentials': {
          const { username, password } = step
          this.#await()
          void this.#join({ username, password }).then(
            () => this.#goOn(socks),
            (error: unknown) => this.#refuse(refusalOf(error), socks.notAuthenticated()),
          )
          return
        }
        case 'connect':
          this.#wanted(destinationOf(step.host, this.#context.config.suffix), {
            credentials: {},
            through: () => ({ socket: this.#socket, first: socks.rest }),
            welcome: socksReply(SocksReply.succeeded),
          })
          return
        default:
          step satisfies never
      }
    }
    if (this.#socket.readableEnded) this.#socket.destroy()
  }

  #goOn(socks: Socks): void {
    if (this.#phase !== 'request') return
    this.#socket.write(socks.authenticated())
    this.#isBusy = false
    this.#socket.resume()
    this.#readSocks(socks)
  }

  // --- HTTP

  #readHttp(): void {
    const end = headEnd(this.#bytes)
    const { maxHeaderBytes, suffix } = this.#context.config
    if (end < 0 ? this.#bytes.length > maxHeaderBytes : end > maxHeaderBytes)
      return this.#refuse(refusal(431, SocksReply.generalFailure, 'the headers are too long'))
    if (end < 0) return
    const head = parseHead(this.#bytes.subarray(0, end))
    if (isRefusal(head)) return this.#refuse(head)
    const credentials = proxyCredentials(head)
    if (credentials !== undefined && isRefusal(credentials)) return this.#refuse(credentials)
    const rest = this.#takeBytes().subarray(end)
    if (head.method === 'CONNECT') {
      const host = hostOfAuthority(head.target)
      if (host === undefined)
        return this.#refuse(refusal(400, SocksReply.generalFailure, 'CONNECT needs name:port'))
      const through = (): { socket: Duplex; first: Buffer } => ({ socket: this.#socket, first: rest })
      const how = { credentials: credentials ?? {}, through, welcome: CONNECTED }
      return this.#wanted(destinationOf(host, suffix), how)
    }
    const plain = plainRequest(head)
    if (isRefusal(plain)) return this.#refuse(plain)
    if (rest.length > plain.bodyBytes)
      return this.#refuse(refusal(400, SocksReply.generalFailure, 'one request at a time'))
    this.#wanted(destinationOf(plain.host, suffix), {
      credentials: credentials ?? {},
      through: () => {
        const socket = new OneRequest(this.#socket, plain.bodyBytes, rest)
        return { socket, first: plain.head }
      },
      welcome: undefined,
    })
  }

  // --- both

  /** The request is read. */
  #wanted(
    to: Destination | undefined,
    { credentials, ...how }: Omit<Wanted, 'to'> & { readonly credentials: DoorCredentials },
  ): void {
    // Before anybody is asked who he is: whoever looks for open proxies learns that this is none.
    if (to === undefined) return this.#refuse(refusal(403, SocksReply.notAllowed, NO_NAME))
    this.#await()
    this.#socket.off('data', this.#take)
    void this.#open({ to, ...how }, credentials).catch((error: unknown) => this.#refuse(refusalOf(error)))
  }

  async #open({ to, through, welcome }: Wanted, credentials: DoorCredentials): Promise<void> {
    const client = this.#client ?? (await this.#join(credentials))
    if (this.#phase !== 'request') return
    this.#phase = 'opening'
    // Opening has a deadline of its own (docs/tunnel-protocol.md).
    clearTimeout(this.#deadline)
    this.#socket.off('end', this.#endedEarly)
    const { router, tunnel, users, log } = this.#context
    const stream = new ProxyStream({ client, router, config: tunnel, users, log })
    this.#stream = stream
    const { socket, first } = through()
    await stream.open(socket, first, to, {
      opened: () => {
        this.#phase = 'open'
        if (welcome !== undefined) this.#socket.write(welcome)
      },
      refused: (why) => this.#refuse(why),
    })
  }

  /** CONNECT, as any client. Rejects with a DoorError. */
  async #join(credentials: DoorCredentials): Promise<DoorClient> {
    this.#connected()
    const { openDoorClient, profile } = this.#context
    const client = await openDoorClient(
      { door: 'proxy', profile, peer: this.#visit.peer, ...credentials },
      {
        message: (_message, taken) => taken(),
        revoked: () => undefined,
        closed: (reason) => this.#clientGone(reason),
      },
    )
    if (this.#phase === 'closed') {
      client.close()
      throw new DoorError('gone', 'closed')
    }
    this.#client = client
    return client
  }

  #connected(): void {
    if (this.#isConnected) return
    this.#isConnected = true
    this.#visit.connected()
  }

  /** Kicked, revoked, or the broker stops. An open stream has been reset by then, as it does not outlive its client. */
  #clientGone(reason: DoorError): void {
    this.#client = undefined
    if (this.#phase === 'request' || this.#phase === 'opening') this.#refuse(refusalOf(reason))
    else if (this.#phase === 'open') resetSocket(this.#socket)
  }

  #await(): void {
    this.#isBusy = true
    this.#socket.pause()
  }

  /** The answer of the protocol that is spoken, unless there is another, and the end. */
  #refuse(why: Refusal, answer = this.#socks === undefined ? httpAnswer(why) : socksReply(why.socks)): void {
    if (this.#phase === 'open' || this.#phase === 'closed') return
    if (this.#isConnected) {
      const { address, port, listener } = this.#visit.peer
      const client = this.#client?.clientId
      // Of a stream the router has had its line, and of a CONNECT the broker.
      this.#context.log.debug({ address, port, listener, client, detail: why.text }, 'proxy request refused')
    }
    this.#fail(why.text, answer)
  }

  #fail(detail: string, answer: Buffer | undefined): void {
    if (this.#phase === 'closed') return
    this.#close()
    const farewell = (): void => this.#farewell(answer)
    if (this.#isConnected) farewell()
    else this.#visit.failed(detail, farewell)
  }

  #farewell(answer: Buffer | undefined): void {
    const socket = this.#socket
    socket.off('data', this.#take)
    if (answer === undefined) {
      socket.destroy()
      return
    }
    const timer = setTimeout(() => socket.destroy(), FAREWELL_MS)
    socket.once('close', () => clearTimeout(timer))
    socket.end(answer)
    // Bytes left unread would make a reset of the end, which can destroy the answer.
    socket.resume()
  }

  #close(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    clearTimeout(this.#deadline)
    if (this.#stream === undefined) this.#client?.close()
    else void this.#stream.close()
  }
}

/** VN 0, 91: rejected. SOCKS4 has no place for a password. */
const SOCKS4_REFUSED = Buffer.of(0, 91, 0, 0, 0, 0, 0, 0)

function strangerOf(first: number): string {
  if (first === SOCKS4) return 'SOCKS4, where SOCKS5 or HTTP is expected'
  if (first === TLS) return 'a TLS handshake, on a listener without TLS'
  return 'neither SOCKS5 nor HTTP'
}
