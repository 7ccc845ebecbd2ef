import { it } from 'vitest'
import {
  bothPodsKilled,
  carryThrough,
  podOfTheAgentKilled,
  podOfTheClientKilled,
  redisStopped,
} from '../faults/tunnel-pods-fault.ts'

/** 1 GiB, but where somebody says less: `.ci/run` does. */
const mib = Number(process.env['CARRIED_MIB'] ?? 1_024)

it.each(
  [podOfTheAgentKilled, podOfTheClientKilled, bothPodsKilled, redisStopped].map(
    (fault) => [fault.name, fault] as const,
  ),
)(
  `carries ${mib} MiB each way between two pods, bit for bit: %s in the middle`,
  (_name, fault) => carryThrough(fault, mib),
  300_000,
)
