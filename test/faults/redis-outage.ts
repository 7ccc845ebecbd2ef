import { expect } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { notReadyReasons, type Pods, waitReady } from '../support/pods.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { allCome, eventually, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

export interface Outage {
  readonly test: string
  readonly begin: () => Promise<void>
  /** From the moment at which everybody has noticed it. */
  readonly lastsMs: number
  readonly end: () => Promise<void>
}

const NOT_READY_WITHIN_MS = 3_000
const READY_WITHIN_MS = 5_000
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * QoS 1 and 2 between two pods, and QoS 0 within each, while Redis goes away and comes back: nothing that was
 * acknowledged is lost, no process ends, and every pod says how it is.
 */
export async function redisOutage(pods: Pods, { test, begin, lastsMs, end }: Outage): Promise<void> {
  const [first = 0, second = 0] = pods.ports
  const publishers = [new Publisher('one', 1, 0), new Publisher('two', 2, 0)]
  const subscribers = ['exact', 'lowered'].map(
    (clientId) => new LoadClient({ port: 0, clientId, clean: false }),
  )
  const stay = (client: LoadClient, pod: number): RoamingClient =>
    new RoamingClient(client, { ports: () => pods.ports, first: pod })
  const roaming = [...publishers.map(({ client }) => client), ...subscribers].map((client, i) =>
    stay(client, i % 2),
  )
  await Promise.all(roaming.map(({ opened }) => opened))
  await subscribers[0]!.subscribe(['load/#', 2])
  await subscribers[1]!.subscribe(['load/#', 1])
  const locals = await Promise.all([localPair(first, 'a'), localPair(second, 'b')])
  for (const publisher of publishers) publisher.publishMore()
  const acknowledgedCount = (): number =>
    publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)
  await eventually(() => acknowledgedCount() > 500)

  await begin()
  const begunAt = performance.now()
  for (const pod of pods.all) {
    await eventually(async () => (await notReadyReasons(pod)).length > 0)
    expect((await fetch(`${pod.adminUrl}/live`)).status).toBe(200)
  }
  const noticedMs = Math.round(performance.now() - begunAt)
  expect(noticedMs).toBeLessThan(NOT_READY_WITHIN_MS)
  const acknowledgedBefore = acknowledgedCount()
  const stranger = new LoadClient({ port: first, clientId: 'stranger' })
  expect((await stranger.connect()).code).toBe(3)
  await stranger.vanish()
  for (const pair of locals) await pair.exchange('away')
  await pause(lastsMs)
  // Redis has executed nothing: nobody can have been thanked.
  expect(acknowledgedCount()).toBe(acknowledgedBefore)

  await end()
  const readyMs = await Promise.all(pods.all.map((pod) => waitReady(pod)))
  expect(Math.max(...readyMs)).toBeLessThan(READY_WITHIN_MS)
  const enough = acknowledgedCount() + 500
  await eventually(() => acknowledgedCount() > enough)
  const acknowledged = await stopAll(publishers)
  await Promise.all(subscribers.map(({ received }) => allCome(acknowledged, received)))
  await Promise.all(subscribers.map((client) => client.ping()))
  for (const pair of locals) await pair.exchange('back')

  for (const { received } of subscribers) expect(outOfOrder(received)).toEqual([])
  expect(repeated(subscribers[0]!.received.filter(({ qos }) => qos === 2))).toEqual([])
  expect(roaming.map(({ absentCount }) => absentCount)).toEqual([0, 0, 0, 0])
  // Whoever asks nothing of Redis stays connected; and whoever only receives, within limits.storeTimeoutMs.
  expect(locals.every((pair) => pair.isOpen)).toBe(true)
  const receiving = roaming.slice(publishers.length)
  expect(receiving.every(({ connectCount }) => connectCount === 1 || lastsMs > 20_000)).toBe(true)
  expect(pods.all.every(({ isRunning }) => isRunning)).toBe(true)
  expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
  report(
    test,
    acknowledged.length,
    `${new Set(texts(subscribers[0]!.received)).size} delivered; not ready after ${noticedMs} ms, ready ${Math.round(Math.max(...readyMs))} ms after the return`,
  )
  await Promise.all(roaming.map((client) => client.end()))
}

interface LocalPair {
  readonly isOpen: boolean
  /** QoS 0 from one to the other, on the same pod. */
  exchange(round: string): Promise<void>
}

async function localPair(port: number, name: string): Promise<LocalPair> {
  const speaker = new LoadClient({ port, clientId: `speaker-${name}` })
  const listener = new LoadClient({ port, clientId: `listener-${name}` })
  await Promise.all([speaker.connect(), listener.connect()])
  await listener.subscribe([`local/${name}`, 0])
  return {
    get isOpen() {
      return speaker.isOpen && listener.isOpen
    },
    async exchange(round) {
      await speaker.publish({ topic: `local/${name}`, payload: round, qos: 0 })
      await eventually(() => texts(listener.received).includes(round))
    },
  }
}
