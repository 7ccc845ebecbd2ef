import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { startPods, startReady } from '../support/pods.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { allCome, dupsOf, eventually, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

/** Some hundred messages a second from each: the load is to go on, and not to fill the machine. */
const pace = { window: 5, pauseMs: 50 }

it.each([
  {
    names: 'random',
    nameOf: (_: number, round: number) => `pod-${round}-${Math.random().toString(16).slice(2, 10)}`,
  },
  { names: 'fixed', nameOf: (index: number) => `tunnelmq-${index}` },
])(
  'loses nothing while all pods are restarted one after another, with $names names',
  async ({ names, nameOf }) => {
    const pods = await startPods(3, { config: { shutdown: { drainMs: 500 } } })
    const publishers = [0, 1, 2].flatMap((i) => [
      new Publisher(`one-${i}`, 1, 0, pace),
      new Publisher(`two-${i}`, 2, 0, pace),
    ])
    const subscribers = [0, 1, 2].map(
      (i) => new LoadClient({ port: 0, clientId: `subscriber-${i}`, clean: false }),
    )
    // It is away most of the time, and comes back at any pod.
    const commuter = new LoadClient({ port: 0, clientId: 'commuter', clean: false })
    const roam = (client: LoadClient, first: number): RoamingClient =>
      new RoamingClient(client, { ports: () => pods.ports, first: first % 3 })
    const roaming = [...subscribers, ...publishers.map(({ client }) => client)].map(roam)
    await Promise.all(roaming.map(({ opened }) => opened))
    for (const subscriber of subscribers) await subscriber.subscribe(['load/#', 2])
    await commuter.connect(pods.ports[0])
    await commuter.subscribe(['load/#', 2])
    await commuter.vanish()
    for (const publisher of publishers) publisher.publishMore()
    const acknowledgedCount = (): number =>
      publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)

    for (const round of [0, 1])
      for (const [index, pod] of pods.all.entries()) {
        const enough = acknowledgedCount() + 200
        await eventually(() => acknowledgedCount() > enough)
        expect(await pod.stop()).toBe(0)
        await startReady(pod, nameOf(index, round))
        expect((await commuter.connect(pods.ports[index])).sessionPresent).toBe(true)
        await commuter.ping()
        await commuter.vanish()
      }
    const acknowledged = await stopAll(publishers)
    await commuter.connect(pods.ports[0])
    const resent = new Set(publishers.flatMap(({ client }) => [...client.resent]))
    for (const client of [...subscribers, commuter]) {
      await allCome(acknowledged, client.received, 60_000)
      await client.ping()
      expect(outOfOrder(client.received)).toEqual([])
      expect(repeated(client.received.filter(({ qos }) => qos === 2))).toEqual([])
      expect(dupsOf(client.received, resent).wrong).toEqual([])
    }
    expect(roaming.every(({ absentCount }) => absentCount === 0)).toBe(true)
    expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
    report(
      `21 (${names} names)`,
      acknowledged.length,
      `${new Set(texts(commuter.received)).size} delivered to each of 4, through 6 restarts`,
    )
    await Promise.all(roaming.map((client) => client.end()))
  },
)
