import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, open, statfs, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Config } from '../config/schema.ts'
import { findingsOf, mebibytes, median, messageOf, msText, type Finding } from './finding.ts'
import { holderOfLock } from './processes.ts'

const { ok, warn, fail, skipped } = findingsOf('store')

const SYNCS = 10
const SYNC_BYTES = 4_096
const SLOW_SYNC_MS = 30
const LITTLE_BYTES = 1_073_741_824
const TOO_LITTLE_BYTES = 67_108_864

/** The folder of the embedded store. */
export async function checkStoreFolder({ store }: Config): Promise<readonly Finding[]> {
  if (store.type === 'memory') return [skipped('store.type is memory: nothing lasts beyond a stop')]
  if (store.type === 'redis') return []
  const { path } = store
  if (!(await isThere(path))) return [await checkParent(path)]
  const lock = await checkLock(path)
  const writing = await checkWriting(path)
  return writing.state === 'fail' ? [...lock, writing] : [...lock, writing, await checkSpace(path)]
}

/** A first start makes the folder, and those above it. */
async function checkParent(path: string): Promise<Finding> {
  let folder = dirname(path)
  while (folder !== dirname(folder) && !(await isThere(folder))) folder = dirname(folder)
  return (await isWritable(folder))
    ? ok(`${path} is not there yet: the first start makes it`)
    : fail(`${path} is not there, and cannot be made in ${folder}`, adviceOnRights(path))
}

async function checkLock(path: string): Promise<readonly Finding[]> {
  const holder = await holderOfLock(join(path, 'LOCK'))
  if (holder === undefined) return [ok(`${path} is in use by no process`)]
  if (holder.isBroker) return [ok(`${path} is in use by the broker (pid ${holder.pid})`)]
  return [
    warn(
      `${path} is in use by ${holder.command} (pid ${holder.pid})`,
      'a broker cannot start with it meanwhile: wait for that process, or end it',
    ),
  ]
}

/** Writes and syncs a small file of its own beside the store's. */
async function checkWriting(path: string): Promise<Finding> {
  const file = join(path, `doctor-${randomBytes(6).toString('hex')}.tmp`)
  const timesMs: number[] = []
  try {
    const handle = await open(file, 'wx', 0o600)
    try {
      const bytes = randomBytes(SYNC_BYTES)
      for (let sync = 0; sync < SYNCS; sync++) {
        const startedAt = performance.now()
        await handle.write(bytes)
        await handle.datasync()
        timesMs.push(performance.now() - startedAt)
      }
    } finally {
      await handle.close()
      await unlink(file)
    }
  } catch (error) {
    return fail(`${path} cannot be written: ${messageOf(error)}`, adviceOnRights(path))
  }
  return judgeSync(timesMs)
}

/** Pure. */
export function judgeSync(timesMs: readonly number[]): Finding {
  const middle = median(timesMs)
  const seen = `a write with sync takes ${msText(middle)} (median of ${timesMs.length}; most ${msText(Math.max(...timesMs))})`
  return middle > SLOW_SYNC_MS
    ? warn(
        seen,
        'an acknowledgement of QoS 1 and 2 waits for it: take a better disk or SD card (A2), or store.sync: false, which ' +
          'survives kill -9 and not a power cut',
      )
    : ok(seen)
}

async function checkSpace(path: string): Promise<Finding> {
  const { bavail, bsize, blocks } = await statfs(path)
  return judgeSpace(bavail * bsize, blocks * bsize)
}

/** Pure. */
export function judgeSpace(freeBytes: number, allBytes: number): Finding {
  const seen = `${mebibytes(freeBytes)} of ${mebibytes(allBytes)} are free`
  const todo = 'make room: when the disk is full, nothing is acknowledged any more'
  if (freeBytes < TOO_LITTLE_BYTES) return fail(seen, todo)
  return freeBytes < LITTLE_BYTES && freeBytes < allBytes / 10 ? warn(seen, todo) : ok(seen)
}

function isThere(path: string): Promise<boolean> {
  return isAllowed(path, constants.F_OK)
}

function isWritable(path: string): Promise<boolean> {
  return isAllowed(path, constants.W_OK)
}

function isAllowed(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  )
}

function adviceOnRights(path: string): string {
  return `chown it to the user of the broker; on a file system that is read-only, set store.path to one that is not (now ${path})`
}
