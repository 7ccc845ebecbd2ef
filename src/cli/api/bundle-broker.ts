import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import type { Listener } from '../../admin/api/resources.ts'
import { isLoopback } from '../../config/network-names.ts'
import { brokerFault, isEncrypted } from '../../config/tunnel-endpoint-syntax.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { ApiClient } from './client.ts'
import { isForHost, namesOf, trustNeeded } from './private-ca.ts'

export interface BrokerWishes {
  /** A whole URL, or a host, with a port or without. */
  readonly url?: string | undefined
  /** PEM file. */
  readonly ca?: string | undefined
}

/** How a device finds the broker, and knows that it is the right one. */
export interface BundleBroker {
  readonly url: string
  /** Undefined: the system's CAs know it, or there is no TLS. */
  readonly caPem: string | undefined
  /** Other ways in. */
  readonly others: readonly string[]
  readonly warnings: readonly string[]
}

/** What the configuration of the broker says of a listener, as far as it matters here. */
interface ListenerConfig {
  readonly name?: string
  readonly type: string
  readonly handlers?: readonly { readonly type: string }[]
  readonly proxyProtocol?: string
  readonly tls?: {
    readonly cert: string
    readonly clientCa?: string
    readonly requireClientCertificate?: boolean
  }
}

interface RunningConfig {
  readonly listeners: readonly ListenerConfig[]
  readonly handlers?: readonly { readonly type: string }[]
}

interface Way {
  readonly listener: Listener
  readonly url: URL
  readonly config: ListenerConfig | undefined
}

/** The best first. */
const SCHEMES = ['mqtts:', 'wss:', 'mqtt:', 'ws:']

/**
 * Chooses a listener, and makes of it what a device needs: encrypted ones and those that others can reach come first.
 * Rejects with TMQ_USAGE and TMQ_FILE when the device could not connect.
 */
export async function bundleBroker(api: ApiClient, wishes: BrokerWishes): Promise<BundleBroker> {
  const { url: said } = wishes
  const fault = said?.includes('://') ? brokerFault(said) : undefined
  if (fault !== undefined) throw usage(`--url ${fault}`)
  const [listeners, config] = await Promise.all([
    api.ask<readonly Listener[]>('GET', '/listeners'),
    api.ask<RunningConfig>('GET', '/config'),
  ])
  const ways = waysOf(listeners, config)
  const way = said?.includes('://') ? wayLike(said, ways) : ways[0]
  if (way === undefined && !said?.includes('://'))
    throw usage('no listener of the broker speaks MQTT over the network: name one with --url')
  const chain = await chainOf(way)
  const url = said?.includes('://')
    ? said
    : placed(way!, said ?? hostOf(way!, api, namesOf(chain.text ?? '')))
  if (wishes.ca !== undefined && !isEncrypted(url))
    throw usage(`--ca has no effect with ${url}, which has no TLS`)
  const trust = isEncrypted(url) ? await trustOf(url, way, chain, wishes) : {}
  return {
    url,
    caPem: trust.pem,
    others: said === undefined ? othersOf(ways, way, url) : [],
    warnings: [...placeWarnings(url, way, chain), ...(trust.warning === undefined ? [] : [trust.warning])],
  }
}

function waysOf(listeners: readonly Listener[], { listeners: configs, handlers = [] }: RunningConfig): Way[] {
  const ways = listeners
    .filter(({ url }) => URL.canParse(url))
    .map((listener) => ({ listener, url: new URL(listener.url), config: configOf(listener, configs) }))
    .filter(({ url }) => SCHEMES.includes(url.protocol))
  const cost = ({ url, config }: Way): number =>
    // A chain without identities would not know the device.
    (isDynamic(config?.handlers ?? handlers) ? 0 : 1_000) +
    (isLoopback(bare(url.hostname)) ? 100 : 0) +
    (config?.proxyProtocol === 'required' ? 40 : 0) +
    (wantsCertificate(config) ? 20 : 0) +
    SCHEMES.indexOf(url.protocol)
  return ways.toSorted((a, b) => cost(a) - cost(b))
}

const isDynamic = (handlers: readonly { readonly type: string }[]): boolean =>
  handlers.some(({ type }) => type === 'dynamic')

/** By its name; where it was given none, it is the only one of its type. */
function configOf({ name, type }: Listener, configs: readonly ListenerConfig[]): ListenerConfig | undefined {
  const ofType = configs.filter((one) => one.type === type)
  return ofType.find((one) => one.name === name) ?? (ofType.length === 1 ? ofType[0] : undefined)
}

/** The listener behind a URL that was said: of its scheme, and if there is one, of its port. */
function wayLike(said: string, ways: readonly Way[]): Way | undefined {
  const { protocol, port } = new URL(said)
  const same = ways.filter(
    ({ url }) => isEncrypted(url.href) === isEncrypted(said) && url.protocol === protocol,
  )
  return same.find(({ url }) => url.port === port) ?? same[0]
}

const bare = (host: string): string => host.replaceAll(/^\[|\]$/g, '')
const isEverywhere = (host: string): boolean => ['0.0.0.0', '::', ''].includes(host)

/** A name of the certificate, the address that is listened at, or one by which this machine or the API is known. */
function hostOf({ url }: Way, api: ApiClient, names: readonly string[]): string {
  const name = names.find((one) => !isLoopback(one))
  const listens = bare(url.hostname)
  if (isLoopback(listens)) return names.find(isLoopback) ?? listens
  if (name !== undefined) return name
  if (!isEverywhere(listens)) return listens
  const asked = bare(api.target.url.hostname)
  if (!isLoopback(asked)) return asked
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1'
}

/** The URL of a listener with another host. The parser knows no hosts in these schemes that it would change. */
function placed({ url }: Way, host: string): string {
  const [, name = host, port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(host) ?? []
  const shown = bare(name).includes(':') ? `[${bare(name)}]` : name
  const path = url.pathname === '/' ? '' : url.pathname
  const made = `${url.protocol}//${shown}:${port ?? url.port}${path}`
  const fault = brokerFault(made)
  if (fault !== undefined) throw usage(`--url ${host}: ${fault}`)
  return made
}

function othersOf(ways: readonly Way[], chosen: Way | undefined, url: string): string[] {
  const host = bare(new URL(url).hostname)
  const urls = ways
    .filter((way) => way !== chosen && isLoopback(bare(way.url.hostname)) === isLoopback(host))
    .map((way) => placed(way, isEverywhere(bare(way.url.hostname)) ? host : bare(way.url.hostname)))
  return [...new Set(urls)].filter((other) => other !== url)
}

interface Chain {
  readonly text?: string
  readonly clientCa?: string
  /** Why it cannot be read here. */
  readonly unread?: string
}

async function chainOf(way: Way | undefined): Promise<Chain> {
  const tls = way?.config?.tls
  if (tls === undefined) return {}
  try {
    const text = await readFile(tls.cert, 'utf8')
    const clientCa = tls.clientCa === undefined ? '' : await readFile(tls.clientCa, 'utf8').catch(() => '')
    return { text, clientCa }
  } catch (error) {
    return { unread: `${tls.cert}: ${(error as NodeJS.ErrnoException).code ?? String(error)}` }
  }
}

async function trustOf(
  url: string,
  way: Way | undefined,
  { text, clientCa, unread }: Chain,
  { ca }: BrokerWishes,
): Promise<{ readonly pem?: string; readonly warning?: string }> {
  if (ca !== undefined) return { pem: await readCa(ca) }
  const otherwise = 'the device takes the CAs of its system; name another one with --ca FILE'
  if (text === undefined) {
    const why = unread === undefined ? `no listener here is like it` : `it cannot be read here (${unread})`
    return { warning: `whose certificate ${url} has is not known (${why}): ${otherwise}` }
  }
  const trust = trustNeeded(text, clientCa)
  if (trust.kind === 'private') return { pem: trust.pem }
  if (trust.kind === 'public') return {}
  throw usage(
    `the certificate of ${way?.listener.name ?? url} is by a CA that is neither in its file (${way?.config?.tls?.cert ?? ''}) ` +
      'nor known to systems, so no device could check it: name the CA with --ca FILE',
  )
}

async function readCa(file: string): Promise<string> {
  try {
    const pem = (await readFile(file, 'utf8')).trim()
    if (trustNeeded(pem).kind === 'unknown' && !pem.startsWith('-----BEGIN CERTIFICATE-----'))
      throw usage(`--ca ${file}: is no certificate in PEM`)
    return `${pem}\n`
  } catch (error) {
    if (error instanceof TunnelMQError) throw error
    const reason = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new TunnelMQError(ErrorCode.file, `--ca ${file}: cannot be read (${reason})`, { cause: error })
  }
}

function wantsCertificate(config: ListenerConfig | undefined): boolean {
  return config?.tls?.clientCa !== undefined && config.tls.requireClientCertificate !== false
}

function placeWarnings(url: string, way: Way | undefined, { text }: Chain): string[] {
  const host = bare(new URL(url).hostname)
  const isHere = isLoopback(host)
  return [
    isHere &&
      `${url} is this machine for everyone who reads it: the device finds the broker only if it is this one. Elsewhere: --url, with the name by which devices reach it`,
    !isHere && !isEncrypted(url) && `${url} is not encrypted: everyone on the way can read the secret`,
    text !== undefined &&
      isEncrypted(url) &&
      !isForHost(text, host) &&
      `the certificate of ${way?.listener.name ?? url} is not for ${host}, but for ${namesOf(text).join(', ') || 'no name'}: the device will not take it there; --url with one of these, or tls.servername in the bundle`,
    wantsCertificate(way?.config) &&
      `${way?.listener.name ?? url} wants a certificate of its clients, which a bundle has not: tls.cert and tls.key have to be added`,
  ].filter((warning) => warning !== false)
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}
