import type { Faults } from '../load/ledger.ts'
import type { LoadResult } from '../load/plan.ts'
import type { Machine, SourceState } from '../machine.ts'
import { BUSY_LOAD, format, formatRatio, table } from '../page.ts'
import { median } from '../results.ts'
import type { Goal, Scenario } from './scenarios.ts'
import { type SetupName, setups } from './setups.ts'

/** The results of the cluster bench, and their page. */

export interface Run {
  readonly round: number
  readonly scenario: string
  readonly setup: SetupName
  readonly outcome: LoadResult | { readonly error: string }
}

/** Bytes through a tunnel, within one pod and across two. */
export interface TunnelRun {
  readonly round: number
  readonly direction: 'up' | 'down'
  readonly place: 'one' | 'two'
  readonly outcome: { readonly megabytesPerSecond: number } | { readonly error: string }
}

export interface Results {
  readonly date: string
  readonly command: string
  readonly machine: Machine
  readonly source: SourceState
  readonly redis: string
  readonly roundCount: number
  readonly warmupMs: number
  readonly measureMs: number
  readonly runs: readonly Run[]
  readonly tunnels: readonly TunnelRun[]
}

/** What a tunnel across pods is asked to reach of the same within one. */
const TUNNEL_RATIO = 0.4

export function figureOf(results: Results, scenario: Scenario, setup: SetupName): number | undefined {
  return median(
    results.runs
      .filter((run) => run.scenario === scenario.name && run.setup === setup)
      .map(({ outcome }) => ('figures' in outcome ? outcome.figures[scenario.figure] : undefined)),
  )
}

function tunnelFigure(results: Results, direction: string, place: string): number | undefined {
  return median(
    results.tunnels
      .filter((run) => run.direction === direction && run.place === place)
      .map(({ outcome }) => ('megabytesPerSecond' in outcome ? outcome.megabytesPerSecond : undefined)),
  )
}

/** Ours has lost, doubled, swapped or misrouted something, or could not be measured. */
export function hasFailed({ runs, tunnels }: Results): boolean {
  return (
    tunnels.some(({ outcome }) => 'error' in outcome) ||
    runs.some(
      ({ setup, outcome }) =>
        !setup.startsWith('aedes') && ('error' in outcome || countOf(outcome.faults) > 0),
    )
  )
}

function countOf(faults: Faults): number {
  return Object.values(faults).reduce((sum, count) => sum + count, 0)
}

export function renderMarkdown(results: Results, measured: readonly Scenario[]): string {
  const names = (Object.keys(setups) as SetupName[]).filter((name) =>
    results.runs.some(({ setup }) => setup === name),
  )
  const rows = measured.map((scenario) => [
    scenario.title,
    ...names.map(
      (setup) => `${format(figureOf(results, scenario, setup))}${marks(results, scenario, setup)}`,
    ),
    scenario.goals.map((goal) => renderGoal(results, measured, scenario, goal)).join('; '),
  ])
  return `${[
    `# Cluster bench, ${results.date.slice(0, 10)}`,
    renderHead(results, names),
    `## Figures\n\nMedian of ${results.roundCount} round(s). \`!\`: with faults, see below.`,
    table(['', ...names, 'asked'], rows),
    ...(results.tunnels.length === 0 ? [] : [renderTunnels(results)]),
    '## Faults\n\nEvery message is checked: each once, in order, at the subscribers that asked for it and no others.',
    renderFaults(results),
  ].join('\n\n')}\n`
}

function renderHead(
  { date, machine, source, command, redis, ...rest }: Results,
  names: readonly SetupName[],
): string {
  const busy = machine.loadAverage > BUSY_LOAD ? ' (others were at work: read ratios, not rates)' : ''
  return table(
    ['', ''],
    [
      ['date', date],
      [
        'machine',
        `${machine.cpu}, ${machine.coreCount} cores for all of it, ${machine.memoryGib} GiB, ${machine.kernel}`,
      ],
      ['load before', `${machine.loadAverage.toFixed(2)}${busy}`],
      ['Node', machine.node],
      ['Redis', redis],
      ['commit', `${source.commit}${source.isChanged ? ' with uncommitted changes' : ''}`],
      ['command', `\`${command}\``],
      ['each run', `fresh processes, ${rest.warmupMs} ms warm-up dropped, ${rest.measureMs} ms measured`],
      ...names.map((name): [string, string] => [name, setups[name]]),
    ],
  )
}

function renderGoal(
  results: Results,
  measured: readonly Scenario[],
  scenario: Scenario,
  { setup, against, value }: Goal,
): string {
  const figure = figureOf(results, scenario, setup)
  if (against === 'nothing') {
    return `${setup} >= ${format(value)}: ${figure === undefined ? 'not measured' : figure >= value ? 'reached' : 'missed'}`
  }
  const other = measured.find(({ name }) => name === against.scenario)
  const base = other && figureOf(results, other, against.setup)
  if (figure === undefined || base === undefined) return `${setup}: not measured`
  return `${setup} ${formatRatio(figure / base)} of ${against.setup}, asked ${formatRatio(value)}: ${figure / base >= value ? 'reached' : 'missed'}`
}

function renderTunnels(results: Results): string {
  const rows = (['up', 'down'] as const).map((direction) => {
    const [one, two] = [tunnelFigure(results, direction, 'one'), tunnelFigure(results, direction, 'two')]
    const ratio = one === undefined || two === undefined ? undefined : two / one
    const verdict = ratio === undefined ? 'not measured' : ratio >= TUNNEL_RATIO ? 'reached' : 'missed'
    return [
      `one stream ${direction}, MB/s`,
      format(one),
      format(two),
      `${formatRatio(ratio)}, asked ${formatRatio(TUNNEL_RATIO)}: ${verdict}`,
    ]
  })
  return `## Tunnels\n\nAgent and client at one pod, and at two; every byte compared.\n\n${table(['', 'one pod', 'two pods', 'asked'], rows)}`
}

function marks(results: Results, scenario: Scenario, setup: SetupName): string {
  const isFaulty = results.runs.some(
    (run) =>
      run.scenario === scenario.name &&
      run.setup === setup &&
      ('error' in run.outcome || countOf(run.outcome.faults) > 0),
  )
  return isFaulty ? '!' : ''
}

function renderFaults({ runs, tunnels }: Results): string {
  const rows = runs.flatMap(({ scenario, setup, round, outcome }) => {
    if ('error' in outcome) return [[scenario, setup, String(round), outcome.error]]
    const faults = Object.entries(outcome.faults).filter(([, count]) => count > 0)
    if (faults.length === 0) return []
    return [[scenario, setup, String(round), faults.map(([kind, count]) => `${kind} ${count}`).join(', ')]]
  })
  const broken = tunnels.flatMap(({ direction, place, round, outcome }) =>
    'error' in outcome ? [[`tunnel ${direction}`, `${place} pod(s)`, String(round), outcome.error]] : [],
  )
  const all = [...rows, ...broken]
  return all.length === 0 ? 'None.' : table(['', '', 'round', 'what'], all)
}
