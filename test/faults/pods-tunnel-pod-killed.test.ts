import { it } from 'vitest'
import { bothPodsRestarted, carryThrough } from './tunnel-pods-fault.ts'

// One of them killed, the other, both, in the middle of 1 GiB: test/faults-long/pods-tunnel.test.ts.
it(`carries 200 MiB each way, bit for bit: ${bothPodsRestarted.name} in the middle`, async () => {
  await carryThrough(bothPodsRestarted, 200)
})
