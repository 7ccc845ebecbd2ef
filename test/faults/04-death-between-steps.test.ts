import { fileURLToPath } from 'node:url'
import { afterEach, it } from 'vitest'
import { type BrokerProcess, createBrokerProcess } from '../support/broker-process.ts'
import { type DeathOutcome, DeathScenario, visitDeaths } from './death-scenario.ts'
import { eventually, report } from './ledger.ts'

const preload = new URL('../support/crash-at-batch.mjs', import.meta.url)

interface Outcome extends DeathOutcome {
  readonly died: boolean
  readonly commits: number
}

const brokers = new Set<BrokerProcess>()

/** Those that are still there when the test has failed. */
afterEach(() => Promise.all([...brokers].map((broker) => broker.remove())))

async function runScenario(environment: Readonly<Record<string, string>>): Promise<Outcome> {
  const broker = await createBrokerProcess({
    nodeArguments: ['--import', fileURLToPath(preload)],
    config: { session: { willGraceMs: 50 } },
  })
  brokers.add(broker)
  try {
    const scenario = new DeathScenario('a')
    const once = await live(broker, scenario, environment)
    const commits = once ?? (await live(broker, scenario, {}))
    if (commits === undefined) throw new Error('the broker died a second time')
    return { died: once === undefined, commits, ...scenario.check() }
  } finally {
    brokers.delete(broker)
    await broker.remove()
  }
}

/** Resolves to how many commits there were; undefined: the broker has died. */
async function live(
  broker: BrokerProcess,
  scenario: DeathScenario,
  environment: Readonly<Record<string, string>>,
): Promise<number | undefined> {
  try {
    await broker.start(environment)
    const death = broker.exited.then(() => Promise.reject(new Error('the broker died')))
    await Promise.race([scenario.steps(broker.port), death])
    await eventually(async () => (await broker.metric('tunnelmq_queued_messages')) === 0)
    return await broker.metric('tunnelmq_store_commits_total')
  } catch (error) {
    // Its sockets end a little before it does.
    await broker.exitedWithin(5_000)
    if (broker.isRunning) throw error
    await scenario.lost()
    return undefined
  }
}

/** One before and one after each commit. */
const MORE_DEATHS_THAN = 30

it('loses and doubles nothing when the process dies before or after any of its writes', async () => {
  let whole = await runScenario({})
  // On a busy machine steps fall together into one commit: then once more, for a death between each of them.
  for (let again = 0; again < 4 && 2 * whole.commits <= MORE_DEATHS_THAN; again++)
    whole = await runScenario({})
  const { acknowledgedCount, deliveredCount, diedCount } = await visitDeaths(
    whole.commits,
    MORE_DEATHS_THAN,
    runScenario,
  )
  report('4', acknowledgedCount, `${deliveredCount} delivered, after ${diedCount} deaths between steps`)
}, 600_000)
