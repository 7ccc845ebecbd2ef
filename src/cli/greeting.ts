import { withoutPassword } from '../config/print.ts'
import type { Config } from '../config/schema.ts'
import type { RunningBroker } from '../main.ts'
import { version } from '../version.ts'

/** Where it listens, and what to type next: the first thing that a new user sees. */
export function greeting(config: Config, broker: RunningBroker): string {
  const width = Math.max(...broker.listeners.map(({ url }) => url.length), broker.adminUrl?.length ?? 0)
  const tunnelPorts = broker.tunnelPorts.map(({ bind, port, to }) => {
    const host = bind.slice(0, bind.lastIndexOf(':'))
    return `  tunnel: ${host}:${port} to ${to}`
  })
  return [
    `TunnelMQ ${version} is ready`,
    '',
    ...broker.listeners.map(({ name, url }) => `  ${url.padEnd(width)}  ${name}`),
    ...adminLines(config, broker, width),
    ...tunnelPorts,
    `  store: ${storeOf(config)}`,
    '',
    ...tryIt(config, broker),
    '',
  ].join('\n')
}

/** Who may read the file of the key may do everything: its path is shown, and not the key. */
function adminLines({ admin }: Config, { adminUrl }: RunningBroker, width: number): string[] {
  if (adminUrl === undefined) return []
  const served = [
    ...(admin.dashboard ? ['dashboard'] : []),
    ...(admin.api ? ['/api/v1'] : []),
    '/live /ready /metrics',
  ]
  const line = `  ${adminUrl.padEnd(width)}  ${served.join(', ')}`
  const wantsKey = admin.api && admin.localKey
  return wantsKey ? [line, `  key for it: the first line of ${admin.localKeyFile}`] : [line]
}

function storeOf({ store }: Config): string {
  if (store.type === 'embedded') return store.path
  return store.type === 'redis' ? withoutPassword(store.redis.url) : 'in memory, gone with the process'
}

/** Two commands that show a message go through, for the listener that is easiest to try. */
export function tryCommands(config: Config, broker: RunningBroker): readonly string[] {
  // In the order of the configuration; the names need not agree where the system has chosen the port.
  const candidates = broker.listeners.flatMap(({ url }, index) => {
    const listener = config.listeners[index]
    const suits = listener?.type === 'tcp' || listener?.type === 'tls'
    return suits ? [{ listener, url: new URL(url) }] : []
  })
  const easiest = candidates.find(({ listener }) => listener.type === 'tcp') ?? candidates[0]
  if (easiest === undefined) return []
  const { listener, url } = easiest
  const options = [
    `-h ${connectHost(url.hostname)}`,
    url.port === '1883' ? '' : `-p ${url.port}`,
    listener.type === 'tls' ? '--cafile CA.pem' : '',
    listener.allowAnonymous ? '' : '-u NAME -P PASSWORD',
  ].filter((option) => option !== '')
  const common = options.join(' ')
  return [`mosquitto_sub ${common} -t 'hello/#' -v &`, `mosquitto_pub ${common} -t hello/world -m 'it works'`]
}

function tryIt(config: Config, broker: RunningBroker): string[] {
  const commands = tryCommands(config, broker)
  return commands.length === 0
    ? []
    : ['Try it in another terminal:', '', ...commands.map((line) => `  ${line}`)]
}

// One can listen on all addresses, but not connect to them.
function connectHost(hostname: string): string {
  if (hostname === '0.0.0.0') return '127.0.0.1'
  if (hostname === '[::]') return '::1'
  return hostname.replace(/^\[(.*)\]$/, '$1')
}
