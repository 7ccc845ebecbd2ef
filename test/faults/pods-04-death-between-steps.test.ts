import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { createPod, startPods } from '../support/pods.ts'
import { type DeathOutcome, DeathScenario, visitDeaths } from './death-scenario.ts'
import { report } from './ledger.ts'

const preload = fileURLToPath(new URL('../support/crash-at-apply.mjs', import.meta.url))
const config = {
  cluster: { leaseMs: 1_000, beatMs: 200, freshMs: 500, takeoverMs: 200 },
  session: { willGraceMs: 50 },
}

interface Outcome extends DeathOutcome {
  readonly died: boolean
  readonly commits: number
}

it('loses and doubles nothing when a pod dies before or after any of its writes, and its clients go to another', async () => {
  const pods = await startPods(1, { config })
  const [survivor] = pods.all
  let runs = 0
  const run = async (environment: Readonly<Record<string, string>>): Promise<Outcome> => {
    const root = `run-${runs++}`
    const pod = await createPod(pods.redis, runs, { config, nodeArguments: ['--import', preload] })
    const scenario = new DeathScenario(root)
    try {
      await pod.start(environment)
      const death = pod.exited.then(() => Promise.reject(new Error('the pod died')))
      await Promise.race([scenario.steps(pod.port), death])
      return { died: false, commits: await pod.metric('tunnelmq_store_commits_total'), ...scenario.check() }
    } catch (error) {
      await pod.exitedWithin(5_000)
      if (pod.isRunning) throw error
      await scenario.lost()
      await scenario.steps(survivor!.port)
      return { died: true, commits: 0, ...scenario.check() }
    } finally {
      await pod.remove()
    }
  }
  const whole = await run({})
  const { acknowledgedCount, deliveredCount, diedCount } = await visitDeaths(whole.commits, 20, run)
  expect(await survivor!.metric('tunnelmq_unhandled_errors_total')).toBe(0)
  report(
    '4 (pods)',
    acknowledgedCount,
    `${deliveredCount} delivered, after ${diedCount} deaths between steps`,
  )
}, 600_000)
