import { Command } from 'commander'
import type { ClientDetail, ClientSummary, QueueEntry } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { parseCount } from '../duration.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import type { ApiClient } from './client.ts'
import { printClient } from './client-print.ts'
import { bytesText, onApi, printDone, printItems, shortTime, type ApiFlags, type Columns } from './command.ts'
import { sayMore, walkPages } from './pages.ts'

interface ClientFlags extends ApiFlags {
  readonly state?: string
  readonly search?: string
  readonly listener?: string
  readonly limit?: string
  readonly mountpoint?: string
}

const help = `
  tunnelmq clients
  tunnelmq clients --search 192.0.2.7 --limit 1000
  tunnelmq clients pump-7
  tunnelmq clients disconnect pump-7
  tunnelmq clients queue pump-7 --json

A client that is called like a subcommand: tunnelmq clients show queue`

const DEFAULT_LIMIT = '100'
const MOUNTPOINT = ['--mountpoint <prefix>', "of the client's listener, if it has one"] as const

const columns: Columns<ClientSummary> = [
  ['client', ({ id, mountpoint }) => `${mountpoint}${id}`],
  ['state', ({ state }) => state],
  ['user', ({ username }) => username],
  ['address', ({ address }) => address],
  ['listener', ({ listener }) => listener],
  ['since', ({ connectedAt }) => shortTime(connectedAt)],
  ['subs', ({ subscriptions }) => subscriptions],
  ['in', ({ messagesReceived }) => messagesReceived],
  ['out', ({ messagesSent }) => messagesSent],
  ['inflight', ({ inflightMessages }) => inflightMessages],
  ['queued', ({ queuedMessages }) => queuedMessages],
  ['pod', ({ pod }) => pod],
]

const queueColumns: Columns<QueueEntry> = [
  ['seq', ({ seq }) => seq],
  ['topic', ({ topic }) => topic],
  ['qos', ({ qos }) => qos],
  ['retain', ({ retain }) => (retain ? 'yes' : '')],
  ['state', ({ isInflight }) => (isInflight ? 'inflight' : 'waiting')],
  ['expires', ({ expiresAt }) => shortTime(expiresAt)],
  ['size', ({ bytes }) => bytesText(bytes)],
  ['payload', ({ payload }) => Buffer.from(payload, 'base64').toString().slice(0, 60)],
]

/** `tunnelmq clients`: who is connected, and sessions that wait for their clients. */
export function clientsCommand(env: Environment): Command {
  const command = new Command('clients')
    .description('list clients; show, disconnect or remove one')
    .enablePositionalOptions()
  onApi(
    command
      .argument('[id]', 'client id: shows this one')
      .option('--state <state>', 'connected, offline or all; default: all')
      .option('--search <text>', 'part of client id, user name or address')
      .option('--listener <name>', 'of this listener')
      .option('-n, --limit <count>', `at most so many; default: ${DEFAULT_LIMIT}`)
      .option(...MOUNTPOINT),
    env,
    (api, flags: ClientFlags, id) => (id === undefined ? list(api, flags) : show(api, flags, id)),
  )
  const one = (name: string, description: string): Command =>
    command
      .command(name)
      .description(description)
      .argument('<id>', 'client id')
      .option(...MOUNTPOINT)
  onApi(one('show', 'show one client'), env, (api, flags: ClientFlags, id = '') => show(api, flags, id))
  onApi(
    one('disconnect', 'close its connection; its session stays'),
    env,
    async (api, flags: ClientFlags, id = '') => {
      const done = await api.act('POST', `${pathOf(id)}/disconnect`, { query: placeOf(id, flags) })
      if (!done) throw notThere(`${id} is not connected`)
      printDone(`${id} is disconnected`, flags, { disconnected: id })
    },
  )
  onApi(
    one('remove', 'close its connection, and remove its session with all that waits'),
    env,
    async (api, flags: ClientFlags, id = '') => {
      const done = await api.act('DELETE', pathOf(id), { query: placeOf(id, flags) })
      if (!done) throw notThere(`there is no client ${id}`)
      printDone(`${id} is removed`, flags, { removed: id })
    },
  )
  onApi(
    one('queue', 'list what waits for it').option(
      '-n, --limit <count>',
      `at most so many; default: ${DEFAULT_LIMIT}`,
    ),
    env,
    queue,
  )
  return command.addHelpText('after', help)
}

async function list(api: ApiClient, flags: ClientFlags): Promise<void> {
  const { state = 'all', search, listener, limit = DEFAULT_LIMIT } = flags
  if (!['all', 'connected', 'offline'].includes(state))
    throw new TunnelMQError(ErrorCode.usage, `--state ${state}: it is connected, offline or all`)
  const found = await walkPages<ClientSummary>(
    api,
    '/clients',
    { state, search, listener },
    parseCount('--limit', limit),
  )
  if (found === undefined) throw notThere('there are no clients')
  const hasPods = found.items.some(({ pod }) => pod !== null && pod !== found.items[0]?.pod)
  const shown = hasPods ? columns : columns.filter(([heading]) => heading !== 'pod')
  printItems(found.items, shown, flags, 'there are no such clients')
  sayMore(found)
}

async function show(api: ApiClient, flags: ClientFlags, id: string): Promise<void> {
  const client = await api.find<ClientDetail>(pathOf(id), { query: placeOf(id, flags) })
  if (client === undefined)
    throw notThere(`there is no client ${id}: neither connected nor stored${whichMountpoint(flags)}`)
  printClient(client, flags)
}

async function queue(api: ApiClient, flags: ClientFlags, id = ''): Promise<void> {
  const { limit = DEFAULT_LIMIT } = flags
  const path = `${pathOf(id)}/queue`
  const found = await walkPages<QueueEntry>(api, path, placeOf(id, flags), parseCount('--limit', limit))
  if (found === undefined) throw notThere(`there is no stored session of ${id}${whichMountpoint(flags)}`)
  printItems(found.items, queueColumns, flags, `nothing waits for ${id}`)
  sayMore(found)
}

/** These two mean folders in the path of a URL, also percent-encoded. */
const isFolder = (id: string): boolean => id === '.' || id === '..'

function pathOf(id: string): string {
  return `/clients/${isFolder(id) ? '-' : encodeURIComponent(id)}`
}

function placeOf(id: string, { mountpoint }: ClientFlags): Record<string, string | undefined> {
  return isFolder(id) ? { mountpoint, clientId: id } : { mountpoint }
}

function whichMountpoint({ mountpoint }: ClientFlags): string {
  return mountpoint === undefined ? ' (at a listener with a mountpoint: --mountpoint)' : ''
}

function notThere(message: string): CommandFailure {
  return new CommandFailure(TunnelExit.failed, message)
}
