import { ApiError } from './request.js'

/** After an error the next try comes later and later; never later than this. */
const SLOWEST_MS = 15_000

/**
 * Calls `work` at once, and again `everyMs` after each end, until the signal ends it. A hidden tab asks nothing; when
 * it is seen again, it asks at once. Errors are `work`'s to tell: here they only slow it down.
 *
 * @param {(signal: AbortSignal) => Promise<unknown>} work
 * @param {number} everyMs
 * @param {AbortSignal} signal
 * @returns {{ now(): void }} `now` does not wait for the next turn
 */
export function poll(work, everyMs, signal) {
  let failures = 0
  let isRunning = false
  let isAskedAgain = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer

  const run = async () => {
    clearTimeout(timer)
    if (signal.aborted || document.hidden) return
    if (isRunning) {
      isAskedAgain = true
      return
    }
    isRunning = true
    let waitMs = everyMs
    try {
      await work(signal)
      failures = 0
    } catch (error) {
      failures += 1
      const asked = error instanceof ApiError ? error.retryAfterMs : 0
      waitMs = Math.max(asked, Math.min(SLOWEST_MS, everyMs * 2 ** Math.min(failures - 1, 5)))
    }
    isRunning = false
    if (signal.aborted) return
    if (isAskedAgain) waitMs = 0
    isAskedAgain = false
    timer = setTimeout(() => void run(), waitMs)
  }

  const seen = () => void (document.hidden ? clearTimeout(timer) : run())
  document.addEventListener('visibilitychange', seen, { signal })
  signal.addEventListener('abort', () => clearTimeout(timer), { once: true })
  void run()
  return { now: () => void run() }
}
