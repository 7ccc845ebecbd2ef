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
      if (found.kind !== 'good') throw refused(found, address)
      const waitSeconds = limits.takeRequest(found.key.name)
      if (waitSeconds !== undefined)
        throw new ApiError(
          429,
          `The key ${found.key.name} has made too many requests (admin.requestsPerSecond).`,
          {
            headers: { 'retry-after': String(waitSeconds) },
          },
        )
      return found.key
    },
  }

  function refused(found: Exclude<ReturnType<Keys['find']>, { kind: 'good' }>, address: string): ApiError {
    const limited = limits.noteFailure(address)
    if (limited !== undefined) {
      if (limited.isFirst) log.warn({ address }, 'too many wrong API keys: no more of them are logged')
      const headers = { 'retry-after': String(limited.retryAfterSeconds) }
      return new ApiError(429, 'Too many wrong API keys from this address (admin.failuresPerMinute).', {
        headers,
      })
    }
    if (found.kind === 'wrong') {
      log.info({ address }, 'wrong API key')
      return new ApiError(401, 'This API key is not known.', { headers: challenge })
    }
    const { name, expiresAtMs = 0 } = found.key
    log.info({ address, key: name }, 'expired API key')
    const expired = new Date(expiresAtMs).toISOString()
    return new ApiError(401, `The API key ${name} has expired (${expired}).`, { headers: challenge })
  }
}

/** @throws {ApiError} of status 403. */
export function demandScope(key: StoredKey, scope: Scope | 'none'): void {
  if (scope === 'none' || hasScope(key, scope)) return
  const held = [...key.scopes].join(', ')
  throw new ApiError(403, `This needs an API key with the scope ${scope}; ${key.name} has ${held}.`)
}
