import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import { loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Children, findFreePort, leaveNothingBehind, outputOf, untilListening } from './children.ts'
import { describeMachine, describeSource, machineSlug } from './machine.ts'
import { savePage } from './page.ts'
import type { Contender, ContenderName } from './tunnel/contender.ts'
import { contendersOf } from './tunnel/contenders.ts'
import type { Figures, Order } from './tunnel/plan.ts'
import { renderMarkdown } from './tunnel/report.ts'
import { hasFailed, type Results, type Run } from './tunnel/results.ts'
import { startTunnel, type Tunnel } from './tunnel/running.ts'
import { DEFAULT_SIZES, planFor, QUICK_SIZES, type Scenario, scenariosOf } from './tunnel/scenarios.ts'

/** `npm run bench:tunnel`: our tunnels beside plain relays, ssh and mqtt-forward in one run. See README.md. */

const DEFAULT_ROUNDS = 5
const START_DEADLINE_MS = 10_000
const DRIVER_DEADLINE_MS = 60_000
const LOAD_START_DEADLINE_MS = 15_000
/** Node writes a profile only when the process ends by itself. */
const PROFILE_GRACE_MS = 15_000
const LOG_TAIL_CHARS = 300

const usage = `npm run bench:tunnel -- [options]

  --quick               one round, less of everything (about a minute)
  --rounds N            rounds (default ${DEFAULT_ROUNDS}); the median counts
  --contenders A,B      of relay-2, relay-3, ssh, mqtt-forward, tcp, tls, ws, mosquitto, listen (default: all)
  --only A,B            scenarios: ${scenariosOf(DEFAULT_SIZES)
    .map(({ name }) => name)
    .join(', ')}
                        (what is not a name matches all that begin with it: "bulk")
  --mqtt-forward FILE   its executable, when it is not in the PATH
  --out FOLDER          where results go (default bench/results)
  --no-save             print only
  --profile FOLDER      write CPU profiles of our processes there (for Chrome's DevTools)
  --help                this text
`

interface Bench {
  readonly children: Children
  readonly built: string
  /** Holds the folders of the tunnels, and is gone afterwards. */
  readonly scratch: string
  readonly targets: { readonly bulkTarget: number; readonly pingTarget: number }
  readonly profileFolder: string | undefined
}

async function main(children: Children): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      contenders: { type: 'string' },
      only: { type: 'string' },
      'mqtt-forward': { type: 'string' },
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
  const scenarios = chooseScenarios(scenariosOf(values.quick ? QUICK_SIZES : DEFAULT_SIZES), values.only)
  const mqttForwardFile =
    values['mqtt-forward'] === undefined ? undefined : resolve(root, values['mqtt-forward'])
  const { present, missing } = chooseContenders(
    contendersOf({ root, built, mqttForwardFile }),
    values.contenders,
  )

  const scratch = mkdtempSync(join(built, 'tunnel-'))
  leaveNothingBehind(children, scratch)
  const machine = describeMachine(loadavg()[0] ?? 0, scratch)
  const targets = {
    bulkTarget: await startTarget(children, built),
    pingTarget: await startTarget(children, built),
  }
  const profileFolder = values.profile === undefined ? undefined : resolve(root, values.profile)
  const bench: Bench = { children, built, scratch, targets, profileFolder }
  const runs: Run[] = []
  for (let round = 1; round <= roundCount; round++)
    runs.push(
      ...(await measureRound(bench, {
        round,
        scenarios,
        contenders: present.map(({ contender }) => contender),
      })),
    )
  const results: Results = {
    date: new Date().toISOString(),
    command: ['npm run bench:tunnel --', ...process.argv.slice(2)].join(' '),
    machine,
    source: describeSource(root),
    roundCount,
    isQuick: values.quick,
    contenders: present.map(({ contender: { name, settings }, version }) => ({ name, version, settings })),
    missing,
    runs,
  }
  const page = renderMarkdown(results, scenarios)
  process.stdout.write(page)
  const name = `${results.date.slice(0, 10)}-tunnel-${machineSlug(machine)}${values.quick ? '-quick' : ''}`
  if (!values['no-save']) savePage(results, page, join(resolve(root, values.out), name))
  return hasFailed(results) ? 1 : 0
}

/** Scenario by scenario, contender by contender, each in the processes that this round has started for it. */
async function measureRound(
  bench: Bench,
  {
    round,
    scenarios,
    contenders,
  }: { round: number; scenarios: readonly Scenario[]; contenders: readonly Contender[] },
): Promise<Run[]> {
  const runs: Run[] = []
  const tunnels = new Map<ContenderName, Tunnel>()
  try {
    for (const scenario of scenarios)
      for (const index of contenders.keys()) {
        // Each round begins with another one, so that none is always first.
        const contender = contenders[(index + round - 1) % contenders.length]
        if (contender === undefined || !scenario.contenders.includes(contender.name)) continue
        const outcome = await measureOne(bench, tunnels, contender, scenario)
        runs.push({ round, scenario: scenario.name, contender: contender.name, outcome })
        process.stderr.write(
          `round ${round}  ${scenario.name}  ${contender.name}  ${summarize(scenario, outcome)}\n`,
        )
      }
  } finally {
    await Promise.all([...tunnels.values()].map(async (tunnel) => await tunnel.end()))
  }
  return runs
}

async function measureOne(
  bench: Bench,
  tunnels: Map<ContenderName, Tunnel>,
  contender: Contender,
  scenario: Scenario,
): Promise<Run['outcome']> {
  const folder = mkdtempSync(join(bench.scratch, `${contender.name}-`))
  let tunnel = scenario.isFresh ? undefined : tunnels.get(contender.name)
  try {
    tunnel ??= await startTunnel(contender, {
      ...bench.targets,
      children: bench.children,
      folder,
      nodeOptions: profilerOptions(bench.profileFolder),
      graceMs: bench.profileFolder === undefined ? 0 : PROFILE_GRACE_MS,
    })
    if (!scenario.isFresh) tunnels.set(contender.name, tunnel)
    return { figures: await drive(bench, tunnel, contender, scenario) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    // It may be in any state: the next scenario gets a new one.
    tunnels.delete(contender.name)
    const logs = logTails(tunnel?.folder ?? folder)
    await tunnel?.end()
    return { error: logs === '' ? reason : `${reason}; ${logs}` }
  } finally {
    if (scenario.isFresh) await tunnel?.end()
  }
}

/** The near end in a process of its own, and where asked for another one that keeps a second stream busy. */
async function drive(
  bench: Bench,
  tunnel: Tunnel,
  { name }: Contender,
  scenario: Scenario,
): Promise<Figures> {
  const { processes, bulkPort, pingPort } = tunnel
  const plan = planFor(scenario.plan, name)
  const port = plan.kind === 'bulk' ? bulkPort : pingPort
  if (scenario.loadDirection === undefined) return await runDriver(bench, { plan, port, processes })
  const load = await startLoad(bench, {
    plan: { kind: 'load', direction: scenario.loadDirection },
    port: bulkPort,
    processes: [],
  })
  try {
    const figures = await runDriver(bench, { plan, port, processes })
    return { ...figures, ...(await load.end()) }
  } finally {
    await bench.children.end(load.child, 0)
  }
}

async function runDriver({ children, built, scratch }: Bench, order: Order): Promise<Figures> {
  const child = children.start({ command: driverCommand(built, order), core: undefined, folder: scratch })
  return JSON.parse(await outputOf(child, DRIVER_DEADLINE_MS)) as Figures // written by driver.ts of the same build
}

async function startLoad(
  { children, built, scratch }: Bench,
  order: Order,
): Promise<{ child: ReturnType<Children['start']>; end(): Promise<Figures> }> {
  const child = children.start({
    command: driverCommand(built, order),
    core: undefined,
    folder: scratch,
    hasInput: true,
  })
  const going = once(child.stdout ?? child, 'data', { signal: AbortSignal.timeout(LOAD_START_DEADLINE_MS) })
  const ended = once(child, 'exit').then(() => {
    throw new Error('the load ended before its time')
  })
  ended.catch(() => undefined) // it always ends at last
  await Promise.race([going, ended])
  return {
    child,
    end: async () => {
      child.stdin?.end()
      return JSON.parse(await outputOf(child, START_DEADLINE_MS)) as Figures
    },
  }
}

function driverCommand(built: string, order: Order): { file: string; args: readonly string[] } {
  return { file: process.execPath, args: [join(built, 'tunnel/driver.js'), JSON.stringify(order)] }
}

async function startTarget(children: Children, built: string): Promise<number> {
  const port = await findFreePort()
  const command = { file: process.execPath, args: [join(built, 'tunnel/target.js'), String(port)] }
  const child = children.start({ command, core: undefined, folder: built })
  await untilListening(child, port, START_DEADLINE_MS)
  return port
}

function profilerOptions(folder: string | undefined): readonly string[] {
  return folder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${folder}`]
}

function chooseScenarios(scenarios: readonly Scenario[], list: string | undefined): readonly Scenario[] {
  if (list === undefined) return scenarios
  return list.split(',').flatMap((wanted) => {
    const exact = scenarios.filter(({ name }) => name === wanted)
    const found = exact.length > 0 ? exact : scenarios.filter(({ name }) => name.startsWith(wanted))
    if (found.length === 0) throw new Error(`no scenario ${wanted}`)
    return found
  })
}

/** Only what nobody asked for by name, and does not belong to this project, may be missing. */
function chooseContenders(
  contenders: readonly Contender[],
  list: string | undefined,
): { present: readonly { contender: Contender; version: string }[]; missing: readonly ContenderName[] } {
  const wanted: readonly string[] = list?.split(',') ?? contenders.map(({ name }) => name)
  const present: { contender: Contender; version: string }[] = []
  const missing: ContenderName[] = []
  for (const name of wanted) {
    const contender = contenders.find((candidate) => candidate.name === name)
    if (contender === undefined) throw new Error(`no contender ${name}`)
    const version = contender.findVersion()
    if (version !== undefined) present.push({ contender, version })
    else if (list !== undefined) throw new Error(`${name} is not built or not installed`)
    else {
      missing.push(contender.name)
      process.stderr.write(`${name} is not installed: measured without it\n`)
    }
  }
  return { present, missing }
}

function summarize({ lines }: Scenario, outcome: Run['outcome']): string {
  if ('error' in outcome) return outcome.error
  return lines
    .map(({ figure }) => [figure, outcome.figures[figure]] as const)
    .flatMap(([figure, value]) => (value === undefined ? [] : [`${figure} ${Math.round(value)}`]))
    .join('  ')
}

function logTails(folder: string): string {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.log'))
    .map((name) => `${name}: ${readFileSync(join(folder, name), 'utf8').slice(-LOG_TAIL_CHARS).trim()}`)
    .join('; ')
}

const children = new Children()
process.exitCode = await main(children)
  .catch((error: unknown) => {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
    return 2
  })
  // The far ends run for as long as there is a bench.
  .finally(() => children.killAll())
