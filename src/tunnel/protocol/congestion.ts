import { MAX_DATA_BYTES } from './frame.ts'
import type { RoundTrip } from './round-trip.ts'

/** 7.5: never below. */
const MIN_BYTES = 65_536
/** Slow start from here: little enough for the first moment of a slow uplink, doubled with each round trip. */
const INITIAL_BYTES = 131_072
/** What may be on its way while the queue is let run empty. */
const DRAIN_BYTES = 16_384
/** Growth for each window that was acknowledged, after slow start. */
const STEP_BYTES = 32_768
/** A queue on the way of up to so much is let be: it keeps the way busy. It includes the delay of an ACK. */
const QUEUE_MS = 75
/** Weight of a new sample in the smoothed round trip. */
const SAMPLE_WEIGHT = 1 / 4

/**
 * How much may be on its way (7.5). Halved on loss; and held to what the path delivers within a little more than
 * its shortest round trip, so that a keystroke of another stream does not wait behind megabytes of this one.
 */
export class CongestionWindow {
  readonly #path: RoundTrip
  readonly #maxBytes: number
  #bytes = INITIAL_BYTES
  #mostBytes = INITIAL_BYTES
  /** Above it, growth is slow. */
  #threshold = Infinity
  /** What was on its way at the last loss ends here: lost once, halved once. */
  #lossEndOffset = -1
  #smoothedMs = 0

  constructor(path: RoundTrip, maxBytes: number) {
    this.#path = path
    this.#maxBytes = Math.max(maxBytes, INITIAL_BYTES)
  }

  /** The largest that it was. */
  get mostBytes(): number {
    return this.#mostBytes
  }

  bytes(nowMs: number): number {
    return this.#path.isDraining(nowMs) ? DRAIN_BYTES : this.#bytes
  }

  /**
   * `inFlightBytes`: what was on its way before. A window that was not used does not grow,
   * nor one that was made smaller than what is still on its way.
   */
  acknowledged(byteCount: number, inFlightBytes: number): void {
    if (inFlightBytes * 2 < this.#bytes || inFlightBytes > this.#bytes + MAX_DATA_BYTES) return
    const step = this.#bytes < this.#threshold ? byteCount : (byteCount * STEP_BYTES) / this.#bytes
    this.#bytes = Math.min(this.#maxBytes, this.#bytes + step)
    this.#mostBytes = Math.max(this.#mostBytes, this.#bytes)
  }

  /** Bytes from `ackedOffset` on were lost, while all before `sentOffset` were on their way. */
  lost(ackedOffset: number, sentOffset: number): void {
    if (ackedOffset < this.#lossEndOffset) return
    this.#lossEndOffset = sentOffset
    this.#shrink(this.#bytes / 2)
  }

  /** Nothing came back of all that was on its way: it is sent anew, and may be lost anew. */
  timedOut(ackedOffset: number): void {
    this.#lossEndOffset = ackedOffset
    this.#shrink(this.#bytes / 2)
  }

  /** One round trip, in which the path has delivered so much. */
  sample(ms: number, deliveredBytes: number, nowMs: number): void {
    this.#path.sample(ms, nowMs)
    this.#smoothedMs =
      this.#smoothedMs === 0 ? ms : this.#smoothedMs + (ms - this.#smoothedMs) * SAMPLE_WEIGHT
    const boundMs = this.#path.leastMs + QUEUE_MS
    if (this.#smoothedMs <= boundMs) return
    this.#path.crowded(this.#smoothedMs, nowMs)
    this.#threshold = Math.min(this.#threshold, this.#bytes)
    // Who has sent little in that time has not made the queue, and learns nothing of the rate.
    // A quarter: in slow start the window is twice that of a round trip before, and a little more.
    if (deliveredBytes * 4 >= this.#bytes)
      this.#shrink(Math.min(this.#bytes, (deliveredBytes / ms) * boundMs))
  }

  /** The other end was away: what was lost then says nothing of the path. */
  restart(): void {
    this.#bytes = Math.max(this.#bytes, INITIAL_BYTES)
    this.#threshold = Infinity
    this.#smoothedMs = 0
  }

  #shrink(bytes: number): void {
    this.#bytes = Math.max(MIN_BYTES, bytes)
    this.#threshold = this.#bytes
  }
}
