import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../../dist/cli/index.js', import.meta.url))

export interface CliResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CliOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A `tunnelmq` process that is under way, with all that it has written. */
export interface RunningCli {
  readonly process: ChildProcessWithoutNullStreams
  /** Resolves with the first match of what it writes on both outputs; rejects when it ends without one. */
  output(pattern: RegExp): Promise<RegExpExecArray>
  readonly ended: Promise<CliResult>
}

/** Starts the built command line (`npm test` builds it first), without variables of this process. */
export function startCli(args: readonly string[], { cwd, env = {} }: CliOptions = {}): RunningCli {
  const child = spawn(process.execPath, [program, ...args], {
    cwd,
    env: { PATH: process.env['PATH'], ...env },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = once(child, 'close').then((): CliResult => ({ code: child.exitCode, stdout, stderr }))

  async function output(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(stdout) ?? pattern.exec(stderr)
      if (match !== null) return match
      const more = Promise.race([once(child.stdout, 'data'), once(child.stderr, 'data')])
      const isOver = await Promise.race([ended.then(() => true), more.then(() => false)])
      if (isOver && !pattern.test(stdout + stderr))
        throw new Error(`${String(pattern)} not in:\n${stdout}${stderr}`)
    }
  }

  return { process: child, output, ended }
}

/** Runs it to its end. */
export function runCli(args: readonly string[], options?: CliOptions): Promise<CliResult> {
  const { process: child, ended } = startCli(args, options)
  child.stdin.end()
  return ended
}
