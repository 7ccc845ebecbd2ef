import type { PodId } from '../../cluster/contract.ts'
import { TUNNEL_PREFIX, type Direction } from '../protocol/names.ts'
import type { TunnelEnd } from './end.ts'
import type { RemoteEnd } from './remote-end.ts'
import type { RoutedStream } from './routed-stream.ts'
import type { Bucket } from './shaper.ts'

/** What a client may subscribe to under `$tunnel/`, beside statuses: as an agent, or as a client. */
export type TunnelRole = 'serve' | 'answers'

/** The place of one name in one role: who has it now, and the streams that it is an end of. */
export class Seat {
  readonly mountpoint: string
  readonly name: string
  /** The connection that has subscribed to the topics that lead here. */
  #end: TunnelEnd | undefined
  #local: TunnelEnd | undefined
  #remote: RemoteEnd | undefined
  /** Who had the place last, if anybody: streams do not pass to another user. */
  lastUser: { readonly username: string | undefined } | undefined
  readonly streams = new Set<RoutedStream>()
  /** Lanes that lead to it or from it, also of streams that have just ended: it stays for them. */
  laneCount = 0
  /** When the last connection went. */
  awaySinceMs = 0
  /** The connection that has lost its right to the place: it is still told that its streams are reset. */
  dismissed: TunnelEnd | undefined
  /** Of an agent: its last status, when that says that it is online. */
  status: Record<string, unknown> | undefined
  /** Rates of all its streams together. */
  readonly buckets = new Map<Direction, Bucket>()

  constructor(mountpoint: string, name: string) {
    this.mountpoint = mountpoint
    this.name = name
  }

  get end(): TunnelEnd | undefined {
    return this.#end
  }

  /** The connection here, if there is one. Whoever takes its client id elsewhere has it closed first. */
  get local(): TunnelEnd | undefined {
    return this.#local
  }

  set local(end: TunnelEnd | undefined) {
    this.#local = end
    this.#end = end ?? this.#remote
  }

  /** What the pods have said last. */
  get remote(): RemoteEnd | undefined {
    return this.#remote
  }

  set remote(end: RemoteEnd | undefined) {
    this.#remote = end
    this.#end = this.#local ?? end
  }

  get isElsewhere(): boolean {
    return this.#remote !== undefined && this.#local === undefined
  }

  get isEmpty(): boolean {
    return this.#local === undefined && this.#remote === undefined && this.laneCount === 0
  }
}

/** Both seats of a name: they are forgotten together. */
interface Named extends Readonly<Record<TunnelRole, Seat>> {
  /** Taken by the broker itself. */
  reserved: boolean
}

/** One service of an agent for one client. */
export class Lane {
  readonly agent: Seat
  readonly client: Seat
  readonly service: string
  readonly up: Way
  readonly down: Way
  readonly streams = new Map<number, RoutedStream>()
  /** Handlers that are being asked about streams on it. */
  askingCount = 0
  /** Its streams are at home at another pod: `relays.ts`. */
  relay: 'none' | 'used' | 'idle' = 'none'

  constructor(agent: Seat, service: string, client: Seat) {
    this.agent = agent
    this.client = client
    this.service = service
    const base = `${TUNNEL_PREFIX}/${agent.name}/${service}/${client.name}`
    this.up = { lane: this, direction: 'up', topic: `${base}/up`, from: client, to: agent }
    this.down = { lane: this, direction: 'down', topic: `${base}/down`, from: agent, to: client }
  }
}

/** One direction of a lane: what a topic leads to. */
export interface Way {
  readonly lane: Lane
  readonly direction: Direction
  readonly topic: string
  readonly from: Seat
  readonly to: Seat
}

export function opposite({ lane, direction }: Way): Way {
  return direction === 'up' ? lane.down : lane.up
}

/** The names of one mountpoint: nobody sees those of another. */
class Namespace {
  readonly mountpoint: string
  readonly names = new Map<string, Named>()
  /** By topic: both of each lane that has streams, or had some a moment ago. */
  readonly ways = new Map<string, Way>()

  constructor(mountpoint: string) {
    this.mountpoint = mountpoint
  }

  /** For somebody who comes, or a lane. */
  named(name: string): Named {
    const known = this.names.get(name)
    if (known !== undefined) return known
    const { mountpoint } = this
    const named = {
      serve: new Seat(mountpoint, name),
      answers: new Seat(mountpoint, name),
      reserved: false,
    }
    this.names.set(name, named)
    return named
  }

  /** Of a topic that leads nowhere yet. */
  lane(agent: string, service: string, client: string): Lane {
    const lane = new Lane(this.named(agent).serve, service, this.named(client).answers)
    lane.agent.laneCount++
    lane.client.laneCount++
    this.ways.set(lane.up.topic, lane.up)
    this.ways.set(lane.down.topic, lane.down)
    return lane
  }

  /** What is not needed any more is forgotten: names can be made up. */
  tidy(lane: Lane): void {
    if (lane.streams.size > 0 || lane.askingCount > 0 || lane.relay !== 'none') return
    if (this.ways.get(lane.up.topic) !== lane.up) return
    this.ways.delete(lane.up.topic)
    this.ways.delete(lane.down.topic)
    lane.agent.laneCount--
    lane.client.laneCount--
    this.tidyName(lane.agent.name)
    this.tidyName(lane.client.name)
  }

  tidyName(name: string): void {
    const named = this.names.get(name)
    if (named === undefined || named.reserved) return
    if (named.serve.isEmpty && named.answers.isEmpty) this.names.delete(name)
  }
}

/** The places of all names. */
export class Namespaces {
  readonly #byMountpoint = new Map<string, Namespace>()

  get(mountpoint: string): Namespace | undefined {
    return this.#byMountpoint.get(mountpoint)
  }

  /** As `get`; made where it is missing. */
  at(mountpoint: string): Namespace {
    let namespace = this.#byMountpoint.get(mountpoint)
    if (namespace === undefined) this.#byMountpoint.set(mountpoint, (namespace = new Namespace(mountpoint)))
    return namespace
  }

  seat(mountpoint: string, role: TunnelRole, name: string): Seat | undefined {
    return this.#byMountpoint.get(mountpoint)?.names.get(name)?.[role]
  }

  tidy(lane: Lane): void {
    this.at(lane.agent.mountpoint).tidy(lane)
  }

  /** Agents that serve, and clients that may open, now and here. */
  counts(): { agents: number; clients: number } {
    let agents = 0
    let clients = 0
    for (const { names } of this.#byMountpoint.values()) {
      for (const { serve, answers } of names.values()) {
        if (serve.local !== undefined) agents++
        if (answers.local !== undefined) clients++
      }
    }
    return { agents, clients }
  }

  /** The places of agents that are there, or that streams wait for. */
  *agents(): Generator<Seat> {
    for (const { names } of this.#byMountpoint.values()) {
      for (const { serve } of names.values())
        if (serve.end !== undefined || serve.streams.size > 0) yield serve
    }
  }

  /** The places that connections of another pod have. */
  *seatsAt(pod: PodId): Generator<{ readonly seat: Seat; readonly role: TunnelRole }> {
    for (const { names } of this.#byMountpoint.values()) {
      for (const named of names.values()) {
        for (const role of ['serve', 'answers'] as const)
          if (named[role].remote?.pod === pod) yield { seat: named[role], role }
      }
    }
  }

  /** What is remembered. */
  held(): { seats: number; lanes: number } {
    let seats = 0
    let lanes = 0
    for (const namespace of this.#byMountpoint.values()) {
      seats += namespace.names.size
      lanes += namespace.ways.size / 2
    }
    return { seats, lanes }
  }
}
