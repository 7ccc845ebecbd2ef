import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

/**
 * A machine of a test: a process that waits in namespaces of its own (network, mounts, processes), and ends with this
 * one, or with `end`; the kernel then ends everything that was started in there, and takes its interfaces away.
 */
export interface Machine {
  readonly name: string
  /** Of its first process, as this side sees it. */
  readonly pid: number
  /** Runs it to its end. Rejects with what it said when the exit code is not 0. */
  run(command: readonly string[], options?: RunOptions): Promise<string>
  /** The exit code, and all output. */
  attempt(command: readonly string[], options?: RunOptions): Promise<{ code: number | null; output: string }>
  start(command: readonly string[], options?: RunOptions): MachineProgram
  end(): Promise<void>
}

export type Place = Omit<Machine, 'pid'>

export interface RunOptions {
  readonly input?: string
  /** Default: `/`. */
  readonly folder?: string
  readonly env?: Readonly<Record<string, string>>
}

export interface MachineProgram {
  /** All that it has written so far. */
  readonly output: string
  /** Lines of its output that are log events of ours. */
  readonly events: readonly Readonly<Record<string, unknown>>[]
  write(text: string): void
  /** Resolves when the output has it; rejects with the output when the program ends without. */
  said(pattern: RegExp): Promise<RegExpExecArray>
}

const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`

/** `TUNNELMQ_TEST_NO_NETNS=1`: do without. */
export const isWithoutNamespaces = process.env['TUNNELMQ_TEST_NO_NETNS'] === '1'

/** Why there can be no machines here; undefined: there can. */
export function machineFault(): string | undefined {
  const trial = 'mount -t tmpfs tmpfs /run && ip link add veth-a type veth peer name veth-b'
  const { status, stderr, error } = spawnSync('unshare', [...unshareOptions, 'sh', '-c', trial], {
    encoding: 'utf8',
    env: { PATH: path },
  })
  return status === 0 ? undefined : stderr?.trim() || error?.message || 'unshare does not work'
}

/** Ends what hangs, and measures nothing. */
const DEADLINE_MS = 30_000

const unshareOptions = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']

export async function createMachine(name: string): Promise<Machine> {
  // It ends when its standard input does: with this process, however that ends.
  const wait = 'mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec cat'
  const anchor = spawn('unshare', [...unshareOptions, 'sh', '-c', wait], { env: { PATH: path } })
  let said = ''
  anchor.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const ended = once(anchor, 'exit')
  if (!(await Promise.race([once(anchor.stdout, 'data').then(() => true), ended.then(() => false)])))
    throw new Error(`no namespaces for ${name}: ${said}`)
  const pid = Number(readFileSync(`/proc/${anchor.pid}/task/${anchor.pid}/children`, 'utf8').trim())

  const inside = ['nsenter', '--target', String(pid), '--net', '--mount', '--pid', '--']
  return {
    ...machineWith(name, inside),
    pid,
    async end() {
      anchor.kill('SIGKILL')
      await ended
    },
  }
}

/** This machine itself, for tests without namespaces; `end` ends what was started by `start`. */
export function thisMachine(): Place {
  return machineWith('here', [])
}

function machineWith(name: string, inside: readonly string[]): Place {
  const started = new Set<ChildProcess>()

  function enter(command: readonly string[], { folder = '/', env = {} }: RunOptions = {}) {
    const [program = '', ...args] = [...inside, 'sh', '-c', 'cd "$0" && exec "$@"', folder, ...command]
    const child = spawn(program, args, { env: { PATH: path, HOME: '/nonexistent', ...env } })
    // It may end before it has read all.
    child.stdin.on('error', () => undefined)
    return child
  }

  async function attempt(command: readonly string[], options: RunOptions = {}) {
    const child = enter(command, options)
    const output = collectOutput(child)
    child.stdin.end(options.input ?? '')
    await once(child, 'close')
    return { code: child.exitCode, output: output.text }
  }

  return {
    name,
    attempt,
    async run(command, options) {
      const { code, output } = await attempt(command, options)
      if (code !== 0) throw new Error(`${name}: ${command.join(' ')} ended with ${code}:\n${output}`)
      return output
    },
    start(command, options = {}) {
      const child = enter(command, options)
      started.add(child)
      const output = collectOutput(child)
      if (options.input !== undefined) child.stdin.write(options.input)
      const gone = once(child, 'close').then(() => true)
      return {
        get output() {
          return output.text
        },
        get events() {
          const lines = output.text.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'))
          return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
        },
        write: (text) => void child.stdin.write(text),
        async said(pattern) {
          const late = new AbortController()
          const timer = setTimeout(() => late.abort(), DEADLINE_MS)
          const tooLate = once(late.signal, 'abort').then(() => true)
          for (;;) {
            const match = pattern.exec(output.text)
            if (match !== null) {
              clearTimeout(timer)
              return match
            }
            const isOver = await Promise.race([gone, tooLate, output.more().then(() => false)])
            if (isOver && !pattern.test(output.text))
              throw new Error(
                `${name}: ${command.join(' ')} has not said ${String(pattern)}:\n${output.text}`,
              )
          }
        },
      }
    },
    async end() {
      for (const child of started) {
        const isRunning = child.exitCode === null && child.signalCode === null
        if (isRunning && child.kill('SIGKILL')) await once(child, 'exit')
      }
    },
  }
}

/** A cable between two machines, each end with its name there. */
export async function connectMachines(
  [one, oneEnd]: readonly [Machine, string],
  [other, otherEnd]: readonly [Machine, string],
): Promise<void> {
  // With the processes of this side, by whose ids the other network is named.
  const cable = ['link', 'add', oneEnd, 'type', 'veth', 'peer', 'name', otherEnd, 'netns', String(other.pid)]
  const child = spawn('nsenter', ['--target', String(one.pid), '--net', '--', 'ip', ...cable], {
    env: { PATH: path },
  })
  const output = collectOutput(child)
  await once(child, 'close')
  if (child.exitCode !== 0) throw new Error(`no cable from ${one.name} to ${other.name}: ${output.text}`)
}

/** Both outputs, in one text. */
function collectOutput(child: ChildProcess): { readonly text: string; more(): Promise<void> } {
  let text = ''
  let waiting: (() => void)[] = []
  const take = (chunk: Buffer): void => {
    text += chunk.toString()
    const woken = waiting
    waiting = []
    for (const wake of woken) wake()
  }
  child.stdout?.on('data', take)
  child.stderr?.on('data', take)
  return {
    get text() {
      return text
    },
    more: () => new Promise((resolve) => waiting.push(resolve)),
  }
}
