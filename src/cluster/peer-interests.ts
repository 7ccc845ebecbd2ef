import type { DisconnectReason } from '../hooks/types.ts'
import type { LogEntry, RedisLink, ScriptReply } from '../store/redis/contract.ts'
import type { ClusterEvents, PodId, Seat } from './contract.ts'
import type { OtherPods } from './other-pods.ts'
import { decodePairs, decodeTexts } from './reply-texts.ts'
import { decodeSeat } from './seat-codec.ts'

/** What one other pod has told of itself. */
interface Peer {
  readonly wants: Set<string>
  /** Key of a shared subscription → match filter. */
  readonly groups: Map<string, string>
  readonly seats: Map<string, Seat>
}

/** Kinds of DisconnectReason, as they come from another pod. */
const REASONS: Readonly<Record<DisconnectReason['kind'], true>> = {
  client: true,
  refused: true,
  lost: true,
  keepalive: true,
  protocol: true,
  'taken-over': true,
  revoked: true,
  limit: true,
  kicked: true,
  shutdown: true,
  error: true,
}

export interface PeerInterestsOptions {
  readonly link: RedisLink
  readonly others: OtherPods
  readonly garbage: () => void
}

/** What other pods want, as the log tells it; the broker hears of each change. */
export interface PeerInterests {
  /** Tells what is known, and from then on what changes. */
  start(events: ClusterEvents): void
}

export function createPeerInterests({ link, others, garbage }: PeerInterestsOptions): PeerInterests {
  const peers = new Map<PodId, Peer>()
  let events: ClusterEvents | undefined

  /** Undefined: what this pod has written itself, or one that is dead. */
  const peerOf = (pod: PodId): Peer | undefined => {
    const known = peers.get(pod)
    if (known !== undefined || !others.ids.has(pod)) return known
    const peer: Peer = { wants: new Set(), groups: new Map(), seats: new Map() }
    peers.set(pod, peer)
    return peer
  }

  const on = (kind: string, apply: (peer: Peer, entry: LogEntry) => boolean): void => {
    link.follower.onLog(kind, (entry) => {
      const peer = peerOf(entry[1])
      if (peer !== undefined && !apply(peer, entry)) garbage()
    })
  }

  const setWant = (pod: PodId, peer: Peer, matchFilter: string, wanted: boolean): void => {
    if (peer.wants.has(matchFilter) === wanted) return
    if (wanted) peer.wants.add(matchFilter)
    else peer.wants.delete(matchFilter)
    events?.podWants(pod, matchFilter, wanted)
  }

  const setGroup = (pod: PodId, peer: Peer, key: string, matchFilter: string | undefined): void => {
    const before = peer.groups.get(key)
    if (before === matchFilter) return
    if (before !== undefined) {
      peer.groups.delete(key)
      events?.podInGroup(pod, key, before, false)
    }
    if (matchFilter === undefined) return
    peer.groups.set(key, matchFilter)
    events?.podInGroup(pod, key, matchFilter, true)
  }

  const setSeat = (
    pod: PodId,
    peer: Peer,
    key: string,
    seat: Seat | undefined,
    reason: DisconnectReason['kind'],
  ): void => {
    const before = peer.seats.get(key)
    if (seat !== undefined) {
      // It may be told twice: that is no news.
      if (before !== undefined && JSON.stringify(before) === JSON.stringify(seat)) return
      peer.seats.set(key, seat)
      events?.seatTaken(pod, seat)
    } else if (before !== undefined) {
      peer.seats.delete(key)
      events?.seatLeft(pod, before, reason)
    }
  }

  on('want', (peer, [, pod, changes]) => {
    if (!Array.isArray(changes)) return false
    let isSound = true
    for (const change of changes as unknown[]) {
      const [matchFilter, wanted] = Array.isArray(change) ? (change as unknown[]) : []
      if (isText(matchFilter) && (wanted === 0 || wanted === 1)) setWant(pod, peer, matchFilter, wanted === 1)
      else isSound = false
    }
    return isSound
  })
  on('group', (peer, [, pod, key, matchFilter, joined]) => {
    if (!isText(key) || !isText(matchFilter) || (joined !== 0 && joined !== 1)) return false
    setGroup(pod, peer, key, joined === 1 ? matchFilter : undefined)
    return true
  })
  on('seat', (peer, [, pod, key, json, reason]) => {
    if (!isText(key) || typeof reason !== 'string') return false
    const seat = typeof json === 'string' ? decodeSeat(json) : undefined
    if (seat === undefined && json !== null) return false
    const kind = Object.hasOwn(REASONS, reason) ? (reason as DisconnectReason['kind']) : 'lost'
    setSeat(pod, peer, key, seat, kind)
    return true
  })

  /** Only what differs is told. */
  const replace = (pod: PodId, peer: Peer, stored: Peer): void => {
    for (const matchFilter of peer.wants)
      if (!stored.wants.has(matchFilter)) setWant(pod, peer, matchFilter, false)
    for (const matchFilter of stored.wants) setWant(pod, peer, matchFilter, true)
    for (const key of peer.groups.keys()) if (!stored.groups.has(key)) setGroup(pod, peer, key, undefined)
    for (const [key, matchFilter] of stored.groups) setGroup(pod, peer, key, matchFilter)
    for (const key of peer.seats.keys())
      if (!stored.seats.has(key)) setSeat(pod, peer, key, undefined, 'lost')
    for (const [key, seat] of stored.seats) setSeat(pod, peer, key, seat, 'lost')
  }

  const decodePeer = (wants: ScriptReply, groups: ScriptReply, seats: ScriptReply): Peer => {
    const decoded = new Map<string, Seat>()
    for (const [key, json] of decodePairs(seats)) {
      const seat = decodeSeat(json)
      if (seat === undefined) garbage()
      else decoded.set(key, seat)
    }
    return { wants: new Set(decodeTexts(wants)), groups: decodePairs(groups), seats: decoded }
  }

  // Nothing is told of what it wanted: `podGone` says it all.
  others.onGone((pod) => peers.delete(pod))
  link.onLoad(async () => {
    const pods = [...others.ids]
    const replies = await link.pipeline(
      pods.flatMap((pod) => [
        ['SMEMBERS', link.key(`wants:${pod}`)] as const,
        ['HGETALL', link.key(`groups:${pod}`)] as const,
        ['HGETALL', link.key(`seats:${pod}`)] as const,
      ]),
    )
    pods.forEach((pod, index) => {
      // It may have gone meanwhile.
      const peer = peerOf(pod)
      const [wants = null, groups = null, seats = null] = replies.slice(3 * index, 3 * index + 3)
      if (peer !== undefined) replace(pod, peer, decodePeer(wants, groups, seats))
    })
  })

  return {
    start(listener) {
      events = listener
      for (const [pod, peer] of peers) {
        for (const matchFilter of peer.wants) listener.podWants(pod, matchFilter, true)
        for (const [key, matchFilter] of peer.groups) listener.podInGroup(pod, key, matchFilter, true)
        for (const seat of peer.seats.values()) listener.seatTaken(pod, seat)
      }
    },
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
