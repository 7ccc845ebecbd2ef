import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import type { DisconnectReason } from '../../hooks/types.ts'
import type { Log } from '../../log.ts'
import { frameFault, FrameType, FrameView, HEADER_BYTES, writeUInt48 } from '../protocol/frame.ts'
import { answersFilter, parseFrameTopic, serveFilter, type Direction } from '../protocol/names.ts'
import { decodeReset, encodeReset, resetName, ResetCode } from '../protocol/reset-code.ts'
import { Audit } from './audit.ts'
import type { TunnelCounters } from './counters.ts'
import { createTunnelCounters } from './counters.ts'
import type { TunnelEnd } from './end.ts'
import { Opening } from './opening.ts'
import { encodeFramePacket, wrapFrame } from './packet.ts'
import { offlineStatus, parseStatus } from './presence.ts'
import { EndedStreams } from './ended-streams.ts'
import { Flow, RoutedStream } from './routed-stream.ts'
import { Namespace, type Lane, type Seat, type TunnelRole } from './seats.ts'
import { Shaper } from './shaper.ts'

export interface TunnelRouterOptions {
  readonly config: TunnelConfig
  readonly log: Log
  /** Makes this the retained status of an agent. */
  readonly publishStatus: (mountpoint: string, agent: string, status: Buffer) => void
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

/** Limits of time are kept to within this. */
const SWEEP_MS = 1_000
const SHAPER_TICK_MS = 50
/** A client that knows the stream of an agent's RESUME has until then to say so. */
const PROVISIONAL_MS = 30_000

/**
 * Frames from one connection to another: docs/tunnel-protocol.md, section 9. It keeps no bytes of a stream, only
 * who may send how much to whom.
 */
export class TunnelRouter {
  readonly counters: TunnelCounters = createTunnelCounters()
  readonly #config: TunnelConfig
  readonly #publishStatus: TunnelRouterOptions['publishStatus']
  readonly #now: () => number
  readonly #audit: Audit
  readonly #opening: Opening
  readonly #shaper: Shaper
  readonly #namespaces = new Map<string, Namespace>()
  readonly #streams = new Set<RoutedStream>()
  readonly #ended: EndedStreams
  readonly #view = new FrameView()
  #timers: NodeJS.Timeout[] = []

  constructor(options: TunnelRouterOptions) {
    const { config, log } = options
    this.#config = config
    this.#publishStatus = options.publishStatus
    this.#now = options.now ?? (() => performance.now())
    this.#audit = new Audit(this.counters, log, this.#now)
    this.#ended = new EndedStreams(config.resumeTimeoutMs, (stream) => this.#forget(stream))
    this.#shaper = new Shaper({
      perStream: config.bytesPerSecondPerStream,
      perClient: config.bytesPerSecondPerClient,
      perAgent: config.bytesPerSecondPerAgent,
    })
    this.#opening = new Opening({
      config,
      audit: this.#audit,
      shaped: this.#shaper.isOn,
      now: this.#now,
      streamCount: () => this.#streams.size,
      begin: (stream) => this.#begin(stream),
      end: (stream, code, detail) => this.#end(stream, code, detail),
      replace: (stream) => this.#replace(stream),
      tidy: (lane) => this.#namespace(lane.agent.mountpoint).tidy(lane),
      malformed: (end, lane, frame, fault) => this.#malformed(end, lane, 'up', frame, fault),
      answer: (end, topic, id, code, reason) => this.#answer(end, topic, id, code, reason),
      forward: (stream, direction, frame, packet) => this.#forward(stream.lane, direction, frame, packet),
    })
  }

  start(): void {
    this.#timers = [setInterval(() => this.sweep(), SWEEP_MS)]
    if (this.#shaper.isOn) this.#timers.push(setInterval(() => this.shape(), SHAPER_TICK_MS))
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer)
  }

  get streamCount(): number {
    return this.#streams.size
  }

  /** Agents that serve, and clients that may open, now. */
  counts(): { agents: number; clients: number; shaped: number } {
    let agents = 0
    let clients = 0
    for (const { seats } of this.#namespaces.values()) {
      for (const { agentEnd, clientEnd } of seats.values()) {
        if (agentEnd !== undefined) agents++
        if (clientEnd !== undefined) clients++
      }
    }
    return { agents, clients, shaped: this.#shaper.waitingCount }
  }

  /** What it remembers: each of it comes down to what is connected. */
  held(): { seats: number; lanes: number; streams: number; ended: number; shaped: number } {
    let seats = 0
    let lanes = 0
    for (const namespace of this.#namespaces.values()) {
      seats += namespace.seats.size
      lanes += namespace.lanes.size / 2
    }
    return { seats, lanes, streams: this.#streams.size, ended: this.#ended.count, shaped: this.#shaper.count }
  }

  // --- who is there

  /** Which role a filter under `$tunnel/` means for this client. Of another's name, and all else: none. */
  roleOf(name: string, filter: string): TunnelRole | undefined {
    if (filter === serveFilter(name)) return parseFrameTopic(`$tunnel/${name}/x/x/up`) && 'serve'
    if (filter === answersFilter(name)) return parseFrameTopic(`$tunnel/x/x/${name}/down`) && 'answers'
    return undefined
  }

  /** The name is the broker's own: no client can have it. */
  reserve(mountpoint: string, name: string): void {
    this.#namespace(mountpoint).seat(name).reserved = true
  }

  isReserved(mountpoint: string, name: string): boolean {
    return this.#namespaces.get(mountpoint)?.seats.get(name)?.reserved === true
  }

  /** Who has the place of that name now. */
  endOf(mountpoint: string, name: string, role: TunnelRole): TunnelEnd | undefined {
    const seat = this.#namespaces.get(mountpoint)?.seats.get(name)
    return role === 'serve' ? seat?.agentEnd : seat?.clientEnd
  }

  /** The connection has subscribed. Streams of an earlier one of the same name and user go on. */
  attach(end: TunnelEnd, role: TunnelRole): void {
    const seat = this.#namespace(end.mountpoint).seat(end.name)
    const streams = role === 'serve' ? seat.asAgent : seat.asClient
    if ((role === 'serve' ? seat.agentEnd : seat.clientEnd) === end) return
    if (role === 'serve') seat.agentEnd = end
    else seat.clientEnd = end
    const isAnother = seat.lastUser.has(role) && seat.lastUser.get(role) !== end.username
    seat.lastUser.set(role, end.username)
    if (isAnother) {
      for (const stream of [...streams]) this.#takeAway(stream, role)
      return
    }
    // 9.5: one that was restarted does not know them.
    for (const stream of streams) this.#probe(stream, role === 'serve' ? 'up' : 'down')
  }

  /** Another user has the name of one of its ends now: what the one before has had is none of its business. */
  #takeAway(stream: RoutedStream, role: TunnelRole): void {
    const { lane, id } = stream
    const detail = `another user has become ${role === 'serve' ? 'the agent' : 'the client'}`
    const [other, topic] =
      role === 'serve' ? [lane.client.clientEnd, lane.downTopic] : [lane.agent.agentEnd, lane.upTopic]
    if (other !== undefined) this.#answer(other, topic, id, ResetCode.forbidden, detail)
    this.#remove(stream, ResetCode.forbidden, detail, true)
  }

  /** It has unsubscribed. */
  detach(end: TunnelEnd, role: TunnelRole): void {
    const seat = this.#namespaces.get(end.mountpoint)?.seats.get(end.name)
    if (seat === undefined) return
    if (role === 'serve' && seat.agentEnd === end) {
      seat.agentEnd = undefined
      seat.agentAwaySinceMs = this.#now()
      this.#correctStatus(seat)
    } else if (role === 'answers' && seat.clientEnd === end) {
      seat.clientEnd = undefined
      seat.clientAwaySinceMs = this.#now()
    }
    this.#namespace(end.mountpoint).tidySeat(seat)
  }

  /** The connection has ended. */
  gone(end: TunnelEnd, reason: DisconnectReason['kind']): void {
    const seat = this.#namespaces.get(end.mountpoint)?.seats.get(end.name)
    if (seat === undefined) return
    if (reason === 'revoked') {
      if (seat.agentEnd === end) this.#endAll(seat.asAgent, ResetCode.revoked, 'rights have changed')
      if (seat.clientEnd === end) this.#endAll(seat.asClient, ResetCode.revoked, 'rights have changed')
    }
    this.detach(end, 'serve')
    this.detach(end, 'answers')
  }

  /** Rights have changed: asks again for all that this connection does. */
  async recheck(end: TunnelEnd): Promise<void> {
    const seat = this.#namespaces.get(end.mountpoint)?.seats.get(end.name)
    if (seat === undefined) return
    if (seat.agentEnd === end && !(await this.#opening.mayServe(end)) && seat.agentEnd === end) {
      this.#audit.revoked(end, 'serve', seat.asAgent.size)
      this.#endAll(seat.asAgent, ResetCode.revoked, 'rights have changed')
      this.detach(end, 'serve')
    }
    const lanes = new Map<Lane, RoutedStream[]>()
    for (const stream of seat.asClient) {
      if (stream.authorized !== end) continue
      const streams = lanes.get(stream.lane)
      if (streams === undefined) lanes.set(stream.lane, [stream])
      else streams.push(stream)
    }
    // At once: those whose rights are looked at after these must not wait for a slow handler many times.
    await Promise.all([...lanes].map(([lane, streams]) => this.#recheckLane(end, lane, streams)))
  }

  async #recheckLane(end: TunnelEnd, lane: Lane, streams: readonly RoutedStream[]): Promise<void> {
    if ((await this.#opening.mayOpen(end, lane)) === undefined) return
    this.#audit.revoked(end, `${lane.agent.name}/${lane.service}`, streams.length)
    for (const stream of streams) this.#end(stream, ResetCode.revoked, 'rights have changed')
  }

  /** An agent says what it offers. @returns why that is refused. */
  takeStatus(end: TunnelEnd, agent: string, payload: Buffer): string | undefined {
    const seat = this.#namespaces.get(end.mountpoint)?.seats.get(end.name)
    if (agent !== end.name || seat?.agentEnd !== end) return 'the status of an agent is its own'
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
    this.#publishStatus(seat.mountpoint, seat.name, offlineStatus(status, new Date()))
  }

  // --- frames

  /**
   * A message on a tunnel topic. `packet` is the PUBLISH at QoS 0 that `frame` lies in, to go on as it is; without
   * it one is made. Both may be changed, and kept.
   */
  receive(end: TunnelEnd, topic: string, frame: Buffer, packet: Buffer | undefined): void {
    const entry = this.#namespaces.get(end.mountpoint)?.lanes.get(topic)
    if (entry === undefined) {
      this.#receiveFirst(end, topic, frame)
      return
    }
    const { lane, direction } = entry
    const isUp = direction === 'up'
    if ((isUp ? lane.client.clientEnd : lane.agent.agentEnd) !== end) {
      this.#forbid(end, topic, frame)
      return
    }
    const from = isUp ? 'client' : 'agent'
    const fault = frameFault(frame, from)
    if (fault !== undefined) {
      this.#malformed(end, lane, direction, frame, fault)
      return
    }
    const view = this.#view
    view.read(frame)
    const stream = lane.streams.get(view.stream)
    if (stream === undefined || view.type === FrameType.open) {
      this.#withoutStream(end, lane, direction, frame, packet)
      return
    }
    if (stream.verdict !== undefined) {
      this.#repeatVerdict(end, stream, direction, view.type)
      return
    }
    if (isUp && stream.authorized !== end && !this.#unauthorized(end, stream, frame, packet)) return
    if (!isUp && stream.phase === 'provisional' && !isGreeting(view.type)) return
    this.#pass(stream, direction, frame, packet)
  }

  /** The one way of every frame of a stream that stands. `#view` holds its header. */
  #pass(stream: RoutedStream, direction: Direction, frame: Buffer, packet: Buffer | undefined): void {
    const view = this.#view
    const { lane } = stream
    const wasOpening = stream.phase === 'opening'
    if (view.type === FrameType.reset) {
      const { code, reason } = decodeReset(frame.subarray(HEADER_BYTES))
      this.#forward(lane, direction, frame, packet)
      this.#remove(stream, code, reason)
      return
    }
    const fault = stream.follow(view, frame.length, direction === 'up' ? 'client' : 'agent')
    if (fault !== undefined) {
      this.counters.dropped.credit++
      this.#end(stream, ResetCode.protocol, fault)
      return
    }
    if (wasOpening && stream.phase === 'open') this.#audit.opened(stream)
    if (this.#shaper.isOn && !this.#hold(stream, direction, frame)) this.counters.dropped.rate++
    // Who has come back with fewer rights is not told the bytes of a stream that it has not asked for again.
    else if (
      direction === 'down' &&
      view.type === FrameType.data &&
      stream.authorized !== lane.client.clientEnd
    )
      this.counters.dropped.away++
    else this.#forward(lane, direction, frame, packet)
    if (stream.phase !== 'closed' && stream.ended) this.#remove(stream, 'closed', '')
  }

  /**
   * Keeps to the rates: counts DATA, and tells of no more credit than the tokens allow.
   * @returns false: the sender ignores that, with bytes sent again and again, or with ever new streams.
   */
  #hold(stream: RoutedStream, direction: Direction, frame: Buffer): boolean {
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
  #repeatVerdict(end: TunnelEnd, stream: RoutedStream, direction: Direction, type: FrameType): void {
    const { code, reason } = stream.verdict!
    if (type === FrameType.reset || type === FrameType.ack || type === FrameType.pong) return
    const { upTopic, downTopic } = stream.lane
    this.#answer(end, direction === 'up' ? downTopic : upTopic, stream.id, code, reason)
  }

  /** 9.3: the first frame of a connection on a stream that another one has begun is RESUME. */
  #unauthorized(end: TunnelEnd, stream: RoutedStream, frame: Buffer, packet: Buffer | undefined): boolean {
    const { type } = this.#view
    if (type === FrameType.resume) {
      this.#opening.resumeAgain(end, stream, this.#view, frame, () => {
        this.#view.read(frame)
        this.#pass(stream, 'up', frame, packet)
      })
      return false
    }
    // Saying that one does not know it, or has done with it, needs no right.
    return type === FrameType.reset || (type === FrameType.ack && stream.phase === 'provisional')
  }

  #receiveFirst(end: TunnelEnd, topic: string, frame: Buffer): void {
    const parts = parseFrameTopic(topic)
    if (parts === undefined) {
      this.#audit.forbidden(end, topic)
      return
    }
    const { agent, service, client, direction } = parts
    const seat = this.#namespaces.get(end.mountpoint)?.seats.get(direction === 'up' ? client : agent)
    if ((direction === 'up' ? seat?.clientEnd : seat?.agentEnd) !== end) {
      this.#forbid(end, topic, frame)
      return
    }
    const namespace = this.#namespace(end.mountpoint)
    const lane = namespace.lane(agent, service, client)
    const fault = frameFault(frame, direction === 'up' ? 'client' : 'agent')
    if (fault === undefined) {
      this.#view.read(frame)
      this.#withoutStream(end, lane, direction, frame, undefined)
    } else this.#malformed(end, lane, direction, frame, fault)
    namespace.tidy(lane)
  }

  /** Of a stream that the broker does not know, or an OPEN. */
  #withoutStream(
    end: TunnelEnd,
    lane: Lane,
    direction: Direction,
    frame: Buffer,
    packet: Buffer | undefined,
  ): void {
    const { type, stream: id } = this.#view
    if (direction === 'up') {
      if (type === FrameType.open) this.#opening.open(end, lane, this.#view, frame)
      else if (type === FrameType.resume) this.#opening.resume(end, lane, this.#view, frame)
      else if (type === FrameType.data || type === FrameType.ping) {
        this.counters.dropped['unknown-stream']++
        this.#answer(end, lane.downTopic, id, ResetCode.unknownStream, 'the broker does not know the stream')
      }
      return
    }
    // The client may know it and come back: the agent's frames are not refused, but wait for it.
    if (type !== FrameType.resume || lane.client.clientEnd === undefined) {
      this.counters.dropped['unknown-stream']++
      return
    }
    const { maxStreams, maxStreamsPerAgent } = this.#config
    if (lane.agent.asAgent.size >= maxStreamsPerAgent || this.#streams.size >= maxStreams) return
    const { clientEnd } = lane.client
    const stream = new RoutedStream(lane, id, {
      phase: 'provisional',
      client: clientEnd,
      nowMs: this.#now(),
      up: new Flow(0, false),
      down: new Flow(0, false),
    })
    stream.forgetAtMs = stream.startedAtMs + PROVISIONAL_MS
    this.#begin(stream)
    // Where a rate is kept to, credit waits for the answer.
    if (this.#shaper.isOn) writeUInt48(frame, 18, 0)
    this.#forward(lane, 'down', frame, packet)
  }

  #forward(lane: Lane, direction: Direction, frame: Buffer, packet: Buffer | undefined): void {
    const isUp = direction === 'up'
    const end = isUp ? lane.agent.agentEnd : lane.client.clientEnd
    const { counters } = this
    if (end === undefined) {
      counters.dropped.away++
      return
    }
    const cap = this.#config.maxPendingBytes
    // 9.7: answers are small, and make the sender send less; but they have a bound as well.
    if (end.pendingBytes > (frame[0] === FrameType.data ? cap : 2 * cap)) {
      counters.dropped.slow++
      return
    }
    counters.frames[direction]++
    counters.bytes[direction] += frame.length - HEADER_BYTES
    const topic = isUp ? lane.upTopic : lane.downTopic
    if (packet !== undefined) end.deliver(topic, packet, frame)
    else {
      const made = wrapFrame(topic, frame)
      end.deliver(topic, made.packet, made.frame)
    }
  }

  #malformed(end: TunnelEnd, lane: Lane, direction: Direction, frame: Buffer, fault: string): void {
    this.counters.dropped.malformed++
    if (frame.length < HEADER_BYTES) return
    const id = frame.readUInt32BE(2)
    const stream = lane.streams.get(id)
    if (stream !== undefined) this.#end(stream, ResetCode.protocol, fault)
    else if (frame[0] !== FrameType.reset) {
      const back = direction === 'up' ? lane.downTopic : lane.upTopic
      this.#answer(end, back, id, ResetCode.protocol, fault)
    }
  }

  /** 9.1: told on the topic of its own place, where it has one. */
  #forbid(end: TunnelEnd, topic: string, frame: Buffer): void {
    this.#audit.forbidden(end, topic)
    const parts = parseFrameTopic(topic)
    if (parts === undefined || frame.length < HEADER_BYTES || frame[0] === FrameType.reset) return
    const seat = this.#namespaces.get(end.mountpoint)?.seats.get(end.name)
    const { agent, service, client, direction } = parts
    const back =
      direction === 'up'
        ? seat?.clientEnd === end && answersFilter(end.name).replace('+/+', `${agent}/${service}`)
        : seat?.agentEnd === end && serveFilter(end.name).replace('+/+', `${service}/${client}`)
    if (typeof back !== 'string') return
    this.#answer(
      end,
      back,
      frame.readUInt32BE(2),
      ResetCode.forbidden,
      'this place belongs to another client',
    )
  }

  #answer(end: TunnelEnd, topic: string, id: number, code: ResetCode, reason: string): void {
    if (end.pendingBytes > 2 * this.#config.maxPendingBytes) return
    const header = { type: FrameType.reset, flags: 0, stream: id, offset: 0, acked: 0, limit: 0 }
    const { packet, frame } = encodeFramePacket(topic, header, encodeReset(code, reason))
    end.deliver(topic, packet, frame)
  }

  // --- streams

  #namespace(mountpoint: string): Namespace {
    let namespace = this.#namespaces.get(mountpoint)
    if (namespace === undefined) this.#namespaces.set(mountpoint, (namespace = new Namespace(mountpoint)))
    return namespace
  }

  #begin(stream: RoutedStream): void {
    const { lane } = stream
    lane.streams.set(stream.id, stream)
    lane.agent.asAgent.add(stream)
    // What only an agent says takes nothing from the client's limit.
    if (stream.phase !== 'provisional') lane.client.asClient.add(stream)
    this.#streams.add(stream)
    const nowMs = this.#now()
    // Of a stream that begins, the other end may not have been seen yet.
    if (lane.agent.agentEnd === undefined && lane.agent.agentAwaySinceMs === 0)
      lane.agent.agentAwaySinceMs = nowMs
    if (stream.phase !== 'provisional') this.#shaper.begin(stream, nowMs)
  }

  /** Ends it, and tells both ends; one that is away, when it comes back. */
  #end(stream: RoutedStream, code: ResetCode, detail: string): void {
    const { lane, id } = stream
    if (stream.phase === 'closed') return
    if (lane.client.clientEnd !== undefined)
      this.#answer(lane.client.clientEnd, lane.downTopic, id, code, detail)
    if (lane.agent.agentEnd !== undefined) this.#answer(lane.agent.agentEnd, lane.upTopic, id, code, detail)
    this.#remove(stream, code, detail)
  }

  /** 5.5: its client opens it anew, and has forgotten the old one; of one that only its agent knows, it speaks now. */
  #replace(stream: RoutedStream): void {
    const { lane, id } = stream
    if (stream.phase === 'closed') {
      this.#ended.drop(stream)
      return
    }
    if (stream.phase !== 'provisional' && lane.agent.agentEnd !== undefined)
      this.#answer(lane.agent.agentEnd, lane.upTopic, id, ResetCode.reset, 'opened anew')
    this.#remove(stream, ResetCode.reset, 'opened anew', false)
  }

  #endAll(streams: ReadonlySet<RoutedStream>, code: ResetCode, detail: string): void {
    for (const stream of [...streams]) this.#end(stream, code, detail)
  }

  /** `isMissed`: an end does not know, and is to be told when it comes back. Default: when one is away. */
  #remove(stream: RoutedStream, how: ResetCode | 'closed', detail: string, isMissed?: boolean): void {
    const { lane } = stream
    if (stream.phase === 'closed') return
    const reason = how === 'closed' ? how : resetName(how)
    const wasProvisional = stream.phase === 'provisional'
    const nowMs = this.#now()
    if (stream.phase === 'opening' && reason !== 'closed') {
      const asked = {
        agent: lane.agent.name,
        service: lane.service,
        client: lane.client.name,
        stream: stream.id,
      }
      this.#audit.refused(asked, stream.client, reason, detail, lane.client)
    } else if (!wasProvisional) this.#audit.ended(stream, reason, detail, nowMs)
    stream.phase = 'closed'
    this.#streams.delete(stream)
    lane.agent.asAgent.delete(stream)
    lane.client.asClient.delete(stream)
    this.#shaper.end(stream)
    const isAway = lane.agent.agentEnd === undefined || lane.client.clientEnd === undefined
    if (how === 'closed') this.#ended.add(stream, nowMs)
    else if (!wasProvisional && stream.isKnownToAgent && (isMissed ?? isAway)) {
      stream.verdict = { code: how, reason: detail }
      this.#ended.add(stream, nowMs)
    } else this.#forget(stream)
  }

  #forget(stream: RoutedStream): void {
    const { lane, id } = stream
    if (lane.streams.get(id) === stream) lane.streams.delete(id)
    this.#namespace(lane.agent.mountpoint).tidy(lane)
  }

  /** 9.5 */
  #probe(stream: RoutedStream, direction: Direction): void {
    const { lane, id, up, down } = stream
    const back = direction === 'up' ? down : up
    const end = direction === 'up' ? lane.agent.agentEnd : lane.client.clientEnd
    // An agent may not have got the OPEN yet, which its client repeats.
    const isKnown = stream.phase === 'open' || (stream.phase === 'opening' && direction === 'down')
    if (end === undefined || !isKnown) return
    const topic = direction === 'up' ? lane.upTopic : lane.downTopic
    const header = {
      type: FrameType.ping,
      flags: 0,
      stream: id,
      offset: 0,
      acked: back.acked,
      limit: back.granted,
    }
    const { packet, frame } = encodeFramePacket(topic, header)
    end.deliver(topic, packet, frame)
  }

  // --- time

  /** Every second. */
  sweep(): void {
    const nowMs = this.#now()
    const { idleTimeoutMs, maxDurationMs, resumeTimeoutMs } = this.#config
    for (const stream of this.#streams) {
      if (stream.active) {
        stream.active = false
        stream.activeAtMs = nowMs
      }
      const { agent, client } = stream.lane
      if (stream.phase === 'provisional') {
        if (nowMs >= stream.forgetAtMs) this.#remove(stream, ResetCode.timeout, '')
      } else if (agent.agentEnd === undefined && nowMs - agent.agentAwaySinceMs > resumeTimeoutMs) {
        this.#end(stream, ResetCode.agentOffline, 'the agent did not come back')
      } else if (client.clientEnd === undefined && nowMs - client.clientAwaySinceMs > resumeTimeoutMs) {
        this.#end(stream, ResetCode.timeout, 'the client did not come back')
      } else if (idleTimeoutMs > 0 && nowMs - stream.activeAtMs > idleTimeoutMs) {
        this.#end(stream, ResetCode.idle, `no data for ${idleTimeoutMs} ms`)
      } else if (maxDurationMs > 0 && nowMs - stream.startedAtMs > maxDurationMs) {
        this.#end(stream, ResetCode.idle, `open for ${maxDurationMs} ms`)
      }
    }
    this.#ended.sweep(nowMs)
  }

  /** Where a rate is kept to: tells senders of the credit that time has brought. */
  shape(): void {
    this.#shaper.tick(this.#now(), (stream, direction) => {
      const { lane, id } = stream
      const flow = stream[direction]
      const back = direction === 'up' ? stream.down : stream.up
      const end = direction === 'up' ? lane.client.clientEnd : lane.agent.agentEnd
      if (end === undefined) return
      const topic = direction === 'up' ? lane.downTopic : lane.upTopic
      const header = {
        type: FrameType.ack,
        flags: back.endAt >= 0 ? 1 : 0,
        stream: id,
        offset: back.endAt >= 0 ? back.endAt : back.sentTo,
        acked: flow.acked,
        limit: flow.granted,
      }
      const { packet, frame } = encodeFramePacket(topic, header)
      end.deliver(topic, packet, frame)
    })
  }
}

/** What an agent may send on a stream that its client has not spoken of. */
function isGreeting(type: FrameType): boolean {
  return type === FrameType.resume || type === FrameType.reset
}
