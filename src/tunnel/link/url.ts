import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** Where a broker is, and how it is spoken to. */
export type BrokerAddress = SocketAddress | WebSocketAddress

export interface SocketAddress {
  readonly transport: 'tcp' | 'tls' | 'unix'
  /** Without brackets; empty for unix. */
  readonly host: string
  readonly port: number
  /** Of the unix socket. */
  readonly path: string
  readonly credentials: UrlCredentials
  /** For messages: without credentials and query. */
  readonly display: string
}

export interface WebSocketAddress {
  readonly transport: 'ws' | 'wss'
  readonly host: string
  /** For `ws`: with path and query, without credentials. */
  readonly url: string
  readonly credentials: UrlCredentials
  readonly display: string
}

export interface UrlCredentials {
  readonly username: string | undefined
  readonly password: string | undefined
}

/** `tcp` and `ssl` are what the clients of Eclipse call them. */
const TRANSPORTS: Readonly<Record<string, { transport: BrokerAddress['transport']; port: number }>> = {
  'mqtt:': { transport: 'tcp', port: 1883 },
  'tcp:': { transport: 'tcp', port: 1883 },
  'mqtts:': { transport: 'tls', port: 8883 },
  'ssl:': { transport: 'tls', port: 8883 },
  'ws:': { transport: 'ws', port: 80 },
  'wss:': { transport: 'wss', port: 443 },
}

const DEFAULT_WEBSOCKET_PATH = '/mqtt'
const FORMS = 'mqtt://host:1883, mqtts://host:8883, ws://host/mqtt, wss://host/mqtt or unix:/path'

/** @throws TunnelMQError with the code `usage`. The message holds no part of the text, as that may hold a password. */
export function parseBrokerUrl(text: string): BrokerAddress {
  if (text.startsWith('unix:')) return unixAddress(text)
  const url = URL.canParse(text) ? new URL(text) : undefined
  const known = url && TRANSPORTS[url.protocol]
  if (url === undefined || known === undefined || url.hostname === '') {
    throw wrong(`not the URL of a broker; these are: ${FORMS}`)
  }
  const { transport } = known
  if (url.port === '0') throw wrong('the port in the URL of the broker cannot be 0')
  const port = url.port === '' ? known.port : Number(url.port)
  const credentials = { username: decode(url.username), password: decode(url.password) }
  const authority = `${url.protocol}//${url.hostname}:${port}`
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  if (transport === 'ws' || transport === 'wss') {
    const display = `${authority}${hasPath(text) ? url.pathname : DEFAULT_WEBSOCKET_PATH}`
    return { transport, host, url: `${display}${url.search}`, credentials, display }
  }
  if (url.pathname.length > 1 || url.search !== '') {
    throw wrong('a URL with mqtt:// or mqtts:// ends with the port; ws:// and wss:// have a path')
  }
  return { transport, host, port, path: '', credentials, display: authority }
}

function unixAddress(text: string): SocketAddress {
  const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '')
  if (!path.startsWith('/') || path.includes('\0'))
    throw wrong('unix: needs an absolute path, as unix:/run/mqtt.sock')
  const credentials = { username: undefined, password: undefined }
  return { transport: 'unix', host: '', port: 0, path, credentials, display: `unix:${path}` }
}

/** Whether a path was written; URL makes `/` of none. */
function hasPath(text: string): boolean {
  return /^[^:]+:\/\/[^/?#]*\//.test(text)
}

function decode(part: string): string | undefined {
  if (part === '') return undefined
  try {
    return decodeURIComponent(part)
  } catch {
    throw wrong('the user name or password in the URL of the broker is not percent-encoded as it must be')
  }
}

const wrong = (message: string): TunnelMQError => new TunnelMQError(ErrorCode.usage, message)
