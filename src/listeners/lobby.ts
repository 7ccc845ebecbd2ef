import type { Socket } from 'node:net'
import type { AddressSource, Peer, TransportKind } from '../peer.ts'
import { UNIX_ADDRESS, type Admission, type AdmissionListener, type AdmissionRefusal } from './admission.ts'
import { canonicalAddress } from './cidr.ts'

/** What a socket has to do before it is a connection. */
export type EntryStep = 'proxy-header' | 'tls-handshake' | 'websocket-upgrade' | 'http-request' | 'request'

/** Why a socket never became a connection: admission, a step failed or not done in time, or too many in the lobby. */
export type RefusalReason = AdmissionRefusal | EntryStep | `${EntryStep}-timeout` | 'pending-limit'

export interface RefusedConnection {
  /** As far as it was known: the client's own address behind a PROXY header that was good. */
  readonly address: string
  readonly port: number
  readonly socketAddress: string
  readonly listener: string
  readonly transport: TransportKind
  readonly reason: RefusalReason
  readonly detail?: string
}

/** Time that a refused HTTP request has to take its answer. */
const FAREWELL_MS = 1_000

/** One accepted socket on its way to being a connection, or gone. */
export interface Visitor {
  readonly socket: Socket
  readonly socketAddress: string
  address: string
  port: number
  addressSource: AddressSource
  proxyCertificateName: string | undefined
  /** Bytes of the socket that are not the client's: a PROXY header. */
  headerBytes: number
  admission: 'waiting' | 'admitted' | 'refused'
  outcome: 'pending' | 'connected' | 'refused' | 'gone'
  step: EntryStep | undefined
  deadline: NodeJS.Timeout | undefined
}

export type VisitorAddress = Pick<Visitor, 'address' | 'port' | 'addressSource'>

export interface LobbyOptions {
  readonly listener: AdmissionListener
  readonly transport: TransportKind
  readonly admission: Admission
  /** Sockets that may wait at once; one more, and the one that waits longest is put out. */
  readonly maxPending: number
  refused(refusal: RefusedConnection): void
}

/**
 * Where sockets wait between accept and connection: bounded in number, each step under a deadline.
 *
 *   enter ──▶ expect(step) ... admit ──▶ connect          (refuse, or the socket's end, from anywhere)
 */
export class Lobby {
  readonly #options: LobbyOptions
  readonly #pending = new Set<Visitor>()
  readonly #open = new Set<Visitor>()
  #connectionCount = 0

  constructor(options: LobbyOptions) {
    this.#options = options
  }

  /** Connections that are open. */
  get connectionCount(): number {
    return this.#connectionCount
  }

  /** Takes in a socket that was just accepted; undefined if it is gone already. */
  enter(socket: Socket): Visitor | undefined {
    // Every socket, always: an 'error' without a listener would end the process.
    socket.on('error', () => undefined)
    const unix = this.#options.transport === 'unix'
    if (!unix && socket.remoteAddress === undefined) {
      socket.destroy()
      return undefined
    }
    const socketAddress = unix ? UNIX_ADDRESS : canonicalAddress(socket.remoteAddress ?? '')
    const visitor: Visitor = {
      socket,
      socketAddress,
      address: socketAddress,
      port: unix ? 0 : (socket.remotePort ?? 0),
      addressSource: 'socket',
      proxyCertificateName: undefined,
      headerBytes: 0,
      admission: 'waiting',
      outcome: 'pending',
      step: undefined,
      deadline: undefined,
    }
    this.#pending.add(visitor)
    this.#open.add(visitor)
    socket.once('close', () => this.#gone(visitor))
    if (this.#pending.size > this.#options.maxPending) this.#putOutOldest()
    return visitor
  }

  /** The visitor must finish this step within the time. */
  expect(visitor: Visitor, step: EntryStep, timeoutMs: number): void {
    visitor.step = step
    clearTimeout(visitor.deadline)
    visitor.deadline = setTimeout(
      () => this.refuse(visitor, `${step}-timeout`, `not within ${timeoutMs} ms`),
      timeoutMs,
    )
  }

  /** Asks admission for the visitor's address; undefined: granted. */
  admit(visitor: Visitor): AdmissionRefusal | undefined {
    if (visitor.admission === 'admitted') return undefined
    const verdict = this.#options.admission.admit(visitor.address, this.#options.listener)
    visitor.admission = verdict.ok ? 'admitted' : 'refused'
    return verdict.ok ? undefined : verdict.reason
  }

  /** A connection whose next request is another client's, as a trusted proxy says; undefined: granted, or the same. */
  readmit(visitor: Visitor, { address, port, addressSource }: VisitorAddress): AdmissionRefusal | undefined {
    // Gone meanwhile, and counted no more.
    if (!this.#open.has(visitor)) return undefined
    const isSame = visitor.admission === 'admitted' && visitor.address === address
    if (!isSame) this.#withdraw(visitor)
    Object.assign(visitor, { address, port, addressSource })
    return this.admit(visitor)
  }

  /** A connection that becomes another client's of the same address: asks admission as if it came anew. */
  admitAnother(visitor: Visitor): AdmissionRefusal | undefined {
    if (!this.#open.has(visitor)) return undefined
    this.#withdraw(visitor)
    return this.admit(visitor)
  }

  /** Reports and closes; with a `farewell`, that says why to the client and ends the socket. */
  refuse(visitor: Visitor, reason: RefusalReason, detail?: string, farewell?: () => void): void {
    if (visitor.outcome !== 'pending') return
    visitor.outcome = 'refused'
    clearTimeout(visitor.deadline)
    this.#report(visitor, reason, detail)
    if (farewell === undefined) {
      visitor.socket.destroy()
      return
    }
    visitor.deadline = setTimeout(() => visitor.socket.destroy(), FAREWELL_MS)
    farewell()
  }

  /** The step that was expected went wrong. A visitor that sent nothing of its own is let go without a report. */
  failed(visitor: Visitor, detail: string, farewell?: () => void): void {
    if (visitor.outcome !== 'pending') return
    if (visitor.step === undefined || saidNothing(visitor)) this.#dismiss(visitor)
    else this.refuse(visitor, visitor.step, detail, farewell)
  }

  /** The visitor is a connection now, and leaves the lobby. */
  connect(visitor: Visitor): void {
    if (visitor.outcome !== 'pending') return
    visitor.outcome = 'connected'
    clearTimeout(visitor.deadline)
    this.#pending.delete(visitor)
    this.#connectionCount++
  }

  /** Who the visitor is, as far as the socket and its headers tell. */
  peer(visitor: Visitor): Peer {
    return {
      address: visitor.address,
      port: visitor.port,
      addressSource: visitor.addressSource,
      socketAddress: visitor.socketAddress,
      listener: this.#options.listener.name,
      transport: this.#options.transport,
      ...(visitor.proxyCertificateName === undefined
        ? {}
        : { proxyCertificateName: visitor.proxyCertificateName }),
    }
  }

  /** Puts out everyone who is not a connection yet, without a word. */
  dismissPending(): void {
    for (const visitor of this.#pending) this.#dismiss(visitor)
  }

  /** Destroys every socket, connections included; resolves when the last one is closed. */
  async dismissAll(): Promise<void> {
    const sockets = [...this.#open].map((visitor) => visitor.socket)
    const closed = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    for (const visitor of this.#open) this.#dismiss(visitor)
    await Promise.all(closed)
    // What lies upon the sockets (TLS, WebSocket) tells its end just after them.
    await new Promise((resolve) => setImmediate(resolve))
  }

  #withdraw(visitor: Visitor): void {
    if (visitor.admission === 'admitted')
      this.#options.admission.release(visitor.address, this.#options.listener)
    visitor.admission = 'waiting'
  }

  #dismiss(visitor: Visitor): void {
    if (visitor.outcome === 'pending') visitor.outcome = 'gone'
    visitor.socket.destroy()
  }

  // The one that waits longest is the likeliest to be silent on purpose; a good client is through in a round trip.
  #putOutOldest(): void {
    const [oldest] = this.#pending
    if (oldest === undefined) return
    this.refuse(oldest, 'pending-limit', `more than ${this.#options.maxPending} wait`)
    oldest.socket.destroy()
    this.#pending.delete(oldest)
  }

  #gone(visitor: Visitor): void {
    clearTimeout(visitor.deadline)
    this.#pending.delete(visitor)
    this.#open.delete(visitor)
    if (visitor.outcome === 'connected') this.#connectionCount--
    if (visitor.admission === 'admitted')
      this.#options.admission.release(visitor.address, this.#options.listener)
    // TLS tells why it failed just after the socket is gone; its word is better than ours.
    if (visitor.outcome === 'pending') {
      setImmediate(
        () => visitor.outcome === 'pending' && this.failed(visitor, 'closed before it was complete'),
      )
    }
  }

  #report(visitor: Visitor, reason: RefusalReason, detail: string | undefined): void {
    this.#options.refused({
      address: visitor.address,
      port: visitor.port,
      socketAddress: visitor.socketAddress,
      listener: this.#options.listener.name,
      transport: this.#options.transport,
      reason,
      ...(detail === undefined ? {} : { detail }),
    })
  }
}

/** A health check connects and closes, with no byte but a proxy's header: that is nothing to report. */
function saidNothing(visitor: Visitor): boolean {
  return visitor.socket.bytesRead <= visitor.headerBytes
}
