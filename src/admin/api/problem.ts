import { STATUS_CODES } from 'node:http'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Problem } from './resources.ts'

type Mistakes = NonNullable<Problem['mistakes']>

/** A request that is refused: becomes an answer of RFC 9457 (problem+json). */
export class ApiError extends Error {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly mistakes: Mistakes | undefined
  readonly code: ErrorCode | undefined

  constructor(
    status: number,
    detail: string,
    more: { headers?: Record<string, string>; mistakes?: Mistakes; code?: ErrorCode; cause?: unknown } = {},
  ) {
    super(detail, { cause: more.cause })
    this.status = status
    this.headers = more.headers ?? {}
    this.mistakes = more.mistakes
    this.code = more.code
  }
}

/** What an error of the broker means to who has asked; `notReady`: what may be the cause of one that passes. */
export function asApiError(error: unknown, notReady: readonly string[] = []): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof TunnelMQError) {
    const { code, message } = error
    switch (code) {
      case ErrorCode.usage:
        return new ApiError(400, message, { code })
      case ErrorCode.exists:
        return new ApiError(409, message, { code })
      case ErrorCode.changed:
        return new ApiError(412, message, { code })
      case ErrorCode.storeUnavailable:
      case ErrorCode.timeout:
      case ErrorCode.unreachable:
      case ErrorCode.stopped:
      // Too many traces, or questions to pods; a port that is somebody else's when it is to be opened again.
      case ErrorCode.limit:
      case ErrorCode.listen:
        return new ApiError(503, notReady.length === 0 ? message : `${message} (${notReady.join('; ')})`, {
          code,
          headers: { 'retry-after': '1' },
        })
      default:
    }
  }
  return new ApiError(500, 'Something went wrong in the broker; its log says what.', { cause: error })
}

export function problemResponse({ status, message, code, mistakes, headers }: ApiError): Response {
  const problem: Problem = {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail: message,
    code: code ?? null,
    ...(mistakes !== undefined && { mistakes }),
  }
  const body = JSON.stringify(problem)
  return new Response(body, { status, headers: { ...headers, 'content-type': 'application/problem+json' } })
}
