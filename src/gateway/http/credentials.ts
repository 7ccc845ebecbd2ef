import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { isUtf8 } from 'node:buffer'
import type { DoorCredentials } from '../../broker/door/contract.ts'
import { HttpProblem } from './problem.ts'

/**
 * User name and password of a request, from its Authorization header: Basic (RFC 7617), or Bearer (RFC 6750), whose token
 * is the password of an empty user name. A client certificate is a fact of the connection.
 * @throws {HttpProblem} 401.
 */
export function credentialsOf(
  authorization: string | undefined,
): Pick<DoorCredentials, 'username' | 'password'> {
  if (authorization === undefined) return {}
  const [, scheme = '', value = ''] = /^(\S+) +(\S+) *$/.exec(authorization) ?? []
  switch (scheme.toLowerCase()) {
    case 'basic':
      return basic(value)
    case 'bearer':
      return { password: Buffer.from(value, 'latin1') }
    default:
      throw malformed()
  }
}

function basic(value: string): Pick<DoorCredentials, 'username' | 'password'> {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(value)) throw malformed()
  const bytes = Buffer.from(value, 'base64')
  const colon = bytes.indexOf(':')
  const name = bytes.subarray(0, Math.max(0, colon))
  if (colon === -1 || !isUtf8(name) || name.includes(0)) throw malformed()
  return { username: name.toString(), password: bytes.subarray(colon + 1) }
}

function malformed(): HttpProblem {
  return new HttpProblem(401, 'Authorization is neither Basic nor Bearer, or not well formed')
}

/** Of this process: what is kept of credentials is of no use elsewhere. */
const secret = randomBytes(32)

/** Whose requests may share a connection of the broker: those with the same credentials, client id and address. */
export class Fingerprint {
  readonly #hash: Buffer

  constructor(...parts: readonly (string | undefined)[]) {
    const hmac = createHmac('sha256', secret)
    // JSON: no two lists of parts are the same text.
    this.#hash = hmac.update(JSON.stringify(parts.map((part) => part ?? null))).digest()
  }

  equals(other: Fingerprint): boolean {
    return timingSafeEqual(this.#hash, other.#hash)
  }
}
