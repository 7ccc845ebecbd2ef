import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, readlink, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { onTestFinished } from 'vitest'

/** Programs of others, run by a test and ended with it. */

export interface ProgramResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Program {
  readonly process: ChildProcessWithoutNullStreams
  /** To its standard input. */
  write(text: string): void
  /** Resolves with the first match in its standard output; rejects when it ends without one. */
  said(pattern: RegExp): Promise<RegExpExecArray>
  readonly ended: Promise<ProgramResult>
}

/** Without the variables of this process, which may name another broker. */
export function startProgram(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Program {
  const { cwd, env } = options
  const child = spawn(file, args, {
    ...(cwd !== undefined && { cwd }),
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...env },
    // A group of its own: ends with all that it has started.
    detached: true,
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('latin1')))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  // It may end before it has read all.
  child.stdin.on('error', () => undefined)
  const ended = once(child, 'close').then((): ProgramResult => ({ code: child.exitCode, stdout, stderr }))
  onTestFinished(async () => {
    const isRunning = child.exitCode === null && child.signalCode === null
    if (child.pid !== undefined && isRunning) process.kill(-child.pid, 'SIGKILL')
    await ended
  })
  return {
    process: child,
    ended,
    write: (text) => void child.stdin.write(text),
    async said(pattern) {
      for (;;) {
        const match = pattern.exec(stdout)
        if (match !== null) return match
        const isOver = await Promise.race([
          ended.then(() => true),
          once(child.stdout, 'data').then(() => false),
        ])
        if (isOver && !pattern.test(stdout))
          throw new Error(`${String(pattern)} was not said:\n${stdout}${stderr}`)
      }
    },
  }
}

/** Runs it to its end, with this on its standard input; an exit code that is not 0 is an error with what it said. */
export async function runProgram(
  file: string,
  args: readonly string[],
  options: Parameters<typeof startProgram>[2] & { readonly input?: string | Buffer } = {},
): Promise<string> {
  const program = startProgram(file, args, options)
  program.process.stdin.end(options.input ?? '')
  const { code, stdout, stderr } = await program.ended
  if (code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
  return stdout
}

export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

const FOLDERS = 8
const FILES_EACH = 25
const MAX_SMALL_BYTES = 6_000
const LARGE_BYTES = 10 * 1_048_576

/** Many small files in folders, an empty one, one with odd letters in its name, a link, and a large one. */
export async function writeTree(folder: string): Promise<void> {
  for (let index = 0; index < FOLDERS; index++) {
    const inner = join(folder, `${index}`, 'inner')
    await mkdir(inner, { recursive: true })
    for (let file = 0; file < FILES_EACH; file++)
      await writeFile(join(inner, `file ${file}`), randomBytes((index * FILES_EACH + file) % MAX_SMALL_BYTES))
  }
  await writeFile(join(folder, 'empty'), '')
  await writeFile(join(folder, "it's größer"), 'content')
  await symlink('large', join(folder, 'link'))
  await writeFile(join(folder, 'large'), randomBytes(LARGE_BYTES))
}

/** A line for each file: its path, and the SHA-256 of its content or where it leads. */
export async function digestOfTree(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const lines = entries
    .filter((entry) => !entry.isDirectory())
    .map(async (entry) => {
      const path = join(entry.parentPath, entry.name)
      const content = entry.isSymbolicLink() ? `-> ${await readlink(path)}` : await digestOfFile(path)
      return `${path.slice(folder.length + 1)} ${content}`
    })
  return (await Promise.all(lines)).toSorted()
}
