/*
   The message path alone, in this process and without sockets: CPU time from the bytes of a PUBLISH to those that
   go to its receivers. Two ways take turns of some milliseconds, so that both meet the same moods of the machine.

   npm run bench:message-path                              MQTT 5 beside 3.1.1, about a minute; prints a page
   npm run bench:message-path -- --against FOLDER          3.1.1 beside 3.1.1 of another build: a dist/ that
                                                           `npm run build` (`-- --inner` from 0014 on) has made
*/
import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { describeMachine, describeSource } from './machine.ts'
import { type Build, loadBuild } from './message-path/build.ts'
import { type Scenario, scenarios } from './message-path/scenarios.ts'
import { format, table } from './page.ts'

const WARMUP_TURNS = 30
const TURNS = 400

/** One way of doing it: a build, and a version of MQTT. */
interface Way {
  readonly build: Build
  readonly version: 4 | 5
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? Number.NaN
}

async function compare(scenario: Scenario, first: Way, second: Way): Promise<string[]> {
  const runs = [
    await scenario.prepare(first.build, first.version),
    await scenario.prepare(second.build, second.version),
  ]
  const times: [number[], number[]] = [[], []]
  const ratios: number[] = []
  for (let turn = 0; turn < WARMUP_TURNS + TURNS; turn++) {
    const took = [0, 0]
    // Who is first changes: what one leaves to be collected is not the other's.
    for (const which of turn % 2 === 0 ? [0, 1] : [1, 0]) took[which] = await runs[which]!()
    if (turn < WARMUP_TURNS) continue
    times[0].push(took[0]!)
    times[1].push(took[1]!)
    ratios.push(took[1]! / took[0]!)
  }
  const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0)
  return [
    scenario.name,
    format(quantile(times[0], 0.5)),
    format(quantile(times[1], 0.5)),
    format(quantile(ratios, 0.5)),
    `${format(quantile(ratios, 0.25))} to ${format(quantile(ratios, 0.75))}`,
    format(total(times[1]) / total(times[0])),
  ]
}

const { values } = parseArgs({ options: { against: { type: 'string' }, scenario: { type: 'string' } } })

if (values.scenario === undefined) {
  const machine = describeMachine(0, tmpdir())
  const source = describeSource(resolve(import.meta.dirname, '../..'))
  // A process for each: what one has made of the code on its way would be in the figures of the next.
  const rows = scenarios.map(({ name }) => {
    const args = [...process.argv.slice(1), '--scenario', name]
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as string[]
  })
  const names = values.against === undefined ? ['3.1.1', 'MQTT 5'] : ['the other build', 'this build']
  const page = [
    `# Message path, ${new Date().toISOString().slice(0, 10)}`,
    `${machine.cpu}, ${machine.coreCount} cores, ${machine.kernel}, Node ${machine.node}; ` +
      `commit ${source.commit}${source.isChanged ? ' with uncommitted changes' : ''}; ${TURNS} turns each`,
    'Microseconds of CPU time for each message delivered: medians. Ratio: the median of all pairs of turns, the middle half of them, and that of all time.',
    table(['', ...names, 'ratio', 'middle half', 'of all time'], rows),
  ]
  process.stdout.write(`${page.join('\n\n')}\n`)
} else {
  const scenario = scenarios.find(({ name }) => name === values.scenario)
  if (scenario === undefined) throw new Error(`--scenario ${values.scenario}: is not known`)
  const ours = await loadBuild(new URL('../../dist/', import.meta.url))
  const { against } = values
  const row =
    against === undefined
      ? await compare(scenario, { build: ours, version: 4 }, { build: ours, version: 5 })
      : await compare(
          scenario,
          { build: await loadBuild(pathToFileURL(`${resolve(against)}/`)), version: 4 },
          { build: ours, version: 4 },
        )
  process.stdout.write(JSON.stringify(row))
  // The brokers have nothing that ends.
  process.exit(0)
}
