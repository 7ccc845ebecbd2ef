import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './mosquitto.ts'
import { redisCall } from './redis-call.ts'
import { startRedis, type RedisServer } from './redis-server.ts'

/** A primary, a replica of it, and one sentinel that promotes the replica when the primary is away. */
export interface SentinelWorld {
  readonly primary: RedisServer
  readonly replica: RedisServer
  /** `127.0.0.1:<port>` */
  readonly node: string
  readonly name: string
  remove(): Promise<void>
}

/** `downAfterMs`: how long the primary is silent until the sentinel acts. */
export async function startSentinelWorld(downAfterMs = 500): Promise<SentinelWorld> {
  const primary = await startRedis()
  const replica = await startRedis({ args: ['--replicaof', `127.0.0.1 ${primary.port}`] })
  const folder = mkdtempSync(join(tmpdir(), 'tmq-sentinel-'))
  const port = await freePort()
  const file = join(folder, 'sentinel.conf')
  const name = 'tunnels'
  writeFileSync(
    file,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${folder}`,
      `sentinel monitor ${name} 127.0.0.1 ${primary.port} 1`,
      `sentinel down-after-milliseconds ${name} ${downAfterMs}`,
      `sentinel failover-timeout ${name} 5000`,
      `sentinel parallel-syncs ${name} 1`,
    ].join('\n'),
  )
  const child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
  process.once('exit', () => child.kill('SIGKILL'))
  await until(async () => (await replica.command('INFO', 'replication')) as string, /master_link_status:up/)
  // Without knowing of the replica, it could promote nobody.
  await until(async () => JSON.stringify(await redisCall(port, ['SENTINEL', 'REPLICAS', name])), /"slave"/)
  return {
    primary,
    replica,
    node: `127.0.0.1:${port}`,
    name,
    async remove() {
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
      rmSync(folder, { recursive: true, force: true })
      await Promise.all([primary.remove(), replica.remove()])
    },
  }
}

async function until(read: () => Promise<string>, wanted: RegExp): Promise<void> {
  const deadline = performance.now() + 30_000
  for (;;) {
    const text = await read().catch(String)
    if (wanted.test(text)) return
    if (performance.now() > deadline) throw new Error(`waited in vain for ${wanted}: ${text}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
