import type { Command } from 'commander'
import type { Role, RoleRequest } from '../../admin/api/identity-resources.ts'
import { nameFault, readServices, readTarget } from '../../config/tunnel-endpoint-syntax.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { collect } from '../config-flags.ts'
import { bundleBroker, type BundleBroker } from './bundle-broker.ts'
import type { ApiClient } from './client.ts'
import type { ApiFlags } from './command.ts'
import { bundleText, reserveBundle, type BundlePlace } from './identity-bundle.ts'

export interface BundleFlags extends ApiFlags {
  readonly bundle?: string | true
  readonly url?: string
  readonly ca?: string
  readonly service?: readonly string[]
}

export function addBundleOptions(command: Command): Command {
  return command
    .option(
      '--bundle [file]',
      'write all that a device needs into one new file; default: NAME.yaml; - is stdout',
    )
    .option('--url <url>', 'of the bundle: the broker as devices reach it: a URL, or a name')
    .option('--ca <file>', 'of the bundle: the CA of the broker (PEM); default: from its listener')
    .option(
      '--service <name=target>',
      'of the bundle: what the agent offers; may be repeated; default: ssh=127.0.0.1:22',
      collect,
    )
}

/** Given to an identity that is made with a bundle and no role of its own. */
export const DEVICE_ROLE = 'device'

const deviceRole: RoleRequest = {
  description: 'A device: serves its own services, and has devices/<its user name>/ for its own messages.',
  rules: [
    { allow: true, actions: ['serve'], on: '%c/*' },
    { allow: true, actions: ['publish', 'subscribe'], on: 'devices/%u/#' },
  ],
}

/** Makes the role if there is none; one that was changed stays as it is. */
export async function ensureDeviceRole(api: ApiClient): Promise<void> {
  if ((await api.find<Role>(`/roles/${DEVICE_ROLE}`)) !== undefined) return
  await api.ask<Role>('PUT', `/roles/${DEVICE_ROLE}`, { body: deviceRole })
  process.stderr.write(
    `the role ${DEVICE_ROLE} is made; what it allows: tunnelmq identity role show ${DEVICE_ROLE}\n`,
  )
}

/** A bundle that is not written yet: all that can be wrong with it has been looked at. */
export interface PreparedBundle {
  write(secret: string): Promise<void>
  abandon(): Promise<void>
}

export interface BundleOwner {
  readonly name: string
  readonly clientId: string
}

/** Rejects before anything is changed: a device that is known, but of whose secret nobody has a copy, helps nobody. */
export async function prepareBundle(
  api: ApiClient,
  flags: BundleFlags,
  { name, clientId }: BundleOwner,
): Promise<PreparedBundle | undefined> {
  const { bundle, url, ca, service = ['ssh=127.0.0.1:22'] } = flags
  if (bundle === undefined) {
    const needless = Object.entries({ url, ca, service: flags.service }).find(
      ([, value]) => value !== undefined,
    )
    if (needless !== undefined) throw usage(`--${needless[0]} is about a bundle: --bundle [FILE]`)
    return undefined
  }
  const fault = nameFault(clientId)
  if (fault !== undefined) throw usage(`the client id is the name of the agent, and ${fault}: --client-id ID`)
  const services = servicesOf(service)
  const broker = await bundleBroker(api, { url, ca })
  const place = await reserveBundle(bundle, name)
  return {
    async write(secret) {
      await place.write(bundleText({ name, clientId, secret, services, broker }, new Date()))
      say(place, broker)
    },
    abandon: () => place.abandon(),
  }
}

function say({ file }: BundlePlace, { url, warnings }: BundleBroker): void {
  for (const warning of warnings) process.stderr.write(`tunnelmq: ${warning}\n`)
  const where = file === undefined ? 'was printed' : `is in ${file}`
  process.stderr.write(`its bundle, for ${url}, ${where}; on the device: tunnelmq agent --config FILE\n`)
}

function servicesOf(words: readonly string[]): Record<string, string | object> {
  const read = words.map((word) => {
    const services = readServices(word, /,/)
    if (typeof services === 'string') throw usage(`--service ${services}`)
    return services
  })
  for (const { target } of read.flat()) {
    const place = readTarget(target)
    if (typeof place === 'string') throw usage(`--service ${place}`)
  }
  const named = read.flat().map(({ name, ...service }) => [name, service] as const)
  return Object.fromEntries(
    named.map(([name, service]) => [name, service.proxyProtocol === undefined ? service.target : service]),
  )
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}
