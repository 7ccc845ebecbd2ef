import { readFile } from 'node:fs/promises'
import { loadConfig } from '../../config/load.ts'
import { isLoopback } from '../../config/network-names.ts'
import type { Environment } from '../../config/overrides.ts'
import type { Config } from '../../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { askHealth } from './client.ts'
import { configFile } from '../config-flags.ts'
import { configuredUrl, readLocalKey } from './local-broker.ts'

/** Where an admin server is, and how it is known to be the right one. */
export interface ApiPlace {
  readonly url: URL
  /** PEM: CAs in place of the system's. */
  readonly ca?: Buffer
  /** PEM: the broker's own certificate, which has to be this one, whatever name it has. */
  readonly certificate?: Buffer
}

/** And how to be let in. The key is never on the command line, which everyone can read. */
export interface ApiTarget extends ApiPlace {
  readonly key: string
  /** For people: which key was used. */
  readonly keyFrom: string
}

export interface TargetFlags {
  readonly apiUrl?: string
  readonly apiKeyFile?: string
  readonly apiCa?: string
  readonly config?: string
}

const LOOK_MS = 2_000

const KEYS = 'name one with --api-key-file FILE or TUNNELMQ_API_KEY (`tunnelmq api-key create` makes one)'

/**
 * What options and environment say; where they do not, the broker of this machine, by its configuration.
 * Throws TMQ_USAGE, TMQ_CONFIG, TMQ_FILE, TMQ_CREDENTIALS.
 */
export async function apiTarget(flags: TargetFlags, env: Environment): Promise<ApiTarget> {
  const key = await keySaid(flags, env)
  const said = urlSaid(flags, env)
  if (said !== undefined && key !== undefined) return { ...(await placeSaid(said, flags, env)), ...key }
  const { config } = await loadConfig({ file: configFile(flags, env), env })
  const place = await apiPlace(flags, env, config)
  return { ...place, ...(key ?? (await localKey(place, said !== undefined, config))) }
}

/** The same without a key. Of the broker of this machine, its key file knows the address best. */
export async function apiPlace(flags: TargetFlags, env: Environment, config: Config): Promise<ApiPlace> {
  const said = urlSaid(flags, env)
  if (said !== undefined) return placeSaid(said, flags, env)
  const { tls, port, localKeyFile } = config.admin
  const at = async (url: URL): Promise<ApiPlace> => {
    const place = await placeSaid(url, flags, env)
    return place.ca !== undefined || tls === undefined
      ? place
      : { ...place, certificate: await read('the certificate of the admin server', tls.cert) }
  }
  const { url } = await readLocalKey(localKeyFile)
  if (url === undefined) return at(configuredUrl(config))
  // Two brokers that are started in one folder: the second has found the file taken.
  if (config.admin.enabled && port !== 0 && url.port !== String(port)) {
    const configured = await at(configuredUrl(config))
    if (await isBroker(configured))
      throw new TunnelMQError(
        ErrorCode.credentials,
        `${localKeyFile} is the key of the broker at ${url.origin}, and this configuration's is at ${configured.url.origin}: ` +
          `give each its own admin.localKeyFile, or say which with --api-url URL; for the second, ${KEYS}`,
      )
  }
  return at(url)
}

/** Whether a broker of ours answers there. */
async function isBroker(place: ApiPlace): Promise<boolean> {
  try {
    const answer = (await askHealth(place, '/live', LOOK_MS)) as { status?: unknown } | null | undefined
    return answer?.status === 'live'
  } catch {
    return false
  }
}

async function placeSaid(url: URL, flags: TargetFlags, env: Environment): Promise<ApiPlace> {
  const file = flags.apiCa ?? (env['TUNNELMQ_API_CA'] || undefined)
  return file === undefined ? { url } : { url, ca: await read('the CA', file) }
}

function urlSaid(flags: TargetFlags, env: Environment): URL | undefined {
  const text = flags.apiUrl ?? (env['TUNNELMQ_API_URL'] || undefined)
  return text === undefined ? undefined : parseUrl(text)
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

async function localKey({ url }: ApiPlace, isSaid: boolean, { admin }: Config): Promise<Key> {
  // Sent elsewhere, the key of this machine would tell others how to get in here.
  if (isSaid && !isLoopback(url.hostname.replaceAll(/^\[|\]$/g, '')))
    throw new TunnelMQError(ErrorCode.credentials, `an API key is needed for ${url.origin}: ${KEYS}`)
  const file = admin.localKeyFile
  const { text, reason } = await readLocalKey(file)
  if (text === undefined) throw new TunnelMQError(ErrorCode.credentials, `no API key: ${reason} Or ${KEYS}`)
  return { key: checked(text, file), keyFrom: `the local key ${file}` }
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
