import type { Machine, SourceState } from '../machine.ts'
import { median, ratio } from '../results.ts'
import type { ContenderName, OursName } from './contender.ts'
import type { FigureName, Figures } from './plan.ts'
import type { Goal, Line } from './scenarios.ts'

/** One contender in one scenario in one round. */
export interface Run {
  readonly round: number
  readonly scenario: string
  readonly contender: ContenderName
  readonly outcome: { readonly figures: Figures } | { readonly error: string }
}

/** The whole of a result file. */
export interface Results {
  readonly date: string
  readonly command: string
  readonly machine: Machine
  readonly source: SourceState
  readonly roundCount: number
  readonly isQuick: boolean
  readonly contenders: readonly {
    readonly name: ContenderName
    readonly version: string
    readonly settings: string
  }[]
  /** Asked for, and not installed. */
  readonly missing: readonly ContenderName[]
  readonly runs: readonly Run[]
}

export type Cell = Pick<Run, 'scenario' | 'contender'>
export type Verdict = 'reached' | 'aim reached' | 'missed' | 'not measured'

export const oursNames = ['tcp', 'tls', 'ws', 'mosquitto', 'listen'] as const satisfies readonly OursName[]

export function isOurs(name: ContenderName): name is OursName {
  return (oursNames as readonly ContenderName[]).includes(name)
}

/** A figure of every round that has it. */
export function valuesOf(
  results: Results,
  { scenario, contender }: Cell,
  figure: FigureName,
): readonly number[] {
  return results.runs.flatMap((run) => {
    if (run.scenario !== scenario || run.contender !== contender || 'error' in run.outcome) return []
    const value = run.outcome.figures[figure]
    return value === undefined ? [] : [value]
  })
}

export function medianOf(results: Results, cell: Cell, figure: FigureName): number | undefined {
  return median(valuesOf(results, cell, figure))
}

/** Whether a contender of ours reached a goal, and by what it was judged: a ratio, or the figure itself. */
export function judge(
  results: Results,
  cell: Cell,
  { figure, better }: Line,
  { against, value, aim }: Goal,
): { verdict: Verdict; value: number | undefined } {
  const own = medianOf(results, cell, figure)
  const judged = against === 'nothing' ? own : ratio(own, medianOf(results, otherCell(cell, against), figure))
  if (judged === undefined) return { verdict: 'not measured', value: undefined }
  const reaches = (wanted: number): boolean => (better === 'higher' ? judged >= wanted : judged <= wanted)
  if (aim !== undefined && reaches(aim)) return { verdict: 'aim reached', value: judged }
  return { verdict: reaches(value) ? 'reached' : 'missed', value: judged }
}

/** Whether one of ours lost or changed bytes, hung, or did not run at all. */
export function hasFailed(results: Results): boolean {
  return results.runs.some(({ contender, outcome }) => isOurs(contender) && 'error' in outcome)
}

function otherCell(cell: Cell, against: Exclude<Goal['against'], 'nothing'>): Cell {
  return typeof against === 'string' ? { ...cell, contender: against } : { ...cell, ...against }
}
