import { Command } from 'commander'
import type { Ban } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { parseCount } from '../duration.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import { onApi, printDone, printItems, shortTime, type ApiFlags, type Columns } from './command.ts'
import type { ApiClient } from './client.ts'

interface BanFlags extends ApiFlags {
  readonly seconds?: string
}

const help = `
  tunnelmq ban
  tunnelmq ban add 192.0.2.7 --seconds 86400
  tunnelmq ban remove 192.0.2.7

What is connected from the address stays (tunnelmq clients --search ADDRESS, tunnelmq clients disconnect ID). A ban holds
for all pods on one Redis.`

const columns: Columns<Ban> = [
  ['address', ({ address }) => address],
  ['until', ({ until }) => shortTime(until)],
  ['pod', ({ pod }) => pod],
]

/** `tunnelmq ban`: addresses that may not connect. */
export function banCommand(env: Environment): Command {
  const command = new Command('ban')
    .description('list, add and remove bans of addresses')
    .enablePositionalOptions()
  onApi(command, env, list)
  onApi(command.command('list').description('list them'), env, list)
  onApi(
    command
      .command('add')
      .description('ban an address')
      .argument('<address>', 'IPv4 or IPv6 address')
      .option('--seconds <count>', 'for so long; default: 3600'),
    env,
    async (api, flags: BanFlags, address = '') => {
      const seconds = flags.seconds === undefined ? undefined : parseCount('--seconds', flags.seconds)
      const ban = await api.ask<Ban>('POST', '/bans', { body: { address, seconds } })
      printDone(`${ban.address} is banned until ${shortTime(ban.until)}`, flags, ban)
    },
  )
  onApi(
    command
      .command('remove')
      .description('let an address in again')
      .argument('<address>', 'IPv4 or IPv6 address'),
    env,
    async (api, flags: BanFlags, address = '') => {
      const done = await api.act('DELETE', `/bans/${encodeURIComponent(address)}`)
      if (!done) throw new CommandFailure(TunnelExit.failed, `${address} is not banned`)
      printDone(`${address} may connect again`, flags, { unbanned: address })
    },
  )
  return command.addHelpText('after', help)
}

async function list(api: ApiClient, flags: BanFlags): Promise<void> {
  printItems(await api.ask<readonly Ban[]>('GET', '/bans'), columns, flags, 'no address is banned')
}
