import { STATUS_CODES, type ServerResponse } from 'node:http'
import { DoorError, type DoorFailure } from '../../broker/door/contract.ts'
import { RETRY_AFTER_SECONDS } from '../../listeners/http-visit.ts'

export type ProblemStatus = 400 | 401 | 403 | 404 | 405 | 408 | 413 | 414 | 415 | 429 | 431 | 500 | 503

/** A request that is refused; the detail is for the client, and tells nothing that it may not know. */
export class HttpProblem extends Error {
  readonly status: ProblemStatus
  override name = 'HttpProblem'

  constructor(status: ProblemStatus, detail: string) {
    super(detail)
    this.status = status
  }
}

const STATUS_OF: Record<DoorFailure, ProblemStatus> = {
  'bad-credentials': 401,
  forbidden: 403,
  limited: 429,
  unavailable: 503,
  malformed: 400,
  'too-large': 413,
  // It comes again, and is told then whether it still may.
  gone: 503,
}

/** What was thrown, as an answer; undefined: it is not ours to explain, a bug. */
export function problemOf(error: unknown, during: 'connect' | 'request'): HttpProblem | undefined {
  if (error instanceof HttpProblem) return error
  if (!(error instanceof DoorError)) return undefined
  // Whoever is not let in is asked for credentials, whether these are wrong or have no rights (docs/handlers.md).
  const status = during === 'connect' && error.failure === 'forbidden' ? 401 : STATUS_OF[error.failure]
  return new HttpProblem(status, error.message)
}

/** RFC 9457. */
export function problemBody(status: ProblemStatus, detail: string): string {
  return `${JSON.stringify({ type: 'about:blank', title: STATUS_CODES[status], status, detail })}\n`
}

/** Headers that belong to the status; the body is {@link problemBody}. */
export function problemHeaders(status: ProblemStatus): Record<string, string> {
  return {
    'Content-Type': 'application/problem+json',
    ...(status === 401 && { 'WWW-Authenticate': CHALLENGE }),
    ...((status === 429 || status === 503) && { 'Retry-After': String(RETRY_AFTER_SECONDS) }),
  }
}

/** RFC 9110, 11.6.1; RFC 6750, 3; RFC 7617, 2.1. */
const CHALLENGE = 'Basic realm="mqtt", charset="UTF-8", Bearer realm="mqtt"'

/** To a socket whose request could not be read: there is no response object. */
export function rawProblem(status: ProblemStatus, detail: string): string {
  const body = problemBody(status, detail)
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 405 ? [`Allow: ${ALLOW}`] : []),
    '',
    body,
  ].join('\r\n')
}

/** RFC 9110, 10.2.1. */
export const ALLOW = 'GET, HEAD, POST, PUT, DELETE, OPTIONS'

/** On every answer: what people publish is not to be run, guessed or kept by browsers and proxies. */
export function setSafetyHeaders(response: ServerResponse): void {
  response.setHeader('Cache-Control', 'no-store')
  response.setHeader('X-Content-Type-Options', 'nosniff')
  response.setHeader('Content-Security-Policy', "default-src 'none'; sandbox")
}
