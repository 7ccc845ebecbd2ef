import { readFile } from 'node:fs/promises'
import { loadConfig } from '../../config/load.ts'
import { isLoopback } from '../../config/network-names.ts'
import type { Environment } from '../../config/overrides.ts'
import type { Config } from '../../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { configFile } from '../config-flags.ts'

/** Where the API is and how to be let in. The key is never on the command line, which everyone can read. */
export interface ApiTarget {
  readonly url: URL
  readonly key: string
  /** For people: which key was used. */
  readonly keyFrom: string
  /** PEM: CAs in place of the system's. */
  readonly ca?: Buffer
  /** PEM: the broker's own certificate, which has to be this one, whatever name it has. */
  readonly certificate?: Buffer
}

export interface TargetFlags {
  readonly apiUrl?: string
  readonly apiKeyFile?: string
  readonly apiCa?: string
  readonly config?: string
}

const KEYS = 'name one with --api-key-file FILE or TUNNELMQ_API_KEY (`tunnelmq api-key create` makes one)'

/**
 * What options and environment say; where they do not, this machine's broker: address and local key of its
 * configuration. Throws TMQ_USAGE, TMQ_CONFIG, TMQ_FILE, TMQ_CREDENTIALS.
 */
export async function apiTarget(flags: TargetFlags, env: Environment): Promise<ApiTarget> {
  const said = flags.apiUrl ?? (env['TUNNELMQ_API_URL'] || undefined)
  const key = await keySaid(flags, env)
  const caFile = flags.apiCa ?? (env['TUNNELMQ_API_CA'] || undefined)
  const ca = caFile === undefined ? undefined : await read('the CA', caFile)
  const url = said === undefined ? undefined : parseUrl(said)
  if (url !== undefined && key !== undefined) return { url, ...key, ...(ca && { ca }) }

  const { config } = await loadConfig({ file: configFile(flags, env), env })
  const place = url ?? localUrl(config)
  // Sent elsewhere, the key of this machine would tell others how to get in here.
  if (key === undefined && !isLoopback(place.hostname.replace(/^\[|\]$/g, '')) && url !== undefined)
    throw new TunnelMQError(ErrorCode.credentials, `an API key is needed for ${place.origin}: ${KEYS}`)
  const certificate =
    ca === undefined && url === undefined && config.admin.tls !== undefined
      ? await read('the certificate of the admin server', config.admin.tls.cert)
      : undefined
  return {
    url: place,
    ...(key ?? (await localKey(config))),
    ...(ca && { ca }),
    ...(certificate && { certificate }),
  }
}

function localUrl({ admin }: Config): URL {
  const where = 'name the broker with --api-url URL or TUNNELMQ_API_URL, or its configuration with --config'
  if (!admin.enabled || !admin.api)
    throw new TunnelMQError(
      ErrorCode.usage,
      `this configuration has no API (admin.enabled, admin.api): ${where}`,
    )
  if (admin.port === 0)
    throw new TunnelMQError(ErrorCode.usage, `admin.port is 0, so the port is not known here: ${where}`)
  // One can listen on all addresses, but not connect to them.
  const host = admin.host === '0.0.0.0' ? '127.0.0.1' : admin.host === '::' ? '::1' : admin.host
  const bracketed = host.includes(':') ? `[${host}]` : host
  return new URL(`${admin.tls === undefined ? 'http' : 'https'}://${bracketed}:${admin.port}`)
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new TunnelMQError(
      ErrorCode.usage,
      `${text} is not a URL of the admin server, such as http://127.0.0.1:8080`,
    )
  if (url.username !== '' || url.password !== '')
    throw new TunnelMQError(ErrorCode.usage, `a URL has no room for an API key: ${KEYS}`)
  return url
}

type Key = Pick<ApiTarget, 'key' | 'keyFrom'>

async function keySaid(flags: TargetFlags, env: Environment): Promise<Key | undefined> {
  const file = flags.apiKeyFile
  if (file === undefined && env['TUNNELMQ_API_KEY'])
    return { key: checked(env['TUNNELMQ_API_KEY'], 'TUNNELMQ_API_KEY'), keyFrom: 'TUNNELMQ_API_KEY' }
  const named = file ?? (env['TUNNELMQ_API_KEY_FILE'] || undefined)
  if (named === undefined) return undefined
  return { key: checked((await read('the API key', named)).toString(), named), keyFrom: named }
}

async function localKey({ admin }: Config): Promise<Key> {
  const file = admin.localKeyFile
  try {
    return { key: checked(await readFile(file, 'utf8'), file), keyFrom: `the local key ${file}` }
  } catch (error) {
    if (error instanceof TunnelMQError) throw error
    const { code } = error as NodeJS.ErrnoException
    const reason =
      code === 'EACCES'
        ? `${file} is for the user who runs the broker, and for root: run this as one of them.`
        : `${file} is not there: the broker writes it when it starts, if admin.localKey is on. ` +
          'Is it running on this machine, and is this its configuration (--config)?'
    throw new TunnelMQError(ErrorCode.credentials, `no API key: ${reason} Or ${KEYS}`, { cause: error })
  }
}

/** The first line; a header of HTTP takes no others. */
function checked(text: string, from: string): string {
  const key = (text.split('\n')[0] ?? '').trim()
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new TunnelMQError(ErrorCode.credentials, `there is no API key in ${from}`)
  return key
}

async function read(what: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new TunnelMQError(ErrorCode.file, `the file of ${what}, ${file}, cannot be read (${code})`, {
      cause: error,
    })
  }
}
