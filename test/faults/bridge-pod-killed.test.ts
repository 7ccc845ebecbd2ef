import { expect, it } from 'vitest'
import { openBroker } from '../support/broker-world.ts'
import { LoadClient } from '../support/load-client.ts'
import { startPods, startReady } from '../support/pods.ts'
import { RoamingClient } from '../support/roaming-client.ts'
import { allCome, eventually, outOfOrder, report } from './ledger.ts'
import { Publisher, stopAll } from './publisher.ts'

it('of several pods one runs a bridge, and another takes it over when that one is killed: nothing is lost', async () => {
  const other = await openBroker({ session: { queueMaxMessages: 1_000_000 } })
  const topics = [
    { filter: 'load/out/#', qos: 2 },
    { filter: 'load/in/#', direction: 'in' as const, qos: 2 },
  ]
  const url = `mqtt://127.0.0.1:${other.port}`
  const pods = await startPods(2, {
    config: {
      bridges: [{ name: 'other', url, reconnectMinMs: 50, reconnectMaxMs: 200, topics }],
      cluster: { takeoverMs: 300 },
    },
  })
  const runners = async (): Promise<number[]> => {
    const ups = pods.all.map((pod) => (pod.isRunning ? pod.metric('tunnelmq_bridge_up') : Promise.resolve(0)))
    return (await Promise.all(ups)).flatMap((up, index) => (up === 1 ? [index] : []))
  }
  /** Which one: in between a bridge may be connecting, at none of them. */
  const runnerOf = async (): Promise<number> => {
    let running: number[] = []
    await eventually(async () => (running = await runners()).length === 1, 40_000, 100)
    return running[0]!
  }
  await runnerOf()
  const out = new Publisher('out', 1, 0, { window: 10, pauseMs: 50 })
  const back = new Publisher('in', 2, other.port, { window: 10, pauseMs: 50 })
  const here = new LoadClient({ port: 0, clientId: 'here', clean: false })
  const there = new LoadClient({ port: other.port, clientId: 'there', clean: false })
  const roaming = [out.client, here].map(
    (client, first) => new RoamingClient(client, { ports: () => pods.ports, first }),
  )
  await Promise.all(roaming.map(({ opened }) => opened))
  await back.client.connect()
  await there.connect()
  await here.subscribe(['load/in/#', 2])
  await there.subscribe(['load/out/#', 2])
  for (const publisher of [out, back]) publisher.publishMore()
  const crossed = (): number => Math.min(here.received.length, there.received.length)

  for (let kill = 0; kill < 2; kill++) {
    const enough = crossed() + 50
    await eventually(() => crossed() > enough)
    const runner = await runnerOf()
    const pod = pods.all[runner]!
    await pod.kill()
    // The other one takes it before this one is back.
    await eventually(async () => (await runners()).some((index) => index !== runner), 40_000, 100)
    await startReady(pod, `run-${kill}`)
    await eventually(() => roaming.every(({ client }) => client.isOpen))
  }
  const enough = crossed() + 50
  await eventually(() => crossed() > enough)
  await stopAll([out, back])
  const acknowledged = [out, back].map(({ client }) => [...client.acknowledged])
  await allCome(acknowledged[0]!, there.received)
  await allCome(acknowledged[1]!, here.received)
  expect(outOfOrder(there.received)).toEqual([])
  expect(outOfOrder(here.received)).toEqual([])
  // No two of them take it from each other again and again.
  const connects = pods.all.flatMap(({ events }) => events).filter(({ msg }) => msg === 'bridge connected')
  expect(connects.length).toBeLessThanOrEqual(8)
  await runnerOf()
  for (const client of [out.client, back.client, here, there]) await client.vanish()
  report('bridge of pods', acknowledged.flat().length, 'all of them at the other side')
})
