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
    const died = await live(broker, scenario, environment)
    if (died && (await live(broker, scenario, {}))) throw new Error('the broker died a second time')
    const commits = await broker.metric('tunnelmq_store_commits_total')
    return { died, commits, ...scenario.check() }
  } finally {
    brokers.delete(broker)
    await broker.remove()
  }
}

/** Resolves to true when the broker has died. */
async function live(
  broker: BrokerProcess,
  scenario: DeathScenario,
  environment: Readonly<Record<string, string>>,
): Promise<boolean> {
  try {
    await broker.start(environment)
    const death = broker.exited.then(() => Promise.reject(new Error('the broker died')))
    await Promise.race([scenario.steps(broker.port), death])
    await eventually(async () => (await broker.metric('tunnelmq_queued_messages')) === 0)
    return false
  } catch (error) {
    // Its sockets end a little before it does.
    await broker.exitedWithin(5_000)
    if (broker.isRunning) throw error
    await scenario.lost()
    return true
  }
}

it('loses and doubles nothing when the process dies before or after any of its writes', async () => {
  const whole = await runScenario({})
  // Sixteen to nineteen commits, and fewer where a busy machine lets steps fall together.
  const { acknowledgedCount, deliveredCount, diedCount } = await visitDeaths(whole.commits, 20, runScenario)
  report('4', acknowledgedCount, `${deliveredCount} delivered, after ${diedCount} deaths between steps`)
}, 150_000)
