import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { notReadyReasons, startPods, waitReady } from '../support/pods.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { allCome, eventually, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

it.each([
  { fault: 'stopped', redisDies: false },
  { fault: 'killed', redisDies: true },
])('loses nothing when every pod is killed while Redis is $fault', async ({ fault, redisDies }) => {
  const pods = await startPods(2, { redis: { args: ['--appendfsync', redisDies ? 'always' : 'everysec'] } })
  const publishers = [new Publisher('one', 1, 0), new Publisher('two', 2, 0)]
  const subscriber = new LoadClient({ port: 0, clientId: 'subscriber', clean: false })
  const clients = [subscriber, ...publishers.map(({ client }) => client)]
  const roaming = clients.map(
    (client, first) => new RoamingClient(client, { ports: () => pods.ports, first: first % 2 }),
  )
  await Promise.all(roaming.map(({ opened }) => opened))
  await subscriber.subscribe(['load/#', 2])
  for (const publisher of publishers) publisher.publishMore()
  const acknowledgedCount = (): number =>
    publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)

  for (let round = 0; round < 2; round++) {
    const enough = acknowledgedCount() + 300
    await eventually(() => acknowledgedCount() > enough)
    if (redisDies) await pods.redis.kill()
    else pods.redis.freeze()
    for (const pod of pods.all) await eventually(async () => (await notReadyReasons(pod)).length > 0)
    await Promise.all(pods.all.map((pod) => pod.kill()))
    // They wait for Redis, and then come up.
    const started = pods.all.map((pod) => pod.start())
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    expect(pods.all.every(({ isRunning }) => isRunning)).toBe(true)
    if (redisDies) await pods.redis.start()
    else pods.redis.thaw()
    await Promise.all(started)
    await Promise.all(pods.all.map((pod) => waitReady(pod)))
  }
  const acknowledged = await stopAll(publishers)
  await allCome(acknowledged, subscriber.received)
  await subscriber.ping()
  expect(outOfOrder(subscriber.received)).toEqual([])
  expect(repeated(subscriber.received.filter(({ qos }) => qos === 2))).toEqual([])
  expect(roaming.map(({ absentCount }) => absentCount)).toEqual([0, 0, 0])
  report(
    `6 (Redis ${fault})`,
    acknowledged.length,
    `${new Set(texts(subscriber.received)).size} delivered, after 2 deaths of everybody`,
  )
  await Promise.all(roaming.map((client) => client.end()))
})
