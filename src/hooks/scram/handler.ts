import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { HandlerLog } from '../log.ts'
import { lineError, openRightsFile, type RightsFileOptions, partsOfRightsFile } from '../rights-file.ts'
import {
  AuthError,
  RefuseReason,
  type AuthAnswer,
  type AuthExchange,
  type ManagedHandler,
  type Session,
} from '../types.ts'
import { saslprep } from './saslprep.ts'
import { checkClientFinal, parseClientFirst, ScramFault, serverFirst, type ClientFirst } from './server.ts'
import {
  DEFAULT_ITERATIONS,
  hmac,
  parseStoredKeys,
  SCRAM_SHA_256,
  sha256,
  type StoredKeys,
} from './stored-keys.ts'

interface ScramEntry {
  readonly keys: StoredKeys
  /** The stored form, to see whether it has changed. */
  readonly stored: string
  readonly line: number
}

export interface ScramFile {
  readonly users: ReadonlyMap<string, ScramEntry>
  readonly list: readonly ScramEntry[]
  /** Of all of it. */
  readonly digest: Buffer
}

/** Parses `name:SCRAM-SHA-256$...` lines; blank lines and lines that begin with `#` are skipped. */
export function parseScramFile(text: string, file: string): ScramFile {
  const users = new Map<string, ScramEntry>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const colon = line.indexOf(':')
    if (colon <= 0) throw lineError(file, index + 1, `not of the form name:${SCRAM_SHA_256}$...`)
    const name = saslprep(line.slice(0, colon))
    if ('fault' in name) throw lineError(file, index + 1, `the name is not allowed: ${name.fault}`)
    const stored = line.slice(colon + 1)
    const keys = parseStoredKeys(stored)
    if (typeof keys === 'string') throw lineError(file, index + 1, keys)
    // Twice the same name: the last one counts, as in password files.
    users.set(name.text, { keys, stored, line: index + 1 })
  }
  return { users, list: [...users.values()], digest: createHash('sha256').update(text).digest() }
}

export interface ScramOptions {
  readonly file: string
  /** What salts of unknown users are made of; undefined: of the file itself. */
  readonly secretFile?: string | undefined
  readonly log: HandlerLog
  readonly name?: string
  readonly watch?: RightsFileOptions<unknown>['watch']
}

/** Between the two messages of a client. */
interface Challenge {
  readonly client: ClientFirst
  readonly serverFirst: string
  readonly nonce: string
  readonly keys: StoredKeys
  /** Undefined: there is no such user. */
  readonly stored: string | undefined
}

const NONCE_BYTES = 24
const MIN_SECRET_BYTES = 16

/**
 * SCRAM-SHA-256 for clients of MQTT 5: the password never goes over the wire, and the broker proves itself as well. No
 * opinion on clients without this method, nor on topics. An unknown name is answered as a known one.
 */
export async function createScramHandler(options: ScramOptions): Promise<ManagedHandler> {
  const { file, log, name = 'scram', watch } = options
  const secret = options.secretFile === undefined ? undefined : await readSecret(options.secretFile)
  const rights = await openRightsFile({
    file,
    log,
    parse: (text) => parseScramFile(text, file),
    ...(watch === undefined ? {} : { watch }),
  })
  // With which entry of the file each live session came in.
  const admitted = new WeakMap<Session, { username: string; stored: string }>()

  function begin(session: Session, exchange: AuthExchange, data: Buffer): AuthAnswer {
    const client = parseClientFirst(data)
    // CONNECT may name the user as well: who is who must not depend on where one looks.
    if (session.username !== undefined && session.username !== client.username) throw otherName
    // For the log, should it be refused. Of one that is connected it is the same.
    session.username = client.username
    const entry = rights.current.users.get(client.username)
    // Also made where it is not needed: that takes time.
    const spare = decoy(rights.current, secret, client.username)
    const keys = entry?.keys ?? spare
    const nonce = client.nonce + randomBytes(NONCE_BYTES).toString('base64')
    const said = serverFirst(nonce, keys)
    exchange.state = { client, serverFirst: said, nonce, keys, stored: entry?.stored } satisfies Challenge
    return { continue: Buffer.from(said) }
  }

  function finish(session: Session, challenge: Challenge, data: Buffer): AuthAnswer {
    const signature = checkClientFinal(data, challenge, challenge.keys)
    const { stored, client } = challenge
    // Changed between the two messages: the old password no longer counts.
    if (signature === undefined || stored === undefined || current(client.username) !== stored)
      throw wrongPassword
    admitted.set(session, { username: client.username, stored })
    return { success: signature }
  }

  const current = (username: string): string | undefined => rights.current.users.get(username)?.stored

  return {
    name,
    authMethods: [SCRAM_SHA_256],
    authenticate(session, exchange, data) {
      try {
        if (data === undefined) throw new ScramFault('no data')
        const challenge = exchange.state as Challenge | undefined
        return challenge === undefined ? begin(session, exchange, data) : finish(session, challenge, data)
      } catch (error) {
        if (!(error instanceof ScramFault)) throw error
        const details = { reasonString: error.message }
        throw new AuthError(error.message, RefuseReason.badCredentials, details)
      }
    },
    stillAllowed(session) {
      const entry = admitted.get(session)
      return entry === undefined || current(entry.username) === entry.stored
    },
    explain(session, { action }) {
      if (action !== 'connect') return undefined
      const { username } = session
      const entry = username === undefined ? undefined : rights.current.users.get(username)
      const method = `the authentication method ${SCRAM_SHA_256}`
      if (entry === undefined)
        return { rule: file, reason: `no such user is in the file; who names ${method} is refused` }
      return { rule: `${file}:${entry.line}`, reason: `the user is in the file: with ${method} it decides` }
    },
    ...partsOfRightsFile(rights),
  }
}

// Shared: a flood of wrong passwords must not cost a stack trace each.
const wrongPassword = new AuthError('wrong password', RefuseReason.badCredentials)
const otherName = new AuthError('the user name of CONNECT is another one', RefuseReason.badCredentials)

/**
 * What an unknown name is checked against: always the same for a name, with the cost and the length of salt that some known
 * user has, and keys that nobody can have a password for.
 */
function decoy({ list, digest }: ScramFile, secret: Buffer | undefined, username: string): StoredKeys {
  const seed = hmac(secret ?? digest, username)
  const like = list[seed.readUInt32BE(0) % Math.max(1, list.length)]?.keys
  const salt = sha256(Buffer.concat([seed, Buffer.from('salt')])).subarray(0, like?.salt.length ?? 16)
  const storedKey = sha256(Buffer.concat([seed, Buffer.from('stored')]))
  return { iterations: like?.iterations ?? DEFAULT_ITERATIONS, salt, storedKey, serverKey: seed }
}

async function readSecret(file: string): Promise<Buffer> {
  let secret: Buffer
  try {
    secret = await readFile(file)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new TunnelMQError(ErrorCode.file, `${file}: cannot be read: ${why}`, { cause: error })
  }
  if (secret.length >= MIN_SECRET_BYTES) return secret
  throw new TunnelMQError(ErrorCode.file, `${file}: a secret of at least ${MIN_SECRET_BYTES} bytes is needed`)
}
