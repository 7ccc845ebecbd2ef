import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { credentials, mosquitto, passwordLine } from '../brokers/kinds.ts'
import { findFreePort, untilListening } from '../children.ts'
import type { Contender, Entries, Site } from './contender.ts'
import { startMosquitto } from './mosquitto.ts'

/** TunnelMQ's own processes: broker, agent and client, over each kind of connection. */

const START_DEADLINE_MS = 10_000
const AGENT = 'bench-agent'
const CLIENT = 'bench-client'
/** The first line of dist/cli/index.js has the same. */
const NODE_OPTIONS = ['--max-semi-space-size=16', '--initial-old-space-size=64']

const COMMON = 'tunnelmq broker, agent, forward; password-file, acl-file, limits and metrics on'

export function ours(root: string): readonly Contender[] {
  const entry = join(root, 'dist/cli/index.js')
  const builtVersion = (): string | undefined => (existsSync(entry) ? versionOf(entry) : undefined)
  const overOwnBroker = (name: 'tcp' | 'tls' | 'ws', settings: string): Contender => ({
    name,
    settings,
    findVersion: builtVersion,
    start: async (site) => {
      const program = programOf(site, entry)
      const { url, options } = await startBroker(program, site, name, [])
      startAgent(program, site, [...options, '--broker', url])
      return await startClient(program, site, [...options, '--broker', url])
    },
  })
  return [
    overOwnBroker('tcp', COMMON),
    overOwnBroker('tls', 'the same over mqtts://, one certificate (RSA 2048)'),
    overOwnBroker('ws', 'the same over ws://'),
    {
      name: 'mosquitto',
      settings: `agent and forward with --topic-prefix over mosquitto (${mosquitto.settings})`,
      findVersion: () => (mosquitto.findVersion() === undefined ? undefined : builtVersion()),
      start: async (site) => {
        const program = programOf(site, entry)
        const port = await startMosquitto(site)
        const options = ['--topic-prefix', 'tunnel', '--broker', `mqtt://127.0.0.1:${port}`]
        startAgent(program, site, options)
        return await startClient(program, site, options)
      },
    },
    {
      name: 'listen',
      settings: 'tunnelmq broker with tunnel.listen, and agent: the stream begins in the broker',
      findVersion: builtVersion,
      start: async (site) => {
        const program = programOf(site, entry)
        const [bulkPort, pingPort] = [await findFreePort(), await findFreePort()]
        const listen = [
          { bind: `127.0.0.1:${bulkPort}`, to: `${AGENT}/bulk`, maxConnections: 10_000 },
          { bind: `127.0.0.1:${pingPort}`, to: `${AGENT}/ping`, maxConnections: 10_000 },
        ]
        const { url, options } = await startBroker(program, site, 'tcp', listen)
        startAgent(program, site, [...options, '--broker', url])
        return { bulkPort, pingPort }
      },
    },
  ]
}

type Program = (...args: readonly string[]) => { file: string; args: readonly string[] }

function programOf({ nodeOptions }: Site, entry: string): Program {
  return (...args) => ({ file: process.execPath, args: [...NODE_OPTIONS, ...nodeOptions, entry, ...args] })
}

/** Everything at its defaults but the handlers. Returns how to connect. */
async function startBroker(
  program: Program,
  { start, folder }: Site,
  type: 'tcp' | 'tls' | 'ws',
  listen: readonly object[],
): Promise<{ url: string; options: readonly string[] }> {
  const port = await findFreePort()
  const file = (name: string): string => join(folder, name)
  writeFileSync(file('passwords'), passwordLine(credentials))
  writeFileSync(file('password'), `${credentials.password}\n`)
  writeFileSync(
    file('acl'),
    `user ${credentials.username}\ntopic read $tunnel/${AGENT}/+/+/up\ntopic read $tunnel/+/status\ntopic write $tunnel/${AGENT}/#\n`,
  )
  const pair = type === 'tls' ? makeCertificate(folder) : undefined
  // JSON is YAML.
  writeFileSync(
    file('tunnelmq.yaml'),
    JSON.stringify({
      listeners: [{ type, port, ...(pair && { tls: pair }) }],
      handlers: [
        { type: 'password-file', file: file('passwords') },
        { type: 'acl-file', file: file('acl') },
      ],
      store: { type: 'embedded', path: file('data'), sync: true },
      admin: { port: 0 },
      ...(listen.length > 0 && { tunnel: { listen } }),
    }),
  )
  const broker = start('broker', 'broker', program('broker', '--config', file('tunnelmq.yaml')))
  await untilListening(broker, port, START_DEADLINE_MS)
  const scheme = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws' }[type]
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    options: [
      ...['--username', credentials.username, '--password-file', file('password')],
      ...(pair === undefined ? [] : ['--ca', pair.cert]),
    ],
  }
}

function startAgent(
  program: Program,
  { start, bulkTarget, pingTarget }: Site,
  options: readonly string[],
): void {
  const services = [`bulk=127.0.0.1:${bulkTarget}`, `ping=127.0.0.1:${pingTarget}`]
  const said = services.flatMap((service) => ['--service', service])
  start('agent', 'agent', program('agent', '--id', AGENT, ...options, ...said))
}

async function startClient(program: Program, { start }: Site, options: readonly string[]): Promise<Entries> {
  const [bulkPort, pingPort] = [await findFreePort(), await findFreePort()]
  const forwards = [`${bulkPort}=${AGENT}/bulk`, `${pingPort}=${AGENT}/ping`]
  start('client', 'client', program('forward', '--client-id', CLIENT, ...options, ...forwards))
  return { bulkPort, pingPort }
}

function makeCertificate(folder: string): { cert: string; key: string } {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const made = spawnSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1'],
      ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
    ],
    { encoding: 'utf8', timeout: 20_000 },
  )
  if (made.status !== 0) throw new Error(`openssl: ${made.stderr}`)
  return { cert, key }
}

function versionOf(entry: string): string | undefined {
  const { stdout } = spawnSync(process.execPath, [entry, '--version'], { encoding: 'utf8', timeout: 10_000 })
  return stdout?.trim()
}
