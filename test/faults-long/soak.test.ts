import { once } from 'node:events'
import { expect, it } from 'vitest'
import { allCome, eventually, repeated, report } from '../faults/ledger.ts'
import { LoadClient } from '../support/load-client.ts'
import { type Pods, startPods } from '../support/pods.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { dialPort, openTarget } from '../support/tunnel-ends.ts'
import { startAgent, startForward } from '../support/tunnel-processes.ts'

/** A night: 3600. */
const soakSeconds = Number(process.env['SOAK_SECONDS'] ?? 60)
const MIB = 1_048_576
const expiryMs = 2_000
const prefix = '{tunnelmq}:'

/** Keys, and what is in them, by the first word of their names. The log is bounded, and told apart. */
async function inventory(redis: RedisServer): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {}
  const sizes: Readonly<Record<string, string>> = {
    hash: 'HLEN',
    set: 'SCARD',
    zset: 'ZCARD',
    stream: 'XLEN',
  }
  for (const key of (await redis.command('KEYS', '*')) as string[]) {
    const family = key.slice(prefix.length).split(':', 1)[0]!
    const size = sizes[String(await redis.command('TYPE', key))]
    counts[`${family} keys`] = (counts[`${family} keys`] ?? 0) + 1
    if (size === undefined || family === 'log') continue
    counts[`${family} entries`] = (counts[`${family} entries`] ?? 0) + Number(await redis.command(size, key))
  }
  return counts
}

async function usedBytes(redis: RedisServer): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(String(await redis.command('INFO', 'memory')))?.[1])
}

/** What comes and goes, for as long as it is asked to. */
class Traffic {
  readonly subscribers: LoadClient[]
  readonly publisher: LoadClient
  readonly #pods: Pods
  readonly #forwardPort: number
  #round = 0
  tunnelBytes = 0

  constructor(pods: Pods, forwardPort: number) {
    this.#pods = pods
    this.#forwardPort = forwardPort
    this.subscribers = [0, 1, 2].map(
      (i) => new LoadClient({ port: 0, clientId: `commuter-${i}`, clean: false }),
    )
    this.publisher = new LoadClient({ port: pods.ports[0]!, clientId: 'publisher', clean: false })
  }

  async open(): Promise<void> {
    await this.publisher.connect()
    for (const subscriber of this.subscribers) {
      await subscriber.connect(this.#port())
      await subscriber.subscribe(['soak/#', 2])
    }
  }

  async run(seconds: number): Promise<void> {
    const endAt = performance.now() + seconds * 1_000
    while (performance.now() < endAt) {
      this.#round++
      await Promise.all([this.#publish(), this.#commute(), this.#visit(), this.#tunnel()])
    }
  }

  #port(): number {
    return this.#pods.ports[Math.floor(Math.random() * this.#pods.ports.length)]!
  }

  async #publish(): Promise<void> {
    const round = this.#round
    const messages = Array.from({ length: 40 }, (_, i) => ({
      // Each round other topics: what is retained of them expires.
      topic: `soak/${round}/${i % 4}`,
      payload: `${round} ${i}`,
      qos: (1 + (i % 2)) as 1 | 2,
      retain: i % 10 === 0,
    }))
    await Promise.all(messages.map((message) => this.publisher.publish(message)))
  }

  /** One of the subscribers goes, in order or not, and comes back anywhere. */
  async #commute(): Promise<void> {
    const subscriber = this.subscribers[this.#round % this.subscribers.length]!
    await (this.#round % 2 === 0 ? subscriber.vanish() : subscriber.disconnect())
    expect(await subscriber.connect(this.#port())).toEqual({ code: 0, sessionPresent: true })
  }

  /** A client with will, subscriptions and a shared one, who is never seen again; and one of an id that was there before. */
  async #visit(): Promise<void> {
    const will = { topic: 'gone', payload: 'x', qos: 1 }
    const visitor = new LoadClient({
      port: this.#port(),
      clientId: `visitor-${this.#round}`,
      clean: false,
      will,
    })
    const same = new LoadClient({ port: this.#port(), clientId: 'same' })
    await Promise.all([visitor.connect(), same.connect()])
    await visitor.subscribe(
      [`visit/${this.#round}/+`, 2],
      ['soak/#', 1],
      [`$share/group-${this.#round}/soak/+/1`, 1],
    )
    await visitor.vanish()
  }

  /** From the forward at the last pod to the agent at the first, and back. */
  async #tunnel(): Promise<void> {
    const socket = await dialPort(this.#forwardPort)
    const closed = once(socket, 'close')
    let count = 0
    socket.on('data', (chunk: Buffer) => (count += chunk.length))
    socket.end(Buffer.alloc(100_000, this.#round))
    await closed
    expect(count).toBe(100_000)
    this.tunnelBytes += count
  }
}

it(
  `keys and memory are flat through ${soakSeconds} s of reconnects, QoS 2, expiry and tunnels`,
  async () => {
    const pods = await startPods(2, {
      config: {
        session: { expiryMs, messageExpiryMs: expiryMs },
        // Small, so that it is full when the measuring begins.
        cluster: { logMax: 1_000 },
      },
      // Else V8 lets its heap grow by what the machine has, and a minute is over before the first full collection.
      nodeArguments: ['--initial-old-space-size=0', '--max-old-space-size=80'],
    })
    const [first, last] = pods.ports.map((port) => ({ flags: ['--broker', `mqtt://127.0.0.1:${port}`] }))
    await startAgent(first!, { echo: await openTarget((socket) => void socket.pipe(socket)) })
    const forward = await startForward(last!, ['echo'])
    const traffic = new Traffic(pods, forward.ports[0]!)
    await traffic.open()

    await traffic.run(soakSeconds / 3)
    const quiet = async (): Promise<Readonly<Record<string, number>>> => {
      // Visitors and what was retained have come to their ends; what they wanted is withdrawn half a minute later.
      await eventually(async () => {
        const counts = await inventory(pods.redis)
        const sum = (...names: string[]): number =>
          names.reduce((total, name) => total + (counts[name] ?? 0), 0)
        const isOver =
          sum('sessions entries') <= traffic.subscribers.length + 1 && sum('retained entries') === 0
        return isOver && sum('wants entries', 'groups entries') <= 2 * pods.all.length
      }, 60_000)
      return inventory(pods.redis)
    }
    const warm = await quiet()
    const warmBytes = await usedBytes(pods.redis)
    const warmResident = pods.all.map((pod) => pod.residentBytes())
    await traffic.run((soakSeconds * 2) / 3)
    const end = await quiet()
    const endBytes = await usedBytes(pods.redis)

    // Counters of what is on its way may differ by a few: families, and their sizes, do not grow.
    const grown = Object.entries(end).filter(([name, count]) => count > (warm[name] ?? 0) + 4)
    expect(grown).toEqual([])
    expect(endBytes - warmBytes).toBeLessThan(2 * MIB)
    const grewBytes = pods.all.map((pod, i) => pod.residentBytes() - warmResident[i]!)
    // The heap of V8, which is bounded above, may grow to its bound; what is beside it must not.
    expect(Math.max(...grewBytes)).toBeLessThan(64 * MIB)
    expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
    const acknowledged = [...traffic.publisher.acknowledged]
    for (const { received } of traffic.subscribers) {
      await allCome(acknowledged, received)
      expect(repeated(received.filter(({ qos }) => qos === 2))).toEqual([])
    }
    report(
      '22',
      acknowledged.length,
      `delivered to each of ${traffic.subscribers.length}; ${traffic.tunnelBytes} bytes through tunnels; Redis ${Math.round((endBytes - warmBytes) / 1_024)} KiB more, pods ${grewBytes.map((bytes) => Math.round(bytes / MIB)).join(' and ')} MiB`,
    )
  },
  soakSeconds * 1_000 + 200_000,
)
