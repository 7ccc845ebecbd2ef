/**
 * The longest that one timer waits here, in ms: 24 days. Those of Node count to 2^31 - 1 ms (24.8 days), and what is
 * more fires at once (setTimeout); what some add to their time on the way still fits.
 */
export const MAX_TIMER_MS = 2_073_600_000

/** A time, or what of it one timer takes: `Infinity` is for as long as there is. */
export function withinTimer(ms: number): number {
  return Math.min(ms, MAX_TIMER_MS)
}
