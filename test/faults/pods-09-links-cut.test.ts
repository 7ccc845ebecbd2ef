import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { freeze, startPods, thaw } from '../support/pods.ts'
import { eventually, missing, report, texts } from './ledger.ts'
import { Mesh } from './mesh.ts'

/** After a fault nothing is stuck for longer: a second, and what a busy machine adds. Stuck would be for the whole fault. */
const FLOWS_WITHIN_MS = 4_000

async function comeBack(client: LoadClient): Promise<void> {
  await client.closed
  await eventually(async () => (await client.connect().catch(() => undefined))?.code === 0)
}

it('nothing is stuck after connections to Redis are killed at random, 20 times', async () => {
  const pods = await startPods(2)
  const mesh = new Mesh(pods)
  await mesh.open()
  await mesh.exchange([0, 1])
  const tookMs: number[] = []
  for (let kill = 0; kill < 20; kill++) {
    const type = ['pubsub', 'normal'][Math.floor(Math.random() * 2)]!
    // In the middle of an exchange.
    const before = mesh.exchange([0, 1])
    await pods.redis.command('CLIENT', 'KILL', 'TYPE', type)
    tookMs.push(await before, await mesh.exchange([0, 1]), await mesh.trickle())
  }
  expect(Math.max(...tookMs)).toBeLessThan(FLOWS_WITHIN_MS)
  for (const { isOpen } of [...mesh.publishers, ...mesh.subscribers]) expect(isOpen).toBe(true)
  expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
  report(
    '9 (links killed)',
    mesh.check(),
    `all delivered to each of 2, the slowest after ${Math.round(Math.max(...tookMs))} ms`,
  )
})

it.each([
  { lease: 'within its lease', leaseMs: 8_000 },
  { lease: 'for longer than its lease', leaseMs: 2_000 },
])('nothing is stuck while a pod is stopped for 5 s ($lease), and after it', async ({ lease, leaseMs }) => {
  const pods = await startPods(3, { config: { cluster: { leaseMs } } })
  const mesh = new Mesh(pods)
  await mesh.open()
  await mesh.exchange([0, 1, 2])
  const tookMs: number[] = []
  freeze(pods.all[1]!)
  const stoppedAt = performance.now()
  const late = new LoadClient({ port: pods.ports[0]!, clientId: 'late', clean: false })
  await late.connect()
  while (performance.now() - stoppedAt < 5_000) {
    tookMs.push(await mesh.exchange([0, 2]), await mesh.trickle())
    const startedAt = performance.now()
    await late.subscribe([`more/${tookMs.length}`, 1])
    tookMs.push(performance.now() - startedAt)
  }
  thaw(pods.all[1]!)
  const [publisher, subscriber] = [mesh.publishers[1]!, mesh.subscribers[1]!]
  // Declared dead, it sends everybody away.
  if (leaseMs < 5_000) await Promise.all([comeBack(publisher), comeBack(subscriber)])
  tookMs.push(await mesh.exchange([0, 1, 2]), await mesh.trickle())
  expect(publisher.isOpen && subscriber.isOpen).toBe(true)
  const before = [...mesh.publishers.flatMap(({ acknowledged }) => [...acknowledged])]
  await eventually(() => missing(before, texts(subscriber.received)).length === 0)
  expect(Math.max(...tookMs)).toBeLessThan(FLOWS_WITHIN_MS)
  report(
    `9 (pod stopped ${lease})`,
    mesh.check(),
    `all delivered to each of 3, the slowest after ${Math.round(Math.max(...tookMs))} ms`,
  )
})
