import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer, connect as openSocket, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { onTestFinished, vi } from 'vitest'
import { temporaryFolder } from './broker-world.ts'
import { PATIENCE } from './eventually.ts'

export interface Mosquitto {
  readonly port: number
  /** Resolves when it is gone. */
  kill(): Promise<void>
  /** In order: it saves what it keeps. Resolves when it is gone. */
  stop(): Promise<void>
}

export interface MosquittoOptions {
  /** Default: a free one. */
  readonly port?: number
  /** Lines behind those of the listener, which by default allow anonymous clients. */
  readonly lines?: readonly string[]
}

/** Debian's mosquitto on a loopback port, ended with the test. */
export async function startMosquitto(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const port = options.port ?? (await freePort())
  const folder = await temporaryFolder()
  const config = join(folder, 'mosquitto.conf')
  const lines = options.lines ?? ['allow_anonymous true']
  const persistence = lines.some((line) => line.startsWith('persistence ')) ? [] : ['persistence false']
  const all = [`listener ${port} 127.0.0.1`, ...persistence, 'user root', ...lines]
  await writeFile(config, `${all.join('\n')}\n`)
  const child = spawn(mosquittoFile(), ['-c', config], { stdio: 'ignore' })
  await once(child, 'spawn')
  onTestFinished(() => killAndWait(child))
  await vi.waitFor(() => reach(port), PATIENCE)
  return { port, kill: () => killAndWait(child), stop: () => killAndWait(child, 'SIGTERM') }
}

/** Free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function killAndWait(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
}

async function reach(port: number): Promise<void> {
  const socket = openSocket(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.destroy()
}

// Debian keeps it in /usr/sbin, which is not on a user's PATH.
function mosquittoFile(): string {
  return ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto'].find((file) => existsSync(file)) ?? 'mosquitto'
}
