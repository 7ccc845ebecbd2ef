import { Crowd, pause } from './crowd.ts'
import { between, takeReading } from './meter.ts'
import type { LatencyPlan, LoadResult, Target, Timing } from './plan.ts'

const US_PER_MS = 1000
const WINDOW_COUNT = 20
const TICK_MS = 1

/** Time from a publisher's write to the subscriber's read, at a load that keeps no queue. */
export async function measureLatency(plan: LatencyPlan, target: Target, timing: Timing): Promise<LoadResult> {
  const latenciesUs: number[] = []
  const crowd = new Crowd({
    target,
    topology: 'pairs',
    publisherCount: plan.pairCount,
    subscriberCount: plan.pairCount,
    qos: plan.qos,
    payloadBytes: plan.payloadBytes,
    clean: true,
    windowCount: WINDOW_COUNT,
    sending: 'paced',
    onSentMs: (sentMs) => latenciesUs.push((performance.now() - sentMs) * US_PER_MS),
  })
  await crowd.open()
  const stopPacing = pace(crowd, plan.messagesPerSecond)
  await pause(timing.warmupMs)
  latenciesUs.length = 0
  const from = takeReading(target.brokerPid)
  await pause(timing.measureMs)
  const { elapsedMs, busy } = between(from, takeReading(target.brokerPid))
  const sorted = latenciesUs.toSorted((a, b) => a - b)
  stopPacing()
  const p50 = percentile(sorted, 0.5)
  const p99 = percentile(sorted, 0.99)
  return {
    figures: {
      messagesPerSecond: (sorted.length * 1000) / elapsedMs,
      ...(p50 !== undefined && { latencyP50Us: p50 }),
      ...(p99 !== undefined && { latencyP99Us: p99 }),
      ...busy,
    },
    faults: await crowd.finish(),
    disconnectReasons: crowd.disconnectReasons,
  }
}

/** Sends what is due by the clock, publisher after publisher, so that a late timer does not lower the rate. */
function pace(crowd: Crowd, messagesPerSecond: number): () => void {
  const startedMs = performance.now()
  let sentCount = 0
  const timer = setInterval(() => {
    const dueCount = ((performance.now() - startedMs) * messagesPerSecond) / 1000
    for (; sentCount < dueCount; sentCount++)
      crowd.publishers[sentCount % crowd.publishers.length]?.sendStamped(performance.now())
  }, TICK_MS)
  return () => clearInterval(timer)
}

function percentile(sorted: readonly number[], share: number): number | undefined {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}
