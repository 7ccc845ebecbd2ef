import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

const HAPROXY = '/usr/sbin/haproxy'

/** A port that was free a moment ago: HAProxy cannot be given port 0 and asked for what it got. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

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

export interface HaproxyOptions {
  readonly folder: string
  /** Behind `bind 127.0.0.1:<port>`: TLS, for example. */
  readonly bind?: string
  /** Behind `server broker`: address and options. */
  readonly server: string
  readonly mode?: 'tcp' | 'http'
  readonly defaults?: readonly string[]
}

/** Runs the Debian package's HAProxy until the test ends; returns its port. */
export async function startHaproxy(options: HaproxyOptions): Promise<number> {
  const port = await freePort()
  const file = join(options.folder, `haproxy-${port}.cfg`)
  const lines = [
    'global',
    '  maxconn 100',
    '  stats timeout 5s',
    'defaults',
    `  mode ${options.mode ?? 'tcp'}`,
    ...['connect', 'client', 'server', 'tunnel'].map((what) => `  timeout ${what} 10s`),
    ...(options.defaults ?? []).map((line) => `  ${line}`),
    'listen mqtt',
    `  bind 127.0.0.1:${port} ${options.bind ?? ''}`,
    `  server broker ${options.server}`,
  ]
  await writeFile(file, `${lines.join('\n')}\n`)
  const haproxy = spawn(HAPROXY, ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [haproxy.stdout, haproxy.stderr])
    stream.on('data', (text: Buffer) => (output += text.toString()))
  const exited = once(haproxy, 'exit')
  onTestFinished(async () => {
    haproxy.kill('SIGKILL')
    await exited
  })
  while (!(await accepts(port))) {
    if (haproxy.exitCode !== null) throw new Error(`haproxy ended: ${output}`)
  }
  return port
}
