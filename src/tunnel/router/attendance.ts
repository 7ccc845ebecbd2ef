import type { DisconnectReason } from '../../hooks/types.ts'
import { answersFilter, parseFrameTopic, serveFilter } from '../protocol/names.ts'
import { ResetCode } from '../protocol/reset-code.ts'
import type { Audit } from './audit.ts'
import type { TunnelEnd } from './end.ts'
import type { ExpectedAgents } from './expected-agents.ts'
import { offlineStatus, parseStatus } from './presence.ts'
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
  readonly now: () => number
  /** Makes this the retained status of an agent. */
  readonly publishStatus: (mountpoint: string, agent: string, status: Buffer) => void
}

const ROLES = ['serve', 'answers'] as const
const RIGHTS_CHANGED = 'rights have changed'

/** Which role a filter under `$tunnel/` means for this client. Of another's name, and all else: none. */
export function roleOf(name: string, filter: string): TunnelRole | undefined {
  if (filter === serveFilter(name)) return parseFrameTopic(`$tunnel/${name}/x/x/up`) && 'serve'
  if (filter === answersFilter(name)) return parseFrameTopic(`$tunnel/x/x/${name}/down`) && 'answers'
  return undefined
}

/** Who is there: connections come to the places of names and leave them, and keep or lose their rights. */
export class Attendance {
  readonly #context: AttendanceContext

  constructor(context: AttendanceContext) {
    this.#context = context
  }

  /** The connection has subscribed. Streams of an earlier one of the same name and user go on. */
  attach(end: TunnelEnd, role: TunnelRole): void {
    const seat = this.#context.namespaces.at(end.mountpoint).named(end.name)[role]
    if (seat.end === end) return
    if (role === 'serve') this.#context.expected.arrived(end.mountpoint, end.name)
    const { lastUser } = seat
    seat.end = end
    seat.lastUser = { username: end.username }
    if (lastUser !== undefined && lastUser.username !== end.username) {
      for (const stream of [...seat.streams]) this.#takeAway(stream, role)
      return
    }
    // 9.5: one that was restarted does not know them.
    for (const stream of seat.streams) this.#context.streams.probe(stream, role === 'serve' ? 'up' : 'down')
  }

  /** Another user has the name of one of its ends now: what the one before has had is none of its business. */
  #takeAway(stream: RoutedStream, role: TunnelRole): void {
    const { streams } = this.#context
    const { lane, id } = stream
    const detail = `another user has become ${role === 'serve' ? 'the agent' : 'the client'}`
    streams.tell(role === 'serve' ? lane.down : lane.up, id, ResetCode.forbidden, detail)
    streams.remove(stream, ResetCode.forbidden, detail, true)
  }

  /** It has unsubscribed. */
  detach(end: TunnelEnd, role: TunnelRole): void {
    const seat = this.#seatOf(end, role)
    if (seat === undefined) return
    seat.end = undefined
    seat.awaySinceMs = this.#context.now()
    this.#correctStatus(seat)
    this.#context.namespaces.at(end.mountpoint).tidyName(end.name)
  }

  /** The connection has ended. */
  gone(end: TunnelEnd, reason: DisconnectReason['kind']): void {
    if (reason === 'revoked') {
      for (const role of ROLES) {
        const streams = this.#seatOf(end, role)?.streams
        if (streams !== undefined) this.#context.streams.endAll(streams, ResetCode.revoked, RIGHTS_CHANGED)
      }
    }
    if (reason === 'shutdown') {
      // The broker stops: it says nothing of agents, which are expected back when it starts again.
      const seat = this.#seatOf(end, 'serve')
      if (seat !== undefined) seat.status = undefined
    }
    for (const role of ROLES) this.detach(end, role)
  }

  /** Rights have changed: asks again for all that this connection does. */
  async recheck(end: TunnelEnd): Promise<void> {
    const { namespaces, streams, rights, audit } = this.#context
    const agent = this.#seatOf(end, 'serve')
    if (agent !== undefined && !(await rights.mayServe(end)) && agent.end === end) {
      audit.revoked(end, 'serve', agent.streams.size)
      streams.endAll(agent.streams, ResetCode.revoked, RIGHTS_CHANGED)
      this.detach(end, 'serve')
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

  #correctStatus(seat: Seat): void {
    const { status } = seat
    if (status === undefined) return
    seat.status = undefined
    this.#context.publishStatus(seat.mountpoint, seat.name, offlineStatus(status, new Date()))
  }

  /** The place that it has in this role. */
  #seatOf(end: TunnelEnd, role: TunnelRole): Seat | undefined {
    const seat = this.#context.namespaces.seat(end.mountpoint, role, end.name)
    return seat?.end === end ? seat : undefined
  }
}
