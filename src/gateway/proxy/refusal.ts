import { STATUS_CODES } from 'node:http'
import { DoorError, type DoorFailure } from '../../broker/door/contract.ts'
import { TunnelError } from '../../tunnel/tunnel-error.ts'

/** RFC 1928, 6. */
export const SocksReply = {
  succeeded: 0x00,
  generalFailure: 0x01,
  notAllowed: 0x02,
  hostUnreachable: 0x04,
  connectionRefused: 0x05,
  commandNotSupported: 0x07,
  addressTypeNotSupported: 0x08,
} as const
export type SocksReply = (typeof SocksReply)[keyof typeof SocksReply]

/** Why a request is not carried out, in both protocols; the text is for people and tells nothing they may not know. */
export interface Refusal {
  readonly socks: SocksReply
  readonly status: number
  readonly text: string
}

export function refusal(status: number, socks: SocksReply, text: string): Refusal {
  return { status, socks, text }
}

/** What a door client or a stream has said. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof DoorError) return refusal(...DOOR_FAILURES[error.failure], error.message)
  if (error instanceof TunnelError) {
    const [status, socks] = STREAM_FAILURES[error.reset] ?? [502, SocksReply.generalFailure]
    return refusal(status, socks, error.message)
  }
  return refusal(500, SocksReply.generalFailure, 'internal error')
}

const DOOR_FAILURES: Readonly<Record<DoorFailure, readonly [number, SocksReply]>> = {
  'bad-credentials': [407, SocksReply.notAllowed],
  forbidden: [407, SocksReply.notAllowed],
  limited: [429, SocksReply.generalFailure],
  unavailable: [503, SocksReply.generalFailure],
  malformed: [400, SocksReply.generalFailure],
  'too-large': [431, SocksReply.generalFailure],
  gone: [503, SocksReply.generalFailure],
}

const STREAM_FAILURES: Readonly<Partial<Record<TunnelError['reset'], readonly [number, SocksReply]>>> = {
  forbidden: [403, SocksReply.notAllowed],
  revoked: [403, SocksReply.notAllowed],
  'agent-offline': [502, SocksReply.hostUnreachable],
  'unknown-service': [502, SocksReply.hostUnreachable],
  unreachable: [502, SocksReply.hostUnreachable],
  refused: [502, SocksReply.connectionRefused],
  timeout: [504, SocksReply.hostUnreachable],
  limit: [429, SocksReply.generalFailure],
  shutdown: [503, SocksReply.generalFailure],
}

/** An answer of HTTP that says why not, and is the last. */
export function httpAnswer({ status, text }: Refusal): Buffer {
  const body = `${text}\n`
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...(status === 407 ? ['Proxy-Authenticate: Basic realm="TunnelMQ", charset="UTF-8"'] : []),
    ...(status === 429 || status === 503 ? ['Retry-After: 5'] : []),
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`)
}
