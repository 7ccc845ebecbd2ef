import { measureConnects } from './connects.ts'
import { measureLatency } from './latency.ts'
import { peakResidentMib } from './meter.ts'
import type { LoadOrder, LoadResult } from './plan.ts'
import { measureRetained } from './retained.ts'
import { measureThroughput } from './throughput.ts'

/** The generator's process: one order as JSON in the first argument, one result as JSON on standard output. */

async function run({ plan, target, timing }: LoadOrder): Promise<LoadResult> {
  switch (plan.kind) {
    case 'throughput':
      return await measureThroughput(plan, target, timing)
    case 'latency':
      return await measureLatency(plan, target, timing)
    case 'connects':
      return await measureConnects(plan, target)
    case 'retained':
      return await measureRetained(plan, target)
    default:
      return plan satisfies never
  }
}

// The order is written by ../broker.ts of the same build; anything else fails in the first line that uses it.
const order = JSON.parse(process.argv[2] ?? '') as LoadOrder
const result = await run(order)
const peakMib = peakResidentMib(order.target.brokerPid)
const figures = { ...result.figures, ...(peakMib !== undefined && { brokerPeakMib: peakMib }) }
process.stdout.write(JSON.stringify({ ...result, figures } satisfies LoadResult), () => process.exit(0))
