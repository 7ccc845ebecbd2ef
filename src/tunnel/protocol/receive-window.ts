import { INITIAL_CREDIT_BYTES } from './frame.ts'
import type { StreamsLimits } from './streams.ts'

/** Below this round trip a window that is full says nothing: 1 MiB in 4 ms are 250 MB/s already. */
const MIN_GROWTH_ROUND_TRIP_MS = 4
/** Each new window takes at most this part of what is left of all, so that the last ones are small, not missing. */
const SHARE = 8
/** An ACK goes out at once for so many bytes, also when a quarter of the window is more: acks drive the sender. */
const MAX_ACK_BYTES = 262_144

/** While a stream is young its sender has a small congestion window, and waits for each of its acknowledgements. */
const MIN_ACK_BYTES = 65_536

/** Receive windows of all streams together. */
export class WindowBudget {
  readonly limits: StreamsLimits
  #usedBytes = 0

  constructor(limits: StreamsLimits) {
    this.limits = limits
  }

  /** The size of a new window: when little is left, what a client may send unasked (5.3), or what was asked for. */
  take(): number {
    const { totalWindowBytes, windowBytes } = this.limits
    const share = Math.max(INITIAL_CREDIT_BYTES, Math.floor((totalWindowBytes - this.#usedBytes) / SHARE))
    const bytes = Math.min(windowBytes, share)
    this.#usedBytes += bytes
    return bytes
  }

  /** The size after doubling `bytes`, or the same. */
  double(bytes: number): number {
    const larger = Math.min(2 * bytes, this.limits.maxWindowBytes)
    if (larger <= bytes || this.#usedBytes + larger - bytes > this.limits.totalWindowBytes) return bytes
    this.#usedBytes += larger - bytes
    return larger
  }

  giveBack(bytes: number): void {
    this.#usedBytes -= bytes
  }
}

/**
 * How much a stream may be sent ahead of its reader (6.3). It doubles when a whole window was handed on
 * within two round trips: then the reader keeps up, and the window is what limits.
 */
export class ReceiveWindow {
  readonly #budget: WindowBudget
  #bytes: number
  #consumed = 0
  #epochOffset = 0
  #epochMs: number

  constructor(budget: WindowBudget, nowMs: number) {
    this.#budget = budget
    this.#bytes = budget.take()
    this.#epochMs = nowMs
  }

  get bytes(): number {
    return this.#bytes
  }

  get consumedOffset(): number {
    return this.#consumed
  }

  /** The peer may send bytes before this one. */
  get limit(): number {
    return this.#consumed + this.#bytes
  }

  /** Credit that is worth an ACK of its own (7.1). */
  get ackBytes(): number {
    return Math.min(this.#bytes / 4, MAX_ACK_BYTES, Math.max(MIN_ACK_BYTES, this.#consumed / 4))
  }

  /** `roundTripMs`: the least that was seen, without queues; Infinity: not known. */
  consumed(offset: number, nowMs: number, roundTripMs: number): void {
    this.#consumed = offset
    if (offset - this.#epochOffset < this.#bytes) return
    const isFull = nowMs - this.#epochMs < 2 * roundTripMs
    const isFar = roundTripMs >= MIN_GROWTH_ROUND_TRIP_MS && roundTripMs !== Infinity
    if (isFull && isFar) this.#bytes = this.#budget.double(this.#bytes)
    this.#epochOffset = offset
    this.#epochMs = nowMs
  }

  close(): void {
    this.#budget.giveBack(this.#bytes)
    this.#bytes = 0
  }
}
