import { expect, it } from 'vitest'
import type { BrokerProcess } from '../support/broker-process.ts'
import { startPods, startReady } from '../support/pods.ts'
import { closeCodeOf } from '../support/tunnel-ends.ts'
import { openDoor } from '../support/tunnel-pods.ts'
import { startAgent, until } from '../support/tunnel-processes.ts'
import {
  joinThrough,
  openTargetQueue,
  reportFlows,
  startFlow,
  untilMore,
} from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576
const RESUME_SECONDS = 20

const portOf = (pod: BrokerProcess): number =>
  pod.events.findLast(({ msg }) => msg === 'tunnel port listening')!['port'] as number

it('goes on through the ports of two pods when the pod of the agent is killed, and takes new connections at its own when it is back', async () => {
  const listen = [{ bind: '127.0.0.1:0', to: 'pi7/data' }]
  const pods = await startPods(3, {
    config: { tunnel: { listen, resumeTimeoutMs: RESUME_SECONDS * 1_000 } },
  })
  const [first, second] = [pods.all[0]!, pods.all[1]!]
  const door = await openDoor(first.port)
  const target = await openTargetQueue()
  const agent = await startAgent(door, { data: target.address }, ['--resume-timeout', String(RESUME_SECONDS)])
  const joints = []
  for (const pod of pods.all) joints.push(await joinThrough(portOf(pod), target))
  const [lost, ...kept] = joints
  const up = kept.map(({ near, far }) => startFlow(near, far))
  const down = kept.map(({ near, far }) => startFlow(far, near))
  const doomed = [startFlow(lost!.near, lost!.far), startFlow(lost!.far, lost!.near)]
  await untilMore([...up, ...down, ...doomed], 16 * MIB)

  const closed = Promise.all([closeCodeOf(lost!.near), closeCodeOf(lost!.far)])
  door.lead(second.port)
  await first.kill()
  await untilMore([...up, ...down], 32 * MIB)
  for (const flow of [...up, ...down]) flow.stop()
  const results = await Promise.all([...up, ...down].map(({ done }) => done))
  for (const { sent, received } of results) expect(received).toBe(sent)
  // The port of the pod that was killed is gone with it; the target learns it when nothing was heard for long enough.
  expect(await closed).toEqual(['ECONNRESET', 'ECONNRESET'])
  expect(await agent.logged('tunnel stream ended', { end: 'timeout' })).toMatchObject({ by: 'this end' })

  await startReady(first)
  const { near, far } = await joinThrough(portOf(first), target)
  const again = { up: startFlow(near, far, MIB), down: startFlow(far, near, MIB) }
  for (const { done } of [again.up, again.down]) {
    const { sent, received } = await done
    expect(received).toBe(sent)
  }
  reportFlows("ports of pods, the agent's killed", { up, down })
  await until(async () => (await pods.metric('tunnelmq_tunnel_streams')) === 0)
  expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
})
