import { it } from 'vitest'
import {
  bothPodsKilled,
  carryThrough,
  podOfTheAgentKilled,
  podOfTheClientKilled,
  redisStopped,
} from '../faults/tunnel-pods-fault.ts'

it.each(
  [podOfTheAgentKilled, podOfTheClientKilled, bothPodsKilled, redisStopped].map(
    (fault) => [fault.name, fault] as const,
  ),
)(
  'carries 1 GiB each way between two pods, bit for bit: %s in the middle',
  (_name, fault) => carryThrough(fault, 1_024),
  300_000,
)
