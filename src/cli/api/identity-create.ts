import type { Command } from 'commander'
import type { IdentityDetail, IdentityKeyMade, IdentityRequest } from '../../admin/api/identity-resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { collect } from '../config-flags.ts'
import { printable } from '../table.ts'
import type { ApiClient } from './client.ts'
import { onApi, printDone } from './command.ts'
import {
  addBundleOptions,
  DEVICE_ROLE,
  ensureDeviceRole,
  prepareBundle,
  type BundleFlags,
} from './identity-device.ts'
import { askPassword, makePassword, printSecret } from './identity-secret.ts'

interface CreateFlags extends BundleFlags {
  readonly clientId?: string
  readonly group?: readonly string[]
  readonly role?: readonly string[]
  readonly description?: string
  readonly passwordStdin?: true
  readonly password: boolean
}

export const pathOf = (name: string): string => `/identities/${encodeURIComponent(name)}`

/** `tunnelmq identity create`. */
export function createCommand(command: Command, env: Environment): Command {
  return onApi(
    addBundleOptions(
      command
        .description('make an identity, with a password that is shown once')
        .argument('<name>', 'the MQTT user name')
        .option(
          '--client-id <id>',
          'the only client id that it may have; default: any; with a bundle: the name',
        )
        .option('--group <name>', 'that it is in; may be repeated', collect)
        .option('--role <name>', 'that it has; may be repeated', collect)
        .option('--description <text>', 'for people')
        .option('--password-stdin', 'take the password from standard input; on a terminal it is asked for')
        .option('--no-password', 'none: only keys let it in; a bundle has a key then'),
    ),
    env,
    create,
  )
}

async function create(api: ApiClient, flags: CreateFlags, name = ''): Promise<void> {
  const { bundle, group: groups = [], description } = flags
  const isDevice = bundle !== undefined && flags.role === undefined && flags.group === undefined
  check(flags, name, isDevice)
  const password = await passwordOf(flags)
  const clientId = flags.clientId ?? (bundle === undefined ? undefined : name)
  const body: Partial<IdentityRequest> = {
    name,
    groups: [...groups],
    roles: [...(flags.role ?? (isDevice ? [DEVICE_ROLE] : []))],
    ...(description !== undefined && { description }),
    ...(clientId !== undefined && { clientId }),
    ...(password !== undefined && { password }),
  }
  const prepared = await prepareBundle(api, flags, { name, clientId: clientId ?? name })
  let made: IdentityDetail | undefined
  try {
    if (isDevice) await ensureDeviceRole(api)
    made = await api.ask<IdentityDetail>('POST', '/identities', { body })
    await prepared?.write(password ?? (await makeKey(api, name)))
  } catch (error) {
    await prepared?.abandon()
    // Without its bundle nobody would have its secret.
    if (made !== undefined) await api.act('DELETE', pathOf(name)).catch(() => undefined)
    throw error
  }
  warn(made.warning)
  // The bundle itself is what is printed.
  if (bundle === '-') return
  const isNews = password !== undefined && flags.passwordStdin !== true && prepared === undefined
  if (!isNews) printDone(`${name} is made`, flags, made)
  else printSecret(`${printable(name)} is made; this is its password`, password, flags, { ...made, password })
}

function check(flags: CreateFlags, name: string, isDevice: boolean): void {
  if (flags.passwordStdin === true && !flags.password)
    throw new TunnelMQError(ErrorCode.usage, 'only one of --password-stdin and --no-password')
  // A name that could mean more than one level of a topic is given nothing by %u.
  if (isDevice && /[+#/]/.test(name))
    throw new TunnelMQError(
      ErrorCode.usage,
      `${printable(name)} has one of + # / in it, for which the role ${DEVICE_ROLE} allows nothing: another name, or --role`,
    )
}

async function passwordOf({ password, passwordStdin }: CreateFlags): Promise<string | undefined> {
  if (!password) return undefined
  return passwordStdin === true ? askPassword() : makePassword()
}

async function makeKey(api: ApiClient, name: string): Promise<string> {
  const body = { description: 'of its bundle' }
  return (await api.ask<IdentityKeyMade>('POST', `${pathOf(name)}/keys`, { body })).secret
}

/** Why it has no effect now. */
export function warn(warning: string | null | undefined): void {
  if (warning !== null && warning !== undefined) process.stderr.write(`tunnelmq: ${printable(warning)}\n`)
}
