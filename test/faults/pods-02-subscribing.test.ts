import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { freeze, startPods, thaw } from '../support/pods.ts'
import type { Filter } from '../support/wire.ts'
import { eventually, missing, repeated, report, texts } from './ledger.ts'

/** It is a second (docs/decisions/0009), and what a busy machine adds: far from the lease that it must not wait for. */
const SUBACK_WITHIN_MS = 4_000

async function timed<T>(work: Promise<T>): Promise<[answer: T, tookMs: number]> {
  const startedAt = performance.now()
  return [await work, performance.now() - startedAt]
}

async function enter(port: number, clientId: string, clean = true): Promise<LoadClient> {
  const client = new LoadClient({ port, clientId, clean })
  await client.connect()
  return client
}

it('what is published at any pod after a SUBACK comes, 1, 2 or 50 filters, clean or persistent, twice at once', async () => {
  const pods = await startPods(3)
  const publishers = await Promise.all(pods.ports.map((port, i) => enter(port, `publisher-${i}`)))
  let slowestMs = 0
  let deliveredCount = 0
  for (const clean of [true, false])
    for (const count of [1, 2, 50]) {
      const root = `${clean ? 'clean' : 'kept'}/${count}`
      const filters = Array.from({ length: count }, (_, i): Filter => [`${root}/${i}/+`, 1 + (i % 2)])
      const codes = filters.map(([, qos]) => qos)
      const subscriber = await enter(pods.ports[count % 3]!, root, clean)
      const say = (round: string): Promise<void[]> =>
        Promise.all(
          publishers.flatMap((publisher, p) =>
            codes.map((_, i) =>
              publisher.publish({ topic: `${root}/${i}/x`, payload: `${round}-${p}-${root} ${i}`, qos: 2 }),
            ),
          ),
        )
      const [granted, tookMs] = await timed(subscriber.subscribe(...filters))
      expect(granted).toEqual(codes)
      await say('once')
      const [twice, bothMs] = await timed(
        Promise.all([subscriber.subscribe(...filters), subscriber.subscribe(...filters)]),
      )
      expect(twice).toEqual([codes, codes])
      await say('twice')
      slowestMs = Math.max(slowestMs, tookMs, bothMs)
      const due = 2 * publishers.length * count
      await eventually(() => subscriber.received.length >= due)
      await subscriber.ping()
      expect(repeated(subscriber.received)).toEqual([])
      expect(subscriber.received.length).toBe(due)
      deliveredCount += due
      await subscriber.disconnect()
    }
  expect(slowestMs).toBeLessThan(SUBACK_WITHIN_MS)
  const acknowledgedCount = publishers.reduce((sum, { acknowledged }) => sum + acknowledged.size, 0)
  expect(deliveredCount).toBe(acknowledgedCount)
  report(
    '2 (pods)',
    acknowledgedCount,
    `${deliveredCount} delivered, the slowest SUBACK after ${Math.round(slowestMs)} ms`,
  )
})

it('200 subscriptions while messages flow: each gets all that was published after its SUBACK, and none after its UNSUBACK', async () => {
  const pods = await startPods(2)
  const publisher = await enter(pods.ports[0]!, 'publisher')
  const subscribers = [await enter(pods.ports[1]!, 'clean'), await enter(pods.ports[1]!, 'kept', false)]
  const due: string[] = []
  const notDue: string[] = []
  for (let round = 0; round < 100; round++) {
    const topic = `flow/${round % 3}`
    await Promise.all(subscribers.map((subscriber) => subscriber.subscribe([topic, 1])))
    due.push(`in ${round}`)
    await publisher.publish({ topic, payload: `in ${round}`, qos: 1 })
    await eventually(() => subscribers.every(({ received }) => texts(received).includes(`in ${round}`)))
    await Promise.all(subscribers.map((subscriber) => subscriber.unsubscribe(topic)))
    notDue.push(`out ${round}`)
    await publisher.publish({ topic, payload: `out ${round}`, qos: 1 })
  }
  for (const subscriber of subscribers) {
    await subscriber.ping()
    expect(texts(subscriber.received)).toEqual(due)
    expect(missing(notDue, texts(subscriber.received))).toEqual(notDue)
  }
  report('2 (flow)', publisher.acknowledged.size, `${due.length} due and delivered to each of 2`)
})

it('a pod that is stopped delays a SUBACK by a second at most', async () => {
  const pods = await startPods(3, { config: { cluster: { leaseMs: 8_000 } } })
  const publishers = await Promise.all(pods.ports.map((port, i) => enter(port, `publisher-${i}`)))
  const subscriber = await enter(pods.ports[0]!, 'subscriber', false)
  await subscriber.subscribe(['other', 1])
  freeze(pods.all[2]!)
  const [, tookMs] = await timed(subscriber.subscribe(['late', 1]))
  // It has old routes, and must not use them.
  const held = publishers.map((publisher, i) =>
    publisher.publish({ topic: 'late', payload: `p ${i}`, qos: 1 }),
  )
  await Promise.all(held.slice(0, 2))
  thaw(pods.all[2]!)
  await Promise.all(held)
  await eventually(() => subscriber.received.length >= 3)
  await subscriber.ping()
  expect(texts(subscriber.received).sort()).toEqual(['p 0', 'p 1', 'p 2'])
  expect(tookMs).toBeLessThan(SUBACK_WITHIN_MS)
  report('2 (pod stopped)', 3, `3 delivered, SUBACK after ${Math.round(tookMs)} ms`)
})
