import {
  FrameFlag,
  FrameType,
  GAP_BYTES,
  HEADER_BYTES,
  readUInt48,
  writeUInt48,
  type FrameView,
} from './frame.ts'
import type { LinkClock } from './link-clock.ts'
import { Liveness } from './liveness.ts'
import type { Route } from './names.ts'
import { encodeOpen, type OpenPayload } from './open-payload.ts'
import type { WindowBudget } from './receive-window.ts'
import { Receiver } from './receiver.ts'
import { ResetCode } from './reset-code.ts'
import type { RoundTrip } from './round-trip.ts'
import { Sender } from './sender.ts'
import type { SendFrame, Stream, StreamEvent, StreamsLimits } from './streams.ts'
import type { Tombstone } from './tombstones.ts'
import { Turn } from './turns.ts'

/** 5.2, 6.4, 7.3: until something is sent again, doubling up to the second. */
const MIN_STALL_MS = 1_000
const MAX_STALL_MS = 8_000
/** 5.3 */
const STRANGER_MS = 8_000
/** While the link takes nothing, whether it does is looked at so often. */
const BLOCKED_LOOK_MS = 250
/** A stream that looked too early sleeps so long at least. */
const MIN_SLEEP_MS = 1

/** Control frames that are due, lowest first: bits, so that they cannot pile up. */
const Due = { open: 1, resume: 2, accept: 4, ack: 8, ping: 16, pong: 32 } as const
type Due = (typeof Due)[keyof typeof Due]
const FRAME_TYPES: Record<Due, FrameType> = {
  [Due.open]: FrameType.open,
  [Due.resume]: FrameType.resume,
  [Due.accept]: FrameType.accept,
  [Due.ack]: FrameType.ack,
  [Due.ping]: FrameType.ping,
  [Due.pong]: FrameType.pong,
}

/** What a stream needs of the machine around it. */
export interface StreamHost {
  readonly role: 'client' | 'agent'
  readonly limits: StreamsLimits
  readonly budget: WindowBudget
  readonly clock: LinkClock
  readonly isUp: boolean
  readonly counters: { resentBytes: number }
  emit(event: StreamEvent): void
  wake(stream: StreamMachine, atMs: number): void
  controlDue(stream: StreamMachine): void
  dataDue(stream: StreamMachine): void
  /** It is over; `answer`: the peer is to be told. */
  ended(stream: StreamMachine, stone: Tombstone, answer: boolean, nowMs: number): void
}

/** What a stream begins with. */
export interface StreamStart {
  readonly route: Route
  readonly id: number
  readonly open: OpenPayload
  /** What we may send at first. */
  readonly creditLimit: number
}

/**
 * One stream, all its transitions: docs/tunnel-protocol.md 5 to 8.
 *
 *   client: open() ──OPEN──▶ opening ──ACCEPT, or any answer──▶ open ─┐
 *   agent:  OPEN ──▶ opening (the program dials) ──accept()──▶ open ──┴─ both FINs acknowledged ──▶ closed
 *   RESET, a violation or a time that ran out, in any phase ──▶ closed
 *
 * After a reconnect it is `resuming`: no DATA until the peer has said how far it is (8.2).
 */
export class StreamMachine implements Stream {
  readonly route: Route
  readonly id: number
  readonly token: string
  readonly source: Stream['source']
  readonly peer: Stream['peer']
  readonly openedAtMs: number
  attachment: unknown

  readonly controlTurn = new Turn<StreamMachine>(this)
  readonly dataTurn = new Turn<StreamMachine>(this)
  wakeMs = Infinity
  heapIndex = -1

  readonly #host: StreamHost
  readonly #path: RoundTrip
  readonly #open: OpenPayload
  readonly #sender: Sender
  readonly #receiver: Receiver
  readonly #liveness: Liveness
  #phase: Stream['phase'] = 'opening'
  #due = 0
  /** How often OPEN (client) or ACCEPT (agent) went out, and when last. */
  #greetedCount = 0
  #greetedAtMs = 0
  /** Client: until then the agent may rightly have said that it does not know this stream. */
  #strangerUntilMs = -Infinity
  #resuming = false
  #wasFull = false
  #endTold = false
  #pongValue = 0
  /** On the link's clock: when something is sent again if nothing happens. */
  #stallAt = Infinity
  #stallDelayMs = MIN_STALL_MS

  constructor(
    host: StreamHost,
    path: RoundTrip,
    { route, id, open, creditLimit }: StreamStart,
    nowMs: number,
  ) {
    this.#host = host
    this.#path = path
    this.#open = open
    this.route = route
    this.id = id
    this.token = open.token
    this.source = open.source
    this.peer = host.role === 'agent' ? open.peer : undefined
    this.openedAtMs = nowMs
    this.#sender = new Sender(path, host.limits, creditLimit)
    this.#receiver = new Receiver(host.budget, nowMs)
    this.#liveness = new Liveness(nowMs)
    if (host.role === 'agent') return
    this.#strangerUntilMs = Infinity
    this.#makeDue(Due.open)
    this.#watchProgress(nowMs)
    host.wake(this, nowMs + host.limits.openTimeoutMs)
  }

  get phase(): Stream['phase'] {
    return this.#phase
  }

  get sentBytes(): number {
    return this.#sender.ackedBytes
  }

  get receivedBytes(): number {
    return this.#receiver.byteCount
  }

  get hasRoom(): boolean {
    return this.#sender.hasRoom
  }

  // What the program does.

  accept(nowMs: number): void {
    if (this.#phase !== 'opening' || this.#host.role === 'client') return
    this.#phase = 'open'
    this.#makeDue(Due.accept)
    this.#handOn(undefined)
    this.#dataChanged(nowMs)
    this.#host.wake(this, this.#liveness.pingAtMs)
  }

  write(bytes: Buffer, nowMs: number): void {
    if (this.#sender.isFinished) throw new RangeError('write after finish')
    if (this.#phase === 'closed' || bytes.length === 0) return
    this.#sender.write(bytes)
    if (!this.hasRoom) this.#wasFull = true
    this.#dataChanged(nowMs)
  }

  finish(nowMs: number): void {
    if (this.#sender.isFinished || this.#phase === 'closed') return
    this.#sender.finish()
    this.#dataChanged(nowMs)
  }

  consumed(byteCount: number, nowMs: number): void {
    if (this.#phase === 'closed') return
    const isMuch = this.#receiver.consumed(byteCount, nowMs, this.#path.leastMs)
    // Nothing more will come that needs credit.
    if (this.#receiver.isComplete) return
    if (isMuch) this.#makeDue(Due.ack)
    else this.#ackSoon(nowMs)
  }

  reset(code: ResetCode, reason: string, nowMs: number): void {
    if (this.#phase === 'closed') return
    // A client whose OPEN never went out has nobody to tell.
    const isKnown = this.#host.role === 'agent' || this.#greetedCount > 0
    this.#end({ kind: 'reset', token: this.token, code, reason }, isKnown, nowMs)
  }

  // What the peer sends.

  /** A frame of this stream without a fault, other than OPEN and RESET. */
  receive(view: FrameView, frame: Buffer, nowMs: number): void {
    // 9.5: not ours, so it says nothing.
    if (view.type === FrameType.pong && !this.#liveness.isAnswer(view.offset)) return
    this.#liveness.heard(nowMs)
    if (this.#isOpeningClient && view.type !== FrameType.ping) this.#answered(view.type, nowMs)
    if (view.acked > this.#sender.sentOffset) {
      this.violate(`acknowledges ${view.acked} of ${this.#sender.sentOffset}`, nowMs)
      return
    }
    const isOld = view.acked < this.#sender.ackedOffset
    if (this.#sender.learn(view.acked, view.limit, nowMs)) this.#progressed(nowMs)
    this.#tellOfRoom()
    switch (view.type) {
      case FrameType.data:
        this.#receiveData(view, frame, nowMs)
        break
      case FrameType.ack:
        if (this.#resuming) this.#goBack()
        if ((view.flags & FrameFlag.gap) !== 0)
          this.#sender.repair(view.acked, readUInt48(frame, HEADER_BYTES))
        break
      case FrameType.resume:
        this.#receiveResume(isOld, nowMs)
        break
      case FrameType.ping:
        this.#pongValue = view.offset
        this.#makeDue(Due.pong)
        break
      case FrameType.pong:
        this.#path.sample(this.#liveness.answered(nowMs), nowMs)
        break
      case FrameType.accept:
      case FrameType.open:
      case FrameType.reset:
        break
      default:
        view.type satisfies never
    }
    this.#dataChanged(nowMs)
    this.#closeIfDone(nowMs)
  }

  /** 5.5: OPEN again, with the same token. */
  openedAgain(creditLimit: number, nowMs: number): void {
    this.#liveness.heard(nowMs)
    this.#sender.learn(0, creditLimit, nowMs)
    if (this.#phase === 'open') this.#makeDue(Due.accept)
    this.#dataChanged(nowMs)
  }

  /** RESET came. */
  resetByPeer(code: ResetCode, reason: string, nowMs: number): void {
    // It may be the answer to DATA that has overtaken its OPEN (5.3); what is true is said again.
    if (code === ResetCode.unknownStream && nowMs < this.#strangerUntilMs) {
      if (this.#phase !== 'open') return
      this.#liveness.doubt(this.#strangerUntilMs)
      this.#host.wake(this, this.#strangerUntilMs)
      return
    }
    this.#fail(code, reason, 'peer', false, nowMs)
  }

  /** The peer breaks the protocol. */
  violate(reason: string, nowMs: number, answer = true): void {
    this.#fail(ResetCode.protocol, reason, 'us', answer, nowMs)
  }

  /** Client: the agent knows the stream, so it has accepted it. */
  #answered(type: FrameType, nowMs: number): void {
    this.#phase = 'open'
    this.#strangerUntilMs = nowMs + STRANGER_MS
    this.#due &= ~Due.open
    // DATA that went out before the OPEN that arrived is lost.
    if (this.#greetedCount > 1) this.#goBack()
    else if (type === FrameType.accept) this.#path.sample(nowMs - this.#greetedAtMs, nowMs)
    this.#host.emit({ kind: 'accepted', stream: this })
    this.#progressed(nowMs)
    this.#host.wake(this, this.#liveness.pingAtMs)
  }

  #receiveData(view: FrameView, frame: Buffer, nowMs: number): void {
    const receiver = this.#receiver
    const fault = receiver.fault(view, frame)
    if (fault !== undefined) {
      this.violate(fault, nowMs)
      return
    }
    // The target is not connected yet; and an ACK would be taken for the answer to OPEN (5.2).
    if (this.#phase === 'opening') {
      receiver.keep(view, frame)
      return
    }
    const before = receiver.ackedOffset
    this.#handOn(receiver.receive(view, frame))
    const isUnusual = receiver.ackedOffset === before || receiver.gapOffset !== undefined
    if (isUnusual || receiver.isComplete) this.#makeDue(Due.ack)
    else this.#ackSoon(nowMs)
    if (this.#liveness.wantsMeasure(receiver.byteCount, nowMs)) this.#makeDue(Due.ping)
  }

  #handOn(first: Buffer | undefined): void {
    let bytes = first ?? this.#receiver.takeKept()
    while (bytes !== undefined) {
      if (bytes.length > 0) this.#host.emit({ kind: 'data', stream: this, bytes })
      bytes = this.#receiver.takeKept()
    }
    if (!this.#receiver.isComplete || this.#endTold) return
    this.#endTold = true
    this.#host.emit({ kind: 'end', stream: this })
  }

  /** 8.2 */
  #receiveResume(isOld: boolean, nowMs: number): void {
    if (this.#phase !== 'open') return
    this.#makeDue(Due.ack)
    if (isOld) return
    if (this.#stallDelayMs > MIN_STALL_MS) this.#sender.peerReturned()
    this.#goBack()
    this.#progressed(nowMs)
  }

  #goBack(): void {
    this.#resuming = false
    this.#sender.goBack()
  }

  #tellOfRoom(): void {
    if (!this.#wasFull || this.#sender.isFinished || !this.hasRoom) return
    this.#wasFull = false
    this.#host.emit({ kind: 'room', stream: this })
  }

  // What the link and the clock do.

  /** 8.1 */
  linkUp(nowMs: number): void {
    if (this.#isOpeningClient) {
      this.#makeDue(Due.open)
      this.#goBack()
    } else if (this.#phase === 'open' && (this.#host.role === 'client' || this.#greetedCount > 0)) {
      this.#makeDue(Due.resume)
      this.#resuming = true
    }
    this.#progressed(nowMs)
    this.#dataChanged(nowMs)
    this.#host.wake(this, Math.max(nowMs + MIN_SLEEP_MS, this.#liveness.pingAtMs))
  }

  linkDown(nowMs: number): void {
    this.#liveness.linkDown(nowMs)
    this.#host.wake(this, nowMs + this.#host.limits.resumeTimeoutMs)
  }

  /** A time that was asked for has come, or none: it looks for itself. */
  wake(nowMs: number): void {
    const { resumeTimeoutMs } = this.#host.limits
    if (this.#openUntilMs <= nowMs) {
      this.#fail(ResetCode.timeout, 'no answer to OPEN', 'us', true, nowMs)
      return
    }
    if (this.#liveness.expectSinceMs + resumeTimeoutMs <= nowMs) {
      this.#fail(ResetCode.timeout, `nothing heard for ${resumeTimeoutMs} ms`, 'us', true, nowMs)
      return
    }
    if (this.#receiver.ackAtMs <= nowMs) this.#makeDue(Due.ack)
    if (this.#host.isUp) {
      if (this.#stallAt <= this.#host.clock.at(nowMs)) this.#stalled(nowMs)
      if (this.#phase === 'open' && this.#liveness.pingAtMs <= nowMs) this.#makeDue(Due.ping)
    }
    this.#host.wake(this, Math.max(nowMs + MIN_SLEEP_MS, this.#nextWakeMs(nowMs)))
  }

  /** 5.2, 6.4, 7.3, and RESUME that was not answered. */
  #stalled(nowMs: number): void {
    this.#stallAt = Infinity
    this.#stallDelayMs = Math.min(2 * this.#stallDelayMs, MAX_STALL_MS)
    if (this.#phase === 'opening') this.#makeDue(Due.open)
    else if (this.#resuming || this.#sender.isOutOfCredit) this.#makeDue(Due.resume)
    else if (this.#sender.hasUnacked) this.#sender.timedOut()
    this.#dataChanged(nowMs)
  }

  #progressed(nowMs: number): void {
    this.#stallDelayMs = MIN_STALL_MS
    this.#stallAt = Infinity
    this.#watchProgress(nowMs)
  }

  /** Whatever waits for the peer has to move within the time. */
  #watchProgress(nowMs: number): void {
    if (this.#stallAt !== Infinity) return
    const isWaiting =
      this.#phase === 'open' ? this.#resuming || this.#sender.isWaiting : this.#isOpeningClient
    if (!isWaiting) return
    const delayMs = Math.min(MAX_STALL_MS, Math.max(this.#stallDelayMs, this.#sender.patienceMs))
    this.#stallAt = this.#host.clock.at(nowMs) + delayMs
    this.#host.wake(this, nowMs + delayMs)
  }

  #expect(nowMs: number): void {
    if (this.#liveness.expectSinceMs !== Infinity) return
    this.#liveness.expect(nowMs)
    this.#host.wake(this, nowMs + this.#host.limits.resumeTimeoutMs)
  }

  #ackSoon(nowMs: number): void {
    if (this.#receiver.ackAtMs !== Infinity) return
    this.#receiver.ackSoon(nowMs)
    this.#host.wake(this, this.#receiver.ackAtMs)
  }

  get #isOpeningClient(): boolean {
    return this.#phase === 'opening' && this.#host.role === 'client'
  }

  get #openUntilMs(): number {
    return this.#isOpeningClient ? this.openedAtMs + this.#host.limits.openTimeoutMs : Infinity
  }

  #nextWakeMs(nowMs: number): number {
    const { clock, isUp, limits } = this.#host
    const deadMs = this.#liveness.expectSinceMs + limits.resumeTimeoutMs
    let atMs = Math.min(this.#receiver.ackAtMs, this.#openUntilMs, deadMs)
    if (!isUp) return atMs
    if (this.#phase === 'open') atMs = Math.min(atMs, this.#liveness.pingAtMs)
    if (this.#stallAt === Infinity) return atMs
    return Math.min(atMs, nowMs + (clock.isRunning ? this.#stallAt - clock.at(nowMs) : BLOCKED_LOOK_MS))
  }

  // What goes out.

  /** Nothing is on its way: its first chunk goes before those of others. */
  get isFirst(): boolean {
    return !this.#sender.hasUnacked
  }

  canSend(nowMs: number): boolean {
    const isAllowed = this.#phase === 'open' ? !this.#resuming : this.#isOpeningClient
    return isAllowed && this.#sender.canSend(nowMs)
  }

  /** Sends one DATA, after `canSend`. False: the link takes no more. */
  sendData(header: FrameView, nowMs: number, send: SendFrame): boolean {
    const { ackAtMs } = this.#receiver
    this.#begin(header, FrameType.data)
    const payload = this.#sender.cut(header)
    const { offset } = header
    if (!send(this.route, header, payload)) {
      this.#sender.putBack()
      this.#receiver.untell(ackAtMs)
      return false
    }
    this.#host.counters.resentBytes += this.#sender.taken(offset, payload?.length ?? 0, nowMs)
    this.#expect(nowMs)
    return true
  }

  /** Sends the control frames that are due. False: the link takes no more. */
  sendControl(header: FrameView, nowMs: number, send: SendFrame): boolean {
    while (this.#due !== 0) {
      const due = (this.#due & -this.#due) as Due
      const { ackAtMs } = this.#receiver
      this.#due &= ~due
      this.#begin(header, FRAME_TYPES[due])
      if (!send(this.route, header, this.#complete(header, due, nowMs))) {
        this.#due |= due
        this.#receiver.untell(ackAtMs)
        return false
      }
      if (due === Due.open || due === Due.accept) {
        this.#greetedCount++
        this.#greetedAtMs = nowMs
      }
      if (due === Due.resume || due === Due.ping) this.#expect(nowMs)
    }
    return true
  }

  #begin(header: FrameView, type: FrameType): void {
    header.type = type
    header.flags = 0
    header.stream = this.id
    header.offset = this.#sender.sentOffset
    this.#receiver.tell(header)
  }

  /** What is special of a control frame; gives its payload. */
  #complete(header: FrameView, due: Due, nowMs: number): Buffer | undefined {
    switch (due) {
      case Due.open:
        header.offset = 0
        header.acked = 0
        return encodeOpen(this.#open)
      case Due.ack:
        if (this.#sender.hasSentFin) header.flags = FrameFlag.fin
        return this.#encodeGap(header)
      case Due.resume:
        if (this.#sender.hasSentFin) header.flags = FrameFlag.fin
        return undefined
      case Due.ping:
        header.offset = this.#liveness.ping(nowMs)
        return undefined
      case Due.pong:
        header.offset = this.#pongValue
        return undefined
      case Due.accept:
        return undefined
      default:
        return due satisfies never
    }
  }

  /** 7.4 */
  #encodeGap(header: FrameView): Buffer | undefined {
    const gap = this.#receiver.gapOffset
    if (gap === undefined) return undefined
    header.flags |= FrameFlag.gap
    const payload = Buffer.allocUnsafe(GAP_BYTES)
    writeUInt48(payload, 0, gap)
    return payload
  }

  #makeDue(due: Due): void {
    this.#due |= due
    this.#host.controlDue(this)
  }

  #dataChanged(nowMs: number): void {
    if (this.#phase === 'closed') return
    this.#watchProgress(nowMs)
    this.#host.dataDue(this)
  }

  // The end.

  /** 8.3 */
  #closeIfDone(nowMs: number): void {
    if (this.#phase !== 'open' || !this.#receiver.isComplete || !this.#sender.isFinAcked) return
    const owesAck = (this.#due & Due.ack) !== 0 || this.#receiver.ackAtMs !== Infinity
    const { ackedOffset: acked, limit } = this.#receiver
    this.#host.emit({ kind: 'closed', stream: this })
    this.#end(
      { kind: 'closed', token: this.token, offset: this.#sender.sentOffset, acked, limit },
      owesAck,
      nowMs,
    )
  }

  #fail(code: ResetCode, reason: string, by: 'peer' | 'us', answer: boolean, nowMs: number): void {
    if (this.#phase === 'closed') return
    this.#host.emit({ kind: 'reset', stream: this, code, reason, by })
    this.#end({ kind: 'reset', token: this.token, code, reason }, answer, nowMs)
  }

  #end(stone: Tombstone, answer: boolean, nowMs: number): void {
    this.#phase = 'closed'
    this.#due = 0
    this.#sender.clear()
    this.#receiver.close()
    this.#host.ended(this, stone, answer, nowMs)
  }
}
