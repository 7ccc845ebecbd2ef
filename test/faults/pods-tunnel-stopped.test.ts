import { it } from 'vitest'
import {
  carryThrough,
  podOfTheAgentStopped,
  podOfTheClientStopped,
  redisRestarted,
} from './tunnel-pods-fault.ts'

// Redis stopped for 10 s, in the middle of 1 GiB: test/faults-long/pods-tunnel.test.ts.
it.each(
  [redisRestarted, podOfTheAgentStopped, podOfTheClientStopped].map((fault) => [fault.name, fault] as const),
)(
  'carries 200 MiB each way, bit for bit: %s in the middle',
  (_name, fault) => carryThrough(fault, 200),
  120_000,
)
