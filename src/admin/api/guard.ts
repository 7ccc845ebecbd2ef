import type { Log } from '../../log.ts'
import { hasScope, type Keys } from '../keys.ts'
import type { StoredKey } from '../key-file.ts'
import type { RequestLimits } from '../request-limits.ts'
import { ApiError } from './problem.ts'
import type { Scope } from './scopes.ts'

export interface GuardOptions {
  readonly keys: Keys
  readonly limits: RequestLimits
  readonly log: Log
}

/** Who asks: its key, from the header `authorization`. */
export interface Guard {
  /** @throws {ApiError} of status 401 or 429. */
  identify(authorization: string | null, address: string): StoredKey
}

const challenge = { 'www-authenticate': 'Bearer realm="tunnelmq"' }

export function createGuard({ keys, limits, log }: GuardOptions): Guard {
  return {
    identify(authorization, address) {
      if (authorization === null)
        throw new ApiError(
          401,
          'An API key is needed: authorization: Bearer tmq_... (docs/api.md says how to get one).',
          {
            headers: challenge,
          },
        )
      const text = /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? ''
      const found = keys.find(text)
      if (found.kind === 'wrong') throw wrong(address)
      const { key } = found
      const waitSeconds = limits.takeRequest(key.name)
      if (waitSeconds !== undefined)
        throw new ApiError(429, `The key ${key.name} has made too many requests (admin.requestsPerSecond).`, {
          headers: { 'retry-after': String(waitSeconds) },
        })
      if (found.kind === 'good') return key
      log.info({ address, key: key.name }, 'expired API key')
      const end = new Date(key.expiresAtMs ?? 0).toISOString()
      throw new ApiError(401, `The API key ${key.name} has expired (${end}).`, { headers: challenge })
    },
  }

  function wrong(address: string): ApiError {
    const limited = limits.noteFailure(address)
    if (limited === undefined) {
      log.info({ address }, 'wrong API key')
      return new ApiError(401, 'This API key is not known.', { headers: challenge })
    }
    if (limited.isFirst) log.warn({ address }, 'too many wrong API keys: no more of them are logged')
    const headers = { 'retry-after': String(limited.retryAfterSeconds) }
    return new ApiError(429, 'Too many wrong API keys from this address (admin.failuresPerMinute).', {
      headers,
    })
  }
}

/** @throws {ApiError} of status 403. */
export function demandScope(key: StoredKey, scope: Scope | 'none'): void {
  if (scope === 'none' || hasScope(key, scope)) return
  const held = [...key.scopes].join(', ')
  throw new ApiError(403, `This needs an API key with the scope ${scope}; ${key.name} has ${held}.`)
}
