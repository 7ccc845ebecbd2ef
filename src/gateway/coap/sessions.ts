import { createHmac, randomBytes } from 'node:crypto'
import { DoorError, type DoorCredentials, type OpenDoorClient } from '../../broker/door/contract.ts'
import type { ListenerProfile } from '../../broker/listener-profile.ts'
import type { Admission, AdmissionListener, AdmissionRefusal } from '../../listeners/admission.ts'
import type { Peer } from '../../peer.ts'
import { CoapRefusal, later, refusalOf } from './answer.ts'
import type { CoapCounts } from './counts.ts'
import type { Endpoint } from './endpoint.ts'
import { Code } from './message.ts'
import { isAnonymous } from './request.ts'
import { Session, type SessionLimits } from './session.ts'
import { Unproven, type Trust } from './trust.ts'

export interface SessionsOptions {
  readonly openDoorClient: OpenDoorClient
  readonly profile: ListenerProfile
  readonly admission: Admission
  readonly listener: AdmissionListener
  readonly limits: SessionLimits
  readonly counts: CoapCounts
  /** Undefined: addresses are not checked. */
  readonly maxUnchecked: number | undefined
  refused(endpoint: Endpoint, reason: AdmissionRefusal): void
  /** Has ended. */
  gone(session: Session): void
}

/**
 * Who has a client in the broker: one for each address, port and credentials, from its first request on until it has
 * been silent for a while. So CONNECT, which is the expensive part, is once for a client and not for each request.
 */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #sessions = new Map<string, Session>()
  readonly #ofEndpoint = new Map<Endpoint, Set<Session>>()
  /** Credentials are known by their hash alone, with a key that nobody else has. */
  readonly #hashKey = randomBytes(32)
  /** Of addresses that may be forged, when they came; some may have shown since that they are not. Oldest first. */
  readonly #unchecked = new Set<Session>()
  #isStopped = false

  constructor(options: SessionsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Of addresses that had not shown that they are true when they came. */
  get uncheckedCount(): number {
    return this.#unchecked.size
  }

  [Symbol.iterator](): IterableIterator<Session> {
    return this.#sessions.values()
  }

  /** With whatever credentials. */
  of(endpoint: Endpoint): Iterable<Session> {
    return this.#ofEndpoint.get(endpoint) ?? []
  }

  /** Those that are here stay. */
  stop(isStopped: boolean): void {
    this.#isStopped = isStopped
  }

  /**
   * The session of these credentials, opened if there is none. The caller lets it go by `session.release()`.
   * Rejects with a {@link CoapRefusal}, or {@link Unproven}.
   */
  async obtain(endpoint: Endpoint, credentials: DoorCredentials, { mayProve }: Trust): Promise<Session> {
    const key = `${endpoint.key} ${this.#hashOf(credentials)}`
    const known = this.#sessions.get(key)
    if (known === undefined && this.#mayBeForged(endpoint)) {
      const isSuspect = !isAnonymous(credentials) && this.#options.admission.isSuspect(endpoint.address)
      if (mayProve && (isSuspect || this.#isFull)) throw new Unproven()
      if (isSuspect) throw later(Code.tooManyRequests, 'who shows credentials answers pings (RFC 7252, 4.3)')
      if (this.#isFull && !this.#makeRoom()) throw later(Code.serviceUnavailable, 'too many clients')
    }
    const session = known ?? this.#open(key, endpoint, credentials)
    session.hold()
    try {
      await session.opened
      return session
    } catch (error) {
      session.release()
      throw connectRefusal(error, credentials)
    }
  }

  #mayBeForged({ isProven }: Endpoint): boolean {
    return this.#options.maxUnchecked !== undefined && !isProven
  }

  /** Who forges addresses must not take the places of all clients of the broker. */
  get #isFull(): boolean {
    return this.#unchecked.size >= (this.#options.maxUnchecked ?? Infinity)
  }

  /** Of one that does nothing at the moment. */
  #makeRoom(): boolean {
    for (const session of this.#unchecked) {
      if (session.endpoint.isProven) this.#unchecked.delete(session)
      else if (session.isIdle) session.end(undefined)
      if (!this.#isFull) return true
    }
    return false
  }

  /** All of them leave, as by DISCONNECT. */
  close(): void {
    for (const session of [...this.#sessions.values()]) session.end(undefined)
  }

  #open(key: string, endpoint: Endpoint, credentials: DoorCredentials): Session {
    const { admission, listener, openDoorClient, profile, limits, counts } = this.#options
    if (this.#isStopped) throw later(Code.serviceUnavailable, 'going away')
    const verdict = admission.admit(endpoint.address, listener)
    if (!verdict.ok) {
      this.#options.refused(endpoint, verdict.reason)
      throw admissionRefusal(verdict.reason)
    }
    endpoint.hold()
    const session = new Session({
      key,
      endpoint,
      limits,
      counts,
      ended: () => {
        this.#sessions.delete(key)
        this.#unchecked.delete(session)
        const left = this.#ofEndpoint.get(endpoint)
        left?.delete(session)
        if (left?.size === 0) this.#ofEndpoint.delete(endpoint)
        admission.release(endpoint.address, listener)
        endpoint.release()
        this.#options.gone(session)
      },
    })
    this.#sessions.set(key, session)
    if (this.#mayBeForged(endpoint)) this.#unchecked.add(session)
    const here = this.#ofEndpoint.get(endpoint) ?? new Set()
    this.#ofEndpoint.set(endpoint, here.add(session))
    session.open((events) =>
      openDoorClient(
        {
          ...credentials,
          door: 'coap',
          profile,
          peer: peerOf(endpoint, listener.name),
          mayBeForged: this.#mayBeForged(endpoint),
        },
        events,
      ),
    )
    return session
  }

  #hashOf({ clientId, username, password }: DoorCredentials): string {
    const hash = createHmac('sha256', this.#hashKey)
    hash.update(JSON.stringify([clientId, username, password === undefined]))
    if (password !== undefined) hash.update(password)
    return hash.digest('base64url')
  }
}

function peerOf({ address, port }: Endpoint, listener: string): Peer {
  return { address, port, addressSource: 'socket', socketAddress: address, listener, transport: 'coap' }
}

/** Who has shown no credentials is asked for them; who has, and may not come in, is told so. */
function connectRefusal(error: unknown, credentials: DoorCredentials): unknown {
  if (!(error instanceof DoorError)) return error
  if (error.failure === 'forbidden' && isAnonymous(credentials))
    return new CoapRefusal(Code.unauthorized, error.message)
  return refusalOf(error)
}

function admissionRefusal(reason: AdmissionRefusal): CoapRefusal {
  switch (reason) {
    case 'banned':
      return new CoapRefusal(Code.forbidden, 'not from this address, for now')
    case 'max-connections':
    case 'listener-max-connections':
      return later(Code.serviceUnavailable, 'too many clients')
    case 'address-max-connections':
      return later(Code.tooManyRequests, 'too many clients of this address')
    case 'address-connect-rate':
    case 'connect-rate':
      return later(Code.tooManyRequests, 'too many new clients', 1)
    default:
      return reason satisfies never
  }
}
