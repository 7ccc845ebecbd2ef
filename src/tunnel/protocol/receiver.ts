import { FrameFlag, HEADER_BYTES, INITIAL_CREDIT_BYTES, type FrameView } from './frame.ts'
import { ReceiveBuffer } from './receive-buffer.ts'
import { ReceiveWindow, type WindowBudget } from './receive-window.ts'

/** 7.1 */
const ACK_DELAY_MS = 20

/** The direction that we receive: what came, what was handed on, and what the peer was told of both. */
export class Receiver {
  readonly #buffer = new ReceiveBuffer()
  readonly #window: ReceiveWindow
  /** The highest `limit` that the peer can know of, and the one in the last frame. */
  #grantedLimit = INITIAL_CREDIT_BYTES
  #toldLimit = 0
  #ackAtMs = Infinity

  constructor(budget: WindowBudget, nowMs: number) {
    this.#window = new ReceiveWindow(budget, nowMs)
  }

  get ackedOffset(): number {
    return this.#buffer.ackedOffset
  }

  get byteCount(): number {
    return this.#buffer.nextOffset
  }

  get isComplete(): boolean {
    return this.#buffer.isComplete
  }

  get gapOffset(): number | undefined {
    return this.#buffer.gapOffset
  }

  get limit(): number {
    return this.#window.limit
  }

  /** When an ACK is due; Infinity: the peer knows everything, or is told at once. */
  get ackAtMs(): number {
    return this.#ackAtMs
  }

  /** What every frame tells the peer. */
  tell(header: FrameView): void {
    header.acked = this.#buffer.ackedOffset
    header.limit = this.#toldLimit = this.#window.limit
    this.#grantedLimit = Math.max(this.#grantedLimit, header.limit)
    this.#ackAtMs = Infinity
  }

  /** The link has not taken the frame: what was due is due. */
  untell(ackAtMs: number): void {
    this.#ackAtMs = ackAtMs
  }

  ackSoon(nowMs: number): void {
    if (this.#ackAtMs === Infinity) this.#ackAtMs = nowMs + ACK_DELAY_MS
  }

  /** Why DATA breaks 6.2, or undefined. */
  fault({ offset, flags }: FrameView, frame: Buffer): string | undefined {
    const fin = (flags & FrameFlag.fin) !== 0
    return this.#buffer.fault(offset, frame.length - HEADER_BYTES, fin, this.#grantedLimit)
  }

  /** DATA without fault: gives what may be handed on at once, and {@link takeKept} what follows. */
  receive({ offset, flags }: FrameView, frame: Buffer): Buffer | undefined {
    if ((flags & FrameFlag.fin) !== 0) this.#buffer.finish(offset + frame.length - HEADER_BYTES)
    return this.#buffer.receive(offset, frame.subarray(HEADER_BYTES))
  }

  /** The same, but all is kept until {@link takeKept}. */
  keep({ offset, flags }: FrameView, frame: Buffer): void {
    if ((flags & FrameFlag.fin) !== 0) this.#buffer.finish(offset + frame.length - HEADER_BYTES)
    this.#buffer.keep(offset, frame.subarray(HEADER_BYTES))
  }

  takeKept(): Buffer | undefined {
    return this.#buffer.takeKept()
  }

  /** The program has handed on bytes. True: the credit is worth an ACK at once (7.1). */
  consumed(byteCount: number, nowMs: number, roundTripMs: number): boolean {
    const offset = Math.min(this.#window.consumedOffset + byteCount, this.#buffer.nextOffset)
    this.#window.consumed(offset, nowMs, roundTripMs)
    return this.#window.limit - this.#toldLimit >= this.#window.ackBytes
  }

  close(): void {
    this.#buffer.clear()
    this.#window.close()
  }
}
