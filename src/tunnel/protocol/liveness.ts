/** 8.6 */
const PING_AFTER_MS = 30_000
/** 8.6: a PING that is not answered is sent again. */
const PING_AGAIN_MS = 8_000
/** A receiver measures the way when data flows: after so many bytes, at most so often. */
const MEASURE_BYTES = 65_536
const MEASURE_EVERY_MS = 1_000

const U48 = 2 ** 48

/** Whether the peer is heard, and how long it takes to answer. docs/tunnel-protocol.md 8.6 */
export class Liveness {
  #heardMs: number
  /** Since when an answer is missing. */
  #expectSinceMs = Infinity
  /** What our last PING asks to be echoed; -1: answered. */
  #pingValue = -1
  /** When the PING with that value first went out, and when it last did. */
  #askedAtMs = -Infinity
  #pingedAtMs = -Infinity
  #pingedAtOffset = 0
  /** Whether the peer knows the stream is asked then. */
  #doubtUntilMs = Infinity

  constructor(nowMs: number) {
    this.#heardMs = nowMs
  }

  get expectSinceMs(): number {
    return this.#expectSinceMs
  }

  /** When a PING is due. */
  get pingAtMs(): number {
    const atMs = Math.max(this.#heardMs + PING_AFTER_MS, this.#pingedAtMs + PING_AGAIN_MS)
    return Math.min(atMs, this.#doubtUntilMs)
  }

  heard(nowMs: number): void {
    this.#heardMs = nowMs
    this.#expectSinceMs = Infinity
  }

  /** Something went out that is answered; or the link is lost. */
  expect(nowMs: number): void {
    if (this.#expectSinceMs === Infinity) this.#expectSinceMs = nowMs
  }

  /** The value of a PING that goes out now: microseconds, so that no two that matter are the same; again the same until it is answered. */
  ping(nowMs: number): number {
    this.#pingedAtMs = nowMs
    if (nowMs >= this.#doubtUntilMs) this.#doubtUntilMs = Infinity
    if (this.#pingValue < 0) {
      this.#askedAtMs = nowMs
      this.#pingValue = Math.floor(nowMs * 1_000) % U48
    }
    return this.#pingValue
  }

  /** The peer may not know the stream: a PING is due at that time, however much is heard until then. */
  doubt(untilMs: number): void {
    this.#doubtUntilMs = untilMs
  }

  isAnswer(value: number): boolean {
    return value === this.#pingValue
  }

  /** The answer to our PING: how long it took, at most. */
  answered(nowMs: number): number {
    this.#pingValue = -1
    return nowMs - this.#askedAtMs
  }

  /** So much was received: whether to time the way. */
  wantsMeasure(receivedBytes: number, nowMs: number): boolean {
    if (receivedBytes - this.#pingedAtOffset < MEASURE_BYTES) return false
    if (nowMs - this.#pingedAtMs < MEASURE_EVERY_MS) return false
    this.#pingedAtOffset = receivedBytes
    return true
  }

  /** What is on its way is lost. */
  linkDown(nowMs: number): void {
    this.#pingValue = -1
    this.expect(nowMs)
  }
}
