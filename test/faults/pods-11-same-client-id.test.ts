import { expect, it } from 'vitest'
import { openCuttingProxy, type CuttingProxy } from '../support/cutting-proxy.ts'
import { type Delivery, LoadClient } from '../support/load-client.ts'
import { startPods, waitReady } from '../support/pods.ts'
import { eventually, missing, repeated, report, texts } from './ledger.ts'

/** The loser of a client id is closed within this time: a second (docs/guarantees.md), and what a busy machine adds. */
const CLOSED_WITHIN_MS = 4_000

const twin = (port: number): LoadClient => new LoadClient({ port, clientId: 'same', clean: false })

async function enterPublisher(port: number): Promise<LoadClient> {
  const publisher = new LoadClient({ port, clientId: 'publisher' })
  await publisher.connect()
  return publisher
}

const say = (publisher: LoadClient, payload: string, qos: 1 | 2 = 1): Promise<void> =>
  publisher.publish({ topic: 'to/same', payload, qos })

it('a client that connects at another pod ends its connection at the first, which delivers nothing more', async () => {
  const pods = await startPods(2)
  const publishers = await Promise.all(
    pods.ports.map(async (port, i) => {
      const publisher = new LoadClient({ port, clientId: `publisher-${i}` })
      await publisher.connect()
      return publisher
    }),
  )
  let holder = twin(pods.ports[0]!)
  await holder.connect()
  await holder.subscribe(['to/same', 2])
  const all: Delivery[] = []
  for (let round = 0; round < 40; round++) {
    const successor = twin(pods.ports[(round + 1) % 2]!)
    const meanwhile = publishers.map((publisher, i) => say(publisher, `early ${round} ${i}`))
    expect(await successor.connect()).toEqual({ code: 0, sessionPresent: true })
    const startedAt = performance.now()
    const late = publishers.map((publisher, i) => say(publisher, `late ${round} ${i}`, 2))
    await holder.closed
    expect(performance.now() - startedAt).toBeLessThan(CLOSED_WITHIN_MS)
    await Promise.all([...meanwhile, ...late])
    const due = publishers.map((_, i) => `late ${round} ${i}`)
    await eventually(() => missing(due, texts(successor.received)).length === 0)
    // A client of that name without its memory may be sent again what was not released.
    await eventually(() => successor.unreleasedCount === 0)
    expect(texts(holder.received).filter((text) => text.startsWith(`late ${round} `))).toEqual([])
    all.push(...holder.received)
    holder = successor
  }
  await holder.ping()
  all.push(...holder.received)
  const acknowledged = publishers.flatMap((publisher) => [...publisher.acknowledged])
  expect(missing(acknowledged, texts(all))).toEqual([])
  expect(repeated(all).every(({ dup }) => dup)).toBe(true)
  expect(repeated(all.filter(({ qos }) => qos === 2))).toEqual([])
  report(
    '11 (one after the other)',
    acknowledged.length,
    `${new Set(texts(all)).size} delivered, by 41 connections`,
  )
})

it('one connection survives each time when two of a client id come at once, 200 times', async () => {
  const pods = await startPods(2)
  const publisher = await enterPublisher(pods.ports[0]!)
  const first = twin(pods.ports[0]!)
  await first.connect()
  await first.subscribe(['to/same', 1])
  let contenders = [first]
  const all: Delivery[] = []
  for (let round = 0; round < 200; round++) {
    const pair = pods.ports.map(twin)
    // A loser may be closed before its CONNACK.
    await Promise.allSettled(pair.map((client) => client.connect()))
    contenders.push(...pair)
    await eventually(() => contenders.filter(({ isOpen }) => isOpen).length === 1)
    const survivor = contenders.find(({ isOpen }) => isOpen)!
    await say(publisher, `round ${round}`)
    await eventually(() => texts(survivor.received).includes(`round ${round}`))
    await survivor.ping()
    const losers = contenders.filter((client) => client !== survivor)
    for (const { received } of losers) expect(texts(received)).not.toContain(`round ${round}`)
    all.push(...losers.flatMap(({ received }) => received))
    contenders = [survivor]
  }
  all.push(...contenders[0]!.received)
  expect(missing(publisher.acknowledged, texts(all))).toEqual([])
  expect(repeated(all).every(({ dup }) => dup)).toBe(true)
  await eventually(async () => (await pods.metric('tunnelmq_sessions', 'state="connected"')) === 2)
  report(
    '11 (at once)',
    publisher.acknowledged.size,
    `${new Set(texts(all)).size} delivered, one survivor in 200 rounds`,
  )
})

it.each([
  { loss: 'shorter than the lease', leaseMs: 8_000, lastsMs: 2_000 },
  { loss: 'longer than the lease', leaseMs: 2_000, lastsMs: 4_000 },
])(
  'a pod without a link to Redis, for $loss, delivers nothing to a client that is at another',
  async ({ loss, leaseMs, lastsMs }) => {
    const ways: CuttingProxy[] = []
    const pods = await startPods(2, {
      config: { cluster: { leaseMs } },
      redisPort: async (_, port) => {
        const way = await openCuttingProxy(port)
        ways.push(way)
        return way.port
      },
    })
    const [stale, alive] = [twin(pods.ports[0]!), twin(pods.ports[1]!)]
    const [atStale, atAlive] = [
      new LoadClient({ port: pods.ports[0]!, clientId: 'at-stale', clean: false }),
      new LoadClient({ port: pods.ports[1]!, clientId: 'at-alive', clean: false }),
    ]
    await Promise.all([stale.connect(), atStale.connect(), atAlive.connect()])
    await stale.subscribe(['to/same', 2])
    await say(atStale, 'before 0')
    await eventually(() => stale.received.length === 1)

    ways[0]!.isolate()
    const startedAt = performance.now()
    expect(await alive.connect()).toEqual({ code: 0, sessionPresent: true })
    // Held by a pod that knows nothing of now, and published when it does.
    const held = [say(atStale, 'held 0'), say(atStale, 'held 1', 2)]
    for (let number = 0; number < 20; number++) await say(atAlive, `alive ${number}`, 2)
    await eventually(() => texts(alive.received).filter((text) => text.startsWith('alive')).length === 20)
    await new Promise((resolve) => setTimeout(resolve, lastsMs - (performance.now() - startedAt)))
    ways[0]!.thaw()
    await waitReady(pods.all[0]!)
    await eventually(() => !stale.isOpen)
    if (!atStale.isOpen) await atStale.connect()
    await Promise.all(held)
    const acknowledged = [...atStale.acknowledged, ...atAlive.acknowledged]
    await eventually(() => missing(acknowledged, texts([...stale.received, ...alive.received])).length === 0)
    await alive.ping()
    expect(texts(stale.received)).toEqual(['before 0'])
    // What the publisher had to send again at QoS 1 is another message.
    expect(
      repeated(alive.received).filter(
        ({ qos, payload }) => qos === 2 || !atStale.resent.has(payload.toString()),
      ),
    ).toEqual([])
    expect(alive.isOpen).toBe(true)
    report(
      `11 (link lost, ${loss})`,
      acknowledged.length,
      `${new Set(texts([...stale.received, ...alive.received])).size} delivered, none by the stale owner`,
    )
  },
)
