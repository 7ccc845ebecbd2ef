import { it } from 'vitest'
import {
  carryThrough,
  podOfTheAgentStopped,
  podOfTheClientStopped,
  redisRestarted,
  redisStopped,
} from './tunnel-pods-fault.ts'

// Of 1 GiB, Redis stopped: test/faults-long/pods-tunnel.test.ts.
it.each(
  [redisStopped, redisRestarted, podOfTheAgentStopped, podOfTheClientStopped].map(
    (fault) => [fault.name, fault] as const,
  ),
)(
  'carries 200 MiB each way, bit for bit: %s in the middle',
  (_name, fault) => carryThrough(fault, 200),
  120_000,
)
