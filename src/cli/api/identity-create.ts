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
  const { group: groups = [], description, bundle } = flags
  if (flags.passwordStdin === true && !flags.password)
    throw new TunnelMQError(ErrorCode.usage, 'only one of --password-stdin and --no-password')
  const clientId = flags.clientId ?? (bundle === undefined ? undefined : name)
  const prepared = await prepareBundle(api, flags, { name, clientId: clientId ?? name })
  let made: IdentityDetail | undefined
  let secret: string | undefined
  try {
    const isDevice = bundle !== undefined && flags.role === undefined && flags.group === undefined
    if (isDevice && (await ensureDeviceRole(api)))
      process.stderr.write(
        `the role ${DEVICE_ROLE} is made, the first time; look: tunnelmq identity role show device\n`,
      )
    const password = !flags.password
      ? undefined
      : flags.passwordStdin === true
        ? await askPassword()
        : makePassword()
    const roles = flags.role ?? (isDevice ? [DEVICE_ROLE] : [])
    const body: Partial<IdentityRequest> = {
      name,
      groups: [...groups],
      roles: [...roles],
      ...(description !== undefined && { description }),
      ...(clientId !== undefined && { clientId }),
      ...(password !== undefined && { password }),
    }
    made = await api.ask<IdentityDetail>('POST', '/identities', { body })
    secret = password
    if (prepared !== undefined) {
      secret ??= await makeKey(api, name)
      await prepared.write(secret)
    }
  } catch (error) {
    await prepared?.abandon()
    // Without its bundle nobody would have its secret.
    if (made !== undefined) await api.act('DELETE', pathOf(name)).catch(() => undefined)
    throw error
  }
  warn(made.warning)
  const isSaid = prepared !== undefined || flags.passwordStdin === true || secret === undefined
  if (isSaid) printDone(`${name} is made`, flags, made)
  else
    printSecret(`${printable(name)} is made; this is its password`, secret!, flags, {
      ...made,
      password: secret,
    })
}

async function makeKey(api: ApiClient, name: string): Promise<string> {
  const body = { description: 'of its bundle' }
  return (await api.ask<IdentityKeyMade>('POST', `${pathOf(name)}/keys`, { body })).secret
}

/** Why it has no effect now. */
export function warn(warning: string | null | undefined): void {
  if (warning !== null && warning !== undefined) process.stderr.write(`tunnelmq: ${printable(warning)}\n`)
}
