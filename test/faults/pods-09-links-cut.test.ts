import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { freeze, type Pods, startPods, thaw } from '../support/pods.ts'
import { eventually, missing, repeated, report, texts } from './ledger.ts'

/** After a fault nothing is stuck for longer. */
const FLOWS_WITHIN_MS = 2_000

/** At each pod a publisher, and a subscriber with a stored session: messages of all to all. */
class Mesh {
  readonly publishers: LoadClient[] = []
  readonly subscribers: LoadClient[] = []
  readonly #pods: Pods
  #number = 0

  constructor(pods: Pods) {
    this.#pods = pods
  }

  async open(): Promise<void> {
    for (const [index, port] of this.#pods.ports.entries()) {
      const publisher = new LoadClient({ port, clientId: `publisher-${index}` })
      const subscriber = new LoadClient({ port, clientId: `subscriber-${index}`, clean: false })
      await Promise.all([publisher.connect(), subscriber.connect()])
      await subscriber.subscribe(['mesh/#', 2])
      this.publishers.push(publisher)
      this.subscribers.push(subscriber)
    }
  }

  /** A message at QoS 1 and one at QoS 2 from each of these pods, which every one of them gets; resolves to the ms. */
  async exchange(pods: readonly number[]): Promise<number> {
    const startedAt = performance.now()
    const round = this.#number++
    const due = pods.flatMap((pod) => [`least-${pod} ${round}`, `exact-${pod} ${round}`])
    const sent = pods.flatMap((pod) =>
      ([1, 2] as const).map((qos) =>
        this.publishers[pod]!.publish({
          topic: 'mesh/a',
          payload: `${qos === 1 ? 'least' : 'exact'}-${pod} ${round}`,
          qos,
        }),
      ),
    )
    await Promise.all(sent)
    await eventually(() =>
      pods.every((pod) => missing(due, texts(this.subscribers[pod]!.received)).length === 0),
    )
    return performance.now() - startedAt
  }

  /** QoS 0 from the first pod to the last, again and again until one comes; resolves to the ms. */
  async trickle(): Promise<number> {
    const startedAt = performance.now()
    const payload = `volatile ${this.#number++}`
    await eventually(async () => {
      await this.publishers[0]!.publish({ topic: 'mesh/0', payload, qos: 0 })
      return texts(this.subscribers.at(-1)!.received).includes(payload)
    })
    return performance.now() - startedAt
  }

  /** All that was acknowledged has come everywhere, and nothing of QoS 2 twice. Returns how much that is. */
  check(): number {
    const acknowledged = this.publishers.flatMap((publisher) => [...publisher.acknowledged])
    for (const { received } of this.subscribers) {
      expect(missing(acknowledged, texts(received))).toEqual([])
      expect(repeated(received.filter(({ qos }) => qos === 2))).toEqual([])
    }
    return acknowledged.length
  }
}

it('nothing is stuck after connections to Redis are killed at random, 20 times', async () => {
  const pods = await startPods(2)
  const mesh = new Mesh(pods)
  await mesh.open()
  await mesh.exchange([0, 1])
  const tookMs: number[] = []
  for (let kill = 0; kill < 20; kill++) {
    const type = ['pubsub', 'normal'][Math.floor(Math.random() * 2)]!
    // In the middle of an exchange.
    const before = mesh.exchange([0, 1])
    await pods.redis.command('CLIENT', 'KILL', 'TYPE', type)
    tookMs.push(await before, await mesh.exchange([0, 1]), await mesh.trickle())
  }
  expect(Math.max(...tookMs)).toBeLessThan(FLOWS_WITHIN_MS)
  for (const { isOpen } of [...mesh.publishers, ...mesh.subscribers]) expect(isOpen).toBe(true)
  expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
  report(
    '9 (links killed)',
    mesh.check(),
    `all delivered to each of 2, the slowest after ${Math.round(Math.max(...tookMs))} ms`,
  )
}, 60_000)

it.each([
  { lease: 'within its lease', leaseMs: 8_000 },
  { lease: 'for longer than its lease', leaseMs: 2_000 },
])(
  'nothing is stuck while a pod is stopped for 5 s ($lease), and after it',
  async ({ lease, leaseMs }) => {
    const pods = await startPods(3, { config: { cluster: { leaseMs } } })
    const mesh = new Mesh(pods)
    await mesh.open()
    await mesh.exchange([0, 1, 2])
    const tookMs: number[] = []
    freeze(pods.all[1]!)
    const stoppedAt = performance.now()
    const late = new LoadClient({ port: pods.ports[0]!, clientId: 'late', clean: false })
    await late.connect()
    while (performance.now() - stoppedAt < 5_000) {
      tookMs.push(await mesh.exchange([0, 2]), await mesh.trickle())
      const startedAt = performance.now()
      await late.subscribe([`more/${tookMs.length}`, 1])
      tookMs.push(performance.now() - startedAt)
    }
    thaw(pods.all[1]!)
    const [publisher, subscriber] = [mesh.publishers[1]!, mesh.subscribers[1]!]
    if (leaseMs < 5_000) {
      // It was declared dead: everybody there has to come anew.
      await Promise.all([publisher.closed, subscriber.closed])
      await eventually(async () => (await publisher.connect().catch(() => undefined))?.code === 0)
      expect(await subscriber.connect()).toEqual({ code: 0, sessionPresent: true })
    }
    tookMs.push(await mesh.exchange([0, 1, 2]), await mesh.trickle())
    expect(publisher.isOpen && subscriber.isOpen).toBe(true)
    const before = [...mesh.publishers.flatMap(({ acknowledged }) => [...acknowledged])]
    await eventually(() => missing(before, texts(subscriber.received)).length === 0)
    expect(Math.max(...tookMs)).toBeLessThan(FLOWS_WITHIN_MS)
    report(
      `9 (pod stopped ${lease})`,
      mesh.check(),
      `all delivered to each of 3, the slowest after ${Math.round(Math.max(...tookMs))} ms`,
    )
  },
  60_000,
)
