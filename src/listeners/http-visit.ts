import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Peer } from '../peer.ts'
import { AdmissionRefusal } from './admission.ts'

/** A socket on a listener for HTTP, after TLS, with nothing read of it. */
export interface HttpVisit {
  /**
   * Asked for each request once its head is complete, with its X-Forwarded-For: whose it is, or why it may not come in.
   * The first that may makes the socket a connection; behind a trusted proxy each may be another client's.
   */
  identify(forwardedFor: string | undefined): { readonly peer: Peer } | { readonly refusal: AdmissionRefusal }
  /**
   * One more client on the same socket and of the same address, after the first that was let in: rates count it as they
   * would count its own socket. Undefined: granted.
   */
  another(): AdmissionRefusal | undefined
  /** It speaks no HTTP that we take. Before the first request it is reported, unless it has said nothing at all. */
  failed(detail: string, farewell: () => void): void
}

/** Who speaks HTTP with sockets that others have accepted. */
export interface HttpEntrance {
  accept(socket: Socket, visit: HttpVisit): void
  /** The listener accepts no more: whoever is not in the middle of a request is sent away. */
  stopAccepting(): void
  acceptAgain(): void
}

const OF_THIS_CLIENT: ReadonlySet<AdmissionRefusal> = new Set([
  AdmissionRefusal.banned,
  AdmissionRefusal.addressMaxConnections,
  AdmissionRefusal.addressConnectRate,
])

/** Too many of this client: 429 (RFC 6585, 4); of everybody: 503 (RFC 9110, 15.6.4). */
export function refusalStatus(refusal: AdmissionRefusal): 429 | 503 {
  return OF_THIS_CLIENT.has(refusal) ? 429 : 503
}

/** To a socket that is not asked what it wants. */
export function refusalResponse(refusal: AdmissionRefusal): string {
  const status = refusalStatus(refusal)
  const body = JSON.stringify({ type: 'about:blank', title: STATUS_CODES[status], status })
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Retry-After: ${RETRY_AFTER_SECONDS}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    '',
    body,
  ].join('\r\n')
}

/** What clients are asked to wait, in seconds: long enough to be of use, short enough not to be missed. */
export const RETRY_AFTER_SECONDS = 5
