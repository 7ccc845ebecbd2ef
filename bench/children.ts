import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, rmSync } from 'node:fs'
import { createServer, connect } from 'node:net'

const PROBE_PAUSE_MS = 15

export interface Command {
  readonly file: string
  readonly args: readonly string[]
}

export interface StartOptions {
  readonly command: Command
  /** Core to bind to; undefined: any. */
  readonly core: number | undefined
  readonly folder: string
  /** Where its output goes; undefined: a pipe for standard output, ours for standard error. */
  readonly logFile?: string
  /** A pipe for standard input, which it otherwise has not. */
  readonly hasInput?: true
  /** Standard error goes nowhere. */
  readonly isQuiet?: true
}

/** The processes this bench has started, so that none outlives it, however it ends. */
export class Children {
  readonly #running = new Set<ChildProcess>()

  /** `taskset` becomes the program by exec, so the child's pid is the program's. */
  start({ command, core, folder, logFile, hasInput, isQuiet }: StartOptions): ChildProcess {
    const [file, args] =
      core === undefined
        ? [command.file, command.args]
        : ['taskset', ['-c', String(core), command.file, ...command.args]]
    const log = logFile === undefined ? undefined : openSync(logFile, 'w')
    const child = spawn(file, args, {
      cwd: folder,
      stdio: [hasInput ? 'pipe' : 'ignore', log ?? 'pipe', log ?? (isQuiet ? 'ignore' : 'inherit')],
    })
    if (log !== undefined) closeSync(log)
    this.#running.add(child)
    child.once('exit', () => this.#running.delete(child))
    child.once('error', () => this.#running.delete(child))
    return child
  }

  /** SIGKILL, since nothing that a bench's broker holds is worth its drain; with a grace, SIGTERM that long before. */
  async end(child: ChildProcess, graceMs: number): Promise<void> {
    if (!this.#running.has(child)) return
    const ended = once(child, 'exit')
    if (graceMs > 0) child.kill('SIGTERM')
    const deadline = setTimeout(() => child.kill('SIGKILL'), graceMs)
    await ended
    clearTimeout(deadline)
  }

  /** For signals and exit: does not wait. */
  killAll(): void {
    for (const child of this.#running) child.kill('SIGKILL')
  }
}

/** However this process ends: its children are gone, and so is the folder. */
export function leaveNothingBehind(children: Children, scratch: string): void {
  process.once('exit', () => {
    children.killAll()
    rmSync(scratch, { recursive: true, force: true, maxRetries: 3 })
  })
  for (const [signal, exitCode] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => process.exit(exitCode))
}

/** A loopback port that was free just now. */
export async function findFreePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string')
    throw new Error('no port in the address of a TCP server')
  return address.port
}

/** Resolves when something accepts on the port. Rejects when the child ends before, or after the deadline. */
export async function untilListening(child: ChildProcess, port: number, deadlineMs: number): Promise<void> {
  const giveUpAtMs = performance.now() + deadlineMs
  let failure: string | undefined
  child.once('error', (error) => (failure = error.message))
  child.once('exit', (code, signal) => (failure = `ended with ${signal ?? `code ${code}`}`))
  while (!(await accepts(port))) {
    if (failure !== undefined) throw new Error(`did not start: ${failure}`)
    if (performance.now() > giveUpAtMs) throw new Error(`does not listen after ${deadlineMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, PROBE_PAUSE_MS))
  }
}

/** The whole standard output of a child that ends with code 0 within the deadline. */
export async function outputOf(child: ChildProcess, deadlineMs: number): Promise<string> {
  let output = ''
  child.stdout?.setEncoding('utf8')
  child.stdout?.on('data', (text: string) => (output += text))
  let isLate = false
  const deadline = setTimeout(() => {
    isLate = true
    child.kill('SIGKILL')
  }, deadlineMs)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(deadline)
  if (isLate) throw new Error(`not finished within ${deadlineMs} ms`)
  if (code !== 0) throw new Error(`ended with code ${code}`)
  return output
}

async function accepts(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
