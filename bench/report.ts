import type { BrokerName } from './brokers/kinds.ts'
import type { FigureName } from './load/plan.ts'
import { BUSY_LOAD, format, formatRatio, table } from './page.ts'
import { errorsOf, faultKinds, faultsOf, isFaulty, judge, medianOf, ratio, type Results } from './results.ts'
import { type Goal, type Line, type Scenario, scenarios } from './scenarios.ts'

/** A broker below this share of its core could have done more. */
const SATURATED = 0.9

/** The results as a page for people. */
export function renderMarkdown(results: Results): string {
  const measured = scenarios.filter(({ name }) => results.runs.some(({ scenario }) => scenario === name))
  return [
    `# Broker bench, ${results.date.slice(0, 10)}`,
    renderHead(results),
    `## Figures\n\nMedian of ${results.roundCount} round(s). \`*\`: the broker used less than ${SATURATED * 100} % of its core, so the generator (or the disk) was the limit: read it as "at least". \`!\`: with faults, see below.`,
    renderFigures(results, measured),
    '## Broker CPU\n\nMicroseconds of CPU time, all threads, for each message received; more robust against a busy machine than the rates.',
    renderTable(results, measured, 'brokerCpuUsPerMessage'),
    '## Memory\n\nPeak resident MiB of the broker; each scenario has a broker process of its own.',
    renderTable(results, measured, 'brokerPeakMib'),
    '## How busy\n\nShare of its core, of 1, that the broker used.',
    renderTable(results, measured, 'brokerBusy'),
    'And the generator, under each of them.',
    renderTable(results, measured, 'generatorBusy'),
    '## Faults\n\nEvery message is checked: each once, in order, at the subscribers that asked for it and no others.',
    renderFaults(results, measured),
  ].join('\n\n')
}

function renderHead({ date, machine, source, command, cores, brokers, ...rest }: Results): string {
  const busy = machine.loadAverage > BUSY_LOAD ? ' (others were at work: read ratios, not rates)' : ''
  const rows: [string, string][] = [
    ['date', date],
    ['machine', `${machine.cpu}, ${machine.coreCount} cores, ${machine.memoryGib} GiB, ${machine.kernel}`],
    ['load before', `${machine.loadAverage.toFixed(2)}${busy}`],
    ['disk', `4 KiB appended and synced in ${machine.diskSyncUs} us`],
    ['cores', cores],
    ['Node', machine.node],
    ['commit', `${source.commit}${source.isChanged ? ' with uncommitted changes' : ''}`],
    ['command', `\`${command}\``],
    [
      'each run',
      `a fresh broker, ${rest.warmupMs} ms warm-up dropped, ${rest.measureMs} ms measured, ${rest.roundCount} round(s)`,
    ],
    ...brokers.map(({ name, version, settings }): [string, string] => [name, `${version}: ${settings}`]),
  ]
  return table(['', ''], rows)
}

function renderFigures(results: Results, measured: readonly Scenario[]): string {
  const names = brokerNames(results)
  const others = (['aedes', 'mosquitto', 'tunnelmq5'] as const).filter(
    (name) => names.includes(name) && names.includes('tunnelmq'),
  )
  const rows = measured.flatMap(({ name: scenario, lines }) =>
    lines.map((line) => [
      line.title,
      ...names.map((broker) => {
        const cell = { scenario, broker }
        const isIdle =
          line.figure.endsWith('PerSecond') && (medianOf(results, cell, 'brokerBusy') ?? 1) < SATURATED
        const marks = `${isIdle ? '*' : ''}${isFaulty(faultsOf(results, cell)) ? '!' : ''}`
        return `${format(medianOf(results, cell, line.figure))}${marks}`
      }),
      ...others.map((broker) =>
        formatRatio(
          ratio(
            medianOf(results, { scenario, broker: 'tunnelmq' }, line.figure),
            medianOf(results, { scenario, broker }, line.figure),
          ),
        ),
      ),
      renderGoal(results, scenario, line, line.required),
      renderGoal(results, scenario, line, line.aim),
    ]),
  )
  return table(['', ...names, ...others.map((name) => `tunnelmq / ${name}`), 'required', 'aim'], rows)
}

function renderGoal(results: Results, scenario: string, line: Line, goal: Goal | undefined): string {
  if (goal === undefined) return ''
  const sign = line.better === 'higher' ? '>=' : '<='
  const wanted =
    goal.against === 'nothing' ? format(goal.value) : `${formatRatio(goal.value)} ${goal.against}`
  return `${sign} ${wanted}: ${judge(results, scenario, line, goal).verdict}`
}

function renderTable(results: Results, measured: readonly Scenario[], figure: FigureName): string {
  const names = brokerNames(results)
  const rows = measured.map(({ name: scenario }) => [
    scenario,
    ...names.map((broker) => format(medianOf(results, { scenario, broker }, figure))),
  ])
  return table(
    ['', ...names],
    rows.filter(([, ...values]) => values.some((value) => value !== '')),
  )
}

function renderFaults(results: Results, measured: readonly Scenario[]): string {
  const rows = measured.flatMap(({ name: scenario }) =>
    brokerNames(results).flatMap((broker) => {
      const faults = faultsOf(results, { scenario, broker })
      const errors = errorsOf(results, { scenario, broker })
      if (!isFaulty(faults) && errors.length === 0) return []
      return [[scenario, broker, ...faultKinds.map((kind) => String(faults[kind])), errors.join('; ')]]
    }),
  )
  if (rows.length === 0) return 'None, with any of the brokers.\n'
  return `${table(['', 'broker', ...faultKinds, 'error'], rows)}\n`
}

function brokerNames(results: Results): readonly BrokerName[] {
  return results.brokers.map(({ name }) => name)
}
