import { Command } from 'commander'
import type {
  Identity,
  IdentityChange,
  IdentityDetail,
  PasswordRequest,
  PasswordSet,
} from '../../admin/api/identity-resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { collect } from '../config-flags.ts'
import { parseCount } from '../duration.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import { formatTable, printable, terminalWidth } from '../table.ts'
import type { ApiClient } from './client.ts'
import {
  onApi,
  printDone,
  printFacts,
  printItems,
  printJson,
  shortTime,
  type ApiFlags,
  type Columns,
} from './command.ts'
import { createCommand, pathOf, warn } from './identity-create.ts'
import { addBundleOptions, prepareBundle, type BundleFlags } from './identity-device.ts'
import { groupCommand } from './identity-group.ts'
import { keyCommand, keyRows } from './identity-key.ts'
import { roleCommand } from './identity-role.ts'
import { askPassword, makePassword, printSecret } from './identity-secret.ts'
import { sayMore, walkPages } from './pages.ts'

interface ListFlags extends ApiFlags {
  readonly state?: string
  readonly search?: string
  readonly inGroup?: string
  readonly withRole?: string
  readonly limit?: string
}

interface ChangeFlags extends ApiFlags {
  readonly clientId?: string | false
  readonly group?: readonly string[] | false
  readonly role?: readonly string[] | false
  readonly description?: string
}

interface PasswordFlags extends BundleFlags {
  readonly passwordStdin?: true
  readonly password: boolean
}

const DEFAULT_LIMIT = '100'

const help = `
  tunnelmq identity create pi7 --bundle                  a device, with all that it needs in pi7.yaml
  tunnelmq identity create alice --role operator         a person; her password is shown once
  tunnelmq identity role set operator --allow open:*/ssh --allow subscribe:devices/#
  tunnelmq identity disable pi7                          its connections and streams end at once
  tunnelmq identity key create pi7 --expires 90d

They are for brokers with the handler \`type: dynamic\` (docs/identities.md). Changes need the scope identities.`

const columns: Columns<Identity> = [
  ['identity', ({ name }) => name],
  ['state', ({ isEnabled }) => (isEnabled ? 'enabled' : 'disabled')],
  ['client id', ({ clientId }) => clientId ?? 'any'],
  ['groups', ({ groups }) => groups.join(',')],
  ['roles', ({ roles }) => roles.join(',')],
  ['secrets', (identity) => secretsOf(identity)],
  ['changed', ({ changedAt }) => shortTime(changedAt)],
  ['description', ({ description }) => description],
]

/** `tunnelmq identity`: who may connect, and what for, at brokers with the dynamic handler. */
export function identityCommand(env: Environment): Command {
  const command = new Command('identity')
    .description('make, change and delete identities, their keys, groups and roles')
    .enablePositionalOptions()
  const listed = (one: Command): Command =>
    one
      .option('--state <state>', 'enabled, disabled or all; default: all')
      .option('--search <text>', 'part of name, description or client id')
      .option('--in-group <name>', 'that are in this group')
      .option('--with-role <name>', 'that have this role, of their own or by a group')
      .option('-n, --limit <count>', `at most so many; default: ${DEFAULT_LIMIT}`)
  const one = (name: string, description: string): Command =>
    command.command(name).description(description).argument('<name>', 'of the identity')

  createCommand(command.command('create'), env)
  onApi(listed(command.command('list').description('list them')), env, list)
  onApi(one('show', 'show one'), env, show)
  onApi(
    one('set', 'change what is named')
      .option('--client-id <id>', 'the only client id that it may have')
      .option('--no-client-id', 'it may have any client id')
      .option('--group <name>', 'in place of its groups; may be repeated', collectAnew)
      .option('--no-group', 'it is in none')
      .option('--role <name>', 'in place of its roles; may be repeated', collectAnew)
      .option('--no-role', 'it has none of its own')
      .option('--description <text>', 'for people'),
    env,
    change,
  )
  for (const [verb, description] of [
    ['enable', 'let it in again'],
    ['disable', 'let it in no more; its connections and streams end'],
  ] as const)
    onApi(one(verb, description), env, async (api, flags: ApiFlags, name = '') => {
      const changed = await api.ask<IdentityDetail>('POST', `${pathOf(name)}/${verb}`)
      warn(changed.warning)
      printDone(`${name} is ${verb}d`, flags, changed)
    })
  onApi(one('delete', 'delete it with its keys'), env, async (api, flags: ApiFlags, name = '') => {
    if (!(await api.act('DELETE', pathOf(name)))) throw notThere(name)
    printDone(`${name} is deleted`, flags, { deleted: name })
  })
  onApi(
    addBundleOptions(
      one('passwd', 'give it a new password, which is shown once')
        .option('--password-stdin', 'take it from standard input; on a terminal it is asked for')
        .option('--no-password', 'take its password away: only keys let it in'),
    ),
    env,
    passwd,
  )
  command.addCommand(keyCommand(env))
  command.addCommand(groupCommand(env))
  command.addCommand(roleCommand(env))
  return command.addHelpText('after', help)
}

/** Behind `--no-x` its list begins anew. */
function collectAnew(value: string, values: readonly string[] | false | undefined): readonly string[] {
  return collect(value, values === false ? [] : values)
}

function secretsOf({ hasPassword, keys }: Identity): string {
  const counted = keys.length === 0 ? [] : [`${keys.length} key${keys.length === 1 ? '' : 's'}`]
  return [...(hasPassword ? ['password'] : []), ...counted].join(', ') || 'none'
}

async function list(api: ApiClient, flags: ListFlags): Promise<void> {
  const { state = 'all', search, inGroup: group, withRole: role, limit = DEFAULT_LIMIT } = flags
  if (!['all', 'enabled', 'disabled'].includes(state))
    throw new TunnelMQError(ErrorCode.usage, `--state ${state}: it is enabled, disabled or all`)
  const query = { state, search, group, role }
  const found = await walkPages<Identity>(api, '/identities', query, parseCount('--limit', limit))
  if (found === undefined) throw new CommandFailure(TunnelExit.failed, 'this broker knows no identities')
  printItems(found.items, columns, flags, 'there are no such identities')
  sayMore(found)
}

async function show(api: ApiClient, flags: ApiFlags, name = ''): Promise<void> {
  const identity = await api.find<IdentityDetail>(pathOf(name))
  if (identity === undefined) throw notThere(name)
  warn(identity.warning)
  if (flags.json === true) return printJson([identity])
  const { description, isEnabled, clientId, hasPassword, keys, groups, roles, effectiveRoles } = identity
  printFacts([
    ['identity', identity.name],
    ['description', description],
    ['state', isEnabled ? 'enabled' : 'disabled'],
    ['client id', clientId ?? 'any'],
    ['password', hasPassword ? 'yes' : 'none'],
    ['groups', groups.join(', ') || 'none'],
    ['roles', roles.join(', ') || 'none'],
    ['asked in order', effectiveRoles.join(', ') || 'no role: nothing is allowed'],
    ['created', shortTime(identity.createdAt)],
    ['changed', shortTime(identity.changedAt)],
  ])
  if (keys.length === 0) return
  process.stdout.write(`\n${formatTable(...keyRows(keys), terminalWidth())}`)
}

async function change(api: ApiClient, flags: ChangeFlags, name = ''): Promise<void> {
  const { clientId, group, role, description } = flags
  const body: IdentityChange = {
    ...(clientId !== undefined && { clientId: clientId === false ? null : clientId }),
    ...(group !== undefined && { groups: [...(group || [])] }),
    ...(role !== undefined && { roles: [...(role || [])] }),
    ...(description !== undefined && { description }),
  }
  if (Object.keys(body).length === 0)
    throw new TunnelMQError(ErrorCode.usage, 'change what? --client-id, --group, --role or --description')
  const changed = await api.ask<IdentityDetail>('PATCH', pathOf(name), { body })
  warn(changed.warning)
  printDone(`${name} is changed`, flags, changed)
}

async function passwd(api: ApiClient, flags: PasswordFlags, name = ''): Promise<void> {
  if (!flags.password) {
    if (flags.passwordStdin === true || flags.bundle !== undefined)
      throw new TunnelMQError(ErrorCode.usage, '--no-password goes with none of the other options')
    if (!(await api.act('DELETE', `${pathOf(name)}/password`)))
      throw new CommandFailure(TunnelExit.failed, `${name} has no password`)
    return printDone(`${name} has no password any more`, flags, { name, password: null })
  }
  const identity = await api.find<IdentityDetail>(pathOf(name))
  if (identity === undefined) throw notThere(name)
  const prepared = await prepareBundle(api, flags, { name, clientId: identity.clientId ?? name })
  const password = flags.passwordStdin === true ? await askPassword() : makePassword()
  const body: PasswordRequest = { password }
  try {
    await api.ask<PasswordSet>('PUT', `${pathOf(name)}/password`, { body })
    await prepared?.write(password)
  } catch (error) {
    await prepared?.abandon()
    throw error
  }
  if (prepared !== undefined || flags.passwordStdin === true)
    return printDone(`${name} has a new password`, flags, { name })
  printSecret(`${printable(name)} has a new password`, password, flags, { name, password })
}

function notThere(name: string): CommandFailure {
  return new CommandFailure(TunnelExit.failed, `there is no identity ${printable(name)}`)
}
