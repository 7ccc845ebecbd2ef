import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { type Pods, startPods, startReady } from '../support/pods.ts'
import { eventually, missing, report, texts } from './ledger.ts'
import { enter, mqtt5, returnAtTheEdge } from './session-edge.ts'

const expiryMs = 2_000
const start = (count: number): Promise<Pods> => startPods(count, { config: { session: { expiryMs } } })

/** Every pod has dropped what is not stored any more. */
async function storedEverywhere(pods: Pods, count: number): Promise<void> {
  const running = pods.all.filter(({ isRunning }) => isRunning)
  await eventually(
    async () => {
      const counts = await Promise.all(
        running.map((pod) => pod.metric('tunnelmq_sessions', 'state="stored"')),
      )
      return counts.every((stored) => stored === count)
    },
    40_000,
    200,
  )
}

it('removes sessions whose clients stay away, and never one that is connected or came back at another pod', async () => {
  const pods = await start(2)
  const [first = 0, second = 0] = pods.ports
  const stayer = await enter(first, 'stayer')
  const commuters = [await enter(second, 'commuter'), await enter(second, 'commuter-5', mqtt5(2))]
  const publisher = new LoadClient({ port: second, clientId: 'publisher' })
  await publisher.connect()
  for (let round = 0; round < 4; round++) {
    const [here = 0, there = 0] = [pods.ports[round % 2], pods.ports[(round + 1) % 2]]
    const briefs = [await enter(here, `brief-${round}`), await enter(here, `brief-5-${round}`, mqtt5(1))]
    for (const brief of briefs) await brief.disconnect()
    // Its time away begins anew each time, and ends at another pod than the one that began it.
    for (const commuter of commuters) await commuter.vanish()
    await publisher.publish({ topic: 'to/all', payload: `all ${round}`, qos: 1 })
    for (const commuter of commuters) expect((await commuter.connect(here)).sessionPresent).toBe(true)
    await storedEverywhere(pods, 3)
    for (const brief of briefs) {
      expect((await brief.connect(there)).sessionPresent).toBe(false)
      await brief.ping()
      expect(brief.received).toEqual([])
      await brief.disconnect()
    }
    await storedEverywhere(pods, 3)
  }
  for (const client of [stayer, ...commuters]) {
    await eventually(() => client.received.length >= 4)
    expect(missing(publisher.acknowledged, texts(client.received))).toEqual([])
  }
  report(
    '12 (pods, away)',
    publisher.acknowledged.size,
    `${stayer.received.length} delivered to each that stayed`,
  )
})

it('either keeps a session whole or removes it whole when its client is back, at another pod, just as it ends', async () => {
  const pods = await start(2)
  await returnAtTheEdge({
    name: '12 (pods, back)',
    publisherPort: pods.ports[0]!,
    clientCount: 60,
    expiryMs,
    enterAs: (i) => enter(pods.ports[i % 2]!, `edge-${i}`, i % 4 < 2 ? {} : mqtt5(expiryMs / 1_000)),
    awayMs: (i) => i * 60,
    returnPort: (i) => pods.ports[(i + 1) % 2],
  })
})

it('sessions of a pod that died end in time, but those of clients that are back at another do not', async () => {
  const pods = await start(3)
  const lost = await enter(pods.ports[0]!, 'lost')
  const back = await enter(pods.ports[0]!, 'back')
  const ownTime = await enter(pods.ports[0]!, 'own-5', mqtt5(1))
  // It goes on with what is there, and that ends with its connection.
  const before = await enter(pods.ports[1]!, 'brief-5', mqtt5(2))
  const brief = await enter(pods.ports[0]!, 'brief-5', mqtt5(0))
  await before.closed
  const stayer = await enter(pods.ports[1]!, 'stayer')
  const publisher = new LoadClient({ port: pods.ports[1]!, clientId: 'publisher' })
  await publisher.connect()
  await publisher.publish({ topic: 'to/all', payload: 'p 1', qos: 1 })
  await pods.all[0]!.kill()
  await Promise.all([lost.closed, back.closed, ownTime.closed, brief.closed])
  expect((await back.connect(pods.ports[2])).sessionPresent).toBe(true)
  await storedEverywhere(pods, 2)
  await startReady(pods.all[0]!)
  await publisher.publish({ topic: 'to/all', payload: 'p 2', qos: 1 })
  for (const client of [back, stayer])
    await eventually(() => missing(publisher.acknowledged, texts(client.received)).length === 0)
  expect(back.isOpen && stayer.isOpen).toBe(true)
  expect((await lost.connect()).sessionPresent).toBe(false)
  report(
    '12 (pod died)',
    publisher.acknowledged.size,
    `${new Set(texts(back.received)).size} delivered to each of 2`,
  )
})
