/**
 * Upper bounds of the buckets, in ms. 50 us is a synchronous handler, 5 s the default deadline of one.
 * The same for all, so that the figures of store and handlers can be laid over each other.
 */
export const LATENCY_BOUNDS_MS = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000,
] as const

/** How long something took, counted in buckets: a few comparisons and two additions an observation. */
export interface LatencyHistogram {
  observe(durationMs: number): void
  /** One more than there are bounds: the last holds what took longer. Not cumulative. */
  readonly bucketCounts: readonly number[]
  readonly count: number
  readonly sumMs: number
}

/** An empty histogram over {@link LATENCY_BOUNDS_MS}. */
export function createLatencyHistogram(): LatencyHistogram {
  const bucketCounts = Array.from({ length: LATENCY_BOUNDS_MS.length + 1 }, () => 0)
  const state = { bucketCounts, count: 0, sumMs: 0, observe }

  function observe(durationMs: number): void {
    state.count += 1
    state.sumMs += durationMs
    let index = 0
    // From the fast end: nearly everything that is observed often is fast.
    while (index < LATENCY_BOUNDS_MS.length && durationMs > (LATENCY_BOUNDS_MS[index] ?? Infinity)) index += 1
    bucketCounts[index] = (bucketCounts[index] ?? 0) + 1
  }

  return state
}
