import { CongestionWindow } from './congestion.ts'
import {
  FrameFlag,
  FrameType,
  FrameView,
  GAP_BYTES,
  HEADER_BYTES,
  INITIAL_CREDIT_BYTES,
  readUInt48,
  writeUInt48,
} from './frame.ts'
import type { LinkClock } from './link-clock.ts'
import type { Route } from './names.ts'
import { encodeOpen, type OpenPayload } from './open-payload.ts'
import { ReceiveBuffer } from './receive-buffer.ts'
import { ReceiveWindow, type WindowBudget } from './receive-window.ts'
import { ResetCode } from './reset-code.ts'
import type { RoundTrip } from './round-trip.ts'
import type { SendFrame, Stream, StreamEvent, StreamsLimits } from './streams.ts'
import { SendBuffer } from './send-buffer.ts'
import type { Tombstone } from './tombstones.ts'
import { Turn } from './turns.ts'

/** 7.1 */
const ACK_DELAY_MS = 20
/** 5.2, 6.4, 7.3: until something is sent again, doubling up to the second. */
const MIN_STALL_MS = 1_000
const MAX_STALL_MS = 8_000
/** 5.3 */
const STRANGER_MS = 8_000
/** 8.6 */
const PING_AFTER_MS = 30_000
/** A receiver measures the round trip when data flows: after so many bytes, at most so often. */
const MEASURE_BYTES = 65_536
const MEASURE_EVERY_MS = 1_000
/** While the link takes nothing, whether it does is looked at so often. */
const BLOCKED_LOOK_MS = 250
/** A stream that looked too early sleeps so long at least. */
const MIN_SLEEP_MS = 1

/** Control frames that are due, lowest first: bits, so that they cannot pile up. */
const Due = { open: 1, resume: 2, accept: 4, ack: 8, ping: 16, pong: 32 } as const
const DUE_TYPES = new Map<number, FrameType>([
  [Due.open, FrameType.open],
  [Due.resume, FrameType.resume],
  [Due.accept, FrameType.accept],
  [Due.ack, FrameType.ack],
  [Due.ping, FrameType.ping],
  [Due.pong, FrameType.pong],
])

/** What a stream needs of the machine around it. */
export interface StreamHost {
  readonly role: 'client' | 'agent'
  readonly limits: StreamsLimits
  readonly budget: WindowBudget
  readonly clock: LinkClock
  readonly isUp: boolean
  readonly counters: { resentBytes: number; droppedFrames: number }
  emit(event: StreamEvent): void
  wake(stream: StreamMachine, atMs: number): void
  controlDue(stream: StreamMachine): void
  dataDue(stream: StreamMachine): void
  /** It is over; `answer`: the peer is to be told. */
  ended(stream: StreamMachine, stone: Tombstone, answer: boolean, nowMs: number): void
}

/**
 * One stream: docs/tunnel-protocol.md 5 to 8.
 *
 *   client: open() ──OPEN──▶ opening ──ACCEPT, or any answer──▶ open ─┐
 *   agent:  OPEN ──▶ opening (the program dials) ──accept()──▶ open ──┴─ both FINs acknowledged ──▶ closed
 *   RESET, a violation or a time that ran out, in any phase ──▶ closed
 *
 * Each direction for itself: what we send goes  written ─ sent ─ acknowledged, and FIN takes the last offset.
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
  #phase: Stream['phase'] = 'opening'
  #due = 0
  /** How often OPEN (client) or ACCEPT (agent) went out, and when last. */
  #greetedCount = 0
  #greetedAtMs = 0

  readonly #send = new SendBuffer()
  readonly #congestion: CongestionWindow
  #finished = false
  #wasFull = false
  /** Next to send, highest sent, and acknowledged, all with FIN. */
  #next = 0
  #sent = 0
  #acked = 0
  #creditLimit: number
  /** The most the peer's window was seen to be. */
  #peerWindow = 0
  #resuming = false
  /** 7.4: what is sent again, and for which `acked` that was done. */
  #repairNext = 0
  #repairEnd = 0
  #repairedAt = -1
  /** A DATA whose way is timed: the end of it, when it was sent, and what was acknowledged then. */
  #timedOffset = -1
  #timedAtMs = 0
  #timedAcked = 0
  /** On the link's clock: when something is sent again if nothing happens. */
  #stallAt = Infinity
  #stallDelayMs = MIN_STALL_MS

  readonly #receive = new ReceiveBuffer()
  readonly #window: ReceiveWindow
  /** The highest `limit` that the peer can know of, and the one in the last frame. */
  #grantedLimit = INITIAL_CREDIT_BYTES
  #toldLimit = 0
  #ackAtMs = Infinity
  #endTold = false

  #heardMs: number
  /** Client: until then the agent may rightly have said that it does not know this stream. */
  #strangerUntilMs = 0
  /** Since when an answer is missing (8.6). */
  #expectSinceMs = Infinity
  /** What our last PING asks to be echoed; -1: answered. */
  #pingValue = -1
  #pingedAtMs = -Infinity
  #pingedAtOffset = 0
  #pongValue = 0

  constructor(
    host: StreamHost,
    path: RoundTrip,
    start: {
      readonly route: Route
      readonly id: number
      readonly open: OpenPayload
      readonly creditLimit: number
    },
    nowMs: number,
  ) {
    this.#host = host
    this.#path = path
    this.#open = start.open
    this.route = start.route
    this.id = start.id
    this.token = start.open.token
    this.source = start.open.source
    this.peer = host.role === 'agent' ? start.open.peer : undefined
    this.openedAtMs = nowMs
    this.#heardMs = nowMs
    this.#creditLimit = start.creditLimit
    this.#congestion = new CongestionWindow(path, host.limits.maxWindowBytes)
    this.#window = new ReceiveWindow(host.budget, nowMs)
    if (host.role === 'client') {
      this.#strangerUntilMs = Infinity
      this.#makeDue(Due.open)
      this.#watchProgress(nowMs)
      host.wake(this, nowMs + host.limits.openTimeoutMs)
    }
  }

  get phase(): Stream['phase'] {
    return this.#phase
  }

  get sentBytes(): number {
    return Math.min(this.#acked, this.#send.endOffset)
  }

  get receivedBytes(): number {
    return this.#receive.nextOffset
  }

  get hasRoom(): boolean {
    const { sendBufferBytes, maxWindowBytes } = this.#host.limits
    return this.#send.byteCount < Math.max(sendBufferBytes, Math.min(this.#peerWindow, maxWindowBytes))
  }

  // What the program does.

  accept(nowMs: number): void {
    if (this.#phase !== 'opening' || this.#host.role !== 'agent') return
    this.#phase = 'open'
    this.#makeDue(Due.accept)
    this.#handOn(undefined)
    this.#dataChanged()
    this.#watchProgress(nowMs)
    this.#host.wake(this, this.#heardMs + PING_AFTER_MS)
    this.#closeIfDone(nowMs)
  }

  write(bytes: Buffer, nowMs: number): void {
    if (this.#finished) throw new RangeError('write after finish')
    if (this.#phase === 'closed' || bytes.length === 0) return
    this.#send.write(bytes)
    if (!this.hasRoom) this.#wasFull = true
    this.#dataChanged()
    this.#watchProgress(nowMs)
  }

  finish(nowMs: number): void {
    if (this.#finished || this.#phase === 'closed') return
    this.#finished = true
    this.#dataChanged()
    this.#watchProgress(nowMs)
  }

  consumed(byteCount: number, nowMs: number): void {
    if (this.#phase === 'closed') return
    const offset = Math.min(this.#window.consumedOffset + byteCount, this.#receive.nextOffset)
    this.#window.consumed(offset, nowMs, this.#path.leastMs)
    if (this.#receive.isComplete) return
    if (this.#window.limit - this.#toldLimit >= this.#window.ackBytes) this.#makeDue(Due.ack)
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
    if (view.type === FrameType.pong && view.offset !== this.#pingValue) return
    this.#heardMs = nowMs
    this.#expectSinceMs = Infinity
    if (this.#phase === 'opening' && this.#host.role === 'client') {
      if (view.type !== FrameType.ping) this.#answered(view.type, nowMs)
    }
    if (view.acked > this.#sent) {
      this.violate(`acknowledges ${view.acked} of ${this.#sent}`, nowMs)
      return
    }
    this.#peerWindow = Math.max(this.#peerWindow, view.limit - view.acked)
    const isOld = view.acked < this.#acked
    this.#learn(view.acked, view.limit, nowMs)
    this.#tellOfRoom()
    switch (view.type) {
      case FrameType.data:
        this.#receiveData(view, frame, nowMs)
        break
      case FrameType.ack:
        if (this.#resuming) this.#goBack()
        if ((view.flags & FrameFlag.gap) !== 0) this.#repair(view.acked, readUInt48(frame, HEADER_BYTES))
        break
      case FrameType.resume:
        // An ACK would be taken for the answer to OPEN (5.2).
        if (this.#phase === 'open') this.#makeDue(Due.ack)
        if (!isOld) this.#peerResumes(nowMs)
        break
      case FrameType.ping:
        this.#pongValue = view.offset
        this.#makeDue(Due.pong)
        break
      case FrameType.pong:
        this.#path.sample(nowMs - this.#pingedAtMs, nowMs)
        this.#pingValue = -1
        break
      case FrameType.accept:
      case FrameType.open:
      case FrameType.reset:
        break
      default:
        view.type satisfies never
    }
    this.#dataChanged()
    this.#closeIfDone(nowMs)
  }

  /** 5.5: OPEN again, with the same token. */
  openedAgain(creditLimit: number, nowMs: number): void {
    this.#heardMs = nowMs
    this.#expectSinceMs = Infinity
    this.#creditLimit = Math.max(this.#creditLimit, creditLimit)
    if (this.#phase === 'open') this.#makeDue(Due.accept)
    this.#dataChanged()
  }

  /** RESET came. */
  resetByPeer(code: ResetCode, reason: string, nowMs: number): void {
    // It may be the answer to DATA that has overtaken its OPEN (5.3); what is true is said again.
    if (code === ResetCode.unknownStream && nowMs < this.#strangerUntilMs) return
    this.#fail(code, reason, 'peer', false, nowMs)
  }

  /** The peer breaks the protocol. */
  violate(reason: string, nowMs: number, answer = true): void {
    this.#fail(ResetCode.protocol, reason, 'us', answer, nowMs)
  }

  // What the link and the clock do.

  /** 8.1 */
  linkUp(nowMs: number): void {
    if (this.#phase === 'opening' && this.#host.role === 'client') {
      this.#makeDue(Due.open)
      this.#goBack()
    } else if (this.#phase === 'open' && (this.#host.role === 'client' || this.#greetedCount > 0)) {
      this.#makeDue(Due.resume)
      this.#resuming = true
      this.#timedOffset = -1
    }
    this.#stallDelayMs = MIN_STALL_MS
    this.#stallAt = Infinity
    this.#dataChanged()
    this.#watchProgress(nowMs)
    this.#host.wake(this, nowMs + PING_AFTER_MS)
  }

  linkDown(nowMs: number): void {
    this.#pingValue = -1
    this.#expect(nowMs)
  }

  /** A time that was asked for has come, or none: it looks for itself. */
  wake(nowMs: number): void {
    const { resumeTimeoutMs } = this.#host.limits
    if (this.#opensUntilMs() <= nowMs) {
      this.#fail(ResetCode.timeout, 'no answer to OPEN', 'us', true, nowMs)
      return
    }
    if (this.#expectSinceMs + resumeTimeoutMs <= nowMs) {
      this.#fail(ResetCode.timeout, `nothing heard for ${resumeTimeoutMs} ms`, 'us', true, nowMs)
      return
    }
    if (this.#ackAtMs <= nowMs) this.#makeDue(Due.ack)
    if (this.#host.isUp) {
      if (this.#stallAt <= this.#host.clock.at(nowMs)) this.#stalled(nowMs)
      if (this.#phase === 'open' && this.#pingAtMs() <= nowMs) this.#ping(nowMs)
    }
    this.#host.wake(this, Math.max(nowMs + MIN_SLEEP_MS, this.#nextWakeMs(nowMs)))
  }

  // What goes out.

  /** Sends the control frames that are due. False: the link takes no more. */
  sendControl(header: FrameView, nowMs: number, send: SendFrame): boolean {
    while (this.#due !== 0) {
      const bit = this.#due & -this.#due
      const ackAtMs = this.#ackAtMs
      this.#due &= ~bit
      this.#fill(header, DUE_TYPES.get(bit)!)
      if (!send(this.route, header, this.#payloadOf(bit, header, nowMs))) {
        this.#due |= bit
        this.#ackAtMs = ackAtMs
        return false
      }
      if (bit === Due.open || bit === Due.accept) {
        this.#greetedCount++
        this.#greetedAtMs = nowMs
      }
      if (bit === Due.resume || bit === Due.ping) this.#expect(nowMs)
    }
    return true
  }

  /** There is DATA that may go out now. */
  canSend(nowMs: number): boolean {
    if (this.#resuming || this.#phase === 'closed') return false
    if (this.#phase === 'opening' && this.#host.role === 'agent') return false
    if (this.#repairNext < this.#repairEnd) return true
    const end = this.#send.endOffset
    if (this.#next > end || (this.#next === end && !this.#finished)) return false
    // FIN needs no credit (4.6).
    if (this.#next < end && this.#next >= this.#creditLimit) return false
    return this.#next - this.#acked < this.#congestion.bytes(nowMs)
  }

  /** Nothing is on its way, nor was before this write: its first chunk goes before those of others. */
  get isFirst(): boolean {
    return this.#sent === this.#acked
  }

  /** Sends one DATA, after `canSend`. False: the link takes no more. */
  sendData(header: FrameView, nowMs: number, send: SendFrame): boolean {
    const before = {
      next: this.#next,
      sent: this.#sent,
      repairNext: this.#repairNext,
      ackAtMs: this.#ackAtMs,
    }
    const isRepair = this.#repairNext < this.#repairEnd
    const offset = isRepair ? this.#repairNext : this.#next
    const payload = this.#chunk(offset, isRepair ? this.#repairEnd : this.#creditLimit)
    const end = offset + (payload?.length ?? 0)
    const isLast = this.#finished && end === this.#send.endOffset
    const behind = isLast ? end + 1 : end
    this.#fill(header, FrameType.data)
    header.flags = isLast ? FrameFlag.fin : 0
    header.offset = offset
    // Before it is sent: a link within the process may bring the answer during the call.
    if (isRepair) this.#repairNext = end
    this.#next = Math.max(this.#next, behind)
    this.#sent = Math.max(this.#sent, behind)
    if (!send(this.route, header, payload)) {
      this.#next = before.next
      this.#sent = before.sent
      this.#repairNext = before.repairNext
      this.#ackAtMs = before.ackAtMs
      return false
    }
    if (offset < before.sent) this.#host.counters.resentBytes += Math.min(end, before.sent) - offset
    else if (this.#timedOffset < 0) this.#time(behind, nowMs)
    this.#expect(nowMs)
    this.#watchProgress(nowMs)
    return true
  }

  // Sending.

  #chunk(offset: number, until: number): Buffer | undefined {
    const size = Math.min(until, this.#send.endOffset) - offset
    return size > 0 ? this.#send.read(offset, Math.min(size, this.#host.limits.chunkBytes)) : undefined
  }

  /** All but the offset of DATA, PING and PONG. */
  #fill(header: FrameView, type: FrameType): void {
    const limit = this.#window.limit
    header.type = type
    header.flags = 0
    header.stream = this.id
    header.offset = this.#sent
    header.acked = this.#receive.ackedOffset
    header.limit = limit
    this.#toldLimit = limit
    this.#grantedLimit = Math.max(this.#grantedLimit, limit)
    this.#ackAtMs = Infinity
  }

  #payloadOf(bit: number, header: FrameView, nowMs: number): Buffer | undefined {
    const hasEnded = this.#sent > this.#send.endOffset
    switch (bit) {
      case Due.open:
        header.offset = 0
        header.acked = 0
        return encodeOpen(this.#open)
      case Due.ack: {
        if (hasEnded) header.flags = FrameFlag.fin
        const gap = this.#receive.gapOffset
        if (gap === undefined) return undefined
        header.flags |= FrameFlag.gap
        const payload = Buffer.allocUnsafe(GAP_BYTES)
        writeUInt48(payload, 0, gap)
        return payload
      }
      case Due.resume:
        if (hasEnded) header.flags = FrameFlag.fin
        return undefined
      case Due.ping:
        this.#pingedAtMs = nowMs
        // Microseconds: no two that matter are the same.
        this.#pingValue = Math.floor(nowMs * 1_000) % 2 ** 48
        header.offset = this.#pingValue
        return undefined
      case Due.pong:
        header.offset = this.#pongValue
        return undefined
      default:
        return undefined
    }
  }

  #makeDue(bit: number): void {
    this.#due |= bit
    this.#host.controlDue(this)
  }

  #dataChanged(): void {
    this.#host.dataDue(this)
  }

  #time(offset: number, nowMs: number): void {
    this.#timedOffset = offset
    this.#timedAtMs = nowMs
    this.#timedAcked = this.#acked
  }

  /** Sends again from what was acknowledged. */
  #goBack(): void {
    this.#resuming = false
    this.#next = this.#acked
    this.#repairNext = this.#repairEnd = 0
    this.#timedOffset = -1
  }

  /** 7.4: the peer has something at `gapOffset`, and nothing from `acked` to there. */
  #repair(acked: number, gapOffset: number): void {
    if (acked !== this.#acked || acked <= this.#repairedAt) return
    const end = Math.min(gapOffset, this.#next, this.#send.endOffset)
    if (end <= acked) return
    this.#repairedAt = acked
    this.#repairNext = acked
    this.#repairEnd = end
    this.#timedOffset = -1
    this.#congestion.lost(acked, this.#sent)
  }

  /** `acked` and `limit` of any frame (4.4). */
  #learn(acked: number, limit: number, nowMs: number): void {
    if (limit > this.#creditLimit) {
      if (this.#acked === this.#sent) this.#progressed(nowMs)
      this.#creditLimit = limit
    }
    if (acked <= this.#acked) return
    this.#congestion.acknowledged(acked - this.#acked, this.#next - this.#acked)
    this.#acked = acked
    this.#send.acknowledge(Math.min(acked, this.#send.endOffset))
    this.#next = Math.max(this.#next, acked)
    this.#repairNext = Math.max(this.#repairNext, acked)
    if (this.#timedOffset >= 0 && acked >= this.#timedOffset) {
      this.#timedOffset = -1
      this.#congestion.sample(nowMs - this.#timedAtMs, acked - this.#timedAcked, nowMs)
    }
    this.#progressed(nowMs)
  }

  #tellOfRoom(): void {
    if (!this.#wasFull || this.#finished || !this.hasRoom) return
    this.#wasFull = false
    this.#host.emit({ kind: 'room', stream: this })
  }

  #peerResumes(nowMs: number): void {
    // What timed out while it was away was not lost to congestion.
    if (this.#stallDelayMs > MIN_STALL_MS) this.#congestion.restart()
    this.#goBack()
    this.#progressed(nowMs)
  }

  // Receiving.

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
    this.#host.wake(this, nowMs + PING_AFTER_MS)
  }

  #receiveData(view: FrameView, frame: Buffer, nowMs: number): void {
    const fin = (view.flags & FrameFlag.fin) !== 0
    const receive = this.#receive
    const fault = receive.fault(view.offset, frame.length - HEADER_BYTES, fin, this.#grantedLimit)
    if (fault !== undefined) {
      this.violate(fault, nowMs)
      return
    }
    const wasAcked = receive.ackedOffset
    if (fin) receive.finish(view.offset + frame.length - HEADER_BYTES)
    if (this.#phase === 'opening') {
      if (!receive.keep(view.offset, frame.subarray(HEADER_BYTES))) this.#host.counters.droppedFrames++
      return
    }
    this.#handOn(receive.receive(view.offset, frame.subarray(HEADER_BYTES)))
    const isDuplicate = receive.ackedOffset === wasAcked
    if (fin || isDuplicate || receive.gapOffset !== undefined || receive.isComplete) this.#makeDue(Due.ack)
    else this.#ackSoon(nowMs)
    if (receive.nextOffset - this.#pingedAtOffset >= MEASURE_BYTES) this.#measure(nowMs)
  }

  #handOn(first: Buffer | undefined): void {
    const receive = this.#receive
    let bytes = first ?? receive.takeKept()
    while (bytes !== undefined) {
      if (bytes.length > 0) this.#host.emit({ kind: 'data', stream: this, bytes })
      bytes = receive.takeKept()
    }
    if (!receive.isComplete || this.#endTold) return
    this.#endTold = true
    this.#host.emit({ kind: 'end', stream: this })
  }

  #ackSoon(nowMs: number): void {
    if (this.#ackAtMs !== Infinity) return
    this.#ackAtMs = nowMs + ACK_DELAY_MS
    this.#host.wake(this, this.#ackAtMs)
  }

  /** Times the way, for the growth of the window. */
  #measure(nowMs: number): void {
    if (nowMs - this.#pingedAtMs < MEASURE_EVERY_MS) return
    this.#pingedAtOffset = this.#receive.nextOffset
    this.#ping(nowMs)
  }

  #ping(nowMs: number): void {
    this.#pingedAtMs = nowMs
    this.#makeDue(Due.ping)
  }

  // Times.

  /** Something waits for the peer: it has to come within the time. */
  get #isWaiting(): boolean {
    if (this.#phase === 'opening') return this.#host.role === 'client'
    const all = this.#send.endOffset + (this.#finished ? 1 : 0)
    return this.#resuming || this.#acked < all
  }

  #watchProgress(nowMs: number): void {
    if (this.#stallAt !== Infinity || !this.#isWaiting) return
    this.#stallAt = this.#host.clock.at(nowMs) + this.#stallDelayMs
    this.#host.wake(this, nowMs + this.#stallDelayMs)
  }

  #progressed(nowMs: number): void {
    this.#stallDelayMs = MIN_STALL_MS
    this.#stallAt = Infinity
    this.#watchProgress(nowMs)
  }

  /** 5.2, 6.4, 7.3, and RESUME that was not answered. */
  #stalled(nowMs: number): void {
    this.#stallAt = Infinity
    this.#stallDelayMs = Math.min(2 * this.#stallDelayMs, MAX_STALL_MS)
    if (this.#phase === 'opening') {
      this.#makeDue(Due.open)
    } else if (this.#resuming) {
      this.#makeDue(Due.resume)
    } else if (this.#acked < this.#sent) {
      this.#goBack()
      this.#congestion.timedOut(this.#acked)
      this.#dataChanged()
    } else if (this.#acked < this.#send.endOffset && this.#acked >= this.#creditLimit) {
      this.#makeDue(Due.resume)
    }
    this.#watchProgress(nowMs)
  }

  #expect(nowMs: number): void {
    if (this.#expectSinceMs !== Infinity) return
    this.#expectSinceMs = nowMs
    this.#host.wake(this, nowMs + this.#host.limits.resumeTimeoutMs)
  }

  #pingAtMs(): number {
    return Math.max(this.#heardMs, this.#pingedAtMs) + PING_AFTER_MS
  }

  #opensUntilMs(): number {
    const isOpening = this.#phase === 'opening' && this.#host.role === 'client'
    return isOpening ? this.openedAtMs + this.#host.limits.openTimeoutMs : Infinity
  }

  #nextWakeMs(nowMs: number): number {
    const { clock, isUp, limits } = this.#host
    let atMs = Math.min(this.#ackAtMs, this.#opensUntilMs(), this.#expectSinceMs + limits.resumeTimeoutMs)
    if (!isUp) return atMs
    if (this.#phase === 'open') atMs = Math.min(atMs, this.#pingAtMs())
    if (this.#stallAt === Infinity) return atMs
    return Math.min(atMs, nowMs + (clock.isRunning ? this.#stallAt - clock.at(nowMs) : BLOCKED_LOOK_MS))
  }

  // The end.

  /** 8.3 */
  #closeIfDone(nowMs: number): void {
    if (this.#phase !== 'open' || !this.#receive.isComplete) return
    if (!this.#finished || this.#acked <= this.#send.endOffset) return
    const owesAck = (this.#due & Due.ack) !== 0 || this.#ackAtMs !== Infinity
    const { token } = this
    const acked = this.#receive.ackedOffset
    this.#host.emit({ kind: 'closed', stream: this })
    const limit = this.#window.limit
    this.#end({ kind: 'closed', token, offset: this.#sent, acked, limit }, owesAck, nowMs)
  }

  #fail(code: ResetCode, reason: string, by: 'peer' | 'us', answer: boolean, nowMs: number): void {
    if (this.#phase === 'closed') return
    this.#host.emit({ kind: 'reset', stream: this, code, reason, by })
    this.#end({ kind: 'reset', token: this.token, code, reason }, answer, nowMs)
  }

  #end(stone: Tombstone, answer: boolean, nowMs: number): void {
    this.#phase = 'closed'
    this.#due = 0
    this.#send.clear()
    this.#receive.clear()
    this.#window.close()
    this.#host.ended(this, stone, answer, nowMs)
  }
}
