import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import type { AuditEntry, Refusal } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { parseCount } from '../duration.ts'
import { printable } from '../table.ts'
import type { ApiClient } from './client.ts'
import { onApi, printItems, printJson, shortTime, type ApiFlags, type Columns } from './command.ts'
import { untilSignal } from './until-signal.ts'

interface RecordFlags extends ApiFlags {
  readonly limit?: string
  readonly follow?: true
}

const DEFAULT_LIMIT = '50'
const FOLLOW_MS = 1_000
/** As many as are asked for at each look. */
const FOLLOW_COUNT = 1_000

const refusalColumns: Columns<Refusal> = [
  ['at', ({ at }) => shortTime(at)],
  ['what', ({ point }) => point],
  ['client', ({ client }) => client],
  ['user', ({ username }) => username],
  ['address', ({ address }) => address],
  ['listener', ({ listener }) => listener],
  ['topic', ({ topic }) => topic],
  ['by', ({ handler }) => handler ?? 'broker'],
  ['reason', ({ reason }) => reason],
  ['times', ({ times }) => times],
  ['pod', ({ pod }) => pod],
]

const auditColumns: Columns<AuditEntry> = [
  ['at', ({ at }) => shortTime(at)],
  ['key', ({ key }) => key],
  ['address', ({ address }) => address],
  ['action', ({ action }) => action],
  ['target', ({ target }) => target],
  ['outcome', ({ outcome }) => outcome],
  ['pod', ({ pod }) => pod],
]

/** `tunnelmq refusals`: what handlers and limits have refused. */
export function refusalsCommand(env: Environment): Command {
  const command = new Command('refusals')
    .description('list what handlers and limits have refused, newest first')
    .option('-n, --limit <count>', `at most so many; default: ${DEFAULT_LIMIT}`)
    .option('-f, --follow', 'go on, with a line for each new one, oldest first')
  return onApi(command, env, async (api, flags: RecordFlags) => {
    if (flags.follow === true) return follow(api, flags)
    printItems(await read<Refusal>(api, '/refusals', flags), refusalColumns, flags, 'nothing was refused')
  })
}

/** `tunnelmq audit`: what was changed through the API, and by which key. */
export function auditCommand(env: Environment): Command {
  const command = new Command('audit')
    .description('list what was changed through the API, newest first')
    .option('-n, --limit <count>', `at most so many; default: ${DEFAULT_LIMIT}`)
  return onApi(command, env, async (api, flags: RecordFlags) =>
    printItems(await read<AuditEntry>(api, '/audit', flags), auditColumns, flags, 'nothing was changed'),
  )
}

function read<Item>(
  api: ApiClient,
  path: string,
  { limit = DEFAULT_LIMIT }: RecordFlags,
): Promise<readonly Item[]> {
  return api.ask<readonly Item[]>('GET', path, { query: { limit: parseCount('--limit', limit) } })
}

/** Looks every second; one that came again since is told again, with its new count. */
async function follow(api: ApiClient, flags: RecordFlags): Promise<void> {
  const { signal, end } = untilSignal()
  let shown: ReadonlySet<string> | undefined
  try {
    while (!signal.aborted) {
      const now = await api.ask<readonly Refusal[]>('GET', '/refusals', { query: { limit: FOLLOW_COUNT } })
      const texts = new Map(now.map((refusal) => [JSON.stringify(refusal), refusal]))
      if (shown !== undefined)
        for (const [text, refusal] of [...texts].toReversed()) if (!shown.has(text)) printLine(refusal, flags)
      shown = new Set(texts.keys())
      await delay(FOLLOW_MS, undefined, { signal }).catch(() => undefined)
    }
  } finally {
    end()
  }
}

function printLine(refusal: Refusal, flags: RecordFlags): void {
  if (flags.json === true) return printJson([refusal])
  const cells = refusalColumns.map(([heading, cell]) => (heading === 'at' ? refusal.at : cell(refusal)))
  const known = cells.filter((cell) => cell !== null && cell !== undefined && cell !== '')
  process.stdout.write(`${known.map((cell) => printable(String(cell))).join('  ')}\n`)
}
