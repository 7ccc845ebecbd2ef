import { z } from 'zod'
import { MAX_TIMER_MS } from '../timer.ts'

/** The most seconds that MQTT 5 can say, 136 years: from now on that is still a date. */
const MAX_SPAN_MS = 4_294_967_295_000

/** A time in ms that somebody waits for by a timer. */
export function timerMs(minimum = 1) {
  return z
    .int()
    .min(minimum)
    .max(MAX_TIMER_MS, `is more than ${MAX_TIMER_MS} (24 days), the longest that a timer takes`)
}

/** A time in ms that may be longer than any timer: it is compared with a clock, again and again. */
export function spanMs(minimum = 0) {
  return z.int().min(minimum).max(MAX_SPAN_MS, `is more than ${MAX_SPAN_MS} (136 years)`)
}
