import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './mosquitto.ts'
import { redisCall, type RedisAnswer } from './redis-call.ts'

export interface RedisServerOptions {
  /** Added to those below, which they override. */
  readonly args?: readonly string[]
  /** Where it keeps its data; default: a new one, which `remove` deletes. */
  readonly folder?: string
  readonly port?: number
  /** Default: 30 s. */
  readonly startTimeoutMs?: number
}

/** A real redis-server on a loopback port of its own. */
export interface RedisServer {
  readonly port: number
  readonly url: string
  readonly folder: string
  readonly pid: number
  /** What it has printed since it was started first. */
  readonly output: string
  /** In order: the append-only file is complete. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** SIGSTOP: TCP connections stay up, and nothing is answered. */
  freeze(): void
  thaw(): void
  /** Again, on the same port and folder. Resolves when it answers PING. */
  start(): Promise<void>
  /** FLUSHALL. */
  flush(): Promise<void>
  /** One command over a connection of its own; bulk strings as text. Rejects with what the server says. */
  command(...args: (string | number | Buffer)[]): Promise<RedisAnswer>
  /** Ends it, and deletes the folder if it was made here. */
  remove(): Promise<void>
}

const DEFAULTS = {
  bind: '127.0.0.1',
  appendonly: 'yes',
  appendfsync: 'everysec',
  save: '',
  'maxmemory-policy': 'noeviction',
  'enable-debug-command': 'yes',
  // A replica is served at once, and not after 5 s.
  'repl-diskless-sync-delay': '0',
}

/** Starts one, and waits until it answers PING, with its data loaded. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOn(options.port ?? (await freePort()), options)
    } catch (error) {
      // Somebody else was given the same free port.
      const isTaken = options.port === undefined && String(error).includes('Address already in use')
      if (!isTaken || attempt === 5) throw error
    }
  }
}

async function startOn(port: number, options: RedisServerOptions): Promise<RedisServer> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'tmq-redis-'))
  const args = [
    ...Object.entries({ port: String(port), dir: folder, ...DEFAULTS }).flatMap(([name, value]) => [
      `--${name}`,
      value,
    ]),
    ...(options.args ?? []),
  ]
  let child: ChildProcess | undefined
  let output = ''

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    const exit = once(ending, 'exit')
    // A frozen process takes SIGTERM only when it runs again.
    ending.kill('SIGCONT')
    ending.kill(signal)
    await exit
  }

  const server: RedisServer = {
    port,
    url: `redis://127.0.0.1:${port}`,
    folder,
    get pid() {
      return child?.pid ?? 0
    },
    get output() {
      return output
    },
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    async start() {
      const started = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'pipe'] })
      child = started
      const printedBefore = output.length
      started.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
      started.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
      const printed = (): string => output.slice(printedBefore)
      await untilAnswering(port, started, printed, options.startTimeoutMs ?? 30_000)
    },
    async flush() {
      await redisCall(port, ['FLUSHALL'])
    },
    command: (...call) => redisCall(port, call),
    async remove() {
      await end('SIGKILL')
      process.off('exit', killAtExit)
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true })
    },
  }
  const killAtExit = (): void => void child?.kill('SIGKILL')
  process.once('exit', killAtExit)
  await server.start()
  return server
}

async function untilAnswering(
  port: number,
  child: ChildProcess,
  output: () => string,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`redis-server has ended:\n${output()}`)
    const answer = await redisCall(port, ['PING'], 1_000).catch((error: unknown) => String(error))
    // It listens and wants a password, or a certificate: whoever asked for that knows how to go on.
    if (answer === 'PONG' || String(answer).includes('NOAUTH')) return
    if (output().includes('Ready to accept connections') && !(await accepts(port))) return
    if (performance.now() > deadline) throw new Error(`redis-server does not answer: ${String(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** With `--port 0`, or TLS only, there is no plain listener on this port. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
