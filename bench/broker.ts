import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type BrokerKind, brokerKinds, credentials } from './brokers/kinds.ts'
import { Children, findFreePort, leaveNothingBehind, outputOf, untilListening } from './children.ts'
import type { LoadOrder, LoadResult, Timing } from './load/plan.ts'
import { chooseCores, type Cores, describeMachine, describeSource, machineSlug } from './machine.ts'
import { savePage } from './page.ts'
import { renderMarkdown } from './report.ts'
import { hasFailed, type Results, type Run } from './results.ts'
import { type Scenario, scenarios } from './scenarios.ts'

/** `npm run bench:broker`: TunnelMQ, bare Aedes and mosquitto under the same load in one run. See README.md. */

const START_DEADLINE_MS = 10_000
/** On top of warm-up and measuring: connecting, draining, and the longest wait of the retained scenario. */
const LOAD_DEADLINE_MS = 60_000
/** Node writes a profile only when the process ends by itself. */
const PROFILE_GRACE_MS = 15_000
const LOG_TAIL_CHARS = 400
const DEFAULT_TIMING: Timing = { warmupMs: 700, measureMs: 1_200 }
const QUICK_TIMING: Timing = { warmupMs: 500, measureMs: 700 }
const DEFAULT_ROUNDS = 3

const usage = `npm run bench:broker -- [options]

  --quick              one round, shorter runs (under 90 s)
  --rounds N           rounds (default ${DEFAULT_ROUNDS}); the median counts
  --brokers A,B        of tunnelmq, tunnelmq5, aedes, mosquitto (default: all), mosquitto5, aedes2 (installed in
                       the folder AEDES_2; 5 and aedes2: clients speak MQTT 5) and mirror (the generator's ceiling)
  --scenarios A,B      of ${scenarios.map(({ name }) => name).join(', ')}
                       (what is not a name matches all that begin with it: "pairs")
  --out FOLDER         where results go (default bench/results)
  --no-save            print only
  --profile FOLDER     write CPU profiles of TunnelMQ there (for Chrome's DevTools)
  --help               this text
`

interface Bench {
  readonly children: Children
  readonly cores: Cores | undefined
  readonly built: string
  /** Holds the folders of the runs, and is gone afterwards. */
  readonly scratch: string
  readonly timing: Timing
  /** Where CPU profiles go; undefined: none are taken. */
  readonly profileFolder: string | undefined
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      brokers: { type: 'string' },
      scenarios: { type: 'string' },
      out: { type: 'string', default: 'bench/results' },
      profile: { type: 'string' },
      'no-save': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(usage)
    return 0
  }
  const built = import.meta.dirname
  const root = resolve(built, '../..')
  const roundCount = Number(values.rounds ?? (values.quick ? 1 : DEFAULT_ROUNDS))
  if (!Number.isInteger(roundCount) || roundCount < 1)
    throw new Error(`--rounds ${values.rounds}: not a count`)
  const chosen = chooseScenarios(values.scenarios)
  const brokers = chooseBrokers(brokerKinds(root, built), values.brokers)

  const cores = chooseCores()
  const timing = values.quick ? QUICK_TIMING : DEFAULT_TIMING
  const children = new Children()
  // Not in /tmp: where that is memory, a sync would cost nothing.
  const scratch = mkdtempSync(join(built, 'run-'))
  leaveNothingBehind(children, scratch)
  const machine = describeMachine(loadavg()[0] ?? 0, scratch)
  const profileFolder = values.profile === undefined ? undefined : resolve(root, values.profile)
  const bench: Bench = { children, cores, built, scratch, timing, profileFolder }
  const runs = await measureAll(bench, { roundCount, chosen, brokers: brokers.map(({ kind }) => kind) })
  const results: Results = {
    date: new Date().toISOString(),
    command: ['npm run bench:broker --', ...process.argv.slice(2)].join(' '),
    machine,
    source: describeSource(root),
    cores:
      cores === undefined
        ? 'not bound'
        : `broker bound to core ${cores.broker}, generator to core ${cores.generator}`,
    roundCount,
    ...timing,
    brokers: brokers.map(({ kind, version }) => ({ name: kind.name, version, settings: kind.settings })),
    runs,
  }
  const page = renderMarkdown(results)
  process.stdout.write(page)
  const name = `${results.date.slice(0, 10)}-${machineSlug(machine)}${values.quick ? '-quick' : ''}`
  if (!values['no-save']) savePage(results, page, join(resolve(root, values.out), name))
  return hasFailed(results) ? 1 : 0
}

/** Scenario by scenario, broker by broker; each round begins with another broker, so that none is always first. */
async function measureAll(
  bench: Bench,
  {
    roundCount,
    chosen,
    brokers,
  }: { roundCount: number; chosen: readonly Scenario[]; brokers: readonly BrokerKind[] },
): Promise<Run[]> {
  const runs: Run[] = []
  for (let round = 1; round <= roundCount; round++)
    for (const scenario of chosen)
      for (const index of brokers.keys()) {
        const kind = brokers[(index + round - 1) % brokers.length]
        if (kind === undefined) continue
        const outcome = await measureOne(bench, kind, scenario)
        runs.push({ round, scenario: scenario.name, broker: kind.name, outcome })
        process.stderr.write(
          `round ${round}  ${scenario.name}  ${kind.name}  ${summarize(scenario, outcome)}\n`,
        )
      }
  return runs
}

/** A fresh broker in a fresh folder, one load, and nothing left behind. */
async function measureOne(bench: Bench, kind: BrokerKind, { plan }: Scenario): Promise<Run['outcome']> {
  const { children, cores, built, scratch, timing, profileFolder } = bench
  const folder = mkdtempSync(join(scratch, `${kind.name}-`))
  const logFile = join(folder, 'broker.log')
  const port = await findFreePort()
  const command = kind.prepare({ port, folder, profileFolder })
  const broker = children.start({ command, core: cores?.broker, folder, logFile })
  try {
    await untilListening(broker, port, START_DEADLINE_MS)
    const order: LoadOrder = {
      plan,
      timing,
      target: { port, brokerPid: broker.pid ?? 0, version: kind.version ?? 4, ...credentials },
    }
    const generator = children.start({
      command: { file: process.execPath, args: [join(built, 'load/main.js'), JSON.stringify(order)] },
      core: cores?.generator,
      folder,
    })
    const output = await outputOf(generator, timing.warmupMs + timing.measureMs + LOAD_DEADLINE_MS)
    return JSON.parse(output) as LoadResult // written by load/main.ts of the same build
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { error: `${reason}; log ends: ${readFileSync(logFile, 'utf8').slice(-LOG_TAIL_CHARS)}` }
  } finally {
    await children.end(broker, profileFolder === undefined ? 0 : PROFILE_GRACE_MS)
    rmSync(folder, { recursive: true, force: true })
  }
}

function chooseScenarios(list: string | undefined): readonly Scenario[] {
  if (list === undefined) return scenarios
  return list.split(',').flatMap((wanted) => {
    const exact = scenarios.filter(({ name }) => name === wanted)
    const found = exact.length > 0 ? exact : scenarios.filter(({ name }) => name.startsWith(wanted))
    if (found.length === 0) throw new Error(`no scenario ${wanted}`)
    return found
  })
}

function chooseBrokers(
  kinds: readonly BrokerKind[],
  list: string | undefined,
): readonly { kind: BrokerKind; version: string }[] {
  const wanted: readonly string[] = list?.split(',') ?? ['tunnelmq', 'tunnelmq5', 'aedes', 'mosquitto']
  return wanted.flatMap((name) => {
    const kind = kinds.find((candidate) => candidate.name === name)
    if (kind === undefined) throw new Error(`no broker ${name}`)
    const version = kind.findVersion()
    if (version !== undefined) return [{ kind, version }]
    // Only what nobody asked for by name, and does not belong to this project, may be missing.
    if (list !== undefined || name !== 'mosquitto') throw new Error(`${name} is not built or not installed`)
    process.stderr.write(`${name} is not installed: measured without it\n`)
    return []
  })
}

function summarize({ lines }: Scenario, outcome: Run['outcome']): string {
  if ('error' in outcome) return outcome.error
  const figures = lines.map(({ figure }) => `${figure} ${Math.round(outcome.figures[figure] ?? Number.NaN)}`)
  const faults = Object.entries(outcome.faults).filter(([, count]) => count > 0)
  return [...figures, ...faults.map(([kind, count]) => `${kind.toUpperCase()} ${count}`)].join('  ')
}

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
  return 2
})
