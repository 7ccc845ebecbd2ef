import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import { openTunnelBroker, startAgent, startForward, until } from '../support/tunnel-processes.ts'
import {
  closeCodeAt,
  type Flow,
  joinThrough,
  openTargetQueue,
  reportFlows,
  startFlow,
} from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576
type TunnelInput = NonNullable<ConfigInput['tunnel']>

/** Streams that are open, of a client to an agent, with a broker that keeps to limits. */
async function openWorld(tunnel: TunnelInput, streamCount: number) {
  const broker = await openTunnelBroker({ config: { tunnel } })
  const target = await openTargetQueue()
  const agent = await startAgent(broker, { data: target.address })
  const forward = await startForward(broker, ['data'])
  const joints: { near: Socket; far: Socket }[] = []
  for (let count = 0; count < streamCount; count++) joints.push(await joinThrough(forward.ports[0], target))
  return { broker, target, agent, forward, joints }
}

const totalReceived = (flows: readonly Flow[]): number =>
  flows.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0)

async function keepToRate(key: keyof TunnelInput, streamCount: number): Promise<void> {
  const rate = 2 * MIB
  const { broker, joints } = await openWorld({ [key]: rate }, streamCount)
  const bytes = Math.floor((16 * MIB) / streamCount)
  const startedMs = performance.now()
  const ups = joints.map(({ near, far }) => startFlow(near, far, bytes))
  const downs = joints.map(({ near, far }) => startFlow(far, near, bytes))
  const all = [...ups, ...downs]
  await until(() => all.every(({ receivedBytes }) => receivedBytes > bytes / 4))
  const killedMs = performance.now()
  const before = Math.max(...[ups, downs].map(totalReceived))
  await broker.kill()
  await broker.start()
  for (const { sent, received } of await Promise.all(all.map(({ done }) => done))) expect(received).toBe(sent)
  const seconds = [killedMs - startedMs, performance.now() - killedMs].map((ms) => ms / 1_000)
  reportFlows(
    `12 (${key} ${rate / MIB} MiB/s)`,
    { up: ups, down: downs },
    `${(before / MIB).toFixed(1)} MiB one way in ${seconds[0]!.toFixed(1)} s, the rest in ${seconds[1]!.toFixed(1)} s with the restart`,
  )
  // What goes at once: a quarter of a second's worth, and the first of each stream.
  expect(seconds[0]).toBeGreaterThan(before / rate - 0.5)
  expect(seconds[1]).toBeGreaterThan((16 * MIB - before) / rate - 1)
  await until(async () => (await broker.metric('tunnelmq_tunnel_streams')) === 0)
  expect(await broker.metric('tunnelmq_tunnel_shaped_flows')).toBe(0)
}

it('keeps to rates of streams, clients and agents, each way, also behind a restart, and brings all of it', async () => {
  // Side by side, as most of it is waiting.
  await Promise.all([
    keepToRate('bytesPerSecondPerStream', 1),
    keepToRate('bytesPerSecondPerClient', 3),
    keepToRate('bytesPerSecondPerAgent', 3),
  ])
})

describe('a number of streams', () => {
  it.each<keyof TunnelInput>(['maxStreams', 'maxStreamsPerClient', 'maxStreamsPerAgent'])(
    '%s is kept to: one more is reset at once with `limit`, and a place that is free is taken',
    async (key) => {
      const { broker, target, forward, joints } = await openWorld({ [key]: 3 }, 3)
      for (let attempt = 0; attempt < 3; attempt++)
        expect(await closeCodeAt(forward.ports[0])).toBe('ECONNRESET')
      await until(() => forward.countOf('forward failed', { reset: 'limit' }) === 3)
      const [first, ...others] = joints
      first!.far.end()
      first!.near.end()
      first!.near.resume()
      first!.far.resume()
      await until(async () => (await broker.metric('tunnelmq_tunnel_streams')) === 2)
      const next = await joinThrough(forward.ports[0], target)
      const flows = [next, ...others].map(({ near, far }) => startFlow(near, far, MIB))
      for (const { sent, received } of await Promise.all(flows.map(({ done }) => done)))
        expect(received).toBe(sent)
      reportFlows(`12 (${key} 3)`, { up: flows }, '3 attempts beyond it were reset')
    },
  )
})
