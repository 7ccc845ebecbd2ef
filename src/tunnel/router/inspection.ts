import type { PodId } from '../../cluster/contract.ts'
import type { RoutedStream } from './routed-stream.ts'
import type { Namespaces } from './seats.ts'

/** A stream whose client is connected to this pod, as people see it. */
export interface StreamFacts {
  /** Names it for `cut`, for as long as it lives. */
  readonly handle: string
  readonly agent: string
  readonly service: string
  readonly mountpoint: string
  readonly client: string
  readonly username: string | undefined
  readonly address: string
  readonly state: 'opening' | 'open'
  readonly ageMs: number
  /** Since the last DATA; to within a second. */
  readonly idleMs: number
  readonly bytesUp: number
  readonly bytesDown: number
}

/** An agent that serves, here or at another pod; and those that have streams and are away. */
export interface AgentFacts {
  readonly name: string
  readonly mountpoint: string
  readonly isOnline: boolean
  /** The other pod where it is; undefined: this one, or it is away. */
  readonly pod: PodId | undefined
  readonly username: string | undefined
  readonly address: string | undefined
  /** Of the streams that are at home here. */
  readonly streams: number
  readonly bytesUp: number
  readonly bytesDown: number
}

/** Undefined: nobody but its agent has spoken of it, or it has ended. */
export function streamFacts(stream: RoutedStream, nowMs: number): StreamFacts | undefined {
  const { lane, phase, client, up, down } = stream
  if (phase !== 'opening' && phase !== 'open') return undefined
  return {
    handle: stream.handle,
    agent: lane.agent.name,
    service: lane.service,
    mountpoint: lane.agent.mountpoint,
    client: lane.client.name,
    username: client.username,
    address: client.address,
    state: phase,
    ageMs: nowMs - stream.startedAtMs,
    idleMs: stream.active ? 0 : nowMs - stream.activeAtMs,
    bytesUp: up.bytes,
    bytesDown: down.bytes,
  }
}

export function* agentFacts(namespaces: Namespaces): Generator<AgentFacts> {
  for (const { name, mountpoint, local, remote, end, streams } of namespaces.agents()) {
    let bytesUp = 0
    let bytesDown = 0
    let count = 0
    for (const { phase, up, down } of streams) {
      if (phase === 'provisional') continue
      count++
      bytesUp += up.bytes
      bytesDown += down.bytes
    }
    yield {
      name,
      mountpoint,
      isOnline: end !== undefined,
      pod: local === undefined ? remote?.pod : undefined,
      username: end?.username,
      address: end?.address,
      streams: count,
      bytesUp,
      bytesDown,
    }
  }
}
