import { readFile } from 'node:fs/promises'
import { totalmem } from 'node:os'
import type { Config } from '../config/schema.ts'
import { findingsOf, mebibytes, type Finding } from './finding.ts'
import { openFileLimits } from './processes.ts'

const { ok, warn, fail, skipped } = findingsOf('limits')

/** Files, listeners and pipes of the broker itself. */
const OWN_FILES = 200
const MIN_FILES = 512
const MANY_FILES = 10_000
/** config/schema.ts */
const DEFAULT_MAX_CONNECTIONS = 100_000
const LITTLE_MEMORY_BYTES = 67_108_864

/** Open files and memory, of the broker that runs, or as it would have them when started from here. */
export async function checkCapacity(
  config: Config,
  brokerPid: number | undefined,
): Promise<readonly Finding[]> {
  const limits = await openFileLimits(brokerPid ?? 'self')
  const whose = brokerPid === undefined ? 'started from this shell' : `the broker, pid ${brokerPid}`
  const files =
    limits === undefined
      ? skipped(`the limit of open files of ${whose} is not known`)
      : // Node raises it to the hard limit when it starts.
        judgeFiles(brokerPid === undefined ? limits.hard : limits.soft, config.limits.maxConnections, whose)
  return [files, await checkMemory(config)]
}

/** Pure. */
export function judgeFiles(limit: number, maxConnections: number, whose: string): Finding {
  const room = Math.max(0, limit - OWN_FILES)
  const seen = `${limit} open files (${whose}) are enough for about ${room} connections; limits.maxConnections is ${maxConnections}`
  const todo =
    'LimitNOFILE= in the unit, `ulimit -n` before the start, or --ulimit nofile of the container; or lower limits.maxConnections'
  if (limit < MIN_FILES) return fail(seen, todo)
  // The default is a bound, and nobody's plan.
  const isPlan = maxConnections !== DEFAULT_MAX_CONNECTIONS
  return room >= maxConnections || (!isPlan && room >= MANY_FILES) ? ok(seen) : warn(seen, todo)
}

async function checkMemory(config: Config): Promise<Finding> {
  const meminfo = await readFile('/proc/meminfo', 'utf8').catch(() => '')
  const available = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1]) * 1_024
  // Of the container; without one it is 0, or more than there is.
  const constrained = process.constrainedMemory()
  const all = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
  return judgeMemory({ all, available }, config)
}

/** Pure. `available` NaN: not known. */
export function judgeMemory(
  { all, available }: { readonly all: number; readonly available: number },
  { retained }: Pick<Config, 'retained'>,
): Finding {
  const seen = `${mebibytes(all)} of memory${Number.isNaN(available) ? '' : `, ${mebibytes(available)} available`}`
  if (available < LITTLE_MEMORY_BYTES)
    return warn(seen, 'end other programs, or add memory: the broker may be killed for want of it')
  if (retained.maxBytes > all * 0.75)
    return warn(
      `${seen}; retained messages may take ${mebibytes(retained.maxBytes)} of it (retained.maxBytes)`,
      'lower retained.maxBytes to what this machine has',
    )
  return ok(seen)
}
