import type { Problem } from '../../admin/api/resources.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { printable } from '../table.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import type { Answered } from './client.ts'
import type { ApiTarget } from './target.ts'

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused. Is the broker running there?',
  ENOTFOUND: 'the name is not known.',
  EAI_AGAIN: 'the name could not be looked up.',
  EHOSTUNREACH: 'no way to the host.',
  ENETUNREACH: 'no way to the network.',
  ETIMEDOUT: 'no answer.',
  ECONNRESET: 'the connection was closed. Is it http where https is served, or the reverse?',
  EPROTO: 'TLS failed. Is it https where http is served?',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed: name it with --api-ca FILE.',
  SELF_SIGNED_CERT_IN_CHAIN: 'its CA is not known here: name it with --api-ca FILE.',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its CA is not known here: name it with --api-ca FILE.',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its CA is not known here: name it with --api-ca FILE.',
  CERT_HAS_EXPIRED: 'its certificate has expired.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name.',
}

/** It was not reached, or ended in the middle: TMQ_UNREACHABLE, with what to do. */
export function connectFailure({ url }: ApiTarget, error: unknown): TunnelMQError {
  if (error instanceof TunnelMQError) return error
  const code = (error as NodeJS.ErrnoException).code ?? ''
  const reason = reasons[code] ?? (code.startsWith('ERR_SSL') ? reasons['EPROTO'] : undefined)
  const words = reason ?? `${error instanceof Error ? error.message : String(error)}.`
  return new TunnelMQError(
    ErrorCode.unreachable,
    `cannot reach the admin API at ${url.origin}: ${words} Another one: --api-url URL, TUNNELMQ_API_URL, or --config FILE`,
    { cause: error },
  )
}

/** It answered, and not with what was asked for. */
export function apiFailure(target: ApiTarget, answered: Answered): Error {
  const { status } = answered
  const detail = detailOf(answered)
  switch (status) {
    case 400:
    case 413:
    case 422:
      return new TunnelMQError(ErrorCode.usage, detail)
    case 401:
      return new TunnelMQError(
        ErrorCode.credentials,
        `${target.url.origin} does not take the API key of ${target.keyFrom} (${detail}). ` +
          'Make one with `tunnelmq api-key create`, and name its file with --api-key-file',
      )
    case 403:
      return new TunnelMQError(
        ErrorCode.credentials,
        `the API key of ${target.keyFrom} may not do this: ${detail}. Make one with this scope: \`tunnelmq api-key create\``,
      )
    case 404:
      return answered.isProblem
        ? new CommandFailure(TunnelExit.failed, detail)
        : new TunnelMQError(
            ErrorCode.unreachable,
            `there is no API of TunnelMQ at ${target.url.origin}: is this its admin port, and admin.api on?`,
          )
    case 409:
    case 412:
      return new CommandFailure(TunnelExit.failed, detail)
    case 429:
      return new TunnelMQError(ErrorCode.limit, `${target.url.origin} wants fewer requests: ${detail}`)
    case 503:
    case 504:
      return new TunnelMQError(ErrorCode.storeUnavailable, `${target.url.origin} cannot say now: ${detail}`)
    default:
      return new TunnelMQError(ErrorCode.unreachable, `${target.url.origin} answers ${status}: ${detail}`)
  }
}

/** RFC 9457. */
function detailOf({ text, status }: Answered): string {
  try {
    const problem = JSON.parse(text) as Partial<Problem>
    const mistakes = (problem.mistakes ?? []).map(({ at, message }) => `${at}: ${message}`)
    const said = mistakes.length > 0 ? mistakes.join('; ') : (problem.detail ?? problem.title)
    if (typeof said === 'string' && said !== '') return printable(said.slice(0, 500))
  } catch {
    // A proxy's page, or nothing.
  }
  return `HTTP ${status}`
}
