import type { Command } from 'commander'
import type { Environment } from '../../config/overrides.ts'
import { formatTable, printable, terminalWidth } from '../table.ts'
import { createApiClient, type ApiClient } from './client.ts'
import { apiTarget, type TargetFlags } from './target.ts'

/** What every command on the API takes. */
export interface ApiFlags extends TargetFlags {
  readonly pod?: string
  readonly json?: true
}

export function addApiOptions(command: Command): Command {
  return addAdminOptions(
    command
      .option('--json', 'one JSON object a line')
      .option(
        '-c, --config <file>',
        "the broker's configuration, for its address and local key; or TUNNELMQ_CONFIG",
      ),
  )
}

/** For a command that has a `--config` of its own. */
export function addAdminOptions(command: Command): Command {
  return command
    .option('--pod <id>', 'ask this pod alone')
    .option('--api-url <url>', 'admin server of the broker; or TUNNELMQ_API_URL')
    .option('--api-key-file <file>', 'file with an API key; or TUNNELMQ_API_KEY')
    .option('--api-ca <file>', "CAs of the admin server (PEM); default: the system's; or TUNNELMQ_API_CA")
}

/** Opens the API of the flags; options may stand before a subcommand or behind it. */
export async function openApi(flags: ApiFlags, env: Environment): Promise<ApiClient> {
  const target = await apiTarget(flags, env)
  return createApiClient(target, flags.pod)
}

/** What a command does. The flags are those that it has declared, behind the ones of all. */
export interface ApiAction<Flags extends ApiFlags> {
  (api: ApiClient, flags: Flags, ...words: (string | undefined)[]): Promise<void>
}

/** Gives a command its options and its action. Pods that have not answered are named when it is over. */
export function onApi<Flags extends ApiFlags>(
  command: Command,
  env: Environment,
  action: ApiAction<Flags>,
): Command {
  const run = async (flags: Flags, words: (string | undefined)[]): Promise<void> => {
    const api = await openApi(flags, env)
    await action(api, flags, ...words)
    for (const pod of api.missingPods)
      process.stderr.write(`tunnelmq: pod ${printable(pod)} has not answered in time: its part is missing\n`)
  }
  return addApiOptions(command).action((...given: unknown[]) =>
    run((given.at(-1) as Command).optsWithGlobals<Flags>(), given.slice(0, -2) as (string | undefined)[]),
  )
}

export type Columns<Item> = readonly (readonly [
  heading: string,
  cell: (item: Item) => string | number | null | undefined,
])[]

/** A row for each item, or a line of JSON. Nothing to show is said beside the output. */
export function printItems<Item>(
  items: readonly Item[],
  columns: Columns<Item>,
  flags: ApiFlags,
  none: string,
): void {
  if (flags.json === true) return printJson(items)
  if (items.length === 0) return void process.stderr.write(`${none}\n`)
  const rows = items.map((item) => columns.map(([, cell]) => cell(item) ?? ''))
  const headings = columns.map(([heading]) => heading)
  process.stdout.write(formatTable(headings, rows, terminalWidth()))
}

export function printJson(items: readonly unknown[]): void {
  process.stdout.write(items.map((item) => `${JSON.stringify(item)}\n`).join(''))
}

/** Names and values of one thing, a line each; what is not known is left out. */
export function printFacts(facts: readonly (readonly [string, string | number | null | undefined])[]): void {
  const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== '')
  const width = Math.max(...known.map(([name]) => name.length))
  const lines = known.map(([name, value]) => `${name.padEnd(width)}  ${printable(String(value))}\n`)
  process.stdout.write(lines.join(''))
}

/** What was done, for people; scripts have the exit code, and with --json a line. */
export function printDone(words: string, flags: ApiFlags, json: object): void {
  if (flags.json === true) printJson([json])
  else process.stdout.write(`${printable(words)}\n`)
}

/** `2026-11-21 12:00:01Z` */
export function shortTime(iso: string | null | undefined): string {
  return iso?.replace('T', ' ').replace(/\.\d+Z$/, 'Z') ?? ''
}

/** `1.5 MiB` */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)))
  const value = bytes / 1_024 ** step
  return `${step === 0 ? value : value.toFixed(1)} ${units[step]}`
}
