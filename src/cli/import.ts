import { Argument, Command } from 'commander'
import { relative } from 'node:path'
import type { Effect, Note } from '../import/draft.ts'
import { importConfig, writeImport, type ImportResult, type Origin } from '../import/import.ts'

const help = `
  tunnelmq import vernemq /etc/vernemq/vernemq.conf --check
  tunnelmq import vernemq /etc/vernemq/vernemq.conf --out ./tunnelmq
  tunnelmq import mosquitto /etc/mosquitto/mosquitto.conf --out ./tunnelmq

Access lists and password files that the configuration names come along. Nothing is changed where it is read.
Without --out the configuration is printed on standard output, and the report on standard error.
Exit code 1: with --check, when something cannot be carried over.`

interface ImportOptions {
  readonly out?: string
  readonly check?: true
  readonly json?: true
}

/** `tunnelmq import`: the configuration of VerneMQ or mosquitto, as ours. */
export function importCommand(): Command {
  return new Command('import')
    .description('turn the configuration of VerneMQ or mosquitto into one of ours')
    .addArgument(new Argument('<broker>', 'whose configuration it is').choices(['vernemq', 'mosquitto']))
    .argument('<file>', 'vernemq.conf or mosquitto.conf')
    .option('-o, --out <folder>', 'write tunnelmq.yaml and the files that it needs into a new folder')
    .option('--check', 'only report what is carried over and what is not')
    .option('--json', 'the report as JSON lines')
    .addHelpText('after', help)
    .action((origin: Origin, file: string, options: ImportOptions) => run(origin, file, options))
}

async function run(origin: Origin, file: string, options: ImportOptions): Promise<void> {
  const result = await importConfig(origin, file)
  const report =
    options.json === true
      ? result.notes.map((note) => `${JSON.stringify(note)}\n`).join('')
      : reportOf(result)
  if (options.check === true) {
    process.stdout.write(report)
    if (result.notes.some(({ effect }) => effect === 'lost')) process.exitCode = 1
    return
  }
  if (options.out === undefined) {
    process.stderr.write(report)
    process.stdout.write(result.yaml)
    if (result.files.length > 0)
      process.stderr.write(
        `It needs ${result.files.map(({ name }) => name).join(', ')} beside it: --out writes them.\n`,
      )
    return
  }
  const written = await writeImport(result, options.out)
  process.stdout.write(report)
  process.stdout.write(`Written: ${written.join(', ')}\nNext: tunnelmq config check ${written[0]}\n`)
}

const headings: readonly (readonly [Effect, string])[] = [
  ['lost', 'NOT carried over: please look at each'],
  ['changed', 'Carried over, and different'],
  ['carried', 'Carried over'],
  ['needless', 'Not needed here'],
]

function reportOf({ notes }: ImportResult): string {
  return headings
    .flatMap(([effect, heading]) => {
      const of = notes.filter((note) => note.effect === effect)
      return of.length === 0
        ? []
        : [`${heading} (${of.length})`, ...of.map((note) => `  ${lineOf(note)}`), '']
    })
    .map((line) => `${line}\n`)
    .join('')
}

function lineOf({ file, line, key, text }: Note): string {
  const near = relative('', file)
  const shown = near.startsWith('..') ? file : near
  return `${shown}${line > 0 ? `:${line}` : ''}  ${key}: ${text}`
}
