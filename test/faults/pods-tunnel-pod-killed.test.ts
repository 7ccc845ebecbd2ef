import { it } from 'vitest'
import {
  bothPodsKilled,
  bothPodsRestarted,
  carryThrough,
  podOfTheAgentKilled,
  podOfTheClientKilled,
} from './tunnel-pods-fault.ts'

// Of 1 GiB: test/faults-long/pods-tunnel.test.ts.
it.each(
  [podOfTheAgentKilled, podOfTheClientKilled, bothPodsKilled, bothPodsRestarted].map(
    (fault) => [fault.name, fault] as const,
  ),
)(
  'carries 200 MiB each way, bit for bit: %s in the middle',
  (_name, fault) => carryThrough(fault, 200),
  120_000,
)
