import { execFileSync } from 'node:child_process'
import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

const SYNC_SAMPLES = 25
const SYNC_BYTES = 4096

/** What stands in the head of every result: figures without their machine mean nothing. */
export interface Machine {
  readonly cpu: string
  readonly coreCount: number
  readonly memoryGib: number
  readonly kernel: string
  readonly node: string
  /** Of the minute before the run: well above 0, others were at work on this machine. */
  readonly loadAverage: number
  /** Appending and syncing 4 KiB where the brokers' data are; about 1 us tells that nothing is synced there. */
  readonly diskSyncUs: number
}

export interface SourceState {
  readonly commit: string
  /** Whether files under version control differ from that commit. */
  readonly isChanged: boolean
}

/** Which core the broker and which the generator is bound to; undefined where that is not possible. */
export interface Cores {
  readonly broker: number
  readonly generator: number
}

/** `dataFolder` is where the brokers will keep their data. */
export function describeMachine(loadAverage: number, dataFolder: string): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    coreCount: availableParallelism(),
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: `${process.platform} ${process.arch} ${release()}`,
    node: process.version,
    loadAverage,
    diskSyncUs: measureDiskSyncUs(dataFolder),
  }
}

/** A name for result files, such as `2-core-amd-epyc`. */
export function machineSlug(machine: Machine): string {
  const cpu = machine.cpu
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
  return `${machine.coreCount}-core-${cpu}`
}

export function describeSource(root: string): SourceState {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    const changes = git('status', '--porcelain', '--untracked-files=no')
    return { commit: git('rev-parse', '--short', 'HEAD'), isChanged: changes !== '' }
  } catch {
    return { commit: 'unknown (no git)', isChanged: false }
  }
}

/** The first two cores this process may use, when `taskset` is there to bind to them. */
export function chooseCores(): Cores | undefined {
  try {
    const list = readFileSync('/proc/self/status', 'latin1').match(/^Cpus_allowed_list:\s*(.+)$/m)?.[1] ?? ''
    const [broker, generator] = list.split(',').flatMap(coresOfRange)
    if (broker === undefined || generator === undefined) return undefined
    execFileSync('taskset', ['-c', `${broker},${generator}`, 'true'], { stdio: 'ignore' })
    return { broker, generator }
  } catch {
    return undefined // not Linux, or no taskset
  }
}

function measureDiskSyncUs(folder: string): number {
  const file = openSync(join(folder, 'sync-probe'), 'w')
  const samplesUs = Array.from({ length: SYNC_SAMPLES }, () => {
    const startedMs = performance.now()
    writeSync(file, Buffer.alloc(SYNC_BYTES))
    fdatasyncSync(file)
    return (performance.now() - startedMs) * 1000
  })
  closeSync(file)
  return Math.round(samplesUs.toSorted((a, b) => a - b)[Math.floor(SYNC_SAMPLES / 2)] ?? 0)
}

function coresOfRange(range: string): number[] {
  const [first, last] = range.split('-').map(Number)
  if (first === undefined || Number.isNaN(first)) return []
  return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index)
}
