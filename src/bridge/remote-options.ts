import { readFile } from 'node:fs/promises'
import type { BridgeConfig } from '../config/bridge-schema.ts'

/** Where the other broker is, and who we are to it, taken apart. */
export interface RemoteOptions {
  readonly protocol: 'mqtt' | 'mqtts' | 'ws' | 'wss'
  readonly host: string
  /** Undefined: that of the protocol. */
  readonly port: number | undefined
  /** Of WebSocket; with the query. */
  readonly path: string
  readonly clientId: string
  readonly username: string | undefined
  readonly password: string | undefined
  readonly tls: RemoteTls
}

/** As `node:tls` names them. */
export interface RemoteTls {
  readonly ca?: Buffer
  readonly cert?: Buffer
  readonly key?: Buffer
  readonly passphrase?: string
  readonly servername?: string
  readonly rejectUnauthorized?: boolean
}

/** Reads the files anew for each attempt, so that what was renewed is used. Rejects when one cannot be read. */
export async function readRemoteOptions(config: BridgeConfig): Promise<RemoteOptions> {
  const url = new URL(config.url)
  const ofUrl = (text: string): string | undefined => (text === '' ? undefined : decodeURIComponent(text))
  const { ca, cert, key, ...rest }: Partial<NonNullable<BridgeConfig['tls']>> = config.tls ?? {}
  const tls = {
    ...(ca !== undefined && { ca: await readFile(ca) }),
    ...(cert !== undefined && { cert: await readFile(cert) }),
    ...(key !== undefined && { key: await readFile(key) }),
    ...(rest.passphrase !== undefined && { passphrase: rest.passphrase }),
    ...(rest.servername !== undefined && { servername: rest.servername }),
    ...(rest.rejectUnauthorized !== undefined && { rejectUnauthorized: rest.rejectUnauthorized }),
  }
  const password =
    config.passwordFile === undefined ? config.password : await readPassword(config.passwordFile)
  return {
    protocol: url.protocol.slice(0, -1) as RemoteOptions['protocol'],
    host: url.hostname,
    port: url.port === '' ? undefined : Number(url.port),
    path: url.pathname === '' ? '/' : `${url.pathname}${url.search}`,
    clientId: remoteClientId(config),
    username: config.username ?? ofUrl(url.username),
    password: password ?? ofUrl(url.password),
    tls,
  }
}

export function remoteClientId({ clientId, name }: Pick<BridgeConfig, 'clientId' | 'name'>): string {
  return clientId ?? `tunnelmq-${name}`
}

/** For log lines: without credentials and query. */
export function shownUrl({ url }: Pick<BridgeConfig, 'url'>): string {
  const { protocol, host, pathname } = new URL(url)
  return `${protocol}//${host}${pathname === '/' ? '' : pathname}`
}

async function readPassword(file: string): Promise<string> {
  const [line = ''] = (await readFile(file, 'utf8')).split(/\r?\n/, 1)
  return line
}
