import { createSecureContext } from 'node:tls'
import { checkBridges } from './bridge-meaning.ts'
import { checkCertificateHandlers, warnOfCertificateHandlers } from './certificate-meaning.ts'
import { checkCluster, warnOfCluster } from './cluster-meaning.ts'
import { checkHandlers, decidesOnTopics, warnOfHandlers } from './handler-meaning.ts'
import { checkHeaders } from './header-meaning.ts'
import { listenerName } from './listener-name.ts'
import { tlsOf } from './listener-tls.ts'
import type { ConfigPath, Mistake } from './mistake.ts'
import { mountpointFault } from './mountpoint.ts'
import {
  hostsOverlap,
  isCidrOrAddress,
  isHost,
  isLoopback,
  isOrigin,
  splitHostPort,
} from './network-names.ts'
import type { Config, ListenerConfig } from './schema.ts'
import { checkTunnel, warnOfTunnel } from './tunnel-meaning.ts'

/** `sun_path` of Linux holds 108 bytes with the final zero. */
const UNIX_PATH_MAX_BYTES = 107

export interface Findings {
  readonly mistakes: readonly Mistake[]
  /** What is allowed, and yet hardly meant. */
  readonly warnings: readonly Mistake[]
}

/** What a schema cannot say: values that contradict each other, or that mean nothing. */
export function checkMeaning(config: Config): Findings {
  const mistakes = [
    ...config.listeners.flatMap(checkListener),
    ...checkProxies(config),
    ...checkNames(config.listeners),
    ...checkPorts(config),
    ...checkDurations(config),
    ...checkTunnel(config.tunnel),
    ...checkCluster(config),
    ...checkTracing(config.tracing),
    ...checkBridges(config),
    ...checkHandlers(config),
    ...checkCertificateHandlers(config),
  ]
  if (!isHost(config.admin.host))
    mistakes.push({ path: ['admin', 'host'], message: notAHost(config.admin.host) })
  const warnings = [
    ...config.listeners.flatMap((listener, index) => warnOfListener(listener, index, config)),
    ...warnOfSizes(config),
    ...warnOfAdmin(config),
    ...warnOfTunnel(config),
    ...warnOfCluster(config),
    ...warnOfHandlers(config),
    ...warnOfCertificateHandlers(config),
  ]
  return { mistakes, warnings }
}

function checkListener(listener: ListenerConfig, index: number): Mistake[] {
  const at = (...keys: (string | number)[]): ConfigPath => ['listeners', index, ...keys]
  const mistakes: Mistake[] = []
  const fault = mountpointFault(listener.mountpoint)
  if (fault !== undefined) mistakes.push({ path: at('mountpoint'), message: fault })
  if (listener.type === 'unix') {
    if (Buffer.byteLength(listener.path) > UNIX_PATH_MAX_BYTES)
      mistakes.push({ path: at('path'), message: `is longer than ${UNIX_PATH_MAX_BYTES} bytes` })
    return mistakes
  }
  if (!isHost(listener.host)) mistakes.push({ path: at('host'), message: notAHost(listener.host) })
  if (!('proxyProtocol' in listener)) return mistakes
  for (const [entry, proxy] of listener.trustedProxies.entries()) {
    if (isCidrOrAddress(proxy)) continue
    const message = `"${proxy}" is not an address or CIDR, such as 10.0.0.0/8 or fd00::/8`
    mistakes.push({ path: at('trustedProxies', entry), message })
  }
  if (listener.proxyProtocol === 'trusted' && listener.trustedProxies.length === 0)
    mistakes.push({
      path: at('proxyProtocol'),
      message: '"trusted" needs trustedProxies, and there are none',
    })
  const origins = (allowed: readonly string[], key: string): void => {
    for (const [entry, origin] of allowed.entries()) {
      if (origin === '*' || isOrigin(origin)) continue
      const message = `"${origin}" is not an origin, such as https://example.com:8443 (lower case, no path)`
      mistakes.push({ path: at(key, 'allowedOrigins', entry), message })
    }
  }
  if ('websocket' in listener) {
    origins(listener.websocket.allowedOrigins, 'websocket')
    if (/[\s?#]/.test(listener.websocket.path))
      mistakes.push({
        path: at('websocket', 'path'),
        message: 'has a space, ? or #: no request has such a path',
      })
  }
  const ciphers = tlsOf(listener)?.ciphers
  if (ciphers !== undefined && !isCipherList(ciphers))
    mistakes.push({
      path: at('tls', 'ciphers'),
      message: `"${ciphers}" is not a list of ciphers that OpenSSL has here: see \`openssl ciphers\``,
    })
  if ('http' in listener) {
    origins(listener.http.allowedOrigins, 'http')
    if (!isPlainPath(listener.http.path)) {
      const message = `"${listener.http.path}" is not a path such as /mqtt: letters, digits and -._~ between slashes, no slash at its end`
      mistakes.push({ path: at('http', 'path'), message })
    }
  }
  return mistakes
}

/** Compared with what stands in a request as it is: no escapes, no query. `/` alone is one. */
function isPlainPath(path: string): boolean {
  return path === '/' || /^(?:\/[A-Za-z0-9._~-]+)+$/.test(path)
}

function isCipherList(ciphers: string): boolean {
  try {
    return Boolean(createSecureContext({ ciphers }))
  } catch {
    return false
  }
}

/** What a proxy listener leads to. */
function checkProxies({ listeners, tunnel }: Config): Mistake[] {
  if (tunnel.enabled) return []
  return listeners.flatMap(({ type }, index) =>
    type === 'proxy'
      ? [{ path: ['listeners', index, 'type'], message: 'leads into tunnels, and tunnel.enabled is off' }]
      : [],
  )
}

function checkNames(listeners: readonly ListenerConfig[]): Mistake[] {
  const seen = new Map<string, number>()
  return listeners.flatMap((listener, index) => {
    const name = listenerName(listener)
    const first = seen.get(name)
    if (first === undefined) {
      seen.set(name, index)
      return []
    }
    const message = `"${name}" is the name of listeners.${first} already; give one of them a name of its own`
    return [{ path: ['listeners', index, 'name'], message }]
  })
}

interface Endpoint {
  /** TCP and UDP do not share their ports. Default: TCP. */
  readonly protocol?: 'tcp' | 'udp'
  readonly path: ConfigPath
  readonly what: string
  readonly host: string
  readonly port: number
}

function checkPorts(config: Config): Mistake[] {
  const endpoints: Endpoint[] = config.listeners.flatMap((listener, index) =>
    listener.type === 'unix'
      ? []
      : [
          {
            ...listener,
            protocol: listener.type === 'coap' ? ('udp' as const) : ('tcp' as const),
            path: ['listeners', index, 'port'],
            what: `listeners.${index}`,
          },
        ],
  )
  if (config.admin.enabled) endpoints.push({ ...config.admin, path: ['admin', 'port'], what: 'admin' })
  for (const [index, { bind }] of config.tunnel.enabled ? config.tunnel.listen.entries() : []) {
    const { host, port } = splitHostPort(bind)
    const what = `tunnel.listen.${index}`
    endpoints.push({ path: ['tunnel', 'listen', index, 'bind'], what, host: host === '' ? '::' : host, port })
  }
  const mistakes = endpoints.flatMap((endpoint, index) => {
    const other = endpoints.slice(0, index).find((before) => sameEndpoint(before, endpoint))
    return other === undefined
      ? []
      : [{ path: endpoint.path, message: `${endpoint.port} is the port of ${other.what} already` }]
  })
  const sockets = new Map<string, number>()
  for (const [index, listener] of config.listeners.entries()) {
    if (listener.type !== 'unix') continue
    const first = sockets.get(listener.path)
    sockets.set(listener.path, first ?? index)
    if (first !== undefined)
      mistakes.push({
        path: ['listeners', index, 'path'],
        message: `is the socket of listeners.${first} already`,
      })
  }
  return mistakes
}

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  const { protocol = 'tcp' } = a
  return (
    protocol === (b.protocol ?? 'tcp') && a.port === b.port && a.port !== 0 && hostsOverlap(a.host, b.host)
  )
}

function checkTracing({ endpoint, headers }: Config['tracing']): Mistake[] {
  const mistakes = checkHeaders(headers, ['tracing', 'headers'])
  // The value is not shown: a password may be in it.
  if (endpoint !== undefined && !URL.canParse(endpoint))
    mistakes.push({
      path: ['tracing', 'endpoint'],
      message: 'is not a URL such as http://collector:4318/v1/traces',
    })
  return mistakes
}

function checkDurations(config: Config): Mistake[] {
  if (config.shutdown.drainMs < config.shutdown.timeoutMs) return []
  const message = `${config.shutdown.drainMs} is not less than shutdown.timeoutMs (${config.shutdown.timeoutMs})`
  return [{ path: ['shutdown', 'drainMs'], message }]
}

function warnOfListener(listener: ListenerConfig, index: number, config: Config): Mistake[] {
  const at = (key: string): ConfigPath => ['listeners', index, key]
  const chain = listener.handlers ?? config.handlers
  const warnings: Mistake[] = []
  if (!listener.allowAnonymous && chain.length === 0)
    warnings.push({
      path: ['listeners', index],
      message: 'lets nobody in: no handlers, and allowAnonymous is off',
    })
  const opensToAll =
    listener.allowAnonymous || chain.some((handler) => handler.type === 'anonymous' && handler.allow)
  const hasRules = chain.some(decidesOnTopics)
  if (listener.type === 'unix') return warnings
  if (opensToAll && !hasRules && !isLoopback(listener.host)) {
    const message = `everyone who reaches ${listener.host}:${listener.port} may read and write every topic`
    warnings.push({ path: at('allowAnonymous'), message })
  }
  if (listener.type === 'coap' && !isLoopback(listener.host)) {
    const message = `CoAP is not encrypted: whoever sees the packets to ${listener.host}:${listener.port} reads passwords and messages (docs/coap.md says what to do instead)`
    warnings.push({ path: at('host'), message })
  }
  if (!('proxyProtocol' in listener)) return warnings
  const readsForwardedFor = 'websocket' in listener || 'http' in listener
  if (listener.trustedProxies.length > 0 && listener.proxyProtocol === 'off' && !readsForwardedFor)
    warnings.push({ path: at('trustedProxies'), message: 'has no effect while proxyProtocol is off' })
  return warnings
}

function warnOfSizes(config: Config): Mistake[] {
  const { maxPacketBytes } = config.limits
  const { queueMaxBytes } = config.session
  if (queueMaxBytes >= maxPacketBytes) return []
  const message = `is less than limits.maxPacketBytes (${maxPacketBytes}): the largest messages are never queued`
  return [{ path: ['session', 'queueMaxBytes'], message }]
}

function warnOfAdmin({ admin }: Config): Mistake[] {
  if (!admin.enabled || !admin.api || admin.tls !== undefined || isLoopback(admin.host)) return []
  const message = `API keys cross the network in clear text to ${admin.host}:${admin.port}: set admin.tls, admin.api: false, or put a proxy with TLS in front`
  return [{ path: ['admin', 'host'], message }]
}

function notAHost(host: string): string {
  return `"${host}" is not an address or host name`
}
