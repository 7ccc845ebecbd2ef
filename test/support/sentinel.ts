import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished, vi } from 'vitest'
import { freePort } from './mosquitto.ts'
import { redisCall } from './redis-call.ts'
import { type RedisServer, startRedis } from './redis-server.ts'

export const PRIMARY_NAME = 'mymaster'
const SENTINEL_COUNT = 3
const PATIENCE = { timeout: 30_000, interval: 50 }

/** A primary with replicas, and the sentinels that watch them. */
export interface SentinelWorld {
  readonly servers: readonly RedisServer[]
  /** As the setting wants them. */
  readonly nodes: string[]
  /** Whom the sentinels name as primary. */
  primary(): Promise<RedisServer>
  /** Resolves when they name another than this one, and it takes writes. */
  failedOverFrom(old: RedisServer): Promise<RedisServer>
}

/** Resolves when every sentinel knows all of it. Everything ends with the test, which must be running. */
export async function startSentinelWorld(
  replicaCount: number,
  args: readonly string[] = [],
): Promise<SentinelWorld> {
  const first = await startServer(args)
  const servers = [first]
  for (let replica = 0; replica < replicaCount; replica++)
    servers.push(await startServer([...args, '--replicaof', '127.0.0.1', String(first.port)]))
  const ports: number[] = []
  for (let sentinel = 0; sentinel < SENTINEL_COUNT; sentinel++) ports.push(await startSentinel(first.port))
  await vi.waitFor(async () => {
    for (const port of ports) {
      const facts = await factsOf(port)
      if (facts['num-slaves'] !== String(replicaCount))
        throw new Error('a sentinel does not know all replicas')
      if (facts['num-other-sentinels'] !== String(SENTINEL_COUNT - 1)) throw new Error('a sentinel is alone')
    }
  }, PATIENCE)

  const primary = async (): Promise<RedisServer> => {
    const { port } = await factsOf(ports[0]!)
    return servers.find((server) => server.port === Number(port))!
  }
  return {
    servers,
    nodes: ports.map((port) => `127.0.0.1:${port}`),
    primary,
    failedOverFrom: (old) =>
      vi.waitFor(async () => {
        const next = await primary()
        if (next === old) throw new Error('no failover yet')
        if (!String(await next.command('ROLE')).startsWith('master')) throw new Error('it is a replica still')
        return next
      }, PATIENCE),
  }
}

async function startServer(args: readonly string[]): Promise<RedisServer> {
  const server = await startRedis({ args })
  onTestFinished(() => server.remove())
  return server
}

async function startSentinel(primaryPort: number): Promise<number> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'tmq-sentinel-'))
  const file = join(folder, 'sentinel.conf')
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor ${PRIMARY_NAME} 127.0.0.1 ${primaryPort} 2`,
    `sentinel down-after-milliseconds ${PRIMARY_NAME} 1000`,
    `sentinel failover-timeout ${PRIMARY_NAME} 5000`,
  ]
  await writeFile(file, `${lines.join('\n')}\n`)
  const child: ChildProcess = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
  const gone = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await gone
    await rm(folder, { recursive: true, force: true })
  })
  await vi.waitFor(() => redisCall(port, ['PING']), PATIENCE)
  return port
}

/** What a sentinel says of the primary. */
async function factsOf(port: number): Promise<Readonly<Record<string, string>>> {
  const answer = (await redisCall(port, ['SENTINEL', 'MASTER', PRIMARY_NAME])) as string[]
  return Object.fromEntries(
    Array.from({ length: answer.length / 2 }, (_, i) => [answer[2 * i]!, answer[2 * i + 1]!]),
  )
}
