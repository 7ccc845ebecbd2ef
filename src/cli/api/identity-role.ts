import { Command } from 'commander'
import type { Role, RoleRequest, RoleRule } from '../../admin/api/identity-resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { printable } from '../table.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import { onApi, printDone, printFacts, printJson, type ApiFlags, type Columns } from './command.ts'
import { parseRule, ruleText } from './identity-rules.ts'
import { listCommand } from './list-command.ts'

interface RoleFlags extends ApiFlags {
  readonly description?: string
}

const help = `
  tunnelmq identity role set sensor --deny publish:sensors/%u/config --allow publish,subscribe:sensors/%u/#
  tunnelmq identity role set support --allow 'open:*/ssh' --allow subscribe:devices/#

Actions: publish, subscribe (a topic filter), serve, open (AGENT/SERVICE; * for any). %c is the client id, %u the user
name. The first rule that fits decides, in the order in which they are given; what no rule allows is refused.`

const columns: Columns<Role> = [
  ['role', ({ name }) => name],
  ['rules', ({ rules }) => rules.length],
  ['identities', ({ identities }) => identities],
  ['groups', ({ groups }) => groups],
  ['description', ({ description }) => description],
]

const pathOf = (name: string): string => `/roles/${encodeURIComponent(name)}`

/** `tunnelmq identity role`: rules under a name. */
export function roleCommand(env: Environment): Command {
  const command = new Command('role').description('make, list and delete roles: what identities may do')
  const one = (name: string, description: string): Command =>
    command.command(name).description(description).argument('<name>', 'of the role')
  listCommand(command, env, { path: '/roles', columns, none: 'there are no roles' })
  onApi(one('show', 'show one, with its rules'), env, async (api, flags, name = '') => {
    const role = await api.find<Role>(pathOf(name))
    if (role === undefined) throw notThere(name)
    if (flags.json === true) return printJson([role])
    printFacts([
      ['role', role.name],
      ['description', role.description],
      ['identities', role.identities],
      ['groups', role.groups],
      ...role.rules.map((rule, index) => [`rule ${index + 1}`, ruleText(rule)] as const),
    ])
  })
  setCommand(one('set', 'make a role, or put these rules in place of its own'), env)
  onApi(one('delete', 'delete one that no identity and no group has'), env, async (api, flags, name = '') => {
    if (!(await api.act('DELETE', pathOf(name)))) throw notThere(name)
    printDone(`role ${name} is deleted`, flags, { deleted: name })
  })
  return command.addHelpText('after', help)
}

function setCommand(command: Command, env: Environment): void {
  // In the order of both options together.
  const rules: RoleRule[] = []
  const add =
    (option: '--allow' | '--deny') =>
    (text: string): void =>
      void rules.push(parseRule(option, text))
  onApi(
    command
      .option('--allow <actions:on>', 'a rule that allows; may be repeated', add('--allow'))
      .option('--deny <actions:on>', 'a rule that refuses; may be repeated', add('--deny'))
      .option('--description <text>', 'for people'),
    env,
    async (api, flags: RoleFlags, name = '') => {
      const before = await api.find<Role>(pathOf(name))
      if (rules.length === 0 && (before === undefined || flags.description === undefined))
        throw new TunnelMQError(ErrorCode.usage, 'a role needs rules: --allow ACTIONS:ON, --deny ACTIONS:ON')
      const body: RoleRequest = {
        description: flags.description ?? before?.description ?? '',
        rules: rules.length === 0 ? (before?.rules ?? []) : rules,
      }
      const role = await api.ask<Role>('PUT', pathOf(name), { body, revision: before?.revision })
      printDone(`role ${name} is ${before === undefined ? 'made' : 'changed'}`, flags, role)
    },
  )
}

function notThere(name: string): CommandFailure {
  return new CommandFailure(TunnelExit.failed, `there is no role ${printable(name)}`)
}
