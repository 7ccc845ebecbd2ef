import { it } from 'vitest'
import {
  bothPodsKilled,
  carryThrough,
  podOfTheAgentKilled,
  podOfTheClientKilled,
  redisStopped,
} from '../faults/tunnel-pods-fault.ts'

// One of them as long as it was once thought out; the fault is in the middle of the others as well.
it.each([
  [1_024, bothPodsKilled.name, bothPodsKilled],
  [384, podOfTheAgentKilled.name, podOfTheAgentKilled],
  [384, podOfTheClientKilled.name, podOfTheClientKilled],
  [384, redisStopped.name, redisStopped],
] as const)(
  'carries %i MiB each way between two pods, bit for bit: %s in the middle',
  (mebibytes, _name, fault) => carryThrough(fault, mebibytes),
  300_000,
)
