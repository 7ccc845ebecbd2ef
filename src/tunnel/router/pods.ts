import type { Cluster, Seat as PodSeat } from '../../cluster/contract.ts'
import type { TunnelEnd } from './end.ts'
import type { TunnelRole } from './seats.ts'

/**
 * The other brokers on the same Redis, as the router of tunnels uses them: option `pods` of the router, for which a
 * shared `Cluster` will do. What they say comes in by methods of the router, one for each event of `ClusterEvents`:
 *
 *   seatTaken(pod, seat)   seatLeft(pod, seat, reason)   podGone(pod, how)   frameFromPod(pod, mountpoint, topic, frame)
 *
 *    client ─▶ home (pod of the client): rights, streams, limits, audit ─▶ pod of the agent: passes on ─▶ agent
 *
 * The home of a stream is the pod at which its client is connected: there it is known, and nowhere else. The pod of
 * the agent knows only who sits where. Frames travel between these two, never through a third.
 */
export type TunnelPods = Pick<
  Cluster,
  'pod' | 'pods' | 'announceSeat' | 'withdrawSeat' | 'sendFrame' | 'pendingBytes' | 'onceDrained'
>

/** What other pods are told of an end that has taken a place here. */
export function seatOf(end: TunnelEnd, role: TunnelRole): PodSeat {
  const { mountpoint, name, username, address, port, isBroker } = end
  return { mountpoint, name, role, username, address, port, isBroker }
}

/** Each pod offers the broker's own services to its own clients: no other needs to know. */
export function isAnnounced(end: TunnelEnd, role: TunnelRole): boolean {
  return !(end.isBroker && role === 'serve')
}

/** One pod speaks for all of those that have gone: the first of those that live. */
export function isSpokesman(pods: TunnelPods | undefined): boolean {
  return pods === undefined || pods.pods().every(({ id }) => id >= pods.pod)
}

/** The longest part of a name that leaves room for a pod (docs/tunnel-protocol.md 2.1). */
const MAX_BASE_LENGTH = 64 - 1 - 16

/**
 * The name of the broker as a client of tunnels: that of one pod must lead to that pod. `name` is `tunnel.name`; it
 * stays as it is for a broker that is alone.
 */
export function clientNameOf(name: string, pods: Pick<TunnelPods, 'pod'> | undefined): string {
  return pods === undefined ? name : `${name.slice(0, MAX_BASE_LENGTH)}-${pods.pod}`
}

/** The names that {@link clientNameOf} makes at any pod. */
export function isClientNameOfPod(name: string, candidate: string): boolean {
  const base = `${name.slice(0, MAX_BASE_LENGTH)}-`
  return candidate.startsWith(base) && /^[0-9a-f]{16}$/.test(candidate.slice(base.length))
}
