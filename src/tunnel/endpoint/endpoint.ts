import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { withinTimer } from '../../timer.ts'
import type { TunnelLog } from '../log.ts'
import type { Link } from '../link/link.ts'
import type { OpenPayload } from '../protocol/open-payload.ts'
import type { Route } from '../protocol/names.ts'
import { ResetCode } from '../protocol/reset-code.ts'
import type { SendFrame, Stream, StreamEvent, Streams } from '../protocol/streams.ts'
import { Channel, type ChannelOwner } from './channel.ts'
import { Conditions } from './conditions.ts'

export interface EndpointOptions {
  readonly link: Link
  readonly streams: Streams
  readonly log: TunnelLog
  /** Agent: a client asks. To be given an owner, or reset, at once. */
  opened?(channel: Channel): void
  up?(): void
  down?(reason: string): void
  status?(agent: string, payload: Buffer | undefined): void
}

/**
 * Drives the streams of one end over its link: what comes in goes to the machine, what the machine says goes to the
 * owner of the stream, and what is due goes out: once behind all that one read of a socket has brought.
 *
 *   idle ──wake──▶ scheduled ──next tick──▶ running ──▶ idle
 */
export class Endpoint {
  readonly #options: EndpointOptions
  readonly #link: Link
  readonly #streams: Streams
  readonly #send: SendFrame
  readonly #run = (): void => this.#turn()
  #phase: 'idle' | 'scheduled' | 'running' | 'closed' = 'idle'
  #wokenInTurn = false
  /** The link has not taken all that was due. */
  #isBlocked = false
  #timer: NodeJS.Timeout | undefined
  #timerAtMs = Infinity
  readonly #conditions = new Conditions()

  constructor(options: EndpointOptions) {
    const { link, streams } = options
    this.#options = options
    this.#link = link
    this.#streams = streams
    this.#send = (route, header, payload) => {
      this.#isBlocked = !link.send(route, header, payload)
      return !this.#isBlocked
    }
    link.attach({
      up: () => {
        streams.linkUp(this.now())
        options.up?.()
        this.#conditions.check()
        this.wake()
      },
      down: (reason) => {
        streams.linkDown(this.now())
        options.down?.(reason)
        this.wake()
      },
      frame: (route, frame) => {
        streams.receive(route, frame, performance.now())
        this.wake()
      },
      room: () => this.wake(),
      status: (agent, payload) => options.status?.(agent, payload),
    })
  }

  /** Monotonic. */
  now(): number {
    return performance.now()
  }

  /** Streams that are open or opening. */
  get streamCount(): number {
    return this.#streams.count
  }

  /** @throws RangeError at the limit of streams. */
  open(route: Route, payload: OpenPayload): Channel {
    const channel = new Channel(this.#streams.open(route, payload, this.now()), this)
    this.wake()
    return channel
  }

  *#channels(): Iterable<Channel> {
    for (const { attachment } of this.#streams.all()) if (attachment instanceof Channel) yield attachment
  }

  // In the next tick, not later: the link gathers what goes out of one turn of the event loop, and a delay here
  // would be paid by each keystroke.
  wake(): void {
    if (this.#phase === 'idle') {
      this.#phase = 'scheduled'
      process.nextTick(this.#run)
    } else if (this.#phase === 'running') {
      this.#wokenInTurn = true
    }
  }

  get isUp(): boolean {
    return this.#link.isUp
  }

  /** @throws {TunnelMQError} TMQ_UNREACHABLE when the link is not up within the time. */
  async untilUp(timeoutMs: number): Promise<void> {
    if (await this.#conditions.until(() => this.#link.isUp, timeoutMs)) return
    const message =
      this.#phase === 'closed' ? 'closed before it was connected' : `not connected within ${timeoutMs} ms`
    throw new TunnelMQError(ErrorCode.unreachable, `${this.#link.name}: ${message}`)
  }

  /** Waits, at most so long, for the streams that have ended here and lack the other end's acknowledgement. */
  async settle(timeoutMs: number): Promise<void> {
    await this.#conditions.until(() => !this.#isSettling(), timeoutMs)
  }

  /** Waits, at most so long, until all streams have ended. */
  async drain(timeoutMs: number): Promise<void> {
    await this.#conditions.until(() => this.#streams.count === 0, timeoutMs)
  }

  /** Resets what is open, sends what waits within the time, and closes the link. */
  async close(code: ResetCode, reason: string, graceMs: number): Promise<void> {
    if (this.#phase === 'closed') return
    for (const channel of [...this.#channels()]) this.#guard(channel, () => channel.fail(code, reason))
    this.#transmit()
    // Behind what a busy link has taken before: who is not told waits for us as long as streams may be resumed.
    await this.#conditions.until(() => !this.#isBlocked || !this.#link.isUp, graceMs)
    this.#phase = 'closed'
    clearTimeout(this.#timer)
    this.#conditions.end()
    await this.#link.close(graceMs)
  }

  #turn(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'running'
    const nowMs = this.now()
    if (nowMs >= this.#streams.nextDeadlineMs) this.#streams.advance(nowMs)
    this.#dispatch()
    // All that owners did until here goes out now; only what is behind it needs another turn.
    this.#wokenInTurn = false
    this.#transmit()
    this.#dispatch()
    this.#phase = 'idle'
    if (this.#wokenInTurn) this.wake()
    this.#arm()
    this.#conditions.check()
  }

  #transmit(): void {
    this.#isBlocked = false
    if (this.#link.isUp) this.#streams.transmit(this.now(), this.#send)
  }

  #dispatch(): void {
    for (const event of this.#streams.takeEvents()) {
      if (event.kind === 'opened') {
        this.#opened(event.stream)
        continue
      }
      const { attachment } = event.stream
      // A stream that its owner has reset may still have events that were waiting.
      if (attachment instanceof Channel && !attachment.isOver) this.#deliver(attachment, event)
    }
  }

  #opened(stream: Stream): void {
    const channel = new Channel(stream, this)
    if (this.#options.opened === undefined) channel.reset(ResetCode.unknownService, 'offers nothing')
    else this.#guard(channel, () => this.#options.opened?.(channel))
  }

  #deliver(channel: Channel, event: Exclude<StreamEvent, { kind: 'opened' }>): void {
    switch (event.kind) {
      case 'accepted':
        return this.#tell(channel, (owner) => owner.accepted())
      case 'data':
        return this.#tell(channel, (owner) => owner.data(event.bytes))
      case 'end':
        channel.noteEnd()
        return this.#tell(channel, (owner) => owner.end())
      case 'room':
        return this.#tell(channel, (owner) => owner.room())
      case 'closed':
        channel.noteOver()
        return this.#tell(channel, (owner) => owner.closed())
      case 'reset':
        channel.noteOver()
        return this.#tell(channel, (owner) => owner.reset(event.code, event.reason, event.by))
      default:
        return event satisfies never
    }
  }

  #tell(channel: Channel, say: (owner: ChannelOwner) => void): void {
    this.#guard(channel, () => say(channel.owner))
  }

  // An owner that throws is our bug, or a listener's of the program: it costs that stream, not the others.
  #guard(channel: Channel, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#options.log.error({ err: error }, 'tunnel stream failed')
      const reason = 'an error in the program at the other end'
      channel.reset(ResetCode.internal, reason)
      try {
        channel.owner.reset(ResetCode.internal, reason, 'us')
      } catch {
        // It has thrown before, and that is logged.
      }
    }
  }

  // One timer for all; one that is early only looks again, which is cheaper than setting it anew for each frame.
  #arm(): void {
    const atMs = this.#streams.nextDeadlineMs
    if (atMs >= this.#timerAtMs) return
    clearTimeout(this.#timer)
    this.#timerAtMs = atMs
    const inMs = Math.max(1, Math.ceil(atMs - this.now()))
    this.#timer = setTimeout(this.#alarm, withinTimer(inMs))
  }

  readonly #alarm = (): void => {
    this.#timerAtMs = Infinity
    if (this.#phase === 'idle') this.#turn()
  }

  #isSettling(): boolean {
    for (const channel of this.#channels()) if (channel.isSettling) return true
    return false
  }
}
