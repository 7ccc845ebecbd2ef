import { expect, it } from 'vitest'
import { MAX_UNFORGOTTEN_COUNT } from '../../src/store/contract.ts'
import { LoadClient } from '../support/load-client.ts'
import { startPods, startReady } from '../support/pods.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { allCome, dupsOf, eventually, outOfOrder, repeated, report, texts } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

const kills = 20
/** Of the broker (limits.maxInflight) and of the publishers. */
const window = 20

it("loses nothing when the publisher's or the subscriber's pod is killed, 20 times under load", async () => {
  const pods = await startPods(3, {
    // A claim of a dead pod is waited for as long as that of a slow one.
    config: { cluster: { takeoverMs: 300 } },
  })
  const publishers = [new Publisher('one', 1, 0, { window }), new Publisher('two', 2, 0, { window })]
  const exact = new LoadClient({ port: 0, clientId: 'exact', clean: false })
  const lowered = new LoadClient({ port: 0, clientId: 'lowered', clean: false })
  const subscribers = [exact, lowered]
  const roam = (client: LoadClient, first: number): RoamingClient =>
    new RoamingClient(client, { ports: () => pods.ports, first })
  const roaming = [
    roam(exact, 0),
    roam(lowered, 1),
    ...publishers.map(({ client }, index) => roam(client, index + 1)),
  ]
  const acknowledgedCount = (): number =>
    publishers.reduce((sum, { client }) => sum + client.acknowledged.size, 0)

  await Promise.all(roaming.map(({ opened }) => opened))
  await exact.subscribe(['load/#', 2])
  await lowered.subscribe(['load/#', 1])
  for (const publisher of publishers) publisher.publishMore()
  for (let kill = 0; kill < kills; kill++) {
    const enough = acknowledgedCount() + Math.floor(Math.random() * 400)
    await eventually(() => acknowledgedCount() > enough)
    // By turns that of each subscriber and of each publisher, wherever it is by now.
    const pod = pods.all[roaming[kill % roaming.length]!.at]!
    await pod.kill()
    await startReady(pod, `run-${kill}`)
    await eventually(() => roaming.every(({ client }) => client.isOpen))
  }
  const acknowledged = await stopAll(publishers)
  await Promise.all(subscribers.map(({ received }) => allCome(acknowledged, received)))
  await Promise.all(subscribers.map((client) => client.ping()))

  const resent = new Set(publishers.flatMap(({ client }) => [...client.resent]))
  expect(new Set(acknowledged)).toEqual(new Set(publishers.flatMap(({ published }) => published)))
  expect(roaming.map(({ absentCount }) => absentCount)).toEqual([0, 0, 0, 0])
  for (const subscriber of subscribers) {
    expect(outOfOrder(subscriber.received)).toEqual([])
    const { marked, wrong } = dupsOf(subscriber.received, resent)
    expect(wrong).toEqual([])
    expect(marked).toBeLessThanOrEqual((window + MAX_UNFORGOTTEN_COUNT) * kills)
  }
  expect(repeated(exact.received.filter(({ qos }) => qos === 2))).toEqual([])
  expect(exact.again.dupCount).toBe(exact.again.count)
  const dups = dupsOf(exact.received, resent).marked
  report(
    '3 (pods)',
    acknowledged.length,
    `${new Set(texts(exact.received)).size} delivered, ${dups} of them again with DUP`,
  )
  await Promise.all(roaming.map((client) => client.end()))
}, 600_000)
