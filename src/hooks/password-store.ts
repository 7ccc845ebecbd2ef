import { randomBytes } from 'node:crypto'
import { open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/**
 * Changes a password file: one user's line, every other byte as it was. A reader sees the old file or the new one,
 * also after a power cut; two writers come one after the other.
 */

const lockTimeoutMs = 5_000
const lockRetryMs = 25
const newFileMode = 0o600

/** What is wrong with a name, or undefined. */
export function usernameFault(username: string): string | undefined {
  if (username === '') return 'the user name is empty'
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  if (/[:\u0000-\u001f\u007f]/.test(username))
    return 'a user name cannot contain a colon or control characters'
  if (username.trim() !== username) return 'a user name cannot begin or end with a space'
  if (username.startsWith('#')) return 'a user name cannot begin with #'
  if (Buffer.byteLength(username) > 65_535) return 'the user name is longer than 65,535 bytes'
  return undefined
}

/** Sets the stored form of a user's password; answers whether the user was there before. */
export async function setUser(
  file: string,
  user: { readonly name: string; readonly stored: string },
  options: { readonly create: boolean },
): Promise<'added' | 'changed'> {
  const line = latin1(`${user.name}:${user.stored}`)
  let outcome: 'added' | 'changed' = 'added'
  await change(file, options.create, (lines) => {
    const kept: string[] = []
    for (const old of lines) {
      if (!belongsTo(old, user.name)) kept.push(old)
      else if (outcome === 'added') {
        outcome = 'changed'
        kept.push(line + lineEnd(old))
      }
    }
    if (outcome === 'added') {
      const last = kept.pop()
      if (last !== undefined) kept.push(last.endsWith('\n') ? last : `${last}\n`)
      kept.push(`${line}\n`)
    }
    return kept
  })
  return outcome
}

/** Removes a user; answers whether the user was there. */
export async function deleteUser(file: string, name: string): Promise<boolean> {
  let found = false
  await change(file, false, (lines) => {
    const kept = lines.filter((line) => !belongsTo(line, name))
    found = kept.length < lines.length
    return kept
  })
  return found
}

async function change(
  path: string,
  create: boolean,
  edit: (lines: readonly string[]) => readonly string[],
): Promise<void> {
  // A symbolic link stays one: the file that it leads to is replaced.
  const file = await realpath(path).catch(() => path)
  const unlock = await lock(file)
  try {
    // latin1 keeps every byte, whatever the encoding is.
    const before = await read(file, create)
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

async function read(file: string, create: boolean): Promise<Before> {
  try {
    const [bytes, facts] = await Promise.all([readFile(file), stat(file)])
    if (create) throw new TunnelMQError(ErrorCode.file, `${file}: is there already; leave out --create`)
    return { exists: true, text: bytes.toString('latin1'), mode: facts.mode & 0o777, owner: facts }
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw fileError(file, error)
    if (create) return { exists: false, text: '', mode: newFileMode, owner: undefined }
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

function belongsTo(line: string, name: string): boolean {
  const start = line.trimStart()
  return !start.startsWith('#') && start.startsWith(`${latin1(name)}:`)
}

function lineEnd(line: string): string {
  return /\r?\n$/.exec(line)?.[0] ?? ''
}

function latin1(text: string): string {
  return Buffer.from(text).toString('latin1')
}

function fileError(file: string, error: unknown): TunnelMQError {
  if (error instanceof TunnelMQError) return error
  const why = error instanceof Error ? error.message : String(error)
  return new TunnelMQError(ErrorCode.file, `${file}: ${why}`, { cause: error })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
