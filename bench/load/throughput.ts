import { Crowd, pause } from './crowd.ts'
import { between, takeReading } from './meter.ts'
import type { LoadResult, Target, ThroughputPlan, Timing } from './plan.ts'

const US_PER_MS = 1000

/** Messages received a second, and the broker's CPU time for each. */
export async function measureThroughput(
  plan: ThroughputPlan,
  target: Target,
  timing: Timing,
): Promise<LoadResult> {
  const crowd = new Crowd({ ...plan, target, sending: 'window' })
  await crowd.open()
  await pause(timing.warmupMs)
  const from = takeReading(target.brokerPid)
  const countBefore = crowd.ledger.receivedCount
  await pause(timing.measureMs)
  const to = takeReading(target.brokerPid)
  const received = crowd.ledger.receivedCount - countBefore
  const { elapsedMs, brokerCpuMs, busy } = between(from, to)
  return {
    figures: {
      messagesPerSecond: (received * 1000) / elapsedMs,
      ...(brokerCpuMs !== undefined &&
        received > 0 && { brokerCpuUsPerMessage: (brokerCpuMs * US_PER_MS) / received }),
      ...busy,
    },
    faults: await crowd.finish(),
    disconnectReasons: crowd.disconnectReasons,
  }
}
