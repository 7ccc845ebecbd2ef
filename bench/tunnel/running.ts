import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Children } from '../children.ts'
import type { Contender, Entries, Site } from './contender.ts'
import { Command, type Role, type TunnelProcess } from './plan.ts'
import { withDescendants } from './processes.ts'

const READY_DEADLINE_MS = 15_000
const PROBE_DEADLINE_MS = 1_000
const PROBE_PAUSE_MS = 25

/** One contender, up and running. */
export interface Tunnel extends Entries {
  readonly processes: readonly TunnelProcess[]
  readonly folder: string
  end(): Promise<void>
}

/** Resolves when bytes come back through both entries. */
export async function startTunnel(
  contender: Contender,
  {
    children,
    graceMs,
    ...options
  }: Pick<Site, 'folder' | 'bulkTarget' | 'pingTarget' | 'nodeOptions'> & {
    readonly children: Children
    /** How long a process may take to end by itself: a profile is written only then. */
    readonly graceMs: number
  },
): Promise<Tunnel> {
  const started: { role: Role; child: ChildProcess }[] = []
  const end = async (): Promise<void> => {
    await Promise.all(started.map(({ child }) => children.end(child, graceMs)))
  }
  try {
    const entries = await contender.start({
      ...options,
      start: (role, name, command) => {
        const logFile = join(options.folder, `${name}.log`)
        const child = children.start({ command, core: undefined, folder: options.folder, logFile })
        started.push({ role, child })
        return child
      },
    })
    for (const port of [entries.bulkPort, entries.pingPort])
      await untilEchoes(
        port,
        started.map(({ child }) => child),
      )
    const processes = started.flatMap(({ role, child }) => withDescendants(role, child.pid))
    return { ...entries, processes, folder: options.folder, end }
  } catch (error) {
    await end()
    throw error
  }
}

async function untilEchoes(port: number, children: readonly ChildProcess[]): Promise<void> {
  const giveUpAtMs = performance.now() + READY_DEADLINE_MS
  while (!(await echoes(port))) {
    const ended = children.find(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null)
    if (ended !== undefined) throw new Error(`did not start: ${ended.spawnargs.join(' ')}`)
    if (performance.now() > giveUpAtMs) throw new Error(`nothing comes back after ${READY_DEADLINE_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, PROBE_PAUSE_MS))
  }
}

async function echoes(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  try {
    socket.write(`${Command.echo}x`)
    await once(socket, 'data', { signal: AbortSignal.timeout(PROBE_DEADLINE_MS) })
    return true
  } catch {
    return false // not listening yet, or the way behind it is not there yet
  } finally {
    socket.on('error', () => socket.destroy())
    socket.destroy()
  }
}
