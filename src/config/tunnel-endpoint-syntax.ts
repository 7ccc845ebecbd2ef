import { isIPv6 } from 'node:net'
import { isHost } from './network-names.ts'

/**
 * The words of tunnels, as they stand in options, variables and files. Each function returns what it has read,
 * or a text that says what is wrong: it follows the name of the key.
 */

export interface Destination {
  readonly agent: string
  readonly service: string
}

/** A TCP address, or the path of a unix socket. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string }

export interface ForwardWord extends Destination {
  readonly listen: Place
}

export interface ServiceWord {
  readonly name: string
  readonly target: string
  readonly proxyProtocol?: string
}

const NAME = /^[A-Za-z0-9._-]{1,64}$/
/** `tcp` and `ssl`: what the clients of Eclipse call them. */
const SCHEMES = ['mqtt:', 'tcp:', 'mqtts:', 'ssl:', 'ws:', 'wss:']
const DEFAULT_FORWARD_HOST = '127.0.0.1'

export const isEncrypted = (broker: string): boolean => /^(mqtts|ssl|wss):/i.test(broker)

/** What is wrong with a name of an agent, service or client. docs/tunnel-protocol.md 2.1 */
export function nameFault(name: string): string | undefined {
  return NAME.test(name)
    ? undefined
    : `${quote(name)} is not a name: 1 to 64 of the letters A-Z a-z, 0-9, and . _ -`
}

export function brokerFault(broker: string): string | undefined {
  if (broker.startsWith('unix:')) {
    return broker.startsWith('unix:/')
      ? undefined
      : `${quote(broker)} needs an absolute path: unix:/run/mqtt.sock`
  }
  const url = URL.canParse(broker) ? new URL(broker) : undefined
  // `host:1883` is read as a URL with the scheme `host:`.
  if (url === undefined || !SCHEMES.includes(url.protocol) || !broker.includes('//')) {
    return `${quote(broker)} is not the URL of a broker: mqtt://host:1883, mqtts://, ws://, wss://, or unix:/path`
  }
  if (url.username !== '' || url.password !== '') {
    // Not quoted: it may hold a password.
    return 'has a user name or password in it, where others can read it; use username and passwordFile'
  }
  if (url.hostname === '') return `${quote(broker)} has no host`
  const isWebSocket = url.protocol.startsWith('ws')
  if (!isWebSocket && (url.search !== '' || !['', '/'].includes(url.pathname)))
    return `${quote(broker)} has a path, which only ws:// and wss:// can have`
  return undefined
}

export function topicPrefixFault(prefix: string): string | undefined {
  const isGood = prefix !== '' && !/[+#\0]/.test(prefix) && !prefix.startsWith('/') && !prefix.endsWith('/')
  return isGood ? undefined : `${quote(prefix)} cannot begin a topic: no + or #, no / at its ends`
}

/** Where a service is. A port alone is refused: that `22` means this machine is easily got wrong. */
export function readTarget(text: string): Place | string {
  const place = readPlace(text)
  if (place === undefined || ('port' in place && (place.port === 0 || place.host === '*'))) {
    return `${quote(text)} is not a target: 127.0.0.1:22, localhost:8080, [::1]:22 or unix:/run/x.sock`
  }
  return place
}

/** `pi7/ssh` */
export function readDestination(text: string): Destination | string {
  const [agent = '', service, ...more] = text.split('/')
  if (service === undefined || more.length > 0) return `${quote(text)} is not agent/service, such as pi7/ssh`
  return nameFault(agent) ?? nameFault(service) ?? { agent, service }
}

/** `2222=pi7/ssh`, `0.0.0.0:2222=pi7/ssh`, `[::1]:2222=`, `*:2222=`, `unix:/path=`. */
export function readForward(text: string): ForwardWord | string {
  // A path may have = in it, a destination has none.
  const equals = text.lastIndexOf('=')
  if (equals < 0) return `${quote(text)} is not [address:]port=agent/service, such as 2222=pi7/ssh`
  const destination = readDestination(text.slice(equals + 1))
  if (typeof destination === 'string') return destination
  const where = text.slice(0, equals)
  const listen = /^\d+$/.test(where) ? readPlace(`${DEFAULT_FORWARD_HOST}:${where}`) : readPlace(where)
  if (listen === undefined) {
    return `${quote(where)} is not where one can listen: 2222, 0.0.0.0:2222, [::1]:2222, *:2222 or unix:/path`
  }
  return { ...destination, listen }
}

/** `ssh=127.0.0.1:22,web=localhost:8080,proxy-protocol=v2`: services by comma, each followed by its settings. */
export function readServices(text: string, separator: RegExp): readonly ServiceWord[] | string {
  const services: ServiceWord[] = []
  for (const word of text.split(separator).filter((one) => one !== '')) {
    const equals = word.indexOf('=')
    if (equals < 1) return `${quote(word)} is not name=target, such as ssh=127.0.0.1:22`
    const name = word.slice(0, equals)
    const value = word.slice(equals + 1)
    const last = services.at(-1)
    // A target has a port or a path: `v2` cannot be one.
    if (name === 'proxy-protocol' && last !== undefined && !value.includes(':')) {
      services[services.length - 1] = { ...last, proxyProtocol: value }
      continue
    }
    const fault = nameFault(name)
    if (fault !== undefined) return fault
    if (services.some((service) => service.name === name)) return `${name} is there twice`
    services.push({ name, target: value })
  }
  return services
}

function readPlace(text: string): Place | undefined {
  if (text.startsWith('unix:')) return text.startsWith('unix:/') ? { path: text.slice(5) } : undefined
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) return undefined
  const [, v6, host = ''] = match
  if (v6 !== undefined) return isIPv6(v6) ? { host: v6, port } : undefined
  // `*`: every address there is, also where there is no IPv6.
  return host === '*' || isHost(host) ? { host, port } : undefined
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text)
}
