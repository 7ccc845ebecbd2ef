import { Command } from 'commander'
import type { Agent, Stream } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import {
  bytesText,
  onApi,
  openApi,
  printDone,
  printItems,
  shortTime,
  type ApiFlags,
  type Columns,
} from './command.ts'

const agentColumns: Columns<Agent> = [
  ['agent', ({ name, mountpoint }) => `${mountpoint}${name}`],
  ['state', ({ isOnline }) => (isOnline ? 'online' : 'offline')],
  ['since', ({ since }) => shortTime(since)],
  ['services', ({ services }) => services.join(',')],
  ['streams', ({ streams }) => streams],
  ['up', ({ bytesUp }) => bytesText(bytesUp)],
  ['down', ({ bytesDown }) => bytesText(bytesDown)],
  ['user', ({ username }) => username],
  ['address', ({ address }) => address],
  ['pod', ({ pod }) => pod],
]

const streamColumns: Columns<Stream> = [
  ['stream', ({ id }) => id],
  ['to', ({ mountpoint, agent, service }) => `${mountpoint}${agent}/${service}`],
  ['client', ({ client }) => client],
  ['user', ({ username }) => username],
  ['address', ({ address }) => address],
  ['state', ({ state }) => state],
  ['since', ({ openedAt }) => shortTime(openedAt)],
  ['idle s', ({ idleMs }) => Math.round(idleMs / 1_000)],
  ['up', ({ bytesUp }) => bytesText(bytesUp)],
  ['down', ({ bytesDown }) => bytesText(bytesDown)],
]

const help = `
  tunnelmq streams
  tunnelmq streams cut ID`

/** `tunnelmq agents --admin`: with what the broker alone knows. */
export async function listAgents(flags: ApiFlags, env: Environment): Promise<void> {
  const api = await openApi(flags, env)
  printItems(
    await api.ask<readonly Agent[]>('GET', '/agents'),
    agentColumns,
    flags,
    'there are no agents at this broker',
  )
}

/** `tunnelmq streams`: what goes through tunnels now. */
export function streamsCommand(env: Environment): Command {
  const command = new Command('streams')
    .description('list the streams of tunnels; cut one')
    .enablePositionalOptions()
  onApi(command, env, async (api, flags) =>
    printItems(
      await api.ask<readonly Stream[]>('GET', '/streams'),
      streamColumns,
      flags,
      'there are no streams',
    ),
  )
  onApi(
    command
      .command('cut')
      .description('reset a stream, at both ends')
      .argument('<id>', 'as `tunnelmq streams` names it'),
    env,
    async (api, flags, id = '') => {
      const done = await api.act('DELETE', `/streams/${encodeURIComponent(id)}`)
      if (!done) throw new CommandFailure(TunnelExit.failed, `there is no stream ${id}`)
      printDone(`${id} is cut`, flags, { cut: id })
    },
  )
  return command.addHelpText('after', help)
}
