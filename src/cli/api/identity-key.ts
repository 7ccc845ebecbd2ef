import { Command } from 'commander'
import type { IdentityKey, IdentityKeyMade } from '../../admin/api/identity-resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { parseExpiry } from '../expiry.ts'
import { printable } from '../table.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import { onApi, printDone, printItems, shortTime, type ApiFlags, type Columns } from './command.ts'
import { pathOf } from './identity-create.ts'
import { printSecret } from './identity-secret.ts'

interface KeyFlags extends ApiFlags {
  readonly expires?: string
  readonly description?: string
}

const columns: Columns<IdentityKey> = [
  ['key', ({ id }) => id],
  ['created', ({ createdAt }) => shortTime(createdAt)],
  ['expires', ({ expiresAt }) => (expiresAt === null ? 'never' : shortTime(expiresAt))],
  ['description', ({ description }) => description],
]

/** Headings and rows, for where they are shown beside other facts. */
export function keyRows(keys: readonly IdentityKey[]): [string[], (string | number)[][]] {
  return [columns.map(([heading]) => heading), keys.map((key) => columns.map(([, cell]) => cell(key) ?? ''))]
}

/** `tunnelmq identity key`: secrets that let an identity in, in place of its password. */
export function keyCommand(env: Environment): Command {
  const command = new Command('key').description('make, list and delete keys of an identity')
  const one = (name: string, description: string): Command =>
    command.command(name).description(description).argument('<name>', 'of the identity')
  onApi(
    one('create', 'make a key, which is shown once; it stands in place of the password')
      .option('--expires <time>', 'after 12h, 30d, 1y, or at 2027-01-31; default: never')
      .option('--description <text>', 'for people'),
    env,
    async (api, flags: KeyFlags, name = '') => {
      const { expires, description } = flags
      const body = {
        ...(description !== undefined && { description }),
        ...(expires !== undefined && {
          expiresAt: new Date(parseExpiry(expires, Date.now())).toISOString(),
        }),
      }
      const made = await api.ask<IdentityKeyMade>('POST', `${pathOf(name)}/keys`, { body })
      const end = made.expiresAt === null ? '' : `, until ${shortTime(made.expiresAt)}`
      printSecret(`key ${made.id} of ${printable(name)} is made${end}`, made.secret, flags, made)
    },
  )
  onApi(one('list', 'list them, without their secrets'), env, async (api, flags, name = '') => {
    const keys = await api.find<readonly IdentityKey[]>(`${pathOf(name)}/keys`)
    if (keys === undefined)
      throw new CommandFailure(TunnelExit.failed, `there is no identity ${printable(name)}`)
    printItems(keys, columns, flags, `${printable(name)} has no keys`)
  })
  onApi(
    one('delete', 'delete a key; what came in with it ends').argument('<id>', 'of the key'),
    env,
    async (api, flags, name = '', id = '') => {
      if (!(await api.act('DELETE', `${pathOf(name)}/keys/${encodeURIComponent(id)}`)))
        throw new CommandFailure(TunnelExit.failed, `there is no key ${printable(`${id} of ${name}`)}`)
      printDone(`key ${id} of ${name} is deleted`, flags, { deleted: id })
    },
  )
  return command
}
