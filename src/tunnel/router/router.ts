import type { PodId, Seat as PodSeat } from '../../cluster/contract.ts'
import type { Tracing } from '../../tracing/contract.ts'
import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import type { DisconnectReason } from '../../hooks/types.ts'
import type { Log } from '../../log.ts'
import { frameFault, FrameType, FrameView, HEADER_BYTES, writeUInt48 } from '../protocol/frame.ts'
import { parseFrameTopic, TUNNEL_PREFIX } from '../protocol/names.ts'
import { decodeReset, ResetCode } from '../protocol/reset-code.ts'
import { Attendance, roleOf } from './attendance.ts'
import { Audit } from './audit.ts'
import { createTunnelCounters, type TunnelCounters } from './counters.ts'
import type { TunnelEnd } from './end.ts'
import { ExpectedAgents, type ExpectedAgent } from './expected-agents.ts'
import { fullness, Opening, type OnStreamRefused } from './opening.ts'
import { agentFacts, streamFacts, type AgentFacts, type StreamFacts } from './inspection.ts'
import { PodFrames } from './pod-frames.ts'
import { clientNameOf, isClientNameOfPod, isSpokesman, type TunnelPods } from './pods.ts'
import { Rights } from './rights.ts'
import type { RoutedStream, Verdict } from './routed-stream.ts'
import { Namespaces, opposite, type TunnelRole, type Way } from './seats.ts'
import { Shaper } from './shaper.ts'
import { StreamTable } from './stream-table.ts'

export interface TunnelRouterOptions {
  readonly config: TunnelConfig
  readonly log: Log
  /** Makes this the retained status of an agent. */
  readonly publishStatus: (mountpoint: string, agent: string, status: Buffer) => void
  /** The retained status of an agent. */
  readonly statusOf: (mountpoint: string, agent: string) => Buffer | undefined
  /** `session.willGraceMs`: for so long agents are expected back when their broker has gone. */
  readonly graceMs: number
  /** Undefined: there are no others. */
  readonly pods?: TunnelPods | undefined
  readonly refused?: OnStreamRefused | undefined
  /** Undefined: nobody wants spans of streams. */
  readonly tracing?: Tracing | undefined
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

/** Limits of time are kept to within this. */
const SWEEP_MS = 1_000
const SHAPER_TICK_MS = 50

/**
 * Frames from one connection to another: docs/tunnel-protocol.md, section 9. It keeps no bytes of a stream, only
 * who may send how much to whom. Here is the way of a frame; `attendance.ts` knows who is there, `stream-table.ts`
 * what becomes of streams.
 */
export class TunnelRouter {
  readonly counters: TunnelCounters = createTunnelCounters()
  readonly #expected: ExpectedAgents
  readonly #podFrames: PodFrames
  readonly #pods: TunnelPods | undefined
  readonly #graceMs: number
  readonly #config: TunnelConfig
  readonly #now: () => number
  readonly #namespaces = new Namespaces()
  readonly #audit: Audit
  readonly #shaper: Shaper
  readonly #streams: StreamTable
  readonly #attendance: Attendance
  readonly #opening: Opening
  readonly #view = new FrameView()
  #timers: NodeJS.Timeout[] = []

  constructor(options: TunnelRouterOptions) {
    const { config, log, publishStatus, statusOf, graceMs, pods, now = () => performance.now() } = options
    const namespaces = this.#namespaces
    const audit = new Audit(this.counters, log, now, options.tracing)
    const shaper = new Shaper({
      perStream: config.bytesPerSecondPerStream,
      perClient: config.bytesPerSecondPerClient,
      perAgent: config.bytesPerSecondPerAgent,
    })
    const rights = new Rights(namespaces)
    const hasPods = pods !== undefined
    const expected = new ExpectedAgents({
      namespaces,
      now,
      publishStatus,
      statusOf,
      graceMs,
      hasPods,
      isSpokesman: () => isSpokesman(pods),
    })
    const streams = new StreamTable({ config, namespaces, audit, shaper, now })
    this.#config = config
    this.#now = now
    this.#pods = pods
    this.#graceMs = graceMs
    this.#expected = expected
    this.#podFrames = new PodFrames({
      config,
      namespaces,
      counters: this.counters,
      now,
      hasRoom: (end, frame) => this.#hasRoom(end, frame),
      receive: (end, topic, frame) => this.receive(end, topic, frame, undefined),
    })
    this.#audit = audit
    this.#shaper = shaper
    this.#streams = streams
    this.#attendance = new Attendance({
      namespaces,
      expected,
      streams,
      rights,
      audit,
      pods,
      now,
      seated: (end, role) => this.#podFrames.seated(end, role),
      publishStatus,
    })
    this.#opening = new Opening({
      config,
      streams,
      expected,
      rights,
      audit,
      shaper,
      hasPods,
      now,
      forward: (way, frame, packet) => this.#forward(way, frame, packet),
      refused: options.refused,
    })
  }

  start(): void {
    this.#timers = [
      setInterval(() => this.sweep(), SWEEP_MS),
      // Of those that were expected from the start: not up to a second late, and never too early by the clock.
      setTimeout(() => this.#expected.sweep(), this.#graceMs + 5),
    ]
    if (this.#shaper.isOn) this.#timers.push(setInterval(() => this.shape(), SHAPER_TICK_MS))
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer)
  }

  /** Every second: limits of time. */
  sweep(): void {
    this.#streams.sweep()
    this.#podFrames.sweep()
    this.#expected.sweep()
  }

  /** Where a rate is kept to: tells senders of the credit that time has brought. */
  shape(): void {
    this.#streams.shape()
  }

  get streamCount(): number {
    return this.#streams.count
  }

  /** Agents that serve, and clients that may open, now and here. */
  counts(): { agents: number; clients: number; shaped: number } {
    return { ...this.#namespaces.counts(), shaped: this.#shaper.waitingCount }
  }

  /** What it remembers: each of it comes down to what is connected. */
  held(): Record<'seats' | 'lanes' | 'streams' | 'ended' | 'shaped' | 'expected', number> {
    const { count: streams, endedCount: ended } = this.#streams
    return {
      ...this.#namespaces.held(),
      streams,
      ended,
      shaped: this.#shaper.count,
      expected: this.#expected.count,
    }
  }

  // --- for people who look

  /** Those whose clients are connected to this pod; each is known at one pod. */
  *streams(): Generator<StreamFacts> {
    const nowMs = this.#now()
    for (const stream of this.#streams.all()) {
      const facts = streamFacts(stream, nowMs)
      if (facts !== undefined) yield facts
    }
  }

  /** Those that serve, at any pod. */
  agents(): Generator<AgentFacts> {
    return agentFacts(this.#namespaces)
  }

  /** Ends a stream by its handle: RESET to both ends. False: it is not one of this pod. */
  cut(handle: string): boolean {
    for (const stream of this.#streams.all()) {
      if (stream.phase === 'provisional' || stream.handle !== handle) continue
      this.#audit.cut(stream)
      this.#streams.end(stream, ResetCode.revoked, 'cut by an operator')
      return true
    }
    return false
  }

  // --- who is there

  roleOf(name: string, filter: string): TunnelRole | undefined {
    return roleOf(name, filter)
  }

  /** The name is the broker's own: no client can have it. */
  reserve(mountpoint: string, name: string): void {
    this.#namespaces.at(mountpoint).named(name).reserved = true
  }

  isReserved(mountpoint: string, name: string): boolean {
    if (this.#namespaces.get(mountpoint)?.names.get(name)?.reserved === true) return true
    return this.#pods !== undefined && isClientNameOfPod(this.#config.name, name)
  }

  /** The name of this broker as a client of tunnels: {@link clientNameOf}. */
  get ownClientName(): string {
    return clientNameOf(this.#config.name, this.#pods)
  }

  /** An agent was connected when its broker ended. */
  expect(agent: ExpectedAgent): void {
    this.#expected.expect(agent)
  }

  /** Why a stream of this client to this agent would be one too many; undefined: it would not. */
  fullFor(mountpoint: string, client: string, agent: string): string | undefined {
    const ofClient = this.#namespaces.seat(mountpoint, 'answers', client)?.streams.size ?? 0
    const ofAgent = this.#namespaces.seat(mountpoint, 'serve', agent)?.streams.size ?? 0
    return fullness(this.#config, this.#streams.count, ofClient, ofAgent)
  }

  /** Who has the place of that name now. */
  endOf(mountpoint: string, name: string, role: TunnelRole): TunnelEnd | undefined {
    return this.#namespaces.seat(mountpoint, role, name)?.end
  }

  attach(end: TunnelEnd, role: TunnelRole): void {
    this.#attendance.attach(end, role)
  }

  detach(end: TunnelEnd, role: TunnelRole): void {
    this.#attendance.detach(end, role)
  }

  gone(end: TunnelEnd, reason: DisconnectReason['kind']): void {
    this.#attendance.gone(end, reason)
  }

  recheck(end: TunnelEnd): Promise<void> {
    return this.#attendance.recheck(end)
  }

  /** An agent says what it offers. @returns why that is refused. */
  takeStatus(end: TunnelEnd, agent: string, payload: Buffer): string | undefined {
    return this.#attendance.takeStatus(end, agent, payload)
  }

  /** Its last status says that it is there. */
  isOnline(end: TunnelEnd): boolean {
    const seat = this.#namespaces.seat(end.mountpoint, 'serve', end.name)
    return seat?.local === end && seat.status !== undefined
  }

  // --- who is at other pods

  /** Other brokers live, now. */
  get hasOthers(): boolean {
    return this.#pods?.pods().some(({ isSelf }) => !isSelf) === true
  }

  seatTaken(pod: PodId, seat: PodSeat): void {
    this.#attendance.seatTaken(pod, seat)
  }

  seatLeft(pod: PodId, seat: PodSeat, reason: DisconnectReason['kind']): void {
    this.#attendance.seatLeft(pod, seat, reason)
  }

  /** Stopped or dead: for its agents it is the same. */
  podGone(pod: PodId): void {
    this.#attendance.podGone(pod)
  }

  // --- frames

  /** A frame that another pod has passed on: of a client there to an agent here, or of an agent there to a client here. */
  frameFromPod(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void {
    this.#podFrames.receive(pod, mountpoint, topic, frame)
  }

  /**
   * A message on a tunnel topic. `packet` is the PUBLISH of MQTT 3.1.1 at QoS 0 that `frame` lies in, to go on as it is,
   * if it came in one. Both may be changed, and kept.
   */
  receive(end: TunnelEnd, topic: string, frame: Buffer, packet: Buffer | undefined): void {
    const way = this.#namespaces.get(end.mountpoint)?.ways.get(topic)
    if (way === undefined) {
      this.#receiveFirst(end, topic, frame, packet)
      return
    }
    if (way.from.end !== end) {
      this.#forbid(end, topic, frame)
      return
    }
    if (way.lane.client.isElsewhere) {
      this.#podFrames.relay(way, frame)
      return
    }
    const isUp = way.direction === 'up'
    const fault = frameFault(frame, isUp ? 'client' : 'agent')
    if (fault !== undefined) {
      this.#malformed(way, frame, fault)
      return
    }
    const view = this.#view
    view.read(frame)
    const stream = way.lane.streams.get(view.stream)
    if (stream === undefined || view.type === FrameType.open) {
      if (isUp) this.#unknownOfClient(end, way, frame)
      else this.#unknownOfAgent(way, frame, packet)
      return
    }
    if (stream.verdict !== undefined) {
      this.#repeatVerdict(way, stream.id, stream.verdict)
      return
    }
    if (isUp && stream.authorized !== end && !this.#unauthorized(end, stream, frame, packet)) return
    if (!isUp && stream.phase === 'provisional' && !isGreeting(view.type)) {
      stream.learnEnd(view, frame.length)
      return
    }
    this.#pass(way, stream, frame, packet)
  }

  /** The one way of every frame of a stream that stands. `#view` holds its header. */
  #pass(way: Way, stream: RoutedStream, frame: Buffer, packet: Buffer | undefined): void {
    const view = this.#view
    const wasOpening = stream.phase === 'opening'
    if (view.type === FrameType.reset) {
      const { code, reason } = decodeReset(frame.subarray(HEADER_BYTES))
      this.#forward(way, frame, packet)
      // An agent that has said so itself needs not be told.
      this.#streams.remove(
        stream,
        code,
        reason,
        way.direction === 'down' ? way.to.end === undefined : undefined,
      )
      return
    }
    const fault = stream.follow(view, frame.length, way.direction)
    if (fault !== undefined) {
      this.counters.dropped.credit++
      this.#streams.end(stream, ResetCode.protocol, fault)
      return
    }
    if (wasOpening && stream.phase === 'open') this.#audit.opened(stream)
    if (this.#shaper.isOn && !this.#hold(way, stream, frame)) this.counters.dropped.rate++
    // Who has come back with fewer rights is not told the bytes of a stream that it has not asked for again.
    else if (way.direction === 'down' && view.type === FrameType.data && stream.authorized !== way.to.end)
      this.counters.dropped.away++
    else this.#forward(way, frame, packet)
    if (stream.phase !== 'closed' && stream.ended) this.#streams.remove(stream, 'closed', '')
  }

  #forward({ direction, topic, to }: Way, frame: Buffer, packet: Buffer | undefined): void {
    const { counters } = this
    const { end } = to
    if (end === undefined) {
      counters.dropped.away++
      return
    }
    if (!this.#hasRoom(end, frame)) return
    counters.frames[direction]++
    counters.bytes[direction] += frame.length - HEADER_BYTES
    end.deliver(topic, packet, frame)
  }

  /** 9.7: answers are small, and make the sender send less; but they have a bound as well. */
  #hasRoom(end: TunnelEnd, frame: Buffer): boolean {
    const cap = this.#config.maxPendingBytes
    if (end.pendingBytes <= (frame[0] === FrameType.data ? cap : 2 * cap)) return true
    this.counters.dropped.slow++
    return false
  }

  /**
   * Keeps to the rates: counts DATA, and tells of no more credit than the tokens allow.
   * @returns false: the sender ignores that, with bytes sent again and again, or with ever new streams.
   */
  #hold({ direction }: Way, stream: RoutedStream, frame: Buffer): boolean {
    const { type, limit } = this.#view
    const out = stream[direction]
    const back = direction === 'up' ? stream.down : stream.up
    const nowMs = this.#now()
    if (type === FrameType.data) {
      if (!this.#shaper.spend(out, frame.length - HEADER_BYTES, nowMs)) return false
      // Without room it waits for the next tick: an ACK of ours for each DATA would be many.
      this.#shaper.grant(out, nowMs)
    }
    this.#shaper.grant(back, nowMs)
    if (back.granted < limit) writeUInt48(frame, 18, back.granted)
    return true
  }

  /** 8.4: of a stream that was reset while an end was away. */
  #repeatVerdict(way: Way, id: number, { code, reason }: Verdict): void {
    const { type } = this.#view
    if (type === FrameType.reset || type === FrameType.ack || type === FrameType.pong) return
    this.#streams.tell(opposite(way), id, code, reason)
  }

  /** 9.3: a connection on a stream that another one has begun is asked about; as a rule its first frame is RESUME. */
  #unauthorized(end: TunnelEnd, stream: RoutedStream, frame: Buffer, packet: Buffer | undefined): boolean {
    const { type } = this.#view
    const isOver = type === FrameType.ack && stream.isOverAt(this.#view)
    // A client that had no ACCEPT before has no RESUME to send: what its agent has said since was its answer.
    const goesOn =
      type === FrameType.resume ||
      (type === FrameType.ack && !isOver) ||
      (type === FrameType.data && stream.phase !== 'provisional')
    if (goesOn) {
      this.#opening.resumeAgain(end, stream, this.#view, frame, () => {
        this.#view.read(frame)
        this.#pass(stream.lane.up, stream, frame, packet)
      })
      return false
    }
    // Saying that one does not know it, or has done with it, needs no right.
    return type === FrameType.reset || isOver
  }

  /** On a topic without streams. */
  #receiveFirst(end: TunnelEnd, topic: string, frame: Buffer, packet: Buffer | undefined): void {
    const parts = parseFrameTopic(topic)
    const from =
      parts?.direction === 'up'
        ? this.endOf(end.mountpoint, parts.client, 'answers')
        : parts && this.endOf(end.mountpoint, parts.agent, 'serve')
    if (parts === undefined || from !== end) {
      this.#forbid(end, topic, frame)
      return
    }
    const namespace = this.#namespaces.at(end.mountpoint)
    const lane = namespace.lane(parts.agent, parts.service, parts.client)
    this.receive(end, topic, frame, packet)
    namespace.tidy(lane)
  }

  /** Of a stream that the broker does not know, or an OPEN. */
  #unknownOfClient(end: TunnelEnd, way: Way, frame: Buffer): void {
    const { lane } = way
    const { type, stream: id } = this.#view
    if (type === FrameType.open) {
      const fault = this.#opening.open(end, lane, this.#view, frame)
      if (fault !== undefined) this.#malformed(way, frame, fault)
    } else if (type === FrameType.resume) this.#opening.resume(end, lane, this.#view, frame)
    else if (type === FrameType.data || type === FrameType.ping) {
      this.counters.dropped['unknown-stream']++
      this.#streams.tell(lane.down, id, ResetCode.unknownStream, 'the broker does not know the stream')
    }
  }

  /** The client may know it and come back: the agent's frames are not refused, but wait for it. */
  #unknownOfAgent({ lane, to }: Way, frame: Buffer, packet: Buffer | undefined): void {
    const { type, stream: id } = this.#view
    const { end } = to
    if (end !== undefined && type === FrameType.resume) {
      this.#opening.resumeOfAgent(end, lane, this.#view, frame, packet)
      return
    }
    this.counters.dropped['unknown-stream']++
    if (this.#pods === undefined || (type !== FrameType.data && type !== FrameType.ping)) return
    if (end !== undefined) this.#opening.askClient(end, lane, this.#view, frame)
    else if (isClientNameOfPod(this.#config.name, to.name))
      // A broker's own client never comes back: its name was that of its pod.
      this.#streams.tell(lane.up, id, ResetCode.timeout, 'the broker that had this client is gone')
  }

  #malformed(way: Way, frame: Buffer, fault: string): void {
    this.counters.dropped.malformed++
    if (frame.length < HEADER_BYTES) return
    const id = frame.readUInt32BE(2)
    const stream = way.lane.streams.get(id)
    if (stream !== undefined) this.#streams.end(stream, ResetCode.protocol, fault)
    else if (frame[0] !== FrameType.reset) this.#streams.tell(opposite(way), id, ResetCode.protocol, fault)
  }

  /** 9.1: told on the topic of its own place, where it has one. */
  #forbid(end: TunnelEnd, topic: string, frame: Buffer): void {
    this.#audit.forbidden(end, topic)
    const parts = parseFrameTopic(topic)
    if (parts === undefined || frame.length < HEADER_BYTES || frame[0] === FrameType.reset) return
    const { agent, service, client, direction } = parts
    const isUp = direction === 'up'
    const { name, mountpoint } = end
    if (this.endOf(mountpoint, name, isUp ? 'answers' : 'serve') !== end) return
    const own = isUp ? `${agent}/${service}/${name}/down` : `${name}/${service}/${client}/up`
    const id = frame.readUInt32BE(2)
    const reason = 'this place belongs to another client'
    this.#streams.answer(end, `${TUNNEL_PREFIX}/${own}`, id, ResetCode.forbidden, reason)
  }
}

/** What an agent may send on a stream that its client has not spoken of. */
function isGreeting(type: FrameType): boolean {
  return type === FrameType.resume || type === FrameType.reset
}
