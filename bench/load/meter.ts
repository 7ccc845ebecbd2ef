import { readFileSync } from 'node:fs'

/** CPU time and memory of the broker's process, from /proc; undefined where there is none. */

/** The kernel counts CPU time for user space in hundredths of a second on all platforms that have /proc. */
const TICK_MS = 10
const KIB_PER_MIB = 1024

/** User and system time of all threads of the process so far. */
export function processCpuMs(pid: number): number | undefined {
  const stat = read(`/proc/${pid}/stat`)
  // The second field is the command in parentheses and may hold blanks; utime and stime are fields 14 and 15.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields?.[11]) + Number(fields?.[12])
  return Number.isFinite(ticks) ? ticks * TICK_MS : undefined
}

/** Memory that is resident now. */
export function residentKib(pid: number): number | undefined {
  return statusKib(pid, 'VmRSS')
}

/** The most that was ever resident. */
export function peakResidentMib(pid: number): number | undefined {
  const kib = statusKib(pid, 'VmHWM')
  return kib === undefined ? undefined : kib / KIB_PER_MIB
}

/** One reading of all clocks, so that two readings make a rate. */
export interface Reading {
  readonly atMs: number
  readonly brokerCpuMs: number | undefined
  readonly ownCpuMs: number
}

export function takeReading(brokerPid: number): Reading {
  const own = process.cpuUsage()
  return {
    atMs: performance.now(),
    brokerCpuMs: processCpuMs(brokerPid),
    ownCpuMs: (own.user + own.system) / 1000,
  }
}

/** How busy both ends were between two readings, and the broker's CPU time in ms. */
export function between(
  from: Reading,
  to: Reading,
): {
  elapsedMs: number
  brokerCpuMs: number | undefined
  busy: { brokerBusy?: number; generatorBusy: number }
} {
  const elapsedMs = to.atMs - from.atMs
  const generatorBusy = (to.ownCpuMs - from.ownCpuMs) / elapsedMs
  if (from.brokerCpuMs === undefined || to.brokerCpuMs === undefined)
    return { elapsedMs, brokerCpuMs: undefined, busy: { generatorBusy } }
  const brokerCpuMs = to.brokerCpuMs - from.brokerCpuMs
  return { elapsedMs, brokerCpuMs, busy: { brokerBusy: brokerCpuMs / elapsedMs, generatorBusy } }
}

function statusKib(pid: number, field: string): number | undefined {
  const line = read(`/proc/${pid}/status`)?.match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'))
  return line === null || line === undefined ? undefined : Number(line[1])
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined // no /proc on this system, or the process has ended
  }
}
