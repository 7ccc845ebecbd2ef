import { expect, it } from 'vitest'
import { LoadClient, type LoadClientOptions } from '../support/load-client.ts'
import { type Pods, startPods, startReady } from '../support/pods.ts'
import { eventually, missing, report, texts } from './ledger.ts'

const expiryMs = 2_000
/** A lease, what it takes to notice its end, the time away, and a sweep. */
const WIPED_WITHIN_MS = 10_000

const start = (count: number): Promise<Pods> => startPods(count, { config: { session: { expiryMs } } })

/** Of MQTT 5, with a time away of its own. */
const mqtt5 = (sessionExpirySeconds: number): Partial<LoadClientOptions> => ({
  version: 5,
  sessionExpirySeconds,
})

async function enter(
  port: number,
  clientId: string,
  options: Partial<LoadClientOptions> = {},
): Promise<LoadClient> {
  const client = new LoadClient({ port, clientId, clean: false, ...options })
  await client.connect()
  await client.subscribe([`to/${clientId}`, 1], ['to/all', 1])
  return client
}

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
    WIPED_WITHIN_MS,
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
}, 60_000)

it('either keeps a session whole or removes it whole when its client is back, at another pod, just as it ends', async () => {
  const pods = await start(2)
  const publisher = new LoadClient({ port: pods.ports[0]!, clientId: 'publisher' })
  await publisher.connect()
  const outcomes = { kept: 0, removed: 0 }
  let acknowledgedCount = 0
  let deliveredCount = 0
  const enterAs = (i: number): Promise<LoadClient> =>
    enter(pods.ports[i % 2]!, `edge-${i}`, i % 4 < 2 ? {} : mqtt5(expiryMs / 1_000))
  const returnAt = async (client: LoadClient, i: number): Promise<void> => {
    const { clientId } = client.options
    await client.disconnect()
    await publisher.publish({ topic: `to/${clientId}`, payload: `${clientId} 0`, qos: 1 })
    // Around the moment of expiry and of the sweeps behind it; some at once, as the machine may be busy.
    await new Promise((resolve) => setTimeout(resolve, i * 60))
    const { sessionPresent } = await client.connect(pods.ports[(i + 1) % 2])
    outcomes[sessionPresent ? 'kept' : 'removed']++
    if (!sessionPresent) await client.subscribe([`to/${clientId}`, 1])
    await publisher.publish({ topic: `to/${clientId}`, payload: `${clientId} 1`, qos: 1 })
    const due = sessionPresent ? [`${clientId} 0`, `${clientId} 1`] : [`${clientId} 1`]
    await eventually(() => client.received.length >= due.length)
    // Still there after the sweeps that saw it as ended.
    await new Promise((resolve) => setTimeout(resolve, expiryMs))
    await publisher.publish({ topic: `to/${clientId}`, payload: `${clientId} 2`, qos: 1 })
    due.push(`${clientId} 2`)
    await eventually(() => client.received.length >= due.length)
    expect(texts(client.received)).toEqual(due)
    acknowledgedCount += due.length
    deliveredCount += client.received.length
  }
  // All are there before the first goes: or those that return would wait behind those that come.
  const all = await Promise.all(Array.from({ length: 60 }, (_, i) => enterAs(i)))
  await Promise.all(all.map(returnAt))
  expect(outcomes.kept).toBeGreaterThan(0)
  expect(outcomes.removed).toBeGreaterThan(0)
  report(
    '12 (pods, back)',
    acknowledgedCount,
    `${deliveredCount} delivered; ${outcomes.kept} sessions kept, ${outcomes.removed} ended`,
  )
}, 60_000)

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
}, 60_000)
