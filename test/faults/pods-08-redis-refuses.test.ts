import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { notReadyReasons, type Pods, startPods, waitReady } from '../support/pods.ts'
import { redisCall } from '../support/redis-call.ts'
import { type RedisServer, startRedis } from '../support/redis-server.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { allCome, eventually, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

const lastsMs = 3_000

/** Redis is there, and takes no writes. */
interface Refusal {
  readonly what: string
  /** In the reason that `/ready` gives. */
  readonly says: RegExp
  readonly begin: (redis: RedisServer) => Promise<unknown>
  readonly end: (redis: RedisServer) => Promise<unknown>
}

const refusals: readonly Refusal[] = [
  {
    what: 'OOM',
    says: /out of memory/,
    begin: (redis) => redis.command('CONFIG', 'SET', 'maxmemory', '1'),
    end: (redis) => redis.command('CONFIG', 'SET', 'maxmemory', '0'),
  },
  {
    what: 'READONLY',
    says: /replica/,
    // Of a primary that is not there.
    begin: (redis) => redis.command('REPLICAOF', '127.0.0.1', '1'),
    end: (redis) => redis.command('REPLICAOF', 'NO', 'ONE'),
  },
  {
    what: 'NOAUTH',
    says: /password/,
    async begin(redis) {
      await redis.command('CONFIG', 'SET', 'requirepass', 'other')
      await inline(redis, 'AUTH other', 'CLIENT KILL TYPE pubsub', 'CLIENT KILL TYPE normal')
    },
    end: (redis) => inline(redis, 'AUTH other', 'CONFIG SET requirepass ""'),
  },
  {
    what: 'MISCONF',
    says: /disk/,
    async begin(redis) {
      await redis.command('CONFIG', 'SET', 'save', '3600 1')
      // A name that no file can have: no snapshot, and so no writes.
      await redis.command('CONFIG', 'SET', 'dbfilename', 'too-long-'.repeat(40))
      await redis.command('BGSAVE').catch(() => undefined)
      await eventually(async () =>
        String(await redis.command('INFO', 'persistence')).includes('rdb_last_bgsave_status:err'),
      )
    },
    async end(redis) {
      await redis.command('CONFIG', 'SET', 'save', '')
      await redis.command('CONFIG', 'SET', 'dbfilename', 'dump.rdb')
    },
  },
]

/** Several commands over one connection. */
async function inline(redis: RedisServer, ...commands: readonly string[]): Promise<void> {
  const socket = connect(redis.port, '127.0.0.1')
  socket.on('error', () => undefined).resume()
  socket.end(commands.map((command) => `${command}\r\n`).join(''))
  await once(socket, 'close')
}

class Load {
  readonly #pods: Pods
  readonly #publishers = [new Publisher('one', 1, 0), new Publisher('two', 2, 0)]
  readonly #subscriber = new LoadClient({ port: 0, clientId: 'subscriber', clean: false })
  readonly #roaming: readonly RoamingClient[]

  constructor(pods: Pods) {
    this.#pods = pods
    const clients = [this.#subscriber, ...this.#publishers.map(({ client }) => client)]
    this.#roaming = clients.map(
      (client, i) => new RoamingClient(client, { ports: () => pods.ports, first: i % 2 }),
    )
  }

  get acknowledgedCount(): number {
    return this.#publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)
  }

  async begin(): Promise<void> {
    await Promise.all(this.#roaming.map(({ opened }) => opened))
    await this.#subscriber.subscribe(['load/#', 2])
    for (const publisher of this.#publishers) publisher.publishMore()
    await eventually(() => this.acknowledgedCount > 300)
  }

  async end(test: string, reasons: readonly string[]): Promise<void> {
    const enough = this.acknowledgedCount + 300
    await eventually(() => this.acknowledgedCount > enough)
    const acknowledged = await stopAll(this.#publishers)
    const { received } = this.#subscriber
    await allCome(acknowledged, received)
    await this.#subscriber.ping()
    expect(outOfOrder(received)).toEqual([])
    expect(repeated(received.filter(({ qos }) => qos === 2))).toEqual([])
    expect(this.#roaming.map(({ absentCount }) => absentCount)).toEqual([0, 0, 0])
    expect(await this.#pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
    report(test, acknowledged.length, `${new Set(texts(received)).size} delivered; reason: ${reasons[0]}`)
    await Promise.all(this.#roaming.map((client) => client.end()))
  }
}

/** Every pod is alive, says why it is not ready, and lets nobody in who needs the store. */
async function refusesWith(pods: Pods, says: RegExp): Promise<readonly string[]> {
  for (const pod of pods.all) {
    await eventually(async () => (await notReadyReasons(pod)).some((reason) => says.test(reason)))
    expect((await fetch(`${pod.adminUrl}/live`)).status).toBe(200)
  }
  const stranger = new LoadClient({ port: pods.ports[0]!, clientId: 'stranger', clean: false })
  expect((await stranger.connect()).code).toBe(3)
  await stranger.vanish()
  return notReadyReasons(pods.all[0]!)
}

it.each(refusals)(
  'acknowledges nothing while Redis answers $what, says so, and goes on behind it',
  async ({ what, says, begin, end }) => {
    const pods = await startPods(2, { redis: { args: ['--enable-protected-configs', 'yes'] } })
    const load = new Load(pods)
    await load.begin()
    await begin(pods.redis)
    const reasons = await refusesWith(pods, says)
    const before = load.acknowledgedCount
    await new Promise((resolve) => setTimeout(resolve, lastsMs))
    expect(load.acknowledgedCount).toBe(before)
    await end(pods.redis)
    await Promise.all(pods.all.map((pod) => waitReady(pod)))
    await load.end(`8 (${what})`, reasons)
  },
)

const fillerCount = 4_000

/** With keys of more than 1,024 bytes, which it loads first. */
async function fill(redis: RedisServer): Promise<void> {
  const script = "for i = 1, ARGV[1] do redis.call('SET', 'filler:' .. i, string.rep('x', 1100)) end"
  await redis.command('EVAL', script, 0, fillerCount)
  await redis.command('BGREWRITEAOF')
  const isOver = async (): Promise<boolean> =>
    String(await redis.command('INFO', 'persistence')).includes('aof_rewrite_in_progress:0')
  await eventually(isOver)
}

it('acknowledges nothing while Redis loads its data, says so, and goes on behind it', async () => {
  const pods = await startPods(2, { redis: { args: ['--appendfsync', 'always', '--rdbcompression', 'no'] } })
  await fill(pods.redis)
  const load = new Load(pods)
  await load.begin()
  const { port, folder } = pods.redis
  await pods.redis.stop()
  // 10 ms for each key that was there first, and clients are answered behind each: it loads for as long as we look.
  const loading = startRedis({
    port,
    folder,
    args: ['--key-load-delay', '10000', '--loading-process-events-interval-bytes', '1024'],
    startTimeoutMs: 50_000,
  })
  const endDelay = (): Promise<unknown> => redisCall(port, ['CONFIG', 'SET', 'key-load-delay', '0'])
  onTestFinished(async () => {
    await endDelay().catch(() => undefined)
    await (await loading).remove()
  })
  const reasons = await refusesWith(pods, /loading/)
  // Not from the stop on: what Redis had answered by then was on its way to the publishers.
  const before = load.acknowledgedCount
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(load.acknowledgedCount).toBe(before)
  for (const pod of pods.all) expect(String(await notReadyReasons(pod))).toContain('loading')
  await endDelay()
  await Promise.all(pods.all.map((pod) => waitReady(pod)))
  await load.end('8 (LOADING)', reasons)
})
