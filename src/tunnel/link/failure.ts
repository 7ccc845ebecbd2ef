import { ErrorCode } from '../../errors.ts'
import { ConnackCode } from './packets.ts'
import type { BrokerAddress } from './url.ts'
import { HttpAnswer } from './websocket.ts'

/** Why a connection was not made, or has ended: in words for the one who runs this end. */
export interface Failure {
  readonly code: ErrorCode
  /** What happened, and what to do: goes behind "cannot connect to URL: ". */
  readonly text: string
  /** Trying again will not help until somebody changes something. */
  readonly isFatal: boolean
  /** The other end has closed, or the way to it broke: not we. */
  readonly byPeer: boolean
  readonly cause?: Error
}

/** How far a connection has come. */
export type Phase = 'opening' | 'connack' | 'subscribing' | 'up' | 'closing' | 'closed'

const failed = (code: ErrorCode, text: string, isFatal: boolean): Failure => ({
  code,
  text,
  isFatal,
  byPeer: false,
})

/** What Node says of certificates that it does not trust. */
const DISTRUST = new Set([
  'CERT_CHAIN_TOO_LONG',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** The alerts by which a server refuses the certificate of a client, or that there is none. */
const CERTIFICATE_ALERT =
  /^ERR_SSL_.*ALERT_(BAD_CERTIFICATE|CERTIFICATE_(REQUIRED|EXPIRED|REVOKED|UNKNOWN)|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)$/

const SOCKET_TEXTS: Readonly<Record<string, { text: string; isFatal: boolean }>> = {
  ECONNREFUSED: { text: 'connection refused: is the broker running, and is the port right?', isFatal: false },
  ENOTFOUND: { text: 'the name of the host is not known: compare the URL and the DNS', isFatal: true },
  EAI_AGAIN: { text: 'the DNS does not answer: is there a network?', isFatal: false },
  EHOSTUNREACH: { text: 'no way to the host: compare network and firewall', isFatal: false },
  ENETUNREACH: { text: 'no way to the network of the host: is there a network?', isFatal: false },
  ETIMEDOUT: { text: 'no answer: compare host, port and firewall', isFatal: false },
  ENOENT: { text: 'there is no such socket: is the broker running, and is the path right?', isFatal: false },
  EACCES: { text: 'no permission for it: compare user and group of the socket', isFatal: true },
}

/** The wire ended, with an error or in order. */
export function wireFailure(error: Error | undefined, phase: Phase, address: BrokerAddress): Failure {
  if (phase === 'up') {
    const text = error === undefined ? 'closed by the broker' : `connection lost: ${wordsOf(error)}`
    return { code: ErrorCode.unreachable, text, isFatal: false, byPeer: true, ...causeOf(error) }
  }
  return { ...attemptFailure(error, phase, address), byPeer: true, ...causeOf(error) }
}

function attemptFailure(error: Error | undefined, phase: Phase, address: BrokerAddress): Failure {
  const isTls = address.transport === 'tls' || address.transport === 'wss'
  if (error instanceof HttpAnswer) return httpFailure(error.status)
  const code = codeOf(error)
  if (DISTRUST.has(code)) {
    const what =
      code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED'
        ? 'is it out of date, or the clock here wrong?'
        : 'give the CA that has issued it, or compare the host with its names'
    return failed(ErrorCode.unreachable, `its certificate is not trusted (${wordsOf(error!)}): ${what}`, true)
  }
  if (CERTIFICATE_ALERT.test(code)) {
    const text = `the broker refused the client certificate (${code}): compare it with the CA that the broker trusts`
    return failed(ErrorCode.credentials, text, true)
  }
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return failed(
      ErrorCode.unreachable,
      'this port does not speak TLS: compare the port, or use mqtt://',
      true,
    )
  }
  const known = SOCKET_TEXTS[code]
  if (known !== undefined) return failed(ErrorCode.unreachable, known.text, known.isFatal)
  if (phase !== 'opening') {
    const hint = isTls
      ? 'does this port speak MQTT, does it take the certificate of this client, or has it banned this address?'
      : 'does this port speak MQTT, without TLS, or has it banned this address?'
    const until = phase === 'connack' ? `before CONNACK: ${hint}` : 'before SUBACK; see the log of the broker'
    return failed(ErrorCode.unreachable, `the connection was closed ${until}`, false)
  }
  // A server may say nothing of a certificate that it does not take (Node's does not, behind its handshake), nor ours
  // of a ban.
  if (isTls && (error === undefined || code === 'ECONNRESET')) {
    const text =
      'the connection was closed: does this port speak TLS, does it take the certificate of this client, or has it banned this address?'
    return failed(ErrorCode.unreachable, text, false)
  }
  if (error === undefined) return failed(ErrorCode.unreachable, 'the connection was closed', false)
  return failed(ErrorCode.unreachable, wordsOf(error), false)
}

function httpFailure(status: number): Failure {
  if (status === 401 || status === 403) {
    return failed(
      ErrorCode.credentials,
      `refused with HTTP status ${status}: see the log of the broker or proxy`,
      true,
    )
  }
  const hint = status === 404 ? 'compare the path, which is often /mqtt' : 'is there a proxy on the way?'
  return failed(
    ErrorCode.unreachable,
    `HTTP status ${status} instead of a WebSocket: ${hint}`,
    status === 404,
  )
}

/** Nothing within `connectTimeoutMs`. */
export function deadlineFailure(phase: Phase, timeoutMs: number): Failure {
  const within = `within ${timeoutMs / 1_000} s`
  switch (phase) {
    case 'opening':
      return failed(ErrorCode.unreachable, `no answer ${within}: compare host, port and firewall`, false)
    case 'connack':
      return failed(
        ErrorCode.unreachable,
        `connected, but no CONNACK ${within}: does this port speak MQTT?`,
        false,
      )
    default:
      return failed(ErrorCode.unreachable, `no SUBACK ${within}; see the log of the broker`, false)
  }
}

/** CONNACK with another code than 0. */
export function connackFailure(code: number, clientId: string): Failure {
  switch (code) {
    case ConnackCode.badCredentials:
      return failed(ErrorCode.credentials, 'wrong user name or password', true)
    case ConnackCode.notAuthorized: {
      const text = `not authorized: compare user name, password, and what the broker allows the client id '${clientId}'`
      return failed(ErrorCode.credentials, text, true)
    }
    case ConnackCode.identifierRejected:
      return failed(ErrorCode.protocol, `the broker does not take the client id '${clientId}'`, true)
    case ConnackCode.unacceptableProtocol:
      return failed(ErrorCode.protocol, 'the broker does not speak MQTT 3.1.1', true)
    case ConnackCode.unavailable:
      return failed(ErrorCode.unreachable, 'the broker is there, but takes no clients now', false)
    default:
      return failed(ErrorCode.protocol, `CONNACK with the unknown code ${code}`, false)
  }
}

export function subscriptionFailure(filter: string, clientId: string): Failure {
  const text = `the broker refused the subscription to '${filter}': it must be allowed to the client id '${clientId}'`
  return failed(ErrorCode.credentials, text, true)
}

/** The broker broke MQTT. */
export function protocolFailure(error: Error): Failure {
  return { code: ErrorCode.protocol, text: error.message, isFatal: false, byPeer: false, cause: error }
}

export function silenceFailure(seconds: number): Failure {
  return failed(ErrorCode.unreachable, `nothing came from the broker for ${seconds} s`, false)
}

/** Bytes that must be answered come faster than it takes the answers. */
export function stuckFailure(): Failure {
  return failed(ErrorCode.unreachable, 'the broker takes nothing, and asks for more', false)
}

const codeOf = (error: NodeJS.ErrnoException | undefined): string => error?.code ?? ''

/** Of several addresses that were tried, Node says nothing but the code of the first error. */
const wordsOf = (error: Error): string => error.message || codeOf(error)

const causeOf = (error: Error | undefined): { cause?: Error } => (error === undefined ? {} : { cause: error })
