import { BUSY_LOAD, format, formatRatio, table } from '../page.ts'
import type { ContenderName } from './contender.ts'
import type { FigureName } from './plan.ts'
import { isOurs, judge, medianOf, oursNames, type Results, valuesOf } from './results.ts'
import type { Goal, Line, Scenario } from './scenarios.ts'

/** The results as a page for people. */
export function renderMarkdown(results: Results, scenarios: readonly Scenario[]): string {
  const measured = scenarios.filter(({ name }) => results.runs.some(({ scenario }) => scenario === name))
  return [
    `# Tunnel bench, ${results.date.slice(0, 10)}`,
    renderHead(results),
    `## Aims\n\nRatio of medians of ${results.roundCount} round(s), and whether it is what the design asks for. Less is better for times and memory.`,
    renderAims(results, measured),
    '## Figures\n\nMedian, and from the least to the most of all rounds. MB are 10^6 bytes.',
    renderFigures(results, measured),
    '## CPU\n\nMilliseconds of CPU time for each MB, of all processes of the tunnel, without the ends of the bench. On a busy machine the figure to trust.',
    renderCpu(results, measured),
    '## Faults\n\nEvery byte of a bulk stream and of a ping is compared with what was sent.',
    renderFaults(results),
  ].join('\n\n')
}

function renderHead({ date, machine, source, command, contenders, missing, ...rest }: Results): string {
  const busy = machine.loadAverage > BUSY_LOAD ? ' (others were at work: read ratios, not rates)' : ''
  const quick = rest.isQuick ? ' --quick: smaller, so more of it is noise' : ''
  const rows: [string, string][] = [
    ['date', date],
    ['machine', `${machine.cpu}, ${machine.coreCount} cores, ${machine.memoryGib} GiB, ${machine.kernel}`],
    ['load before', `${machine.loadAverage.toFixed(2)}${busy}`],
    ['Node', machine.node],
    ['commit', `${source.commit}${source.isChanged ? ' with uncommitted changes' : ''}`],
    ['command', `\`${command}\``],
    ['rounds', `${rest.roundCount}, the contenders one after the other in each scenario;${quick} loopback`],
    ...contenders.map(({ name, version, settings }): [string, string] => [name, `${version}: ${settings}`]),
    ...missing.map((name): [string, string] => [
      name,
      'not installed here: not measured, and nothing claimed',
    ]),
  ]
  return table(['', ''], rows)
}

/** What is judged, against what, and each of ours. */
function renderAims(results: Results, measured: readonly Scenario[]): string {
  const names = oursNames.filter((name) => results.contenders.some((contender) => contender.name === name))
  const rows = measured.flatMap((scenario) =>
    scenario.lines.flatMap((line) =>
      (line.goals ?? []).map((goal) => [
        line.title,
        describeAgainst(goal),
        describeWanted(line, goal),
        ...names.map((contender) =>
          scenario.contenders.includes(contender)
            ? renderVerdict(results, scenario, contender, line, goal)
            : '',
        ),
      ]),
    ),
  )
  return table(['', 'against', 'asked for', ...names], rows)
}

function renderVerdict(
  results: Results,
  { name: scenario }: Scenario,
  contender: ContenderName,
  line: Line,
  goal: Goal,
): string {
  const { verdict, value } = judge(results, { scenario, contender }, line, goal)
  if (value === undefined) return verdict
  return `${goal.against === 'nothing' ? format(value) : formatRatio(value)} ${verdict}`
}

function describeAgainst({ against }: Goal): string {
  if (against === 'nothing') return ''
  return typeof against === 'string' ? against : `its own ${against.scenario}`
}

function describeWanted({ better }: Line, { against, value, aim }: Goal): string {
  const sign = better === 'higher' ? '>=' : '<='
  const write = (wanted: number): string => (against === 'nothing' ? format(wanted) : formatRatio(wanted))
  return `${sign} ${write(value)}${aim === undefined ? '' : `, aim ${write(aim)}`}`
}

function renderFigures(results: Results, measured: readonly Scenario[]): string {
  const names = results.contenders.map(({ name }) => name)
  const rows = measured.flatMap(({ name: scenario, lines }) =>
    lines.map(({ title, figure }) => [
      title,
      ...names.map((contender) => renderSpread(valuesOf(results, { scenario, contender }, figure))),
    ]),
  )
  return table(['', ...names], rows)
}

function renderSpread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted[Math.floor(sorted.length / 2)]
  if (middle === undefined) return ''
  if (sorted.length === 1) return format(middle)
  return `${format(middle)} (${format(sorted[0])} to ${format(sorted.at(-1))})`
}

const cpuFigures = [
  ['all', 'cpuMsPerMb'],
  ['client', 'clientCpuMsPerMb'],
  ['broker', 'brokerCpuMsPerMb'],
  ['agent', 'agentCpuMsPerMb'],
] as const satisfies readonly (readonly [string, FigureName])[]

function renderCpu(results: Results, measured: readonly Scenario[]): string {
  const names = results.contenders.map(({ name }) => name)
  const rows = measured.flatMap(({ name: scenario }) =>
    cpuFigures.map(([title, figure]) => [
      `${scenario}, ${title}`,
      ...names.map((contender) => {
        const isTotal = figure === 'cpuMsPerMb'
        return isTotal || isOurs(contender) ? format(medianOf(results, { scenario, contender }, figure)) : ''
      }),
    ]),
  )
  return table(
    ['', ...names],
    rows.filter(([, ...values]) => values.some((value) => value !== '')),
  )
}

function renderFaults({ runs }: Results): string {
  const rows = runs.flatMap(({ round, scenario, contender, outcome }) =>
    'error' in outcome ? [[String(round), scenario, contender, outcome.error]] : [],
  )
  return rows.length === 0 ? 'None.\n' : `${table(['round', 'scenario', 'contender', 'error'], rows)}\n`
}
