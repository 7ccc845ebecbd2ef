import { Command } from 'commander'
import type { RetainedMessage } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { parseCount } from '../duration.ts'
import { CommandFailure, TunnelExit } from '../tunnel-exit.ts'
import {
  bytesText,
  onApi,
  printDone,
  printItems,
  printJson,
  shortTime,
  type ApiFlags,
  type Columns,
} from './command.ts'
import { sayMore, walkPages } from './pages.ts'

interface RetainedFlags extends ApiFlags {
  readonly limit?: string
}

const DEFAULT_LIMIT = '100'

const help = `
  tunnelmq retained 'sensors/#'
  tunnelmq retained get sensors/1/state > state.bin
  tunnelmq retained delete sensors/1/state

Topics that begin with $ are shown when the filter names them. With --json payloads are base64.`

const columns: Columns<RetainedMessage> = [
  ['topic', ({ topic }) => topic],
  ['qos', ({ qos }) => qos],
  ['expires', ({ expiresAt }) => shortTime(expiresAt)],
  ['size', ({ bytes }) => bytesText(bytes)],
  ['type', ({ properties }) => properties?.contentType ?? ''],
  ['payload', ({ payload }) => Buffer.from(payload, 'base64').toString().slice(0, 80)],
]

/** `tunnelmq retained`: retained messages. */
export function retainedCommand(env: Environment): Command {
  const command = new Command('retained')
    .description('list retained messages; read or delete one')
    .enablePositionalOptions()
  onApi(
    command
      .argument('[filter]', 'topic filter; default: #')
      .option('-n, --limit <count>', `at most so many; default: ${DEFAULT_LIMIT}`),
    env,
    async (api, flags: RetainedFlags, filter = '#') => {
      const limit = parseCount('--limit', flags.limit ?? DEFAULT_LIMIT)
      const found = await walkPages<RetainedMessage>(api, '/retained', { filter }, limit)
      if (found === undefined) throw noSuch(filter)
      printItems(found.items, columns, flags, `nothing is retained on ${filter}`)
      sayMore(found)
    },
  )
  onApi(
    command
      .command('get')
      .description('write the payload, as it is, to standard output')
      .argument('<topic>', 'topic'),
    env,
    async (api, flags: RetainedFlags, topic = '') => {
      const message = await api.find<RetainedMessage>('/retained/message', { query: { topic } })
      if (message === undefined) throw noSuch(topic)
      if (flags.json === true) printJson([message])
      else process.stdout.write(Buffer.from(message.payload, 'base64'))
    },
  )
  onApi(
    command.command('delete').description('delete one').argument('<topic>', 'topic'),
    env,
    async (api, flags: RetainedFlags, topic = '') => {
      const done = await api.act('DELETE', '/retained/message', { query: { topic } })
      if (!done) throw noSuch(topic)
      printDone(`${topic} is deleted`, flags, { deleted: topic })
    },
  )
  return command.addHelpText('after', help)
}

function noSuch(topic: string): CommandFailure {
  return new CommandFailure(TunnelExit.failed, `nothing is retained on ${topic}`)
}
