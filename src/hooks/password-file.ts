import { createHash } from 'node:crypto'
import type { HandlerLog } from './log.ts'
import { decoyOf, parsePasswordHash, type PasswordHash } from './password-hash.ts'
import { createPasswordVerifier } from './password-verifier.ts'
import { lineError, openRightsFile, type RightsFileOptions, partsOfRightsFile } from './rights-file.ts'
import { AuthError, noOpinion, RefuseReason, type ManagedHandler, type Session } from './types.ts'

interface PasswordEntry {
  readonly hash: PasswordHash
  /** The stored form, to see whether it has changed. */
  readonly stored: string
  readonly line: number
}

export interface PasswordFile {
  readonly users: ReadonlyMap<string, PasswordEntry>
  /** One for each user: what an unknown name is checked against, so that it takes as long as a known one. */
  readonly decoys: readonly PasswordHash[]
}

/** Parses `name:hash` lines; blank lines and lines that begin with `#` are skipped. */
export function parsePasswordFile(text: string, file: string): PasswordFile {
  const users = new Map<string, PasswordEntry>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const colon = line.indexOf(':')
    if (colon <= 0) throw lineError(file, index + 1, 'not of the form name:hash')
    const name = line.slice(0, colon)
    const stored = line.slice(colon + 1)
    const hash = parsePasswordHash(stored)
    if (typeof hash === 'string') throw lineError(file, index + 1, hash)
    // Twice the same name: the last one counts, as in mosquitto and VerneMQ.
    users.set(name, { hash, stored, line: index + 1 })
  }
  return { users, decoys: [...users.values()].map((entry) => decoyOf(entry.hash)) }
}

export interface PasswordFileOptions {
  readonly file: string
  readonly log: HandlerLog
  readonly name?: string
  readonly watch?: RightsFileOptions<unknown>['watch']
}

/**
 * Clients with a username: right password allows, wrong one refuses, an unknown name is left to the next handler
 * (but takes as long, and ends in the same CONNACK). Clients without a username: no opinion.
 */
export async function createPasswordFileHandler(options: PasswordFileOptions): Promise<ManagedHandler> {
  const { file, log, name = 'password-file', watch } = options
  const rights = await openRightsFile({
    file,
    log,
    parse: (text) => parsePasswordFile(text, file),
    ...(watch === undefined ? {} : { watch }),
  })
  const verifier = createPasswordVerifier()
  rights.onChange(() => verifier.clear())
  // With which line of the file each live session came in.
  const admitted = new WeakMap<Session, { username: string; stored: string }>()

  function conclude(session: Session, username: string, entry: PasswordEntry, right: boolean): void {
    if (!right) throw wrongPassword
    // Changed while the hash was computed: the old password no longer counts.
    if (rights.current.users.get(username)?.stored !== entry.stored) throw wrongPassword
    admitted.set(session, { username, stored: entry.stored })
  }

  return {
    name,
    authConnect(session) {
      const { username, password, signal } = session
      if (username === undefined) return noOpinion
      const { users, decoys } = rights.current
      const entry = users.get(username)
      if (password === undefined) {
        if (entry === undefined) return noOpinion
        throw wrongPassword
      }
      if (entry === undefined) {
        const hash = decoys[pick(username, decoys.length)]
        if (hash === undefined) return noOpinion
        const spent = verifier.verify({ username, hash, password, signal })
        return typeof spent === 'boolean' ? noOpinion : spent.then(() => noOpinion)
      }
      const right = verifier.verify({ username, hash: entry.hash, password, signal })
      if (typeof right === 'boolean') return conclude(session, username, entry, right)
      return right.then((value) => conclude(session, username, entry, value))
    },
    stillAllowed(session) {
      const entry = admitted.get(session)
      return entry === undefined || rights.current.users.get(entry.username)?.stored === entry.stored
    },
    explain({ username }, { action }) {
      if (action !== 'connect') return undefined
      if (username === undefined) return { rule: file, opinion: 'none', reason: 'the client has no username' }
      const entry = rights.current.users.get(username)
      if (entry === undefined)
        return { rule: file, opinion: 'none', reason: `user ${JSON.stringify(username)} is not in the file` }
      return {
        rule: `${file}:${entry.line}`,
        reason: `user ${JSON.stringify(username)} is in the file: the password decides`,
      }
    },
    ...partsOfRightsFile(rights),
  }
}

// Shared: a flood of wrong passwords must not cost a stack trace each.
const wrongPassword = new AuthError('wrong password', RefuseReason.badCredentials)

/** The same decoy for a name each time, as a known name has the same hash each time. */
function pick(username: string, count: number): number {
  return count === 0 ? 0 : createHash('sha256').update(username).digest().readUInt32BE() % count
}
