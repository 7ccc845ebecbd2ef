import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ConfigInput } from '../../src/config/schema.ts'
import { metricOf } from './metric.ts'

const program = fileURLToPath(new URL('../../dist/cli/index.js', import.meta.url))

/** As `npm start` and the bin run it. */
const nodeFlags = ['--max-semi-space-size=16', '--initial-old-space-size=64']

export type LogEvent = Readonly<Record<string, unknown>>

export interface ProcessOptions {
  /** Over the defaults: one anonymous listener, the embedded store in the folder, no `$SYS`. */
  readonly config?: Partial<Omit<ConfigInput, 'listeners'>>
  /** Settings of the listener, over `allowAnonymous`. */
  readonly listener?: Readonly<Record<string, unknown>>
  /** Before `node`, as `prlimit` and its options. */
  readonly wrapper?: readonly string[]
  readonly nodeArguments?: readonly string[]
}

/** A broker in a process of its own, of the built program, which can be killed and started again where it was. */
export interface BrokerProcess {
  readonly folder: string
  readonly pid: number
  readonly port: number
  readonly adminUrl: string
  readonly isRunning: boolean
  /** Log events of all runs. */
  readonly events: readonly LogEvent[]
  /** Starts it, again on the same port and folder. Rejects with its output when it does not come up. */
  start(environment?: Readonly<Record<string, string>>): Promise<void>
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null>
  /** Resolves when the process has ended, by whatever cause. */
  readonly exited: Promise<void>
  /** Resolves then, or when the time is over. */
  exitedWithin(timeoutMs: number): Promise<void>
  /** Sum over all labels of one metric, or of those samples whose labels contain the text. */
  metric(name: string, label?: string): Promise<number>
  residentBytes(): number
  /** The most that it was in this run, or since `forgetPeak`. */
  peakResidentBytes(): number
  forgetPeak(): void
  /** Kills what runs, and removes the folder. */
  remove(): Promise<void>
}

/** Makes the folder; nothing runs yet. */
export async function createBrokerProcess(options: ProcessOptions = {}): Promise<BrokerProcess> {
  if (!existsSync(program)) {
    throw new Error(`${program} is missing: run \`npm run build\` first (\`npm test\` does it)`)
  }
  const folder = await mkdtemp(join(tmpdir(), 'tunnelmq-fault-'))
  return new ChildBroker(folder, options)
}

/** Makes the folder, and starts the broker. */
export async function startBrokerProcess(options: ProcessOptions = {}): Promise<BrokerProcess> {
  const broker = await createBrokerProcess(options)
  try {
    await broker.start()
  } catch (error) {
    await broker.remove()
    throw error
  }
  return broker
}

class ChildBroker implements BrokerProcess {
  readonly folder: string
  readonly events: LogEvent[] = []
  port = 0
  adminUrl = ''
  exited: Promise<void> = Promise.resolve()
  readonly #options: ProcessOptions
  #child: ChildProcess | undefined

  constructor(folder: string, options: ProcessOptions) {
    this.folder = folder
    this.#options = options
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  async start(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const file = join(this.folder, 'broker.yaml')
    // JSON is YAML. The port of the first run is kept, so that clients find the broker again.
    await writeFile(file, JSON.stringify(this.#config()))
    const { wrapper = [], nodeArguments = [] } = this.#options
    const command = [
      ...wrapper,
      process.execPath,
      ...nodeFlags,
      ...nodeArguments,
      program,
      'broker',
      '--config',
      file,
    ]
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    })
    this.#child = child
    this.exited = once(child, 'exit').then(() => {})
    const output: string[] = []
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk.toString()))
    const ready = new Promise<LogEvent | undefined>((resolve) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        output.push(line)
        if (!line.startsWith('{')) return
        const event = JSON.parse(line) as LogEvent
        this.events.push(event)
        if (event['msg'] === 'ready') resolve(event)
      })
      void this.exited.then(() => resolve(undefined))
    })
    const event = await ready
    if (event === undefined) throw new Error(`the broker did not start:\n${output.join('\n')}`)
    const [listener] = event['listeners'] as { url: string }[]
    this.port = Number(new URL(listener!.url).port)
    this.adminUrl = event['adminUrl'] as string
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.exited
  }

  async stop(): Promise<number | null> {
    this.#child?.kill('SIGTERM')
    await this.exited
    return this.#child?.exitCode ?? null
  }

  async exitedWithin(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await Promise.race([this.exited, new Promise((resolve) => (timer = setTimeout(resolve, timeoutMs)))])
    clearTimeout(timer)
  }

  metric(name: string, label?: string): Promise<number> {
    return metricOf(this.adminUrl, name, label)
  }

  residentBytes(): number {
    return this.#memory('VmRSS')
  }

  peakResidentBytes(): number {
    return this.#memory('VmHWM')
  }

  forgetPeak(): void {
    // proc(5): 5 resets VmHWM.
    writeFileSync(`/proc/${this.pid}/clear_refs`, '5')
  }

  #memory(line: string): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8')
    return Number(new RegExp(`^${line}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1_024
  }

  async remove(): Promise<void> {
    if (this.isRunning) await this.kill()
    await rm(this.folder, { recursive: true, force: true })
  }

  #config(): object {
    return {
      listeners: [{ type: 'tcp', port: this.port, allowAnonymous: true, ...this.#options.listener }],
      store: { path: join(this.folder, 'data') },
      admin: { port: 0, localKeyFile: join(this.folder, 'admin.key') },
      sysIntervalMs: 0,
      log: { level: 'info', format: 'json' },
      shutdown: { drainMs: 0 },
      ...this.#options.config,
    }
  }
}
