import type { PodState, Seat } from '../../src/cluster/contract.ts'
import { tunnelSchema } from '../../src/config/tunnel-schema.ts'
import { allowedBy } from '../../src/hooks/decision.ts'
import type { DisconnectReason } from '../../src/hooks/types.ts'
import { createSilentLog } from '../../src/log.ts'
import { Routes } from '../../src/tunnel/protocol/names.ts'
import type { TunnelEnd } from '../../src/tunnel/router/end.ts'
import { TunnelRouter } from '../../src/tunnel/router/router.ts'
import type { BrokerWorld, Role, SimulatedBroker } from './tunnel-simulation-broker.ts'

const NAMES = { client: 'laptop', agent: 'pi7' } as const
const POD_COUNT = 3
/** The log and the frames have ways of their own, of different lengths. */
const MOST_DELAY_MS = { log: 20, frame: 5 } as const
const LEASE_MS = 8_000
const FRAME_LOSS_RATE = 0.002

interface Pod {
  readonly id: string
  readonly router: TunnelRouter
  isAlive: boolean
  readonly seats: Map<string, Seat>
  /** When what was sent to it last comes there: each of the two ways keeps its order. */
  readonly lastMs: { log: number; frame: number }
}

/** An end, as the pod sees it that it has connected to. */
interface Presence {
  readonly pod: Pod
  readonly end: TunnelEnd
}

/**
 * The routers of three pods, joined by a log that is late, and by frames that are faster than the log, and are lost
 * now and then. Each connection is to any of them; when the broker restarts, one or all of them die, which the others
 * learn late, and a new one takes the place of each.
 */
export function podsBroker(world: BrokerWorld): SimulatedBroker {
  return new SimulatedPods(world)
}

class SimulatedPods implements SimulatedBroker {
  readonly #world: BrokerWorld
  readonly #routes = new Routes()
  readonly #retained = new Map<string, Buffer>()
  readonly #present: Partial<Record<Role, Presence>> = {}
  #pods: Pod[] = []
  #started = 0

  constructor(world: BrokerWorld) {
    this.#world = world
    while (this.#pods.length < POD_COUNT) this.#start()
  }

  // --- what the ends do

  take(
    from: Role,
    { agent, service, client }: { agent: string; service: string; client: string },
    frame: Buffer,
  ): void {
    const presence = this.#present[from]
    if (presence === undefined) return
    const topic = `$tunnel/${agent}/${service}/${client}/${from === 'client' ? 'up' : 'down'}`
    presence.pod.router.receive(presence.end, topic, Buffer.from(frame), undefined)
  }

  joined(role: Role): void {
    const pod = this.#pods[Math.floor(this.#world.random() * this.#pods.length)]!
    const end = this.#endOf(role)
    this.#present[role] = { pod, end }
    pod.router.attach(end, role === 'agent' ? 'serve' : 'answers')
    if (role === 'client') return
    const status = Buffer.from('{"online":true,"services":["ssh","web"]}')
    pod.router.takeStatus(end, end.name, status)
    this.#retained.set(end.name, status)
  }

  left(role: Role): void {
    const presence = this.#present[role]
    if (presence === undefined) return
    delete this.#present[role]
    const reason = this.#world.random() < 0.3 ? 'taken-over' : 'lost'
    if (presence.pod.isAlive) presence.pod.router.gone(presence.end, reason)
  }

  restarted(): void {
    const isAll = this.#world.random() < 0.3
    const dying = isAll ? [...this.#pods] : this.#pods.filter((pod) => this.#isInUse(pod))
    for (const pod of dying) this.#die(pod)
    while (this.#pods.length < POD_COUNT) this.#start()
  }

  #isInUse(pod: Pod): boolean {
    return Object.values(this.#present).some((presence) => presence.pod === pod)
  }

  #endOf(role: Role): TunnelEnd {
    const world = this.#world
    const end: TunnelEnd = {
      name: NAMES[role],
      mountpoint: '',
      username: 'ann',
      address: '192.0.2.7',
      port: 40_001,
      isBroker: false,
      pendingBytes: 0,
      authTunnel: () => allowedBy('simulation'),
      deliver: (topic, _packet, frame) => {
        // What was on its way to a connection before is not for this one.
        if (this.#present[role]?.end !== end) return
        const { agent, service, client } = this.#routes.ofTopic(topic)!
        world.deliver(role, new Routes('tunnel').get(agent, service, client), Buffer.from(frame))
      },
      onceDrained: () => undefined,
      hold: () => undefined,
      release: () => undefined,
    }
    return end
  }

  // --- pods

  #start(): void {
    const id = (this.#started++).toString(16).padStart(16, '0')
    const { resumeTimeoutMs } = this.#world
    const world = this.#world
    const seats = new Map<string, Seat>()
    const router = new TunnelRouter({
      config: tunnelSchema.parse({ resumeTimeoutMs }),
      log: createSilentLog(),
      publishStatus: (_mountpoint, agent, status) => void this.#retained.set(agent, status),
      statusOf: (_mountpoint, agent) => this.#retained.get(agent),
      graceMs: 10_000,
      now: () => world.nowMs,
      pods: {
        pod: id,
        pods: (): readonly PodState[] =>
          this.#pods.map((pod) => ({ id: pod.id, isSelf: pod.id === id, silentMs: 0, figures: undefined })),
        announceSeat: (seat) => {
          seats.set(seat.role, seat)
          this.#log(id, (other) => other.seatTaken(id, seat))
        },
        withdrawSeat: (seat, reason: DisconnectReason['kind']) => {
          seats.delete(seat.role)
          this.#log(id, (other) => other.seatLeft(id, seat, reason))
        },
        sendFrame: (to, mountpoint, topic, frame) => {
          const receiver = this.#pods.find((pod) => pod.id === to)
          const copy = Buffer.from(frame)
          if (receiver === undefined || world.random() < FRAME_LOSS_RATE) return
          this.#tell(receiver, 'frame', (other) => other.frameFromPod(id, mountpoint, topic, copy))
        },
        pendingBytes: 0,
        onceDrained: () => undefined,
      },
    })
    const pod: Pod = { id, router, isAlive: true, seats, lastMs: { log: 0, frame: 0 } }
    for (const other of this.#pods) {
      for (const seat of other.seats.values()) router.seatTaken(other.id, seat)
    }
    for (const agent of this.#retained.keys()) router.expect({ mountpoint: '', agent })
    this.#pods.push(pod)
    const sweep = (): void => {
      if (!pod.isAlive) return
      router.sweep()
      world.after(1_000, sweep)
    }
    world.after(1_000, sweep)
  }

  #die(pod: Pod): void {
    pod.isAlive = false
    this.#pods = this.#pods.filter((other) => other !== pod)
    const { id } = pod
    this.#world.after(this.#world.random() * LEASE_MS, () => this.#log(id, (router) => router.podGone(id)))
  }

  #log(from: string, entry: (router: TunnelRouter) => void): void {
    for (const pod of this.#pods) if (pod.id !== from) this.#tell(pod, 'log', entry)
  }

  #tell(pod: Pod, way: 'log' | 'frame', entry: (router: TunnelRouter) => void): void {
    const { nowMs } = this.#world
    const atMs = Math.max(pod.lastMs[way], nowMs + this.#world.random() * MOST_DELAY_MS[way])
    pod.lastMs[way] = atMs
    this.#world.after(atMs - nowMs, () => {
      if (pod.isAlive) entry(pod.router)
    })
  }
}
