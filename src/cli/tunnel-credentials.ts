import { readFile, stat } from 'node:fs/promises'
import type { EndpointConfig } from '../config/tunnel-endpoint-schema.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/** What a connection needs of the files that its configuration names. */
export interface Credentials {
  readonly username: string | undefined
  readonly password: Buffer | string | undefined
  readonly ca: Buffer | undefined
  readonly cert: Buffer | undefined
  readonly key: Buffer | undefined
  /** Secrets that others on this machine can read. */
  readonly warnings: readonly string[]
}

/** rw-r--r-- and the like. The group is the administrator's own business. */
const READABLE_BY_OTHERS = 0o004

/** Reads password, certificates and key. Rejects with TMQ_FILE, naming file and reason. */
export async function readCredentials(config: EndpointConfig): Promise<Credentials> {
  const { username, passwordFile, tls } = config
  const [fromFile, ca, cert, key] = await Promise.all([
    read('the password', passwordFile),
    read('the CA', tls.ca),
    read('the certificate', tls.cert),
    read('the private key', tls.key),
  ])
  const warnings = await Promise.all([whoCanRead(passwordFile), whoCanRead(tls.key)])
  return {
    username,
    password: fromFile === undefined ? config.password : firstLine(fromFile, passwordFile),
    ca: ca ?? (tls.caPem === undefined ? undefined : Buffer.from(tls.caPem)),
    cert,
    key,
    warnings: warnings.flat(),
  }
}

/** The rest of the file is nothing: that is what `echo` and editors leave there. */
function firstLine(content: Buffer, file = ''): Buffer {
  const end = content.indexOf('\n')
  const line = end < 0 ? content : content.subarray(0, end)
  const password = line.at(-1) === '\r'.charCodeAt(0) ? line.subarray(0, -1) : line
  if (password.length === 0) throw new TunnelMQError(ErrorCode.file, `the password file ${file} is empty`)
  return password
}

async function read(what: string, file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined) return undefined
  try {
    return await readFile(file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const reason =
      code === 'ENOENT'
        ? 'does not exist'
        : code === 'EACCES'
          ? 'may not be read by this user'
          : `cannot be read (${code ?? String(error)})`
    throw new TunnelMQError(ErrorCode.file, `the file of ${what}, ${file}, ${reason}`, { cause: error })
  }
}

async function whoCanRead(file: string | undefined): Promise<string[]> {
  if (file === undefined) return []
  const { mode } = await stat(file)
  return (mode & READABLE_BY_OTHERS) === 0
    ? []
    : [`${file} can be read by everyone on this machine: chmod 600 ${file}`]
}
