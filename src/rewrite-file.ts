import { randomBytes } from 'node:crypto'
import { open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ErrorCode, TunnelMQError } from './errors.ts'

/**
 * Changes a file of lines (users, API keys) beside programs that read it: a reader sees the old file or the new one, also
 * after a power cut; two writers come one after the other.
 */

const lockTimeoutMs = 5_000
const lockRetryMs = 25
const newFileMode = 0o600

/**
 * Changes the lines of a file, each of which has its end with it; as latin1, which keeps every byte whatever the encoding
 * is. `createOnly` makes a new file, and fails when there is one. Rejects with TMQ_FILE.
 */
export async function rewriteFile(
  path: string,
  whenMissing: 'fail' | 'create' | 'createOnly',
  edit: (lines: readonly string[]) => readonly string[],
): Promise<void> {
  // A symbolic link stays one: the file that it leads to is replaced.
  const file = await realpath(path).catch(() => path)
  const unlock = await lock(file)
  try {
    const before = await read(file, whenMissing)
    // Each line with its end; the last one may have none.
    const lines = before.text.match(/[^\n]*\n|[^\n]+$/g) ?? []
    const text = edit(lines).join('')
    if (before.exists && text === before.text) return
    await replace(file, Buffer.from(text, 'latin1'), before)
  } finally {
    await unlock()
  }
}

interface Before {
  readonly exists: boolean
  readonly text: string
  readonly mode: number
  readonly owner: { readonly uid: number; readonly gid: number } | undefined
}

async function read(file: string, whenMissing: 'fail' | 'create' | 'createOnly'): Promise<Before> {
  try {
    const [bytes, facts] = await Promise.all([readFile(file), stat(file)])
    if (whenMissing === 'createOnly')
      throw new TunnelMQError(ErrorCode.file, `${file}: is there already; leave out --create`)
    return { exists: true, text: bytes.toString('latin1'), mode: facts.mode & 0o777, owner: facts }
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw fileError(file, error)
    if (whenMissing !== 'fail') return { exists: false, text: '', mode: newFileMode, owner: undefined }
    throw new TunnelMQError(ErrorCode.file, `${file}: no such file (--create makes a new one)`)
  }
}

async function replace(file: string, bytes: Buffer, before: Before): Promise<void> {
  const folder = dirname(file)
  const temporary = join(folder, `.${basename(file)}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const handle = await open(temporary, 'wx', newFileMode)
    try {
      await handle.writeFile(bytes)
      const { owner } = before
      // The broker often runs as another user than the one who sets passwords; only root can give files away.
      if (owner !== undefined && process.getuid?.() === 0) await handle.chown(owner.uid, owner.gid)
      await handle.chmod(before.mode)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw fileError(file, error)
  }
  await syncFolder(folder)
}

/** Makes the rename itself survive a power cut. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function lock(file: string): Promise<() => Promise<void>> {
  const path = `${file}.lock`
  const deadlineMs = performance.now() + lockTimeoutMs
  for (;;) {
    try {
      const handle = await open(path, 'wx', newFileMode)
      try {
        await handle.writeFile(`${process.pid}\n`)
      } finally {
        await handle.close()
      }
      return () => unlink(path)
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw fileError(file, error)
      if (performance.now() > deadlineMs) {
        const holder = (await readFile(path, 'utf8').catch(() => '')).trim() || 'unknown'
        throw new TunnelMQError(
          ErrorCode.file,
          `${file}: locked by process ${holder}; if that is gone, remove ${path}`,
        )
      }
      await delay(lockRetryMs)
    }
  }
}

function fileError(file: string, error: unknown): TunnelMQError {
  if (error instanceof TunnelMQError) return error
  const why = error instanceof Error ? error.message : String(error)
  return new TunnelMQError(ErrorCode.file, `${file}: ${why}`, { cause: error })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
