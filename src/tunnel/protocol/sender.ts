import { CongestionWindow } from './congestion.ts'
import { FrameFlag, type FrameView } from './frame.ts'
import type { RoundTrip } from './round-trip.ts'
import { SendBuffer } from './send-buffer.ts'
import type { StreamsLimits } from './streams.ts'

/** 7.3 */
const MIN_PATIENCE_MS = 1_000

/**
 * The direction that we send, as numbers: docs/tunnel-protocol.md 6.1, 7.3 to 7.5.
 *
 *   0 ── acked ── next ── sent ── end      next falls back to acked when something has to be sent again;
 *   gone │ kept ────────────────│          FIN takes the offset `end`
 *
 * It knows no frames but DATA, and no times but those of the path.
 */
export class Sender {
  readonly #limits: StreamsLimits
  readonly #congestion: CongestionWindow
  readonly #kept = new SendBuffer()
  #isFinished = false
  #next = 0
  #sent = 0
  #acked = 0
  #creditLimit: number
  /** The most that the peer's window was seen to be. */
  #peerWindow = 0
  /** 7.4: what is sent again, and for which `acked` that was done. */
  #repairNext = 0
  #repairEnd = 0
  #repairedAt = -1
  /** Where we were before the last {@link cut}. */
  #cutNext = 0
  #cutSent = 0
  #cutRepairNext = 0
  /** A DATA whose way is timed: behind it, when it was sent, and what was acknowledged then. */
  #timedOffset = -1
  #timedAtMs = 0
  #timedAcked = 0
  /** It went out twice, so that its way says nothing of a queue. */
  #timedTwice = false
  #patienceMs = MIN_PATIENCE_MS

  constructor(path: RoundTrip, limits: StreamsLimits, creditLimit: number) {
    this.#limits = limits
    this.#congestion = new CongestionWindow(path, limits.maxWindowBytes)
    this.#creditLimit = creditLimit
  }

  get isFinished(): boolean {
    return this.#isFinished
  }

  /** The next new byte, or behind the FIN. */
  get sentOffset(): number {
    return this.#sent
  }

  get ackedOffset(): number {
    return this.#acked
  }

  /** Payload alone. */
  get ackedBytes(): number {
    return this.#kept.ackedOffset
  }

  get hasSentFin(): boolean {
    return this.#sent > this.#kept.endOffset
  }

  get isFinAcked(): boolean {
    return this.#acked > this.#kept.endOffset
  }

  /** Something is not acknowledged, sent or not. */
  get isWaiting(): boolean {
    return this.#acked < this.#kept.endOffset + (this.#isFinished ? 1 : 0)
  }

  /** How long an acknowledgement may take: 1 s, or twice what the last one took. Otherwise all would go out twice. */
  get patienceMs(): number {
    return this.#patienceMs
  }

  get hasUnacked(): boolean {
    return this.#acked < this.#sent
  }

  /** 6.4: bytes to send, all of those sent acknowledged, and no credit. */
  get isOutOfCredit(): boolean {
    return !this.hasUnacked && this.#acked < this.#kept.endOffset && this.#acked >= this.#creditLimit
  }

  get hasRoom(): boolean {
    const { sendBufferBytes, maxWindowBytes } = this.#limits
    const most = Math.max(sendBufferBytes, Math.min(this.#peerWindow, maxWindowBytes))
    // The most that was on its way, and as much again to follow: a hundred streams that share a path keep little each.
    return this.#kept.byteCount < Math.min(most, 2 * this.#congestion.mostBytes)
  }

  write(bytes: Buffer): void {
    this.#kept.write(bytes)
  }

  finish(): void {
    this.#isFinished = true
  }

  /** There is DATA that may go out now. */
  canSend(nowMs: number): boolean {
    if (this.#repairNext < this.#repairEnd) return true
    const end = this.#kept.endOffset
    if (this.#next > end || (this.#next === end && !this.#isFinished)) return false
    // FIN needs no credit (4.6).
    if (this.#next < end && this.#next >= this.#creditLimit) return false
    return this.#next - this.#acked < this.#congestion.bytes(nowMs)
  }

  /**
   * The next DATA, after `canSend`: fills `header`, gives the payload, and counts it as sent, because a link
   * within the process may bring the answer while it is handed over. {@link putBack} when it was not taken.
   */
  cut(header: FrameView): Buffer | undefined {
    this.#cutNext = this.#next
    this.#cutSent = this.#sent
    this.#cutRepairNext = this.#repairNext
    const isRepair = this.#repairNext < this.#repairEnd
    const offset = isRepair ? this.#repairNext : this.#next
    const until = isRepair ? this.#repairEnd : Math.min(this.#creditLimit, this.#kept.endOffset)
    const size = Math.min(until - offset, this.#limits.chunkBytes)
    const payload = size > 0 ? this.#kept.read(offset, size) : undefined
    const end = offset + (payload?.length ?? 0)
    const isLast = this.#isFinished && end === this.#kept.endOffset
    header.flags = isLast ? FrameFlag.fin : 0
    header.offset = offset
    if (isRepair) this.#repairNext = end
    this.#next = Math.max(this.#next, isLast ? end + 1 : end)
    this.#sent = Math.max(this.#sent, this.#next)
    return payload
  }

  /** The link has not taken what was cut last. */
  putBack(): void {
    this.#next = this.#cutNext
    this.#sent = this.#cutSent
    this.#repairNext = this.#cutRepairNext
  }

  /** The link has taken what was cut last, `byteCount` from `offset` on. Returns how many went out before. */
  taken(offset: number, byteCount: number, nowMs: number): number {
    if (offset < this.#cutSent) return Math.min(byteCount, this.#cutSent - offset)
    if (this.#timedOffset < 0) {
      this.#timedOffset = this.#sent
      this.#timedTwice = false
      this.#timedAtMs = nowMs
      this.#timedAcked = this.#acked
    }
    return 0
  }

  /** `acked` and `limit` of any frame (4.4). True: something became acknowledged, or may be sent that could not. */
  learn(acked: number, limit: number, nowMs: number): boolean {
    let isProgress = false
    this.#peerWindow = Math.max(this.#peerWindow, limit - acked)
    if (limit > this.#creditLimit) {
      isProgress = !this.hasUnacked
      this.#creditLimit = limit
    }
    if (acked <= this.#acked) return isProgress
    this.#congestion.acknowledged(acked - this.#acked, this.#next - this.#acked)
    this.#acked = acked
    this.#kept.acknowledge(Math.min(acked, this.#kept.endOffset))
    this.#next = Math.max(this.#next, acked)
    this.#repairNext = Math.max(this.#repairNext, acked)
    if (this.#timedOffset >= 0 && acked >= this.#timedOffset) this.#measure(nowMs)
    return true
  }

  #measure(nowMs: number): void {
    const ms = nowMs - this.#timedAtMs
    this.#timedOffset = -1
    this.#patienceMs = Math.max(MIN_PATIENCE_MS, 2 * ms)
    if (!this.#timedTwice) this.#congestion.sample(ms, this.#acked - this.#timedAcked, nowMs)
  }

  /** Sends again from what was acknowledged. */
  goBack(): void {
    this.#next = this.#acked
    this.#repairNext = this.#repairEnd = 0
    this.#timedOffset = -1
  }

  /** 7.3 */
  timedOut(): void {
    const timed = this.#timedOffset
    this.goBack()
    this.#timedOffset = timed
    this.#timedTwice = true
    this.#congestion.timedOut(this.#acked)
  }

  /** 7.4: the peer has something at `gapOffset`, and nothing from `acked` to there. */
  repair(acked: number, gapOffset: number): void {
    if (acked !== this.#acked || acked <= this.#repairedAt) return
    const end = Math.min(gapOffset, this.#next, this.#kept.endOffset)
    if (end <= acked) return
    this.#repairedAt = acked
    this.#repairNext = acked
    this.#repairEnd = end
    this.#timedOffset = -1
    this.#congestion.lost(acked, this.#sent)
  }

  /** The peer was away: what timed out then was not lost to congestion. */
  peerReturned(): void {
    this.#congestion.restart()
  }

  clear(): void {
    this.#kept.clear()
  }
}
