import type { ConnectProperties, Session, UserProperties, Will } from '../hooks/types.ts'
import type { Peer } from '../peer.ts'
import type { ConnectPacket } from './packets/connect.ts'

/** The Session that handlers see. What few of them use is made when it is asked for: there may be 100,000 of these. */
export class ConnectionSession implements Session {
  id: string
  username: string | undefined
  password: Buffer | undefined
  will: Will | undefined
  readonly clean: boolean
  readonly keepalive: number
  readonly protocolVersion: number
  readonly properties: ConnectProperties | undefined
  readonly peer: Peer
  readonly connectedAtMs: number
  /** Of CONNECT, for its handler alone. */
  #authenticationData: Buffer | undefined
  #connackProperties: [name: string, value: string][] | undefined
  #attributes: Map<string, unknown> | undefined
  #abort: AbortController | undefined
  #ended = false
  #claimed: Claimed | undefined

  constructor(id: string, packet: ConnectPacket, peer: Peer, connectedAtMs: number) {
    this.id = id
    this.username = packet.username
    this.password = packet.password
    this.will = packet.will
    this.clean = packet.clean
    this.keepalive = packet.keepaliveSeconds
    this.protocolVersion = packet.protocolVersion
    this.properties = packet.protocolVersion === 5 ? connectProperties(packet) : undefined
    if (packet.properties.authenticationData !== undefined)
      this.#authenticationData = packet.properties.authenticationData
    this.peer = peer
    this.connectedAtMs = connectedAtMs
  }

  get connackProperties(): [name: string, value: string][] | undefined {
    return this.properties === undefined ? undefined : (this.#connackProperties ??= [])
  }

  /** What handlers have added, if anything. */
  get addedProperties(): UserProperties | undefined {
    return this.#connackProperties
  }

  takeAuthenticationData(): Buffer | undefined {
    const data = this.#authenticationData
    this.#authenticationData = undefined
    return data
  }

  get attributes(): Map<string, unknown> {
    return (this.#attributes ??= new Map())
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#ended) this.#abort.abort(CLOSED)
    }
    return this.#abort.signal
  }

  /**
   * From now on it stays who it is, whatever handlers write to `id` and `username`: while one of them finds out who this is,
   * others are asked about its messages.
   */
  settle(): void {
    if (this.#claimed !== undefined) return
    const claimed: Claimed = (this.#claimed = { id: this.id, username: this.username })
    fix(this, claimed, 'id')
    fix(this, claimed, 'username')
  }

  /** A handler has taken it for somebody else since it was settled. */
  get isMistaken(): boolean {
    const claimed = this.#claimed
    return claimed !== undefined && (claimed.id !== this.id || claimed.username !== this.username)
  }

  /** The connection is closed: the signal fires. */
  end(): void {
    this.#ended = true
    this.#abort?.abort(CLOSED)
  }
}

/** Who handlers take a session for. */
type Claimed = Pick<Session, 'id' | 'username'>

/** What is written goes to `claimed`, and what is read stays. */
function fix(session: Claimed, claimed: Claimed, name: keyof Claimed): void {
  const value = session[name]
  Object.defineProperty(session, name, {
    enumerable: true,
    get: () => value,
    set(other: unknown) {
      Object.assign(claimed, { [name]: other })
    },
  })
}

/** As it was sent, but for what authenticates. */
function connectProperties({ properties }: ConnectPacket): ConnectProperties {
  if (properties.authenticationData === undefined) return properties
  const { authenticationData: _secret, ...shown } = properties
  return shown
}

// A reason of our own: the default one is an exception with a stack trace, made for each connection.
const CLOSED = 'connection closed'
