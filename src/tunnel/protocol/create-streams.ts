import { Deadlines } from './deadlines.ts'
import { frameFault, FrameFlag, FrameType, FrameView, HEADER_BYTES, INITIAL_CREDIT_BYTES } from './frame.ts'
import { LinkClock } from './link-clock.ts'
import type { Route } from './names.ts'
import { decodeOpen, type OpenPayload } from './open-payload.ts'
import { WindowBudget } from './receive-window.ts'
import { decodeReset, encodeReset, ResetCode } from './reset-code.ts'
import { RoundTrip } from './round-trip.ts'
import { StreamMachine, type StreamHost, type StreamStart } from './stream-machine.ts'
import type { SendFrame, Stream, StreamEvent, Streams, StreamsLimits } from './streams.ts'
import { Tombstones, type Tombstone } from './tombstones.ts'
import { Turns } from './turns.ts'

const DEFAULT_LIMITS: StreamsLimits = {
  chunkBytes: 32_768,
  windowBytes: 1_048_576,
  maxWindowBytes: 8_388_608,
  totalWindowBytes: 67_108_864,
  sendBufferBytes: 1_048_576,
  maxStreams: 10_000,
  openTimeoutMs: 20_000,
  resumeTimeoutMs: 120_000,
}

/** Answers for streams that are not there any more; above it the oldest is dropped, and asked for again. */
const MAX_ANSWERS = 1_024
/** So many streams that were idle go first, then one that was not: they cannot keep it waiting for ever. */
const MAX_FIRST_IN_A_ROW = 16

export interface StreamsOptions {
  readonly role: 'client' | 'agent'
  readonly limits?: Partial<StreamsLimits>
  /** Client: random, 32 bits; those that follow count up (docs/tunnel-protocol.md 4.2). */
  readonly firstStreamId: number
}

export function createStreams(options: StreamsOptions): Streams {
  return new Machine(options)
}

/** The streams between one agent and one client for one service. */
interface RouteStreams {
  readonly route: Route
  readonly roundTrip: RoundTrip
  readonly byId: Map<number, StreamMachine>
}

interface Answer {
  readonly route: Route
  readonly id: number
  readonly stone: Tombstone
}

class Machine implements Streams, StreamHost {
  readonly role: 'client' | 'agent'
  readonly limits: StreamsLimits
  readonly budget: WindowBudget
  readonly clock = new LinkClock()
  readonly counters = { opened: 0, closed: 0, reset: 0, resentBytes: 0, droppedFrames: 0 }
  isUp = false

  readonly #peerRole: 'client' | 'agent'
  readonly #streams = new Set<StreamMachine>()
  readonly #routes = new Map<string, RouteStreams>()
  #lastRoute: RouteStreams | undefined
  readonly #tombstones: Tombstones
  readonly #deadlines = new Deadlines<StreamMachine>()
  readonly #view = new FrameView()
  #events: StreamEvent[] = []
  #nextId: number

  readonly #header = new FrameView()
  readonly #answers: Answer[] = []
  readonly #control = new Turns<StreamMachine>()
  /** DATA of streams that were idle, and of the others. */
  readonly #first = new Turns<StreamMachine>()
  readonly #others = new Turns<StreamMachine>()
  #firstInARow = 0
  #isTransmitting = false

  constructor({ role, limits, firstStreamId }: StreamsOptions) {
    this.role = role
    this.#peerRole = role === 'client' ? 'agent' : 'client'
    this.limits = { ...DEFAULT_LIMITS, ...limits }
    this.budget = new WindowBudget(this.limits)
    this.#tombstones = new Tombstones(this.limits.resumeTimeoutMs)
    this.#nextId = firstStreamId >>> 0
  }

  get count(): number {
    return this.#streams.size
  }

  get nextDeadlineMs(): number {
    return this.#deadlines.nextMs
  }

  all(): Iterable<Stream> {
    return this.#streams.values()
  }

  takeEvents(): readonly StreamEvent[] {
    const events = this.#events
    if (events.length > 0) this.#events = []
    return events
  }

  open(route: Route, open: OpenPayload, nowMs: number): Stream {
    if (this.count >= this.limits.maxStreams) throw new RangeError(`${this.count} streams are open`)
    while (this.#find(route, this.#nextId) !== undefined) this.#nextId = (this.#nextId + 1) >>> 0
    const id = this.#nextId
    this.#nextId = (id + 1) >>> 0
    return this.#add({ route, id, open, creditLimit: INITIAL_CREDIT_BYTES }, nowMs)
  }

  receive(route: Route, frame: Buffer, nowMs: number): void {
    const fault = frameFault(frame, this.#peerRole)
    if (fault !== undefined) {
      this.#receiveFaulty(route, frame, fault, nowMs)
      return
    }
    const view = this.#view
    view.read(frame)
    const stream = this.#find(route, view.stream)
    if (view.type === FrameType.open) {
      this.#receiveOpen(route, stream, frame, nowMs)
    } else if (view.type === FrameType.reset) {
      const { code, reason } = decodeReset(frame.subarray(HEADER_BYTES))
      stream?.resetByPeer(code, reason, nowMs)
    } else if (stream !== undefined) {
      stream.receive(view, frame, nowMs)
    } else {
      this.#receiveUnknown(route, view, nowMs)
    }
  }

  linkUp(nowMs: number): void {
    this.isUp = true
    this.clock.start(nowMs)
    for (const { roundTrip } of this.#routes.values()) roundTrip.forget()
    for (const stream of this.#streams) stream.linkUp(nowMs)
  }

  linkDown(nowMs: number): void {
    this.isUp = false
    this.clock.stop(nowMs)
    for (const stream of this.#streams) stream.linkDown(nowMs)
  }

  transmit(nowMs: number, send: SendFrame): void {
    // A link within the process may lead back here; the outer call goes on with what became due.
    if (!this.isUp || this.#isTransmitting) return
    this.#isTransmitting = true
    try {
      this.clock.start(nowMs)
      if (!this.#transmitAll(nowMs, send)) this.clock.stop(nowMs)
    } finally {
      this.#isTransmitting = false
    }
  }

  advance(nowMs: number): void {
    for (;;) {
      const stream = this.#deadlines.takeDue(nowMs)
      if (stream === undefined) return
      stream.wake(nowMs)
    }
  }

  // What the streams ask for.

  emit(event: StreamEvent): void {
    this.#events.push(event)
  }

  wake(stream: StreamMachine, atMs: number): void {
    if (stream.phase !== 'closed') this.#deadlines.wake(stream, atMs)
  }

  controlDue(stream: StreamMachine): void {
    this.#control.join(stream.controlTurn)
  }

  dataDue(stream: StreamMachine): void {
    const line = stream.isFirst ? this.#first : this.#others
    line.join(stream.dataTurn)
  }

  ended(stream: StreamMachine, stone: Tombstone, answer: boolean, nowMs: number): void {
    const { route, id } = stream
    this.counters[stone.kind]++
    this.#streams.delete(stream)
    this.#deadlines.remove(stream)
    Turns.leave(stream.controlTurn)
    Turns.leave(stream.dataTurn)
    const streams = this.#streamsOf(route)
    streams?.byId.delete(id)
    if (streams?.byId.size === 0) {
      this.#routes.delete(route.upTopic)
      this.#lastRoute = undefined
    }
    this.#tombstones.add(route.upTopic, id, stone, nowMs)
    if (answer) this.#answer({ route, id, stone })
  }

  // Streams.

  #streamsOf(route: Route): RouteStreams | undefined {
    if (this.#lastRoute?.route === route) return this.#lastRoute
    const streams = this.#routes.get(route.upTopic)
    if (streams !== undefined) this.#lastRoute = streams
    return streams
  }

  #find(route: Route, id: number): StreamMachine | undefined {
    return this.#streamsOf(route)?.byId.get(id)
  }

  #add(start: StreamStart, nowMs: number): StreamMachine {
    const { route, id } = start
    let streams = this.#streamsOf(route)
    if (streams === undefined) {
      streams = { route, roundTrip: new RoundTrip(), byId: new Map() }
      this.#routes.set(route.upTopic, streams)
    }
    const stream = new StreamMachine(this, streams.roundTrip, start, nowMs)
    streams.byId.set(id, stream)
    this.#streams.add(stream)
    this.counters.opened++
    return stream
  }

  // Receiving.

  /** 4.5 */
  #receiveFaulty(route: Route, frame: Buffer, fault: string, nowMs: number): void {
    this.counters.droppedFrames++
    if (frame.length < 6) return
    const id = frame.readUInt32BE(2)
    const stream = this.#find(route, id)
    const answer = frame[0] !== FrameType.reset
    if (stream !== undefined) stream.violate(fault, nowMs, answer)
    else if (answer) this.#refuse(route, id, ResetCode.protocol, fault)
  }

  /** 5.5 */
  #receiveOpen(route: Route, held: StreamMachine | undefined, frame: Buffer, nowMs: number): void {
    const { stream: id, offset, acked, limit } = this.#view
    const open = decodeOpen(frame.subarray(HEADER_BYTES))
    const fault = typeof open === 'string' ? open : offset + acked > 0 ? 'OPEN with offsets' : undefined
    if (typeof open === 'string' || fault !== undefined) {
      this.#receiveFaulty(route, frame, fault ?? '', nowMs)
      return
    }
    if (held?.token === open.token) {
      held.openedAgain(limit, nowMs)
      return
    }
    const stone = this.#tombstones.get(route.upTopic, id, nowMs)
    if (held === undefined && stone?.token === open.token) {
      this.#answer({ route, id, stone })
      return
    }
    held?.resetByPeer(ResetCode.reset, 'the client has opened another stream in its place', nowMs)
    this.#tombstones.delete(route.upTopic, id)
    if (this.count >= this.limits.maxStreams) {
      const refusal = {
        kind: 'reset',
        token: open.token,
        code: ResetCode.limit,
        reason: 'too many streams',
      } as const
      this.#tombstones.add(route.upTopic, id, refusal, nowMs)
      this.#answer({ route, id, stone: refusal })
      return
    }
    const stream = this.#add({ route, id, open, creditLimit: limit }, nowMs)
    this.emit({ kind: 'opened', stream })
  }

  /** 8.4, 8.5 */
  #receiveUnknown(route: Route, view: FrameView, nowMs: number): void {
    this.counters.droppedFrames++
    if (view.type === FrameType.ack || view.type === FrameType.pong) return
    const stone = this.#tombstones.get(route.upTopic, view.stream, nowMs)
    if (stone !== undefined) this.#answer({ route, id: view.stream, stone })
    else this.#refuse(route, view.stream, ResetCode.unknownStream, 'no such stream')
  }

  #refuse(route: Route, id: number, code: ResetCode, reason: string): void {
    this.#answer({ route, id, stone: { kind: 'reset', token: '', code, reason } })
  }

  #answer(answer: Answer): void {
    if (this.#answers.length >= MAX_ANSWERS) this.#answers.shift()
    this.#answers.push(answer)
  }

  // Sending.

  /** False: the link takes no more. */
  #transmitAll(nowMs: number, send: SendFrame): boolean {
    for (;;) {
      if (this.#answers.length > 0) {
        if (!this.#sendAnswer(send)) return false
        continue
      }
      const control = this.#control.first
      if (control !== undefined) {
        if (!control.sendControl(this.#header, nowMs, send)) return false
        Turns.leave(control.controlTurn)
        continue
      }
      const line = this.#nextLine()
      const stream = line.first
      if (stream === undefined) return true
      if (stream.canSend(nowMs)) {
        if (!stream.sendData(this.#header, nowMs, send)) return false
        this.#firstInARow = line === this.#first ? this.#firstInARow + 1 : 0
      }
      Turns.leave(stream.dataTurn)
      if (stream.canSend(nowMs)) this.#others.join(stream.dataTurn)
    }
  }

  #nextLine(): Turns<StreamMachine> {
    const isTheirTurn = this.#firstInARow >= MAX_FIRST_IN_A_ROW && this.#others.first !== undefined
    return this.#first.first === undefined || isTheirTurn ? this.#others : this.#first
  }

  #sendAnswer(send: SendFrame): boolean {
    const answer = this.#answers.shift()!
    const { route, id, stone } = answer
    const header = this.#header
    header.stream = id
    header.type = stone.kind === 'reset' ? FrameType.reset : FrameType.ack
    header.flags = stone.kind === 'reset' ? 0 : FrameFlag.fin
    header.offset = stone.kind === 'reset' ? 0 : stone.offset
    header.acked = stone.kind === 'reset' ? 0 : stone.acked
    header.limit = stone.kind === 'reset' ? 0 : stone.limit
    const payload = stone.kind === 'reset' ? encodeReset(stone.code, stone.reason) : undefined
    if (send(route, header, payload)) return true
    this.#answers.unshift(answer)
    return false
  }
}
