import { spawnSync } from 'node:child_process'
import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Command } from '../children.ts'

/** The brokers that are measured side by side, and how each is set up. */

/** With a 5: its clients speak MQTT 5. */
export type BrokerName = 'tunnelmq' | 'tunnelmq5' | 'aedes' | 'aedes2' | 'mosquitto' | 'mosquitto5' | 'mirror'

export interface Site {
  readonly port: number
  /** An empty folder of this one run, for configuration and data. */
  readonly folder: string
  /** Where CPU profiles go; undefined: none are taken. */
  readonly profileFolder: string | undefined
}

export interface BrokerKind {
  readonly name: BrokerName
  /** Of its clients; default 3.1.1. */
  readonly version?: 5
  /** One line about its settings, for the report. */
  readonly settings: string
  /** Its version, or undefined where it is not installed. */
  findVersion(): string | undefined
  /** Writes what it needs into the folder, and says how to start it there. */
  prepare(site: Site): Command
}

export interface Credentials {
  readonly username: string
  readonly password: string
}

/** The same for all clients; bare Aedes and mosquitto are not told to look at it. */
export const credentials: Credentials = { username: 'bench', password: 'bench-password' }

const PASSWORD_ITERATIONS = 101 // what mosquitto_passwd of Debian writes
const PASSWORD_HASH_BYTES = 64
const SALT_BYTES = 12

/** `root` is the checkout, `built` the folder of the compiled bench. */
export function brokerKinds(root: string, built: string): readonly BrokerKind[] {
  const ours = tunnelmq(root)
  return [
    ours,
    { ...ours, name: 'tunnelmq5', version: 5, settings: 'the same, its clients speak MQTT 5' },
    aedes(built),
    aedes2(built),
    mosquitto,
    { ...mosquitto, name: 'mosquitto5', version: 5, settings: 'the same, its clients speak MQTT 5' },
    mirror(built),
  ]
}

function tunnelmq(root: string): BrokerKind {
  const entry = join(root, 'dist/cli/index.js')
  return {
    name: 'tunnelmq',
    settings: 'embedded store with sync, password-file and acl-file, limits on, metrics on',
    findVersion: () => (existsSync(entry) ? versionIn(join(root, 'package.json')) : undefined),
    prepare: (site) =>
      tunnelmqCommand(root, site, { type: 'embedded', path: join(site.folder, 'data'), sync: true }),
  }
}

/** TunnelMQ with handlers, limits and metrics, on the store that is named. */
export function tunnelmqCommand(
  root: string,
  { port, folder, profileFolder }: Site,
  store: Readonly<Record<string, unknown>>,
): Command {
  const passwords = join(folder, 'passwords')
  const acl = join(folder, 'acl')
  writeFileSync(passwords, passwordLine(credentials))
  writeFileSync(
    acl,
    `user ${credentials.username}\ntopic readwrite bench/#\ntopic read #\npattern readwrite devices/%c/#\n`,
  )
  const config = join(folder, 'tunnelmq.yaml')
  // JSON is YAML. All limits stay at their defaults but one, which is what `connects` measures.
  writeFileSync(
    config,
    JSON.stringify({
      listeners: [{ type: 'tcp', port }],
      handlers: [
        { type: 'password-file', file: passwords },
        { type: 'acl-file', file: acl },
      ],
      store,
      limits: { connectionsPerSecond: 1_000_000 },
      admin: { port: 0 },
    }),
  )
  const flags = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]
  return {
    file: process.execPath,
    args: [
      '--max-semi-space-size=16',
      '--initial-old-space-size=64',
      ...flags,
      join(root, 'dist/cli/index.js'),
      'broker',
      '--config',
      config,
    ],
  }
}

function aedes(built: string): BrokerKind {
  return {
    name: 'aedes',
    settings: 'as in its README: memory, noDelay, no authentication',
    findVersion: () =>
      versionIn(
        createRequire(import.meta.url)
          .resolve('aedes')
          .replace(/aedes\.js$/, 'package.json'),
      ),
    prepare: ({ port }) => ({
      file: process.execPath,
      args: [join(built, 'brokers/aedes-bare.js'), String(port)],
    }),
  }
}

/** Aedes 2, which speaks MQTT 5, from wherever it was installed: no part of this project. */
function aedes2(built: string): BrokerKind {
  const folder = process.env['AEDES_2'] ?? ''
  return {
    name: 'aedes2',
    version: 5,
    settings: 'as aedes, its clients speak MQTT 5',
    findVersion: () => {
      const file = join(folder, 'node_modules/aedes/package.json')
      return folder !== '' && existsSync(file) ? versionIn(file) : undefined
    },
    prepare: ({ port }) => ({
      file: process.execPath,
      args: [join(built, 'brokers/aedes-bare.js'), String(port), join(folder, 'node_modules/aedes/aedes.js')],
    }),
  }
}

export const mosquitto: BrokerKind = {
  name: 'mosquitto',
  settings:
    'persistence false, max_queued_messages 100000, max_inflight_messages 0 (with the default of 20, 2.0.11 loses messages in fan-in at QoS 1), set_tcp_nodelay true, allow_anonymous true',
  findVersion: () => {
    // Prints its help, and ends with code 3.
    const { stdout } = spawnSync(mosquittoFile(), ['-h'], { encoding: 'utf8', timeout: 5_000 })
    return /mosquitto version (\S+)/.exec(stdout ?? '')?.[1]
  },
  prepare: ({ port, folder }) => {
    const config = join(folder, 'mosquitto.conf')
    const lines = [
      `listener ${port} 127.0.0.1`,
      'allow_anonymous true',
      'persistence false',
      'max_queued_messages 100000',
      'max_inflight_messages 0',
      'set_tcp_nodelay true',
    ]
    writeFileSync(config, `${lines.join('\n')}\n`)
    return { file: mosquittoFile(), args: ['-c', config] }
  },
}

function mirror(built: string): BrokerKind {
  return {
    name: 'mirror',
    settings: 'not a broker: copies bytes, to find the ceiling of the generator',
    findVersion: () => '-',
    prepare: ({ port }) => ({
      file: process.execPath,
      args: [join(built, 'brokers/mirror.js'), String(port)],
    }),
  }
}

// Debian keeps it in /usr/sbin, which is not on a user's PATH.
function mosquittoFile(): string {
  return ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto'].find((file) => existsSync(file)) ?? 'mosquitto'
}

/** A line of a mosquitto_passwd file in its `$7$` format (PBKDF2 with SHA-512). */
export function passwordLine({ username, password }: Credentials): string {
  const salt = randomBytes(SALT_BYTES)
  const hash = pbkdf2Sync(password, salt, PASSWORD_ITERATIONS, PASSWORD_HASH_BYTES, 'sha512')
  return `${username}:$7$${PASSWORD_ITERATIONS}$${salt.toString('base64')}$${hash.toString('base64')}\n`
}

function versionIn(packageFile: string): string | undefined {
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version?: unknown }
  return typeof version === 'string' ? version : undefined
}
