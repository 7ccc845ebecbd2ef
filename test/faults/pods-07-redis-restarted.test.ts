import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { type Pods, startPods, waitReady } from '../support/pods.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { allCome, eventually, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

it('loses nothing when Redis is restarted with its append-only file, 5 times under load', async () => {
  const pods = await startPods(2)
  const publishers = [new Publisher('one', 1, 0), new Publisher('two', 2, 0)]
  const subscriber = new LoadClient({ port: 0, clientId: 'subscriber', clean: false })
  const sleeper = new LoadClient({ port: pods.ports[1]!, clientId: 'sleeper', clean: false })
  const clients = [subscriber, ...publishers.map(({ client }) => client)]
  const roaming = clients.map(
    (client, first) => new RoamingClient(client, { ports: () => pods.ports, first: first % 2 }),
  )
  await Promise.all(roaming.map(({ opened }) => opened))
  await subscriber.subscribe(['load/#', 2])
  await sleeper.connect()
  await sleeper.subscribe(['load/#', 2])
  await sleeper.disconnect()
  for (const publisher of publishers) publisher.publishMore()
  const acknowledgedCount = (): number =>
    publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)
  for (let restart = 0; restart < 5; restart++) {
    const enough = acknowledgedCount() + 300
    await eventually(() => acknowledgedCount() > enough)
    await pods.redis.stop()
    await pods.redis.start()
    await Promise.all(pods.all.map((pod) => waitReady(pod)))
  }
  const acknowledged = await stopAll(publishers)
  expect((await sleeper.connect(pods.ports[0])).sessionPresent).toBe(true)
  for (const client of [subscriber, sleeper]) {
    await allCome(acknowledged, client.received, 60_000)
    await client.ping()
    expect(outOfOrder(client.received)).toEqual([])
    expect(repeated(client.received.filter(({ qos }) => qos === 2))).toEqual([])
  }
  expect(roaming.map(({ absentCount }) => absentCount)).toEqual([0, 0, 0])
  report(
    '7 (restarted)',
    acknowledged.length,
    `${new Set(texts(sleeper.received)).size} delivered to each of 2`,
  )
  await Promise.all(roaming.map((client) => client.end()))
})

/** Everything that Redis held is gone; whether it was restarted for that or not. */
const losses: { how: string; lose(pods: Pods): Promise<void> }[] = [
  { how: 'FLUSHALL', lose: (pods) => pods.redis.flush() },
  {
    how: 'a restart without its files',
    async lose({ redis }) {
      await redis.kill()
      await rm(join(redis.folder, 'appendonlydir'), { recursive: true })
      await redis.start()
    },
  },
]

it.each(losses)(
  'an emptied Redis ($how) is noticed and said, and every stored session begins anew',
  async (loss) => {
    const pods = await startPods(2)
    const enter = async (clientId: string, pod: number, clean: boolean): Promise<LoadClient> => {
      const client = new LoadClient({ port: pods.ports[pod]!, clientId, clean })
      await client.connect()
      await client.subscribe(['a/#', 1])
      return client
    }
    const stored = [await enter('stored-0', 0, false), await enter('stored-1', 1, false)]
    const clean = [await enter('clean-0', 0, true), await enter('clean-1', 1, true)]
    const away = await enter('away', 0, false)
    await away.disconnect()
    const publisher = new LoadClient({ port: pods.ports[0]!, clientId: 'publisher' })
    await publisher.connect()
    await publisher.publish({ topic: 'a/kept', payload: 'p 0', qos: 1, retain: true })
    await eventually(() => [...stored, ...clean].every(({ received }) => received.length === 1))

    await loss.lose(pods)
    await Promise.all(stored.map(({ closed }) => closed))
    await Promise.all(pods.all.map((pod) => waitReady(pod)))
    for (const pod of pods.all) {
      await eventually(async () => (await pod.metric('tunnelmq_cluster_emptied_total')) === 1)
      expect(
        pod.events.some(({ msg, level }) => level === 'error' && /lost|emptied/i.test(String(msg))),
      ).toBe(true)
    }
    for (const [index, client] of [...stored, away].entries()) {
      expect(await client.connect(pods.ports[index % 2])).toEqual({ code: 0, sessionPresent: false })
      await client.subscribe(['a/#', 1])
    }
    // From here on as ever: also for those that have nothing stored, which may have stayed.
    for (const client of clean) {
      if (client.isOpen) continue
      await client.connect()
      await client.subscribe(['a/#', 1])
    }
    if (!publisher.isOpen) await publisher.connect()
    await publisher.publish({ topic: 'a/new', payload: 'p 1', qos: 1 })
    const everyone = [...stored, away, ...clean]
    await eventually(() => everyone.every(({ received }) => texts(received).includes('p 1')))
    expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
    report(
      `7 (emptied, ${loss.how})`,
      publisher.acknowledged.size,
      'p 1 delivered to each of 5; session present 0 for all',
    )
  },
)
