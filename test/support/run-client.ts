import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'

export interface ClientResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A client program of somebody else, killed when the test ends. */
export interface RunningClient {
  readonly ended: Promise<ClientResult>
  /** Resolves when it has written this many lines so far (on standard output), to all of them; rejects when it ends before. */
  lines(count: number): Promise<string[]>
  /** Resolves when it has written something that matches, on either output. */
  output(pattern: RegExp): Promise<void>
  kill(signal: NodeJS.Signals): void
}

/** Starts a program of the system. `input` is its standard input. */
export function startClient(command: string, args: readonly string[], input = ''): RunningClient {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  const waiting = new Set<() => void>()
  const changed = (): void => {
    for (const look of waiting) look()
  }
  let isOver = false
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
    changed()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
    changed()
  })
  // A program that reads no input may be gone before it was written.
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const ended = once(child, 'close').then((): ClientResult => {
    isOver = true
    changed()
    return { code: child.exitCode, stdout, stderr }
  })
  onTestFinished(() => void child.kill('SIGKILL'))

  function until<T>(look: () => T | undefined, what: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        const found = look()
        if (found === undefined && !isOver) return
        waiting.delete(check)
        if (found === undefined) reject(new Error(`${command} ended without ${what}:\n${stdout}${stderr}`))
        else resolve(found)
      }
      waiting.add(check)
      check()
    })
  }

  return {
    ended,
    lines: (count) =>
      until(() => {
        const lines = stdout.split('\n').slice(0, -1)
        return lines.length >= count ? lines : undefined
      }, `${count} lines`),
    async output(pattern) {
      await until(() => (pattern.test(stdout) || pattern.test(stderr) ? true : undefined), String(pattern))
    },
    kill: (signal) => void child.kill(signal),
  }
}

/** Runs it to its end. */
export function runClient(command: string, args: readonly string[], input = ''): Promise<ClientResult> {
  return startClient(command, args, input).ended
}
