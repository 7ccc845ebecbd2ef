import type { RoutedStream } from './routed-stream.ts'

/** Frames behind the last acknowledgement of a stream still find their way. */
const LINGER_MS = 10_000
/** To an agent at another pod the last one can be lost, for as long as Redis is away; and is asked for again. */
const FAR_LINGER_MS = 60_000
/** Of each kind; then the oldest are forgotten. About 1 KB each. */
const MAX_ENDED = 65_536

/**
 * Streams that have ended and are still known: for a moment, those that ended in order; for as long as an end may be
 * away, those that were reset without it. Whoever comes back to one is told so, also when somebody else has its
 * name by then.
 */
export class EndedStreams {
  readonly #closed = new Set<RoutedStream>()
  readonly #closedFar = new Set<RoutedStream>()
  readonly #judged = new Set<RoutedStream>()
  readonly #resumeTimeoutMs: number
  readonly #forget: (stream: RoutedStream) => void

  constructor(resumeTimeoutMs: number, forget: (stream: RoutedStream) => void) {
    this.#resumeTimeoutMs = resumeTimeoutMs
    this.#forget = forget
  }

  get count(): number {
    return this.#closed.size + this.#closedFar.size + this.#judged.size
  }

  add(stream: RoutedStream, nowMs: number): void {
    const [kind, lingerMs] =
      stream.verdict !== undefined
        ? [this.#judged, this.#resumeTimeoutMs]
        : stream.lane.agent.isElsewhere
          ? [this.#closedFar, FAR_LINGER_MS]
          : [this.#closed, LINGER_MS]
    stream.forgetAtMs = nowMs + lingerMs
    kind.add(stream)
    if (kind.size <= MAX_ENDED) return
    for (const oldest of kind) return this.drop(oldest)
  }

  drop(stream: RoutedStream): void {
    this.#closed.delete(stream)
    this.#closedFar.delete(stream)
    this.#judged.delete(stream)
    this.#forget(stream)
  }

  sweep(nowMs: number): void {
    // Each kind is in the order in which it is to be forgotten.
    for (const kind of [this.#closed, this.#closedFar, this.#judged]) {
      for (const stream of kind) {
        if (stream.forgetAtMs > nowMs) break
        this.drop(stream)
      }
    }
  }
}
