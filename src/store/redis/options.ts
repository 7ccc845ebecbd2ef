import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import type { RedisOptions } from 'ioredis'
import type { RedisConfig } from '../../config/cluster-schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** Where Redis is, and how to be let in. */
export interface RedisAddress {
  readonly host: string
  readonly port: number
  readonly isTls: boolean
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
}

/** Throws TMQ_CONFIG, without the password. */
export function parseRedisAddress(config: RedisConfig): RedisAddress {
  const url = parsedUrl(config.url)
  const path = /^\/?(\d{0,5})$/.exec(url.pathname)
  if (path === null) throw invalid(`its path "${url.pathname}" is not a database number, such as /0`)
  if (url.search !== '' || url.hash !== '') throw invalid('it has more than a path')
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  if (host === '') throw invalid('it has no host')
  const username = config.username ?? decoded(url.username)
  const password = config.password ?? decoded(url.password)
  if (username !== undefined && password === undefined) throw invalid('there is a user, and no password')
  return {
    host,
    port: url.port === '' ? 6379 : Number(url.port),
    isTls: url.protocol === 'rediss:',
    username,
    password,
    database: Number(path[1] ?? 0),
  }
}

/** For logs. */
export function describeRedis(config: RedisConfig): string {
  const { host, port, isTls, database } = parseRedisAddress(config)
  const scheme = isTls ? 'rediss' : 'redis'
  if (config.sentinel !== undefined)
    return `${scheme}://${config.sentinel.name}/${database} by ${config.sentinel.nodes.join(', ')}`
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}/${database}`
}

/**
 * For one attempt to connect; ioredis does nothing else for us: no queue, no attempt of its own, no password, so
 * that each of them has one place, our connection. Certificates are read each time, as they are renewed.
 * Throws TMQ_CONFIG for what is wrong with the configuration, and for files that cannot be read.
 */
export function redisOptions(config: RedisConfig): RedisOptions {
  const address = parseRedisAddress(config)
  const tls = address.isTls || config.sentinel?.tls === true ? tlsOptions(config) : undefined
  const common: RedisOptions = {
    lazyConnect: true,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: null,
    retryStrategy: null,
    disableClientInfo: true,
    connectTimeout: config.connectTimeoutMs,
    noDelay: true,
    keepAlive: 10_000,
    ...(address.isTls && tls !== undefined ? { tls } : {}),
  }
  const { sentinel } = config
  if (sentinel === undefined) return { ...common, host: address.host, port: address.port }
  return {
    ...common,
    name: sentinel.name,
    sentinels: sentinel.nodes.map(sentinelNode),
    sentinelRetryStrategy: () => null,
    sentinelCommandTimeout: config.connectTimeoutMs,
    enableTLSForSentinelMode: address.isTls,
    ...(sentinel.username === undefined ? {} : { sentinelUsername: sentinel.username }),
    ...(sentinel.password === undefined ? {} : { sentinelPassword: sentinel.password }),
    ...(sentinel.tls && tls !== undefined ? { sentinelTLS: tls } : {}),
  }
}

function sentinelNode(node: string): { host: string; port: number } {
  const at = node.lastIndexOf(':')
  const port = Number(node.slice(at + 1))
  if (port < 1 || port > 65_535)
    throw new TunnelMQError(ErrorCode.config, `store.redis.sentinel.nodes: "${node}" has no valid port`)
  return { host: node.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port }
}

function tlsOptions({ tls }: RedisConfig): ConnectionOptions {
  if (tls === undefined) return {}
  return {
    ...(tls.ca === undefined ? {} : { ca: fileOf('ca', tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: fileOf('cert', tls.cert) }),
    ...(tls.key === undefined ? {} : { key: fileOf('key', tls.key) }),
    ...(tls.passphrase === undefined ? {} : { passphrase: tls.passphrase }),
    ...(tls.servername === undefined ? {} : { servername: tls.servername }),
  }
}

function fileOf(name: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    const message = `store.redis.tls.${name}: ${path} cannot be read`
    throw new TunnelMQError(ErrorCode.config, message, { cause: error })
  }
}

function parsedUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    // Without the cause, which quotes the URL with its password.
    throw invalid('it is not a URL; special characters of a password are to be written as %40')
  }
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:')
    throw invalid('it does not begin with redis:// or rediss://')
  return url
}

function decoded(part: string): string | undefined {
  if (part === '') return undefined
  try {
    return decodeURIComponent(part)
  } catch {
    throw invalid('its user or password has a % that is not followed by two hexadecimal digits')
  }
}

function invalid(why: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.config, `store.redis.url: ${why}`)
}
