import type { PodId, Seat as PodSeat } from '../../cluster/contract.ts'
import type { DisconnectReason } from '../../hooks/types.ts'
import { answersFilter, isTunnelName, parseFrameTopic, serveFilter } from '../protocol/names.ts'
import { ResetCode } from '../protocol/reset-code.ts'
import type { Audit } from './audit.ts'
import type { TunnelEnd } from './end.ts'
import type { ExpectedAgents } from './expected-agents.ts'
import { isAnnounced, seatOf, type TunnelPods } from './pods.ts'
import { offlineStatus, parseStatus } from './presence.ts'
import { RemoteEnd } from './remote-end.ts'
import type { Rights } from './rights.ts'
import type { RoutedStream } from './routed-stream.ts'
import type { Lane, Namespaces, Seat, TunnelRole } from './seats.ts'
import type { StreamTable } from './stream-table.ts'

export interface AttendanceContext {
  readonly namespaces: Namespaces
  readonly expected: ExpectedAgents
  readonly streams: StreamTable
  readonly rights: Rights
  readonly audit: Audit
  /** Undefined: there are no others. */
  readonly pods: TunnelPods | undefined
  readonly now: () => number
  /** An end at another pod has its place here now. */
  readonly seated: (end: RemoteEnd, role: TunnelRole) => void
  /** Makes this the retained status of an agent. */
  readonly publishStatus: (mountpoint: string, agent: string, status: Buffer) => void
}

type Reason = DisconnectReason['kind']

const ROLES = ['serve', 'answers'] as const
const RIGHTS_CHANGED = 'rights have changed'

/** Which role a filter under `$tunnel/` means for this client. Of another's name, and all else: none. */
export function roleOf(name: string, filter: string): TunnelRole | undefined {
  if (filter === serveFilter(name)) return parseFrameTopic(`$tunnel/${name}/x/x/up`) && 'serve'
  if (filter === answersFilter(name)) return parseFrameTopic(`$tunnel/x/x/${name}/down`) && 'answers'
  return undefined
}

/** Why the streams end of who does not come back. */
function endOfFleeting(reason: Reason): [ResetCode, string] {
  if (reason === 'shutdown') return [ResetCode.shutdown, 'the broker is stopping']
  return reason === 'kicked'
    ? [ResetCode.revoked, 'the client was disconnected by an operator']
    : [ResetCode.reset, 'the client has gone']
}

/** Who is there: connections come to the places of names and leave them, and keep or lose their rights. */
export class Attendance {
  readonly #context: AttendanceContext

  constructor(context: AttendanceContext) {
    this.#context = context
  }

  // --- connections here

  /** The connection has subscribed. Streams of an earlier one of the same name and user go on. */
  attach(end: TunnelEnd, role: TunnelRole): void {
    const seat = this.#context.namespaces.at(end.mountpoint).named(end.name)[role]
    if (seat.local === end) return
    if (isAnnounced(end, role)) this.#context.pods?.announceSeat(seatOf(end, role))
    seat.local = end
    this.#seated(seat, role, end)
  }

  /** It has unsubscribed, or has no right to the place any more. */
  detach(end: TunnelEnd, role: TunnelRole, reason: Reason = 'client'): void {
    const seat = this.#seatOf(end, role)
    if (seat === undefined) return
    if (isAnnounced(end, role)) this.#context.pods?.withdrawSeat(seatOf(end, role), reason)
    seat.local = undefined
    seat.dismissed = reason === 'revoked' ? end : undefined
    if (role === 'serve') this.#correctStatus(seat, reason)
    this.#left(seat, role)
  }

  /** The connection has ended. */
  gone(end: TunnelEnd, reason: Reason): void {
    if (reason === 'revoked' || end.isFleeting === true) {
      const [code, why] = reason === 'revoked' ? [ResetCode.revoked, RIGHTS_CHANGED] : endOfFleeting(reason)
      for (const role of ROLES) {
        const streams = this.#seatOf(end, role)?.streams
        if (streams !== undefined) this.#context.streams.endAll(streams, code, why)
      }
    }
    for (const role of ROLES) this.detach(end, role, reason)
    const seat = this.#context.namespaces.seat(end.mountpoint, 'serve', end.name)
    if (seat?.dismissed === end) seat.dismissed = undefined
  }

  /** Rights have changed: asks again for all that this connection does. */
  async recheck(end: TunnelEnd): Promise<void> {
    const { namespaces, streams, rights, audit } = this.#context
    const agent = this.#seatOf(end, 'serve')
    if (agent !== undefined && !(await rights.mayServe(end)) && agent.local === end) {
      audit.revoked(end, 'serve', agent.streams.size)
      streams.endAll(agent.streams, ResetCode.revoked, RIGHTS_CHANGED)
      this.detach(end, 'serve', 'revoked')
    }
    const client = namespaces.seat(end.mountpoint, 'answers', end.name)
    if (client === undefined) return
    const lanes = new Map<Lane, RoutedStream[]>()
    for (const stream of client.streams) {
      if (stream.authorized !== end) continue
      const known = lanes.get(stream.lane)
      if (known === undefined) lanes.set(stream.lane, [stream])
      else known.push(stream)
    }
    // At once: those whose rights are looked at after these must not wait for a slow handler many times.
    await Promise.all([...lanes].map(([lane, ofLane]) => this.#recheckLane(end, lane, ofLane)))
  }

  async #recheckLane(end: TunnelEnd, lane: Lane, ofLane: readonly RoutedStream[]): Promise<void> {
    const { streams, rights, audit } = this.#context
    if (await rights.mayOpen(end, lane)) return
    audit.revoked(end, `${lane.agent.name}/${lane.service}`, ofLane.length)
    streams.endAll(ofLane, ResetCode.revoked, RIGHTS_CHANGED)
  }

  // --- connections at other pods

  seatTaken(pod: PodId, taken: PodSeat): void {
    const { namespaces, pods } = this.#context
    const { mountpoint, name, role } = taken
    if (pods === undefined || !isTunnelName(name)) return
    const seat = namespaces.at(mountpoint).named(name)[role]
    const end = new RemoteEnd(pods, pod, taken)
    seat.remote = end
    // One that is connected here is newer, or else is about to be closed: its client id has one owner.
    if (seat.isElsewhere) this.#seated(seat, role, end)
  }

  seatLeft(pod: PodId, { mountpoint, name, role }: PodSeat, reason: Reason): void {
    const { namespaces, expected, streams } = this.#context
    const seat = namespaces.seat(mountpoint, role, name)
    if (seat?.remote?.pod !== pod) return
    // A client's own pod has seen to it.
    if (reason === 'revoked' && seat.isElsewhere)
      streams.endAll(seat.streams, ResetCode.revoked, RIGHTS_CHANGED)
    if (role === 'serve' && isMoving(reason)) expected.expect({ mountpoint, agent: name })
    this.#remoteLeft(seat, role)
  }

  /** Its agents are expected elsewhere, whether it was stopped or has died. */
  podGone(pod: PodId): void {
    const { namespaces, expected } = this.#context
    for (const { seat, role } of [...namespaces.seatsAt(pod)]) {
      if (role === 'serve') expected.expect({ mountpoint: seat.mountpoint, agent: seat.name })
      this.#remoteLeft(seat, role)
    }
  }

  #remoteLeft(seat: Seat, role: TunnelRole): void {
    const { isElsewhere } = seat
    seat.remote = undefined
    if (isElsewhere) this.#left(seat, role)
  }

  // --- both

  #seated(seat: Seat, role: TunnelRole, end: TunnelEnd): void {
    if (role === 'serve') this.#context.expected.arrived(seat.mountpoint, seat.name)
    const { lastUser } = seat
    seat.lastUser = { username: end.username }
    seat.dismissed = undefined
    if (lastUser !== undefined && lastUser.username !== end.username) {
      for (const stream of [...seat.streams]) this.#takeAway(stream, role)
    } else if (role === 'answers' && seat.isElsewhere) {
      for (const stream of [...seat.streams]) this.#context.streams.moved(stream)
    } else {
      // 9.5: one that was restarted does not know them.
      for (const stream of seat.streams) this.#context.streams.probe(stream, role === 'serve' ? 'up' : 'down')
    }
    if (end instanceof RemoteEnd) this.#context.seated(end, role)
  }

  /** The end that had the place has gone: another may have come meanwhile. */
  #left(seat: Seat, role: TunnelRole): void {
    if (seat.remote !== undefined) {
      this.#seated(seat, role, seat.remote)
      return
    }
    seat.awaySinceMs = this.#context.now()
    this.#context.namespaces.at(seat.mountpoint).tidyName(seat.name)
  }

  /** Another user has the name of one of its ends now: what the one before has had is none of its business. */
  #takeAway(stream: RoutedStream, role: TunnelRole): void {
    const { streams } = this.#context
    const { lane, id } = stream
    const detail = `another user has become ${role === 'serve' ? 'the agent' : 'the client'}`
    streams.tell(role === 'serve' ? lane.down : lane.up, id, ResetCode.forbidden, detail)
    streams.remove(stream, ResetCode.forbidden, detail, true)
  }

  // --- statuses

  /** An agent says what it offers. @returns why that is refused. */
  takeStatus(end: TunnelEnd, agent: string, payload: Buffer): string | undefined {
    const seat = this.#seatOf(end, 'serve')
    if (agent !== end.name || seat === undefined) return 'the status of an agent is its own'
    if (payload.length === 0) {
      seat.status = undefined
      return undefined
    }
    const status = parseStatus(payload)
    if (typeof status === 'string') return status
    seat.status = status['online'] === true ? status : undefined
    return undefined
  }

  #correctStatus(seat: Seat, reason: Reason): void {
    const { status, mountpoint, name } = seat
    seat.status = undefined
    // The broker stops: it says nothing of agents, which are expected back when it starts again, or elsewhere.
    if (status === undefined || reason === 'shutdown' || seat.remote !== undefined) return
    const { pods, expected, publishStatus } = this.#context
    // It may be there long since: a pod can learn late what it has lost.
    if (pods !== undefined && isMoving(reason)) expected.expect({ mountpoint, agent: name })
    else publishStatus(mountpoint, name, offlineStatus(status, new Date()))
  }

  /** The place that this connection has in this role. */
  #seatOf(end: TunnelEnd, role: TunnelRole): Seat | undefined {
    const seat = this.#context.namespaces.seat(end.mountpoint, role, end.name)
    return seat?.local === end ? seat : undefined
  }
}

/** Whoever leaves so is there again in a moment, or at another pod already. */
function isMoving(reason: Reason): boolean {
  return reason === 'shutdown' || reason === 'taken-over' || reason === 'error'
}
