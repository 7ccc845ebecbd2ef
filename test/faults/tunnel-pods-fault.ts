import { expect } from 'vitest'
import { freeze, startReady, thaw } from '../support/pods.ts'
import {
  openTunnelPods,
  startPinging,
  type TunnelPods,
  untilAnswered,
  untilNothingIsLeft,
} from '../support/tunnel-pods.ts'
import { until } from '../support/tunnel-processes.ts'
import { reportFlows, startFlow, untilMore } from '../support/tunnel-processes-traffic.ts'

const MIB = 1_048_576

export interface TunnelFault {
  readonly name: string
  readonly podCount: number
  /** Resolves when it is over. */
  readonly strike: (world: TunnelPods) => Promise<void>
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export const podOfTheAgentKilled: TunnelFault = {
  name: 'pod of the agent killed',
  podCount: 3,
  async strike({ pods, agentDoor }) {
    agentDoor.lead(pods.ports[2]!)
    await pods.all[0]!.kill()
  },
}

export const podOfTheClientKilled: TunnelFault = {
  name: 'pod of the client killed',
  podCount: 3,
  async strike({ pods, clientDoor }) {
    clientDoor.lead(pods.ports[2]!)
    await pods.all[1]!.kill()
  },
}

/** Each end finds itself at a third or fourth pod, apart again. */
export const bothPodsKilled: TunnelFault = {
  name: 'pods of the agent and of the client killed',
  podCount: 4,
  async strike({ pods, agentDoor, clientDoor }) {
    agentDoor.lead(pods.ports[2]!)
    clientDoor.lead(pods.ports[3]!)
    await Promise.all([pods.all[0]!.kill(), pods.all[1]!.kill()])
  },
}

/** Each comes back where it was, to a pod that knows of nothing; then the ends have changed places. */
export const bothPodsRestarted: TunnelFault = {
  name: 'both pods killed and started again, the ends at the place of the other',
  podCount: 2,
  async strike({ pods, agentDoor, clientDoor }) {
    const [one, other] = [pods.all[0]!, pods.all[1]!]
    await Promise.all([one.kill(), other.kill()])
    agentDoor.lead(other.port)
    clientDoor.lead(one.port)
    await Promise.all([startReady(one), startReady(other)])
  },
}

/** SIGSTOP: connections to it stay up, and nothing passes. */
export const redisStopped: TunnelFault = {
  name: 'Redis stopped for 10 s',
  podCount: 2,
  async strike({ pods: { redis } }) {
    redis.freeze()
    await pause(10_000)
    redis.thaw()
  },
}

/** SIGKILL; its data is read again, and the pods load it. */
export const redisRestarted: TunnelFault = {
  name: 'Redis killed and started again',
  podCount: 2,
  async strike({ pods: { redis } }) {
    await redis.kill()
    await redis.start()
  },
}

/**
 * SIGSTOP, for several leases: the others declare it dead, and its end still holds a connection to it. When it runs
 * again it learns that, and sends its end away.
 */
function podStopped(name: string, index: 0 | 1): TunnelFault {
  return {
    name,
    podCount: 2,
    async strike({ pods }) {
      const pod = pods.all[index]!
      freeze(pod)
      await until(async () => (await pods.redis.command('HLEN', '{tunnelmq}:pods')) === 1)
      thaw(pod)
    },
  }
}

export const podOfTheAgentStopped = podStopped('pod of the agent stopped until it counts as dead', 0)
export const podOfTheClientStopped = podStopped('pod of the client stopped until it counts as dead', 1)

/**
 * So many bytes each way in two streams, and pings in a third, from a client at one pod to an agent at another; the
 * fault comes in the middle. Every byte arrives, in order, and nothing is left behind.
 */
export async function carryThrough(
  { name, podCount, strike }: TunnelFault,
  mebibytes: number,
): Promise<void> {
  const world = await openTunnelPods(podCount)
  const { pods, agent, forward, join } = world
  const [one, other] = [await join(), await join()]
  const pinging = startPinging(await join())
  const startedAt = performance.now()
  const up = startFlow(one.near, one.far, mebibytes * MIB)
  const down = startFlow(other.far, other.near, mebibytes * MIB)
  one.far.end()
  other.near.end()

  // One of them may be much faster than the other: neither is to be at its end.
  await until(() => {
    const [least = 0, most = 0] = [up.receivedBytes, down.receivedBytes].toSorted((a, b) => a - b)
    return least > 0.02 * mebibytes * MIB && most > 0.3 * mebibytes * MIB
  })
  const inTheMiddle = [up, down].every(({ sentBytes }) => sentBytes < mebibytes * MIB)
  await strike(world)
  const overAt = performance.now()
  const atFault = up.receivedBytes + down.receivedBytes
  await Promise.all([untilMore([up, down], MIB), untilAnswered(pinging, 1)])
  const resumedMs = performance.now() - overAt
  const results = await Promise.all([up.done, down.done])
  const seconds = (performance.now() - startedAt) / 1_000
  await untilAnswered(pinging, 10)
  pinging.stop()
  await pinging.done

  reportFlows(
    name,
    { up, down },
    [
      `${Math.round(atFault / MIB)} MiB had come by the end of it`,
      `all three streams went on after ${Math.round(resumedMs)} ms`,
      `${pinging.count} pings, the longest ${Math.round(pinging.longestMs)} ms`,
      `${seconds.toFixed(1)} s in all`,
    ].join('; '),
  )
  expect(inTheMiddle).toBe(true)
  for (const { sent, received } of results) expect(received).toBe(sent)
  for (const [end, message] of [
    [agent, 'tunnel stream'],
    [forward, 'forward stream'],
  ] as const) {
    await until(() => end.countOf(`${message} ended`, { end: 'closed' }) === 3)
    expect(end.countOf(`${message} ended`)).toBe(3)
  }
  await untilNothingIsLeft(world)
  expect(await pods.metric('tunnelmq_unhandled_errors_total')).toBe(0)
}
