import { TUNNEL_PREFIX, type Direction } from '../protocol/names.ts'
import type { TunnelEnd } from './end.ts'
import type { RoutedStream } from './routed-stream.ts'
import type { Bucket } from './shaper.ts'

/** What a client may subscribe to under `$tunnel/`, beside statuses: as an agent, or as a client. */
export type TunnelRole = 'serve' | 'answers'

/** The place of one name: who has it now, and the streams that it is an end of. */
export class Seat {
  readonly mountpoint: string
  readonly name: string
  /** The connection that serves as this agent: it has subscribed to the `up` topics. */
  agentEnd: TunnelEnd | undefined
  /** The connection that may open streams as this client: it has subscribed to its `down` topics. */
  clientEnd: TunnelEnd | undefined
  /** Who had the place last, if anybody: streams do not pass to another user. */
  readonly lastUser = new Map<TunnelRole, string | undefined>()
  readonly asAgent = new Set<RoutedStream>()
  readonly asClient = new Set<RoutedStream>()
  /** Lanes that lead to it or from it, also of streams that have just ended: it stays for them. */
  laneCount = 0
  /** When the last connection of that role went. */
  agentAwaySinceMs = 0
  clientAwaySinceMs = 0
  /** The last status of the agent, when that says that it is online. */
  status: Record<string, unknown> | undefined
  /** Taken by the broker itself. */
  reserved = false
  /** Rates of all its streams together, in each role and direction. */
  readonly buckets = new Map<string, Bucket>()

  constructor(mountpoint: string, name: string) {
    this.mountpoint = mountpoint
    this.name = name
  }

  get isEmpty(): boolean {
    return (
      this.agentEnd === undefined && this.clientEnd === undefined && this.laneCount === 0 && !this.reserved
    )
  }
}

/** One service of an agent for one client: what a topic leads to. */
export interface Lane {
  readonly agent: Seat
  readonly client: Seat
  readonly service: string
  readonly upTopic: string
  readonly downTopic: string
  readonly streams: Map<number, RoutedStream>
  /** Handlers that are being asked about streams on it. */
  askingCount: number
}

export interface LaneEntry {
  readonly lane: Lane
  readonly direction: Direction
}

/** The names of one mountpoint: nobody sees those of another. */
export class Namespace {
  readonly mountpoint: string
  readonly seats = new Map<string, Seat>()
  /** By both topics of each lane that has streams, or had some a moment ago. */
  readonly lanes = new Map<string, LaneEntry>()

  constructor(mountpoint: string) {
    this.mountpoint = mountpoint
  }

  seat(name: string): Seat {
    let seat = this.seats.get(name)
    if (seat === undefined) this.seats.set(name, (seat = new Seat(this.mountpoint, name)))
    return seat
  }

  /** For a stream that begins. */
  lane(agent: string, service: string, client: string): Lane {
    const base = `${TUNNEL_PREFIX}/${agent}/${service}/${client}`
    const known = this.lanes.get(`${base}/up`)
    if (known !== undefined) return known.lane
    const lane: Lane = {
      agent: this.seat(agent),
      client: this.seat(client),
      service,
      upTopic: `${base}/up`,
      downTopic: `${base}/down`,
      streams: new Map(),
      askingCount: 0,
    }
    lane.agent.laneCount++
    lane.client.laneCount++
    this.lanes.set(lane.upTopic, { lane, direction: 'up' })
    this.lanes.set(lane.downTopic, { lane, direction: 'down' })
    return lane
  }

  /** What is not needed any more is forgotten: names can be made up. */
  tidy(lane: Lane): void {
    if (lane.streams.size > 0 || lane.askingCount > 0) return
    if (this.lanes.get(lane.upTopic)?.lane !== lane) return
    this.lanes.delete(lane.upTopic)
    this.lanes.delete(lane.downTopic)
    lane.agent.laneCount--
    lane.client.laneCount--
    this.tidySeat(lane.agent)
    this.tidySeat(lane.client)
  }

  tidySeat(seat: Seat): void {
    if (seat.isEmpty && this.seats.get(seat.name) === seat) this.seats.delete(seat.name)
  }
}
