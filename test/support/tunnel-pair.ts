import { createStreams } from '../../src/tunnel/protocol/create-streams.ts'
import { encodeFrame, FrameType, HEADER_BYTES, type FrameHeader } from '../../src/tunnel/protocol/frame.ts'
import { Routes, type Route } from '../../src/tunnel/protocol/names.ts'
import type { Stream, StreamEvent, Streams, StreamsLimits } from '../../src/tunnel/protocol/streams.ts'

type Role = 'client' | 'agent'

/** A frame as it went out. */
export interface SentFrame extends FrameHeader {
  readonly from: Role
  readonly name: keyof typeof FrameType
  readonly size: number
  readonly payload: Buffer
  readonly atMs: number
}

interface PairOptions {
  readonly limits?: Partial<StreamsLimits>
  /** One way. Default 0. */
  readonly delayMs?: number
  /** Of the line from the client to the agent, behind which frames queue. Default: no bound. */
  readonly upBytesPerMs?: number
  /** Both links are up from the start. Default true. */
  readonly isUp?: boolean
}

export interface PairEnd {
  readonly role: Role
  readonly streams: Streams
  readonly events: StreamEvent[]
  /** Bytes that were received, by stream id. */
  readonly received: Map<number, Buffer[]>
  isUp: boolean
  /** Takes no frames, though it is up. */
  isBlocked: boolean
}

export const token = (number: number): string => number.toString(16).padStart(16, '0')

/**
 * Two machines with a line between them and a clock of their own: nothing happens but in `run`.
 * Their programs accept and read at once; what they say is written down.
 */
export class TunnelPair {
  nowMs = 5_000
  readonly route: Route = new Routes().get('pi7', 'ssh', 'laptop')
  readonly client: PairEnd
  readonly agent: PairEnd
  readonly frames: SentFrame[] = []
  isAccepting = true
  isReading = true
  /** Whether a frame is lost on its way. */
  loses: (frame: SentFrame) => boolean = () => false
  /** What the programs do with an event, beyond that. */
  onEvent: (event: StreamEvent, end: PairEnd) => void = () => {}

  readonly #delayMs: number
  readonly #upBytesPerMs: number
  readonly #line: { readonly to: PairEnd; readonly frame: Buffer; readonly atMs: number }[] = []
  #lineFreeMs = 0
  #tokens = 0

  constructor({ limits = {}, delayMs = 0, upBytesPerMs = Infinity, isUp = true }: PairOptions = {}) {
    this.#delayMs = delayMs
    this.#upBytesPerMs = upBytesPerMs
    const end = (role: Role): PairEnd => ({
      role,
      streams: createStreams({ role, limits, firstStreamId: 0xffff_ffff }),
      events: [],
      received: new Map(),
      isUp: false,
      isBlocked: false,
    })
    this.client = end('client')
    this.agent = end('agent')
    if (isUp) this.connect('client', 'agent')
  }

  connect(...roles: Role[]): void {
    for (const role of roles) {
      this[role].isUp = true
      this[role].streams.linkUp(this.nowMs)
    }
  }

  /** What is on its way from or to it is lost. */
  cut(...roles: Role[]): void {
    this.#line.length = 0
    for (const role of roles) {
      this[role].isUp = false
      this[role].streams.linkDown(this.nowMs)
    }
  }

  open(): Stream {
    return this.client.streams.open(this.route, { token: token(this.#tokens++) }, this.nowMs)
  }

  /** Opened, and accepted by the agent. */
  opened(): { readonly up: Stream; readonly down: Stream } {
    const up = this.open()
    this.run()
    const down = [...this.agent.streams.all()].find((stream) => stream.id === up.id)
    if (down === undefined || up.phase !== 'open') throw new Error('the stream was not opened')
    return { up, down }
  }

  /** A frame that no machine has sent. */
  inject(to: Role, header: Partial<FrameHeader> & { readonly type: FrameType }, payload?: Buffer): void {
    const whole = { flags: 0, stream: 0xffff_ffff, offset: 0, acked: 0, limit: 0, ...header }
    this.deliver(to, encodeFrame(whole, payload))
  }

  deliver(to: Role, frame: Buffer): void {
    this[to].streams.receive(this.route, frame, this.nowMs)
  }

  /** Frames of one name from one end, since the last `frames.length = 0`. */
  sent(from: Role, name?: SentFrame['name']): SentFrame[] {
    return this.frames.filter((frame) => frame.from === from && (name === undefined || frame.name === name))
  }

  kinds(role: Role): string[] {
    return this[role].events.map(({ kind }) => kind)
  }

  bytes(role: Role, stream: Stream): Buffer {
    return Buffer.concat(this[role].received.get(stream.id) ?? [])
  }

  /** Lets so much time pass, and everything happen that does meanwhile. */
  run(forMs = 0): void {
    const untilMs = this.nowMs + forMs
    for (;;) {
      this.#settle(this.client)
      this.#settle(this.agent)
      const next = this.#line[0]
      const deadlineMs = Math.min(this.client.streams.nextDeadlineMs, this.agent.streams.nextDeadlineMs)
      const atMs = Math.max(this.nowMs, Math.min(next?.atMs ?? Infinity, deadlineMs))
      if (atMs > untilMs) break
      this.nowMs = atMs
      if (next !== undefined && next.atMs <= atMs) {
        this.#line.shift()
        if (next.to.isUp) this.deliver(next.to.role, next.frame)
      } else {
        this.client.streams.advance(atMs)
        this.agent.streams.advance(atMs)
      }
    }
    this.nowMs = untilMs
  }

  #settle(end: PairEnd): void {
    for (const event of end.streams.takeEvents()) this.#handle(event, end)
    if (!end.isUp) return
    end.streams.transmit(this.nowMs, (_route, header, payload) => {
      if (end.isBlocked) return false
      this.#carry(end, header, payload)
      return true
    })
  }

  #handle(event: StreamEvent, end: PairEnd): void {
    end.events.push(event)
    if (event.kind === 'opened' && this.isAccepting) event.stream.accept(this.nowMs)
    if (event.kind === 'data') {
      const chunks = end.received.get(event.stream.id) ?? []
      chunks.push(event.bytes)
      end.received.set(event.stream.id, chunks)
      if (this.isReading) event.stream.consumed(event.bytes.length, this.nowMs)
    }
    this.onEvent(event, end)
  }

  #carry(from: PairEnd, header: FrameHeader, payload: Buffer = Buffer.alloc(0)): void {
    const { type, flags, stream, offset, acked, limit } = header
    const name = Object.entries(FrameType).find(([, value]) => value === type)![0] as SentFrame['name']
    const size = HEADER_BYTES + payload.length
    const frame = {
      from: from.role,
      name,
      type,
      flags,
      stream,
      offset,
      acked,
      limit,
      size,
      payload,
      atMs: this.nowMs,
    }
    this.frames.push(frame)
    if (this.loses(frame)) return
    let atMs = this.nowMs + this.#delayMs
    if (from.role === 'client' && this.#upBytesPerMs !== Infinity) {
      this.#lineFreeMs = Math.max(this.#lineFreeMs, this.nowMs) + size / this.#upBytesPerMs
      atMs = this.#lineFreeMs + this.#delayMs
    }
    const to = from.role === 'client' ? this.agent : this.client
    const entry = { to, frame: encodeFrame(header, payload), atMs }
    const place = this.#line.findLastIndex((other) => other.atMs <= atMs)
    this.#line.splice(place + 1, 0, entry)
  }
}
