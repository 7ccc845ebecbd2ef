import { Command } from 'commander'
import type { Group, GroupRequest } from '../../admin/api/identity-resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { collect } from '../config-flags.ts'
import { printable } from '../table.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import { onApi, printDone, printFacts, printJson, type ApiFlags, type Columns } from './command.ts'
import { listCommand } from './list-command.ts'

interface GroupFlags extends ApiFlags {
  readonly role?: readonly string[]
  readonly description?: string
}

const columns: Columns<Group> = [
  ['group', ({ name }) => name],
  ['roles', ({ roles }) => roles.join(',')],
  ['members', ({ members }) => members],
  ['description', ({ description }) => description],
]

const pathOf = (name: string): string => `/groups/${encodeURIComponent(name)}`

/** `tunnelmq identity group`: roles that many have. Who is in it says the identity: `identity set --group`. */
export function groupCommand(env: Environment): Command {
  const command = new Command('group').description(
    'make, list and delete groups, whose members have their roles',
  )
  const one = (name: string, description: string): Command =>
    command.command(name).description(description).argument('<name>', 'of the group')
  listCommand(command, env, { path: '/groups', columns, none: 'there are no groups' })
  onApi(one('show', 'show one'), env, async (api, flags, name = '') => {
    const group = await api.find<Group>(pathOf(name))
    if (group === undefined) throw notThere(name)
    if (flags.json === true) return printJson([group])
    printFacts([
      ['group', group.name],
      ['description', group.description],
      ['roles', group.roles.join(', ') || 'none'],
      ['members', group.members],
    ])
  })
  onApi(
    one('set', 'make a group, or change what is named')
      .option('--role <name>', 'in place of its roles; may be repeated', collect)
      .option('--description <text>', 'for people'),
    env,
    async (api, flags: GroupFlags, name = '') => {
      const before = await api.find<Group>(pathOf(name))
      const body: GroupRequest = {
        description: flags.description ?? before?.description ?? '',
        roles: [...(flags.role ?? before?.roles ?? [])],
      }
      const group = await api.ask<Group>('PUT', pathOf(name), { body, revision: before?.revision })
      printDone(`group ${name} is ${before === undefined ? 'made' : 'changed'}`, flags, group)
    },
  )
  onApi(one('delete', 'delete one that nobody is in'), env, async (api, flags, name = '') => {
    if (!(await api.act('DELETE', pathOf(name)))) throw notThere(name)
    printDone(`group ${name} is deleted`, flags, { deleted: name })
  })
  return command
}

function notThere(name: string): CommandFailure {
  return new CommandFailure(TunnelExit.failed, `there is no group ${printable(name)}`)
}
