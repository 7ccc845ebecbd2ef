import type { BrokerName } from './brokers/kinds.ts'
import type { Faults } from './load/ledger.ts'
import type { FigureName, LoadResult } from './load/plan.ts'
import type { Machine, SourceState } from './machine.ts'
import type { Goal, Line } from './scenarios.ts'

/** One broker in one scenario in one round. */
export interface Run {
  readonly round: number
  readonly scenario: string
  readonly broker: BrokerName
  readonly outcome: LoadResult | { readonly error: string }
}

/** The whole of a result file. */
export interface Results {
  readonly date: string
  readonly command: string
  readonly machine: Machine
  readonly source: SourceState
  readonly cores: string
  readonly roundCount: number
  readonly warmupMs: number
  readonly measureMs: number
  readonly brokers: readonly {
    readonly name: BrokerName
    readonly version: string
    readonly settings: string
  }[]
  readonly runs: readonly Run[]
}

export type Cell = Pick<Run, 'scenario' | 'broker'>

export type Verdict = 'reached' | 'missed' | 'not measured'

/** The middle of a figure over all rounds that have it. */
export function medianOf(results: Results, cell: Cell, figure: FigureName): number | undefined {
  const figures = runsOf(results, cell).flatMap(({ outcome }) =>
    'figures' in outcome ? [outcome.figures] : [],
  )
  return median(figures.map((all) => all[figure]))
}

/** The middle of those that are there. */
export function median(values: readonly (number | undefined)[]): number | undefined {
  const sorted = values.filter((value) => value !== undefined).toSorted((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)]
  const lower = sorted[Math.floor((sorted.length - 1) / 2)]
  return upper === undefined || lower === undefined ? undefined : (lower + upper) / 2
}

/** Faults of all rounds together. */
export function faultsOf(results: Results, cell: Cell): Faults {
  const sum: Faults = {
    lost: 0,
    duplicated: 0,
    outOfOrder: 0,
    misrouted: 0,
    unacknowledged: 0,
    disconnected: 0,
  }
  for (const { outcome } of runsOf(results, cell))
    if ('faults' in outcome) for (const kind of faultKinds) sum[kind] += outcome.faults[kind]
  return sum
}

export const faultKinds = [
  'lost',
  'duplicated',
  'outOfOrder',
  'misrouted',
  'unacknowledged',
  'disconnected',
] as const satisfies readonly (keyof Faults)[]

export function isFaulty(faults: Faults): boolean {
  return faultKinds.some((kind) => faults[kind] > 0)
}

export function errorsOf(results: Results, cell: Cell): readonly string[] {
  return runsOf(results, cell).flatMap(({ outcome }) => ('error' in outcome ? [outcome.error] : []))
}

/** Whether TunnelMQ reached a goal, and by what figure it was judged. */
export function judge(
  results: Results,
  scenario: string,
  line: Line,
  goal: Goal,
): { verdict: Verdict; value: number | undefined } {
  const ours = medianOf(results, { scenario, broker: 'tunnelmq' }, line.figure)
  const value =
    goal.against === 'nothing'
      ? ours
      : ratio(ours, medianOf(results, { scenario, broker: goal.against }, line.figure))
  if (value === undefined) return { verdict: 'not measured', value }
  const isReached = line.better === 'higher' ? value >= goal.value : value <= goal.value
  return { verdict: isReached ? 'reached' : 'missed', value }
}

export function ratio(ours: number | undefined, theirs: number | undefined): number | undefined {
  return ours === undefined || theirs === undefined || theirs === 0 ? undefined : ours / theirs
}

/** Whether TunnelMQ lost, doubled or swapped a message, closed a connection, or did not run at all. */
export function hasFailed(results: Results): boolean {
  return results.runs.some(
    ({ broker, outcome }) => broker === 'tunnelmq' && ('error' in outcome || isFaulty(outcome.faults)),
  )
}

function runsOf(results: Results, cell: Cell): readonly Run[] {
  return results.runs.filter((run) => run.scenario === cell.scenario && run.broker === cell.broker)
}
