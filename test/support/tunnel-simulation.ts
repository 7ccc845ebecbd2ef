import { FrameType, FrameView, encodeFrame, type FrameHeader } from '../../src/tunnel/protocol/frame.ts'
import { Routes, type Route } from '../../src/tunnel/protocol/names.ts'
import { ResetCode } from '../../src/tunnel/protocol/reset-code.ts'
import type { StreamEvent, Streams, StreamsLimits } from '../../src/tunnel/protocol/streams.ts'
import { foreignBroker, tunnelBroker, type Role, type SimulatedBroker } from './tunnel-simulation-broker.ts'
import { podsBroker } from './tunnel-simulation-pods.ts'
import { SimulatedClock, seededRandom } from './tunnel-simulation-clock.ts'
import { WireJudge, checkUnread, keyOf } from './tunnel-simulation-judge.ts'
import { Conversation, Talker, fail, type StreamPlan, type TalkWorld } from './tunnel-simulation-talker.ts'

/** How frames fare between the ends. */
export interface WayPlan {
  /** TunnelMQ's broker loses DATA only, and neither doubles nor swaps frames. */
  readonly lossRate: number
  readonly doubleRate: number
  readonly delayMs: number
  /** Up to so much more for a frame: it is overtaken. */
  readonly jitterMs: number
  /** Of each end's connection. */
  readonly bytesPerMs: number
  /** What a connection takes before it says no. */
  readonly socketBytes: number
}

export interface Fault {
  readonly atMs: number
  readonly kind: 'cutClient' | 'cutAgent' | 'cutBoth' | 'brokerRestart' | 'restartClient' | 'restartAgent'
  /** Nobody notices for so long: what is sent is lost. */
  readonly silentMs: number
  /** And then it is known to be gone, for so long. */
  readonly awayMs: number
}

export interface Scenario {
  readonly seed: number
  /** `pods`: the routers of three brokers, to which the ends come at random. */
  readonly broker: 'foreign' | 'tunnelmq' | 'pods'
  readonly way: WayPlan
  readonly streams: readonly StreamPlan[]
  readonly faults: readonly Fault[]
  readonly limits: Partial<StreamsLimits>
}

export type MakeStreams = (options: {
  role: Role
  limits: Partial<StreamsLimits>
  firstStreamId: number
}) => Streams

/** One end, and its connection. */
interface End {
  readonly role: Role
  readonly routes: Routes
  streams: Streams
  isUp: boolean
  /** Counts connections and losses: what is on its way belongs to one. */
  epoch: number
  /** Faults that keep it down, and such that nobody knows of. */
  cutCount: number
  silenceCount: number
  waitingBytes: number
  busyUntilMs: number
  wasRefused: boolean
  timerAtMs: number
  lastTimerMs: number
  timersAtOnce: number
  isSettling: boolean
}

/** Defaults of the limits that this needs to know: docs/tunnel-protocol.md 10. */
const MAX_WINDOW_BYTES = 8_388_608
const RESUME_TIMEOUT_MS = 120_000
const MAX_STEPS = 1_000_000
const MAX_TIMERS_AT_ONCE = 100
const ROLES_OF: Record<Fault['kind'], readonly Role[]> = {
  cutClient: ['client'],
  cutAgent: ['agent'],
  cutBoth: ['client', 'agent'],
  brokerRestart: ['client', 'agent'],
  restartClient: ['client'],
  restartAgent: ['agent'],
}

/**
 * Two ends, their programs and a network between them, all in the time of a {@link SimulatedClock}.
 *
 *   programs ⇄ Streams (client) ⇄ connection ⇄ broker ⇄ connection ⇄ Streams (agent) ⇄ programs
 *
 * It reads along on the wire and at the programs, and fails with an AssertionError at the first thing that is wrong.
 */
export class TunnelSimulation implements TalkWorld {
  readonly clock = new SimulatedClock()
  readonly conversations: readonly Conversation[]
  readonly ends: Readonly<Record<Role, End>>
  frameCount = 0
  wireBytes = 0
  timerCount = 0
  /** Nothing is lost or doubled any more. */
  isHealed = false
  readonly #scenario: Scenario
  readonly #random: () => number
  readonly #make: MakeStreams
  readonly #broker: SimulatedBroker
  readonly #judge: WireJudge
  readonly #maxWindowBytes: number
  readonly #resumeTimeoutMs: number
  readonly #startMs: number
  readonly #view = new FrameView()

  constructor(scenario: Scenario, make: MakeStreams) {
    this.#scenario = scenario
    this.#random = seededRandom(scenario.seed)
    this.#make = make
    this.#startMs = this.clock.nowMs
    this.#maxWindowBytes = scenario.limits.maxWindowBytes ?? MAX_WINDOW_BYTES
    this.#resumeTimeoutMs = scenario.limits.resumeTimeoutMs ?? RESUME_TIMEOUT_MS
    this.#judge = new WireJudge(this.#maxWindowBytes)
    const { clock } = this
    this.#broker = { foreign: foreignBroker, tunnelmq: tunnelBroker, pods: podsBroker }[scenario.broker]({
      resumeTimeoutMs: this.#resumeTimeoutMs,
      random: this.#random,
      get nowMs() {
        return clock.nowMs
      },
      isUp: (role) => this.ends[role].isUp,
      deliver: (to, route, frame) => this.#cross(this.ends[to], route, frame),
      after: (delayMs, run) => this.clock.after(delayMs, run),
    })
    this.ends = { client: this.#createEnd('client'), agent: this.#createEnd('agent') }
    this.conversations = scenario.streams.map((plan, index) => new Conversation(this, index, plan))
    for (const conversation of this.conversations) {
      this.clock.after(conversation.plan.openAtMs, () => this.#open(conversation))
    }
    for (const fault of scenario.faults) this.clock.after(fault.atMs, () => this.#inflict(fault))
    this.#connect(this.ends.agent)
    this.#connect(this.ends.client)
  }

  get nowMs(): number {
    return this.clock.nowMs
  }

  /** Since the start. */
  get elapsedMs(): number {
    return this.clock.nowMs - this.#startMs
  }

  after(delayMs: number, role: Role, run: () => void): void {
    this.clock.after(delayMs, () => {
      run()
      this.#settle(this.ends[role])
    })
  }

  /** Runs until `untilMs` since the start, or until it is `done`: when every stream is over. */
  run(untilMs: number, done: () => boolean = () => this.isOver): void {
    this.clock.run(this.#startMs + untilMs, () => {
      if (this.clock.stepCount > MAX_STEPS) fail(`more than ${MAX_STEPS} steps:\n${this.describe()}`)
      return done()
    })
  }

  get isOver(): boolean {
    return this.conversations.every((conversation) => conversation.isOver)
  }

  /** Codes that this scenario makes possible for each stream. */
  get excuses(): ReadonlySet<ResetCode> {
    const lostMs = this.#scenario.faults.reduce((sum, fault) => sum + fault.silentMs + fault.awayMs, 0)
    const isLong = lostMs > this.#resumeTimeoutMs / 2
    return new Set(isLong ? [ResetCode.timeout, ResetCode.unknownStream, ResetCode.agentOffline] : [])
  }

  describe(): string {
    return this.conversations
      .flatMap(({ client, agent }) => [client.describe(), agent.describe()])
      .concat(`at ${Math.round(this.elapsedMs)} ms, ${this.frameCount} frames`)
      .join('\n')
  }

  // --- ends

  #createEnd(role: Role): End {
    return {
      role,
      routes: new Routes('tunnel'),
      streams: this.#makeStreams(role),
      isUp: false,
      epoch: 0,
      cutCount: 0,
      silenceCount: 0,
      waitingBytes: 0,
      busyUntilMs: 0,
      wasRefused: false,
      timerAtMs: Infinity,
      lastTimerMs: 0,
      timersAtOnce: 0,
      isSettling: false,
    }
  }

  #makeStreams(role: Role): Streams {
    const firstStreamId = Math.floor(this.#random() * 0x1_0000_0000)
    return this.#make({ role, limits: this.#scenario.limits, firstStreamId })
  }

  /** What an endpoint does after each call: see `Streams`. */
  #settle(end: End): void {
    if (end.isSettling) return
    end.isSettling = true
    for (let round = 0; ; round++) {
      if (round > 10_000) fail(`${end.role}: events without end`)
      const events = end.streams.takeEvents()
      for (const event of events) this.#handle(end, event)
      if (events.length > 0) continue
      if (!end.isUp || end.wasRefused) break
      const before = this.frameCount
      end.streams.transmit(this.nowMs, (route, header, payload) => this.#send(end, route, header, payload))
      if (this.frameCount === before) break
    }
    for (const event of end.streams.takeEvents()) this.#handle(end, event)
    end.isSettling = false
    this.#setTimer(end)
  }

  #setTimer(end: End): void {
    const { streams } = end
    const deadlineMs = streams.nextDeadlineMs
    if (Number.isNaN(deadlineMs)) fail(`${end.role}: nextDeadlineMs is no number`)
    if (deadlineMs >= end.timerAtMs) return
    end.timerAtMs = deadlineMs
    // Timers of Node come late, and now and then a little early.
    const lateMs = this.#random() < 0.5 ? 0 : this.#random() * 4 - 1
    this.clock.at(deadlineMs + lateMs, () => {
      if (end.timerAtMs !== deadlineMs || end.streams !== streams) return
      end.timerAtMs = Infinity
      end.timersAtOnce = end.lastTimerMs === this.nowMs ? end.timersAtOnce + 1 : 0
      if (end.timersAtOnce > MAX_TIMERS_AT_ONCE) fail(`${end.role}: its deadline ${deadlineMs} does not move`)
      end.lastTimerMs = this.nowMs
      this.timerCount++
      streams.advance(this.nowMs)
      this.#settle(end)
    })
  }

  // --- programs

  #open(conversation: Conversation): void {
    const { client, index } = conversation
    const end = this.ends.client
    const route = end.routes.get('pi7', index % 2 === 0 ? 'ssh' : 'web', 'laptop')
    const token = (index + 1).toString(16).padStart(16, '0')
    const source = { address: '127.0.0.1', port: index }
    const stream = end.streams.open(route, { token, source }, this.nowMs)
    this.#judge.opened(keyOf(route.upTopic, stream.id), conversation)
    client.begin(stream)
    client.startWriting()
    this.#settle(end)
  }

  #handle(end: End, event: StreamEvent): void {
    const { stream } = event
    if (event.kind === 'opened') return this.#opened(stream)
    const talker = stream.attachment
    if (!(talker instanceof Talker) || talker.stream !== stream)
      return fail(`${event.kind} of an unknown stream`)
    talker.handle(event)
    if (event.kind !== 'data') return
    const unread = talker.received - talker.consumed
    checkUnread(talker, unread, this.#maxWindowBytes)
    if (end.role !== talker.role) fail(`${talker.name}: told at the wrong end`)
  }

  #opened(stream: StreamEvent['stream']): void {
    const conversation = this.conversations[stream.source?.port ?? -1]
    if (conversation === undefined) return fail('opened without its source')
    if (conversation.agent.isForgotten) conversation.replaceAgent(this)
    const { agent, plan } = conversation
    if (agent.stream !== undefined) fail(`${agent.name}: opened again`)
    agent.begin(stream)
    this.after(plan.dialMs, 'agent', () => {
      if (!agent.isLive) return
      if (plan.isRefused) return agent.reset(ResetCode.refused)
      stream.accept(this.nowMs)
      agent.startWriting()
    })
  }

  // --- faults

  #inflict(fault: Fault): void {
    const ends = ROLES_OF[fault.kind].map((role) => this.ends[role])
    for (const end of ends) end.silenceCount++
    this.clock.after(fault.silentMs, () => {
      if (fault.kind === 'brokerRestart') this.#broker.restarted()
      for (const end of ends) {
        end.silenceCount--
        end.cutCount++
        this.#disconnect(end)
        if (fault.kind === 'restartClient' || fault.kind === 'restartAgent') this.#restart(end)
      }
    })
    this.clock.after(fault.silentMs + fault.awayMs, () => {
      for (const end of ends) if (--end.cutCount === 0) this.#connect(end)
    })
  }

  #connect(end: End): void {
    end.isUp = true
    end.epoch++
    end.waitingBytes = 0
    end.wasRefused = false
    end.busyUntilMs = this.nowMs
    end.streams.linkUp(this.nowMs)
    this.#broker.joined(end.role)
    this.#settle(end)
  }

  #disconnect(end: End): void {
    if (!end.isUp) return
    end.isUp = false
    end.epoch++
    end.streams.linkDown(this.nowMs)
    this.#broker.left(end.role)
    this.#settle(end)
  }

  #restart(end: End): void {
    for (const conversation of this.conversations) {
      const talker = conversation.talker(end.role)
      if (talker.isLive) talker.outcome = { kind: 'killed' }
      talker.isForgotten ||= talker.stream !== undefined
    }
    end.streams = this.#makeStreams(end.role)
    end.timerAtMs = Infinity
    this.#judge.restarted(end.role)
  }

  // --- frames

  #send(end: End, route: Route, header: FrameHeader, payload: Buffer | undefined): boolean {
    const { way } = this.#scenario
    if (end.waitingBytes >= way.socketBytes) {
      end.wasRefused = true
      return false
    }
    const frame = encodeFrame(header, payload)
    this.#judge.said(end.role, keyOf(route.upTopic, header.stream), header, frame)
    this.frameCount++
    this.wireBytes += frame.length
    end.waitingBytes += frame.length
    end.busyUntilMs = Math.max(end.busyUntilMs, this.nowMs) + frame.length / way.bytesPerMs
    const { epoch } = end
    this.clock.at(end.busyUntilMs, () => {
      if (end.epoch !== epoch) return
      end.waitingBytes -= frame.length
      if (end.silenceCount === 0) this.#broker.take(end.role, route, frame)
      if (!end.wasRefused || end.waitingBytes > way.socketBytes / 2) return
      end.wasRefused = false
      this.#settle(end)
    })
    return true
  }

  /** From the broker to an end. */
  #cross(end: End, route: Route, frame: Buffer): void {
    const { way, broker } = this.#scenario
    const isMortal = !this.isHealed && (broker === 'foreign' || frame[0] === FrameType.data)
    if (isMortal && this.#random() < way.lossRate) return
    const copies = isMortal && broker === 'foreign' && this.#random() < way.doubleRate ? 2 : 1
    const { epoch } = end
    for (let copy = 0; copy < copies; copy++) {
      const jitterMs = broker === 'foreign' ? this.#random() * way.jitterMs : 0
      this.clock.after(way.delayMs + jitterMs, () => {
        if (end.epoch !== epoch || !end.isUp || end.silenceCount > 0) return
        this.#arrive(end, end.routes.get(route.agent, route.service, route.client), frame)
      })
    }
  }

  #arrive(end: End, route: Route, frame: Buffer): void {
    this.#view.read(frame)
    this.#judge.heard(end.role, keyOf(route.upTopic, this.#view.stream), this.#view)
    end.streams.receive(route, frame, this.nowMs)
    // An endpoint may have several frames in one chunk of its socket.
    if (this.#random() < 0.8) this.#settle(end)
    else this.clock.after(0, () => this.#settle(end))
  }
}
