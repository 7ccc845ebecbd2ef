import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished, vi } from 'vitest'
import {
  type BrokerProcess,
  createBrokerProcess,
  type LogEvent,
  type ProcessOptions,
} from './broker-process.ts'
import { freePort, startMosquitto } from './mosquitto.ts'

/**
 * Brokers, agents and clients of tunnels as processes of the built program, to be killed, stopped and started again
 * in the middle of streams. All end with the test.
 */

const program = fileURLToPath(new URL('../../dist/cli/index.js', import.meta.url))

/** For what takes as long as it takes; on a busy machine too. Less than a test has, so that it says what did not come. */
const PATIENCE_MS = 100_000

const logFlags = ['--log-level', 'info', '--log-format', 'json']

export type BrokerKind = 'tunnelmq' | 'mosquitto'

export interface FaultBroker {
  readonly port: number
  /** What agents and clients need to find it. */
  readonly flags: readonly string[]
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** Again, on the same port; resolves when it listens. */
  start(): Promise<void>
}

/** TunnelMQ with its store in memory, no limit of its own, and an admin port for its figures. */
export async function openTunnelBroker(options: ProcessOptions = {}): Promise<BrokerProcess & FaultBroker> {
  const broker = await createBrokerProcess({
    ...options,
    config: { store: { type: 'memory' }, ...options.config },
  })
  onTestFinished(() => broker.remove())
  await broker.start()
  return Object.assign(broker, { flags: ['--broker', `mqtt://127.0.0.1:${broker.port}`] })
}

/** Either broker; over Debian's mosquitto the topics have another prefix. */
export async function openFaultBroker(kind: BrokerKind): Promise<FaultBroker> {
  if (kind === 'tunnelmq') return openTunnelBroker()
  const port = await freePort()
  // Its own bound on what waits for a slow reader is a count of messages, which cuts no connection.
  let running = await startMosquitto({ port })
  return {
    port,
    flags: ['--broker', `mqtt://127.0.0.1:${port}`, '--topic-prefix', 'tunnel'],
    kill: () => running.kill(),
    start: async () => void (running = await startMosquitto({ port })),
  }
}

/** An agent or a client. */
export interface EndProcess {
  readonly pid: number
  /** What it has logged, in all its runs. */
  readonly events: readonly LogEvent[]
  /** Of a forward: the ports that it has printed in this run. */
  readonly ports: readonly number[]
  /** How often it has logged this. */
  countOf(message: string, fields?: LogEvent): number
  /** Resolves with the first such event behind the first `after` of them. */
  logged(message: string, fields?: LogEvent, after?: number): Promise<LogEvent>
  signal(signal: NodeJS.Signals): void
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** Again, after it was killed; resolves when it is connected. */
  start(): Promise<void>
}

/** An agent `pi7`, once it is connected. */
export async function startAgent(
  broker: Pick<FaultBroker, 'flags'>,
  services: Readonly<Record<string, string>>,
  more: readonly string[] = [],
): Promise<EndProcess> {
  const words = Object.entries(services).flatMap(([name, target]) => ['--service', `${name}=${target}`])
  return await startEnd(['agent', '--id', 'pi7', ...words, ...broker.flags, ...logFlags, ...more])
}

/** A client `laptop` with a free port for each of these services of `pi7`, once it listens. */
export async function startForward(
  broker: Pick<FaultBroker, 'flags'>,
  services: readonly string[],
  more: readonly string[] = [],
): Promise<EndProcess> {
  const words = services.map((name) => `0=pi7/${name}`)
  return await startEnd(['forward', ...words, '--client-id', 'laptop', ...broker.flags, ...logFlags, ...more])
}

async function startEnd(args: readonly string[]): Promise<EndProcess> {
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\` first`)
  const end = new ChildEnd(args)
  onTestFinished(() => end.kill())
  await end.start()
  return end
}

class ChildEnd implements EndProcess {
  readonly events: LogEvent[] = []
  #lines: string[] = []
  readonly #args: readonly string[]
  #child: ChildProcess | undefined

  constructor(args: readonly string[]) {
    this.#args = args
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get ports(): readonly number[] {
    return this.#lines.map((line) => Number(/:(\d+) -> /.exec(line)?.[1]))
  }

  async start(): Promise<void> {
    const isForward = this.#args[0] === 'forward'
    const before = this.countOf('tunnel agent connected')
    this.#lines = []
    const child = spawn(process.execPath, [program, ...this.#args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    for (const output of [child.stdout, child.stderr])
      createInterface({ input: output }).on('line', (line) => {
        if (line.startsWith('{')) this.events.push(JSON.parse(line) as LogEvent)
        else this.#lines.push(line)
      })
    if (isForward) await until(() => this.#lines.length > 0)
    else await this.logged('tunnel agent connected', {}, before)
  }

  countOf(message: string, fields: LogEvent = {}): number {
    return this.#matching(message, fields).length
  }

  async logged(message: string, fields: LogEvent = {}, after = 0): Promise<LogEvent> {
    const look = (): LogEvent | undefined => this.#matching(message, fields)[after]
    await until(look).catch(() => {
      const last = this.events.slice(-20).map((event) => JSON.stringify(event))
      throw new Error(`'${message}' was not logged:\n${[...last, ...this.#lines].join('\n')}`)
    })
    return look()!
  }

  #matching(message: string, fields: LogEvent): LogEvent[] {
    const wanted = Object.entries({ msg: message, ...fields })
    return this.events.filter((event) => wanted.every(([name, value]) => event[name] === value))
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
}

/** Waits for what another process does in its own time. */
export async function until(look: () => unknown): Promise<void> {
  await vi.waitFor(
    async () => {
      if (!(await look())) throw new Error(`not within ${PATIENCE_MS} ms: ${look.toString()}`)
    },
    { timeout: PATIENCE_MS, interval: 10 },
  )
}

/** Of a process: the most memory that it has had. */
export function peakResidentBytes(pid: number): number {
  return statusBytes(pid, 'VmHWM')
}

export function residentBytes(pid: number): number {
  return statusBytes(pid, 'VmRSS')
}

export function openFileCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

function statusBytes(pid: number, line: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`^${line}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1_024
}
