import { expect, it } from 'vitest'
import { MAX_UNFORGOTTEN_COUNT } from '../../src/store/contract.ts'
import { allCome, eventually, outOfOrder, repeated, report, texts } from '../faults/ledger.ts'
import { Publisher, stopAll } from '../faults/publisher.ts'
import { LoadClient } from '../support/load-client.ts'
import { createPod, startReady, waitReady } from '../support/pods.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { PRIMARY_NAME, startSentinelWorld } from '../support/sentinel.ts'

const REPLICAS = 2
const FAIL_OVERS = 2
/** `limits.maxInflight` of the broker. */
const MAX_INFLIGHT = 20

it('loses nothing when the primary is killed, twice under load, with replicas that are waited for', async () => {
  const world = await startSentinelWorld(REPLICAS)
  // What is acknowledged is on every replica: with fewer, Sentinel may promote one that did not answer.
  const storeRedis = { sentinel: { name: PRIMARY_NAME, nodes: world.nodes }, waitReplicas: REPLICAS }
  const pods = await Promise.all([0, 1].map((index) => createPod(world.servers[0]!, index, { storeRedis })))
  await Promise.all(pods.map((pod) => startReady(pod)))
  const ports = pods.map(({ port }) => port)
  const publishers = [new Publisher('one', 1, 0), new Publisher('two', 2, 0)]
  const subscriber = new LoadClient({ port: 0, clientId: 'subscriber', clean: false })
  const clients = [subscriber, ...publishers.map(({ client }) => client)]
  const roaming = clients.map((client, i) => new RoamingClient(client, { ports: () => ports, first: i % 2 }))
  await Promise.all(roaming.map(({ opened }) => opened))
  await subscriber.subscribe(['load/#', 2])
  for (const publisher of publishers) publisher.publishMore()
  const acknowledgedCount = (): number =>
    publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)

  const tookMs: number[] = []
  for (let round = 0; round < FAIL_OVERS; round++) {
    const enough = acknowledgedCount() + 300
    await eventually(() => acknowledgedCount() > enough)
    const old = await world.primary()
    await old.kill()
    const killedAt = performance.now()
    await world.failedOverFrom(old)
    // It comes back as a replica of the new one. Without it nothing is acknowledged.
    await old.start()
    await Promise.all(pods.map((pod) => waitReady(pod, 60_000)))
    tookMs.push(performance.now() - killedAt)
  }
  const enough = acknowledgedCount() + 300
  await eventually(() => acknowledgedCount() > enough)
  const acknowledged = await stopAll(publishers)
  await allCome(acknowledged, subscriber.received)
  await subscriber.ping()
  expect(outOfOrder(subscriber.received)).toEqual([])
  // What a subscriber has acknowledged does not wait for replicas, and may come again (docs/guarantees.md): it says so.
  const again = repeated(subscriber.received.filter(({ qos }) => qos === 2))
  expect(again.filter(({ dup }) => !dup)).toEqual([])
  expect(again.length).toBeLessThanOrEqual(FAIL_OVERS * (MAX_UNFORGOTTEN_COUNT + MAX_INFLIGHT))
  expect(roaming.map(({ absentCount }) => absentCount)).toEqual([0, 0, 0])
  expect(pods.every(({ isRunning }) => isRunning)).toBe(true)
  report(
    'Sentinel',
    acknowledged.length,
    `${new Set(texts(subscriber.received)).size} delivered; ready again after ${tookMs.map(Math.round).join(' and ')} ms`,
  )
  await Promise.all(roaming.map((client) => client.end()))
}, 180_000)
