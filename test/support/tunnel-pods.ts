import type { Socket } from 'node:net'
import { type Pods, type PodsOptions, startPods } from './pods.ts'
import { openSwitchingProxy, type SwitchingProxy } from './switching-proxy.ts'
import { type EndProcess, startAgent, startForward, until } from './tunnel-processes.ts'
import { type Joint, joinThrough, openTargetQueue, type Target } from './tunnel-processes-traffic.ts'

/** Tunnels across processes: brokers on one Redis, an agent at one and a client at another, each behind a door. */

/** Streams that have not resumed by then are reset: long enough for a busy machine, and far below the default. */
const RESUME_SECONDS = 60

export interface Door extends SwitchingProxy {
  /** What an agent or a client needs to come in here. */
  readonly flags: readonly string[]
}

/** One address, as that of a load balancer: at the next connection it leads to whichever pod it was told. */
export async function openDoor(port: number): Promise<Door> {
  const door = await openSwitchingProxy(port)
  return Object.assign(door, { flags: ['--broker', door.url] })
}

export interface TunnelPods {
  readonly pods: Pods
  readonly target: Target
  readonly agent: EndProcess
  readonly forward: EndProcess
  readonly agentDoor: Door
  readonly clientDoor: Door
  /** A new stream, from a connection to the forward to the target of the agent. */
  readonly join: () => Promise<Joint>
}

/** That many pods; an agent `pi7` with a service `data` at the first one, and a client `laptop` at the second. */
export async function openTunnelPods(count: number, options: PodsOptions = {}): Promise<TunnelPods> {
  const pods = await startPods(count, {
    ...options,
    config: { tunnel: { resumeTimeoutMs: RESUME_SECONDS * 1_000 }, ...options.config },
  })
  const [agentDoor, clientDoor] = [await openDoor(pods.ports[0]!), await openDoor(pods.ports[1]!)]
  const target = await openTargetQueue()
  const more = ['--resume-timeout', String(RESUME_SECONDS)]
  const agent = await startAgent(agentDoor, { data: target.address }, more)
  const forward = await startForward(clientDoor, ['data'], more)
  const join = (): Promise<Joint> => joinThrough(forward.ports[0], target)
  return { pods, target, agent, forward, agentDoor, clientDoor, join }
}

/**
 * Resolves when no pod knows of a stream, and Redis of no pod but those that run, which takes the lease of those that
 * were killed; and, once the ends are killed as well, of nobody's seat.
 */
export async function untilNothingIsLeft({ pods, agent, forward }: TunnelPods): Promise<void> {
  await until(async () => (await pods.metric('tunnelmq_tunnel_streams')) === 0)
  await Promise.all([agent.kill(), forward.kill()])
  let left: readonly string[] = []
  await until(async () => (left = await leftovers(pods)).length === 0).catch((error: unknown) => {
    throw new Error(`Redis still has ${left.join(', ')}`, { cause: error })
  })
}

/** `wants:<pod>` and whatever else names a pod that is gone, be it a key or a field of a hash; and seats of anybody. */
async function leftovers({ redis, all }: Pods): Promise<string[]> {
  const prefix = '{tunnelmq}:'
  const list = async (...call: string[]): Promise<string[]> => (await redis.command(...call)) as string[]
  const members = await list('HKEYS', `${prefix}pods`)
  const tooMany = members.length - all.filter(({ isRunning }) => isRunning).length
  const keys = (await list('KEYS', `${prefix}*`)).map((key) => key.slice(prefix.length))
  const fields = await Promise.all(
    ['podinfo', 'inboxpos', 'inboxbytes'].map(async (hash) =>
      (await list('HKEYS', prefix + hash)).map((field) => `${hash}:${field}`),
    ),
  )
  const isLeft = (name: string): boolean => {
    const [, kind, pod] = /^([a-z]+):([0-9a-f]{16})$/.exec(name) ?? []
    return pod !== undefined && (kind === 'seats' || !members.includes(pod))
  }
  const names = [...keys, ...fields.flat()].filter(isLeft)
  return tooMany === 0 ? names : [`${tooMany} more pods than run`, ...names]
}

const PING_BYTES = 64
const PAUSE_MS = 10

export interface Pinging {
  /** Answers until now, every byte of them right. */
  readonly count: number
  /** Of all answers, ms. */
  readonly longestMs: number
  /** Rejects when an answer is wrong, or a socket fails; resolves when `stop` has ended both directions in order. */
  readonly done: Promise<void>
  stop(): void
}

/** What somebody does who types: 64 bytes, and the next 64 when they have come back. */
export function startPinging({ near, far }: Joint): Pinging {
  const pinging = {
    count: 0,
    longestMs: 0,
    isStopped: false,
    stop: () => void (pinging.isStopped = true),
    done: Promise.resolve(),
  }
  far.pipe(far)
  far.on('error', () => undefined)

  async function ping(): Promise<void> {
    const answers = partsOf(near, PING_BYTES)
    for (; !pinging.isStopped; pinging.count++) {
      const question = Buffer.alloc(PING_BYTES, `ping ${pinging.count} `)
      const sentAt = performance.now()
      near.write(question)
      const answer = await answers.next()
      if (answer.done === true || !answer.value.equals(question))
        throw new Error(`ping ${pinging.count} was answered by '${String(answer.value)}'`)
      pinging.longestMs = Math.max(pinging.longestMs, performance.now() - sentAt)
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
    near.end()
    if ((await answers.next()).done !== true) throw new Error('more came back than was sent')
  }

  pinging.done = ping()
  // Whoever looks at it later still gets it.
  pinging.done.catch(() => undefined)
  return pinging
}

/** What comes, in parts of so many bytes, to its end; a rest that is shorter is the last. */
async function* partsOf(socket: Socket, byteCount: number): AsyncGenerator<Buffer, void> {
  let have = Buffer.alloc(0)
  for await (const bytes of socket as AsyncIterable<Buffer>) {
    have = Buffer.concat([have, bytes])
    for (; have.length >= byteCount; have = have.subarray(byteCount)) yield have.subarray(0, byteCount)
  }
  if (have.length > 0) yield have
}

/** Resolves when it was answered so many times more. */
export async function untilAnswered(pinging: Pinging, moreCount: number): Promise<void> {
  const goal = pinging.count + moreCount
  await Promise.race([
    until(() => pinging.count >= goal),
    pinging.done.then(() => {
      throw new Error('it was stopped')
    }),
  ])
}
