import { it } from 'vitest'
import { carryThrough, redisStopped } from './tunnel-pods-fault.ts'

// Of 1 GiB: test/faults-long/pods-tunnel.test.ts.
it('carries 200 MiB each way, bit for bit: Redis stopped for 10 s in the middle', async () => {
  await carryThrough(redisStopped, 200)
}, 120_000)
