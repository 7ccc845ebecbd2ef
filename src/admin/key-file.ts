import { ErrorCode, TunnelMQError } from '../errors.ts'
import { rewriteFile } from '../rewrite-file.ts'
import { scopes, type Scope } from './api/scopes.ts'
import { keyNameFault } from './api-key.ts'

/**
 * The file of API keys (`admin.keysFile`), a key a line, kept by `tunnelmq api-key`:
 *
 *     grafana sha256:<64 hex digits> read 2026-11-21T12:00:00.000Z never
 *     deploy  sha256:<64 hex digits> read,write 2026-11-21T12:00:00.000Z 2027-11-21T12:00:00.000Z
 *
 * Name, hash, scopes, created, expires. Blank lines and lines that begin with `#` are skipped.
 */

export interface StoredKey {
  readonly name: string
  /** SHA-256, 32 bytes. */
  readonly hash: Buffer
  readonly scopes: ReadonlySet<Scope>
  readonly createdAtMs: number
  /** Undefined: it does not expire. */
  readonly expiresAtMs: number | undefined
}

/** @throws {TunnelMQError} TMQ_FILE, with the line that is wrong. */
export function parseKeyFile(text: string, file: string): Map<string, StoredKey> {
  const keys = new Map<string, StoredKey>()
  const lineOf = new Map<string, number>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const key = parseLine(line)
    if (typeof key === 'string') throw lineError(file, index + 1, key)
    const first = lineOf.get(key.name)
    if (first !== undefined) throw lineError(file, index + 1, `${key.name} is in line ${first} already`)
    lineOf.set(key.name, index + 1)
    keys.set(key.name, key)
  }
  return keys
}

/** What is wrong with the line, in words, or its key. */
function parseLine(line: string): StoredKey | string {
  const words = line.split(/\s+/)
  if (words.length !== 5) return `has ${words.length} words, not 5: name, hash, scopes, created, expires`
  const [name = '', hash = '', scopeList = '', created = '', expires = ''] = words
  const fault = keyNameFault(name)
  if (fault !== undefined) return fault
  const hex = /^sha256:([0-9a-f]{64})$/.exec(hash)?.[1]
  if (hex === undefined) return 'the hash is not sha256: and 64 hexadecimal digits'
  const parsed = parseScopes(scopeList)
  if (typeof parsed === 'string') return parsed
  const createdAtMs = parseTime(created)
  if (createdAtMs === undefined) return `"${created}" is no time such as 2026-11-21T12:00:00.000Z`
  const expiresAtMs = expires === 'never' ? undefined : parseTime(expires)
  if (expires !== 'never' && expiresAtMs === undefined)
    return `"${expires}" is neither "never" nor a time such as 2026-11-21T12:00:00.000Z`
  return { name, hash: Buffer.from(hex, 'hex'), scopes: parsed, createdAtMs, expiresAtMs }
}

/** `read,write`; what is wrong with it, in words. */
export function parseScopes(list: string): ReadonlySet<Scope> | string {
  const found = new Set<Scope>()
  for (const word of list.split(',')) {
    const scope = scopes.find((one) => one === word)
    if (scope === undefined) return `"${word}" is no scope; there are ${scopes.join(', ')}`
    found.add(scope)
  }
  return found
}

// Strict: what Date.parse makes of other words depends on the machine.
function parseTime(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/.test(text)) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

function formatKey({ name, hash, scopes: held, createdAtMs, expiresAtMs }: StoredKey): string {
  const expires = expiresAtMs === undefined ? 'never' : new Date(expiresAtMs).toISOString()
  const created = new Date(createdAtMs).toISOString()
  return `${name} sha256:${hash.toString('hex')} ${[...held].join(',')} ${created} ${expires}\n`
}

/** Makes the file if there is none. Rejects with TMQ_USAGE if there is such a key, TMQ_FILE if the file is bad. */
export function addKey(file: string, key: StoredKey): Promise<void> {
  return rewriteFile(file, 'create', (lines) => {
    if (parseKeyFile(lines.join(''), file).has(key.name))
      throw new TunnelMQError(
        ErrorCode.usage,
        `${file}: there is a key ${key.name} already; delete it first, or choose another name`,
      )
    const before = lines.join('')
    return [before === '' || before.endsWith('\n') ? before : `${before}\n`, formatKey(key)]
  })
}

/** Answers whether there was one. */
export async function deleteKey(file: string, name: string): Promise<boolean> {
  let found = false
  await rewriteFile(file, 'fail', (lines) => {
    const kept = lines.filter((line) => line.trim().split(/\s+/)[0] !== name)
    found = kept.length < lines.length
    return kept
  })
  return found
}

function lineError(file: string, line: number, message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.file, `${file}:${line}: ${message}`)
}
