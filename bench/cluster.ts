import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { credentials } from './brokers/kinds.ts'
import { Children, leaveNothingBehind, outputOf } from './children.ts'
import { hasFailed, renderMarkdown, type Results, type Run, type TunnelRun } from './cluster/results.ts'
import { type Scenario, scenarios } from './cluster/scenarios.ts'
import { type Places, type Running, type SetupName, setups, startSetup } from './cluster/setups.ts'
import { DEFAULT_SIZES, measureTunnels, QUICK_SIZES } from './cluster/tunnels.ts'
import type { LoadOrder, LoadResult, Timing } from './load/plan.ts'
import { describeMachine, describeSource, machineSlug } from './machine.ts'
import { savePage } from './page.ts'

/** `npm run bench:cluster`: one broker, one and two pods on Redis, and Aedes with its Redis packages. See README.md. */

const LOAD_DEADLINE_MS = 60_000
const PROFILE_GRACE_MS = 15_000
const LOG_TAIL_CHARS = 400
const DEFAULT_TIMING: Timing = { warmupMs: 1_500, measureMs: 2_500 }
const QUICK_TIMING: Timing = { warmupMs: 700, measureMs: 1_000 }
const DEFAULT_ROUNDS = 3
const TUNNELS = 'tunnels'

const usage = `npm run bench:cluster -- [options]

  --quick              one round, shorter runs
  --rounds N           rounds (default ${DEFAULT_ROUNDS}); the median counts
  --setups A,B         of ${Object.keys(setups).join(', ')} (default: all)
  --scenarios A,B      of ${scenarios.map(({ name }) => name).join(', ')}, ${TUNNELS}
  --out FOLDER         where results go (default bench/results)
  --no-save            print only
  --profile FOLDER     write CPU profiles of TunnelMQ there (for Chrome's DevTools)
  --help               this text
`

async function main(children: Children): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      setups: { type: 'string' },
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
  const names = [...scenarios.map(({ name }) => name), TUNNELS]
  const wanted = chosen(names, values.scenarios, 'scenario')
  const wantedSetups = chosen(Object.keys(setups) as SetupName[], values.setups, 'setup')
  const redis = redisVersion()

  const scratch = mkdtempSync(join(built, 'cluster-'))
  leaveNothingBehind(children, scratch)
  const profileFolder = values.profile === undefined ? undefined : resolve(root, values.profile)
  const places = (): Places => ({
    root,
    built,
    children,
    folder: mkdtempSync(join(scratch, 'run-')),
    profileFolder,
  })
  const timing = values.quick ? QUICK_TIMING : DEFAULT_TIMING
  const machine = describeMachine(loadavg()[0] ?? 0, scratch)
  const measured = scenarios.filter(({ name }) => wanted.includes(name))
  const runs: Run[] = []
  const tunnels: TunnelRun[] = []
  for (let round = 1; round <= roundCount; round++) {
    for (const scenario of measured) {
      for (const setup of scenario.setups.filter((name) => wantedSetups.includes(name))) {
        const outcome = await measureOne(places(), setup, scenario, timing)
        runs.push({ round, scenario: scenario.name, setup, outcome })
        process.stderr.write(`round ${round}  ${scenario.name}  ${setup}  ${summarize(scenario, outcome)}\n`)
      }
    }
    if (wanted.includes(TUNNELS)) {
      tunnels.push(...(await measureTunnels(places(), round, values.quick ? QUICK_SIZES : DEFAULT_SIZES)))
    }
  }
  const results: Results = {
    date: new Date().toISOString(),
    command: ['npm run bench:cluster --', ...process.argv.slice(2)].join(' '),
    machine,
    source: describeSource(root),
    redis,
    roundCount,
    ...timing,
    runs,
    tunnels,
  }
  const page = renderMarkdown(results, measured)
  process.stdout.write(page)
  const name = `${results.date.slice(0, 10)}-cluster-${machineSlug(machine)}${values.quick ? '-quick' : ''}`
  if (!values['no-save']) savePage(results, page, join(resolve(root, values.out), name))
  return hasFailed(results) ? 1 : 0
}

/** Fresh processes, one load, and nothing left behind. */
async function measureOne(
  places: Places,
  setup: SetupName,
  scenario: Scenario,
  timing: Timing,
): Promise<Run['outcome']> {
  const { children, built, folder, profileFolder } = places
  let running: Running | undefined
  try {
    running = await startSetup(setup, places)
    const { port, otherPort, brokerPid } = running
    const isSpread = scenario.place !== 'local' && otherPort !== undefined
    const order: LoadOrder = {
      plan: scenario.plan,
      timing,
      target: { port, brokerPid, version: 4, ...credentials, ...(isSpread && { otherPort }) },
    }
    const generator = children.start({
      command: { file: process.execPath, args: [join(built, 'load/main.js'), JSON.stringify(order)] },
      core: undefined,
      folder,
    })
    const output = await outputOf(generator, timing.warmupMs + timing.measureMs + LOAD_DEADLINE_MS)
    return JSON.parse(output) as LoadResult // written by load/main.ts of the same build
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { error: `${reason}; ${logTail(folder)}` }
  } finally {
    // Brokers first: they would complain about Redis.
    for (const child of running?.processes.toReversed() ?? []) {
      await children.end(child, profileFolder === undefined ? 0 : PROFILE_GRACE_MS)
    }
    rmSync(folder, { recursive: true, force: true })
  }
}

function logTail(folder: string): string {
  try {
    return `log ends: ${readFileSync(join(folder, 'a', 'output.log'), 'utf8').slice(-LOG_TAIL_CHARS)}`
  } catch {
    return 'no log'
  }
}

function redisVersion(): string {
  const { stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8', timeout: 5_000 })
  const version = /v=(\S+)/.exec(stdout ?? '')?.[1]
  if (version === undefined) throw new Error('redis-server is not installed')
  return `${version}, appendonly yes, appendfsync everysec`
}

function chosen<Name extends string>(
  names: readonly Name[],
  list: string | undefined,
  what: string,
): readonly Name[] {
  if (list === undefined) return names
  return list.split(',').flatMap((wanted) => {
    const found = names.filter((name) => name === wanted)
    const all = found.length > 0 ? found : names.filter((name) => name.startsWith(wanted))
    if (all.length === 0) throw new Error(`no ${what} ${wanted}`)
    return all
  })
}

function summarize({ figure }: Scenario, outcome: Run['outcome']): string {
  if ('error' in outcome) return outcome.error
  const faults = Object.entries(outcome.faults).filter(([, count]) => count > 0)
  return [
    `${figure} ${Math.round(outcome.figures[figure] ?? Number.NaN)}`,
    ...faults.map(([kind, count]) => `${kind.toUpperCase()} ${count}`),
  ].join('  ')
}

const children = new Children()
process.exitCode = await main(children)
  .catch((error: unknown) => {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
    return 2
  })
  .finally(() => children.killAll())
