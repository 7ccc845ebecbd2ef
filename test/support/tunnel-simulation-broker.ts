import { FrameFlag, FrameType, FrameView, encodeFrame } from '../../src/tunnel/protocol/frame.ts'
import type { Route } from '../../src/tunnel/protocol/names.ts'
import { ResetCode, encodeReset } from '../../src/tunnel/protocol/reset-code.ts'

export type Role = 'client' | 'agent'
export const otherRole = (role: Role): Role => (role === 'client' ? 'agent' : 'client')

/** What a broker between two ends does with a frame that has come from `from`. */
export interface SimulatedBroker {
  take(from: Role, route: Route, frame: Buffer): void
  /** It is connected and subscribed. */
  joined(role: Role): void
  left(role: Role): void
  /** All that it knew is forgotten. */
  restarted(): void
}

interface Known {
  readonly route: Route
  readonly id: number
  /** The agent has said something of it, or an end has resumed it. */
  isOpen: boolean
  /** Behind the FIN of each end, and how far the other has acknowledged it. */
  readonly endAt: Record<Role, number>
  readonly acked: Record<Role, number>
}

export interface BrokerWorld {
  readonly resumeTimeoutMs: number
  isUp(role: Role): boolean
  deliver(to: Role, route: Route, frame: Buffer): void
  after(delayMs: number, run: () => void): void
  readonly nowMs: number
  /** From 0 to below 1. */
  random(): number
}

/** A broker that knows nothing of tunnels: whoever is away gets nothing. */
export function foreignBroker(world: BrokerWorld): SimulatedBroker {
  return {
    take(from, route, frame) {
      world.deliver(otherRole(from), route, frame)
    },
    joined() {},
    left() {},
    restarted() {},
  }
}

/** What docs/tunnel-protocol.md, section 9, says of streams, and no more: every right is given, no limit is set. */
export function tunnelBroker(world: BrokerWorld): SimulatedBroker {
  const streams = new Map<string, Known>()
  const away = { client: 0, agent: 0 }
  const view = new FrameView()
  const reset = (to: Role, { route, id }: { route: Route; id: number }, code: ResetCode): void =>
    world.deliver(
      to,
      route,
      encodeFrame(
        { type: FrameType.reset, flags: 0, stream: id, offset: 0, acked: 0, limit: 0 },
        encodeReset(code, 'the broker says so'),
      ),
    )

  return {
    take(from, route, frame) {
      view.read(frame)
      const { type, stream: id } = view
      const key = `${route.upTopic}#${id}`
      const to = otherRole(from)
      let known = streams.get(key)
      if (known === undefined && type === FrameType.open && !world.isUp('agent')) {
        return reset('client', { route, id }, ResetCode.agentOffline) // 9.4
      }
      if (known === undefined && (type === FrameType.open || type === FrameType.resume)) {
        const isOpen = type === FrameType.resume
        known = { route, id, isOpen, endAt: { client: -1, agent: -1 }, acked: { client: 0, agent: 0 } } // 9.3
        streams.set(key, known)
      }
      if (known === undefined) return
      if (from === 'agent' && type !== FrameType.pong) known.isOpen = true
      if (type === FrameType.reset) streams.delete(key)
      else follow(known, from, view, frame.length)
      world.deliver(to, route, frame)
    },

    joined(role) {
      away[role]++
      for (const { route, id, isOpen, endAt, acked } of streams.values()) {
        const isClosed = (['client', 'agent'] as const).every(
          (end) => endAt[end] >= 0 && acked[otherRole(end)] >= endAt[end],
        )
        if (isClosed || (role === 'agent' && !isOpen)) continue
        const ping = { type: FrameType.ping, flags: 0, stream: id, offset: 7, acked: 0, limit: 0 }
        world.deliver(role, route, encodeFrame(ping)) // 9.5
      }
    },

    left(role) {
      const absence = ++away[role]
      world.after(world.resumeTimeoutMs, () => {
        if (absence !== away[role]) return
        // 9.4
        const code = role === 'agent' ? ResetCode.agentOffline : ResetCode.timeout
        for (const known of streams.values()) reset(otherRole(role), known, code)
        streams.clear()
      })
    },

    restarted() {
      streams.clear()
    },
  }
}

function follow(known: Known, from: Role, view: FrameView, frameBytes: number): void {
  if (view.flags & FrameFlag.fin) {
    const size = view.type === FrameType.data ? frameBytes - 24 + 1 : 0
    known.endAt[from] = view.offset + size
  }
  known.acked[from] = Math.max(known.acked[from], view.acked)
}
