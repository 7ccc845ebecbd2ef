import { expect, it } from 'vitest'
import { startReady } from '../support/pods.ts'
import { openTunnelPods, startPinging, untilAnswered, untilNothingIsLeft } from '../support/tunnel-pods.ts'
import { reportFlows, startFlow, untilMore } from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576

it.each([
  // Both ends are where the last pod was left, until a pod in between stands for one of them.
  { podCount: 2, rounds: 2 },
  { podCount: 3, rounds: 1 },
])(
  'carries a stream each way through $rounds rolling restarts of $podCount pods',
  async ({ podCount, rounds }) => {
    const world = await openTunnelPods(podCount, { config: { shutdown: { drainMs: 500 } } })
    const { pods, agent, forward, agentDoor, clientDoor, join } = world
    const { near, far } = await join()
    const pinging = startPinging(await join())
    const flows = { up: startFlow(near, far), down: startFlow(far, near) }
    const { up, down } = flows
    const moved: number[] = []
    for (let round = 0; round < rounds; round++)
      for (const [index, pod] of pods.all.entries()) {
        const before = up.receivedBytes + down.receivedBytes
        await Promise.all([untilMore([up, down], 8 * MIB), untilAnswered(pinging, 5)])
        moved.push(Math.round((up.receivedBytes + down.receivedBytes - before) / MIB))
        // As a load balancer: to any pod but the one that leaves; with three of them, apart.
        const others = pods.ports.filter((port) => port !== pod.port)
        agentDoor.lead(others[0]!)
        clientDoor.lead(others.at(-1)!)
        expect(await pod.stop()).toBe(0)
        await startReady(pod, `pod-${index}-${round}`)
      }
    await Promise.all([untilMore([up, down], 8 * MIB), untilAnswered(pinging, 5)])
    up.stop()
    down.stop()
    pinging.stop()
    const results = await Promise.all([up.done, down.done])
    await pinging.done
    reportFlows(
      `rolling restart of ${podCount} pods`,
      flows,
      `between restarts ${moved.join(', ')} MiB; ${pinging.count} pings, the longest ${Math.round(pinging.longestMs)} ms`,
    )
    for (const { sent, received } of results) expect(received).toBe(sent)
    await forward.logged('forward stream ended', { end: 'closed' }, 1)
    await agent.logged('tunnel stream ended', { end: 'closed' }, 1)
    expect(agent.countOf('tunnel stream opened')).toBe(2)
    await untilNothingIsLeft(world)
    expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
  },
)
