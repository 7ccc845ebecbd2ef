import type { JWTPayload } from 'jose'

/** Longer names are not names. */
const MAX_NAME_BYTES = 65_535

/** Whom `${username}` and `${clientid}` stand for: what the client has sent. */
export interface ClaimSubject {
  readonly username: string | undefined
  readonly clientId: string
}

/** A claim by its name, or by a path into objects: `realm_access.roles`. */
export function claimAt(claims: JWTPayload, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path]
  let value: unknown = claims
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

/** Do all claims have the value that is wanted, or contain it? */
export function claimsFit(
  claims: JWTPayload,
  wanted: Readonly<Record<string, string>>,
  subject: ClaimSubject,
): boolean {
  return Object.entries(wanted).every(([path, template]) => {
    const value = expand(template, subject)
    if (value === undefined) return false
    const claim = claimAt(claims, path)
    return Array.isArray(claim) ? claim.some((entry) => isValue(entry, value)) : isValue(claim, value)
  })
}

function expand(template: string, { username, clientId }: ClaimSubject): string | undefined {
  if (username === undefined && template.includes('${username}')) return undefined
  return template.replace(/\$\{(username|clientid)\}/g, (_, name) =>
    name === 'clientid' ? clientId : (username ?? ''),
  )
}

function isValue(claim: unknown, value: string): boolean {
  return (
    (typeof claim === 'string' || typeof claim === 'number' || typeof claim === 'boolean') &&
    String(claim) === value
  )
}

/** A claim as the name of a client; undefined: it is none. */
export function nameIn(claims: JWTPayload, path: string): string | undefined {
  const claim = claimAt(claims, path)
  if (typeof claim !== 'string' || claim === '' || claim.includes('\0')) return undefined
  return Buffer.byteLength(claim) > MAX_NAME_BYTES ? undefined : claim
}
