/**
 * The overview, asked all the time whatever page is open: charts, the state in the header, the banner.
 *
 * @import { Api } from './api.js'
 * @import { Overview } from '../api/resources.ts'
 * @import { Sample } from './rates.js'
 */
import { poll } from './poll.js'
import { sampleOf } from './rates.js'

const EVERY_MS = 2_000
/** Ten minutes. */
const KEPT = 300

/** @typedef {ReturnType<typeof createFeed>} Feed */

/** @param {Api} api @param {AbortSignal} signal */
export function createFeed(api, signal) {
  /** @type {{ overview: Overview, atMs: number } | undefined} */
  let last
  /** @type {Sample[]} */
  let samples = []
  /** @type {Set<() => void>} */
  const listeners = new Set()

  const turn = poll(
    async () => {
      const overview = await api.overview(signal)
      const now = { overview, atMs: performance.now() }
      samples.push(sampleOf(last, now))
      if (samples.length > KEPT) samples = samples.slice(-KEPT)
      last = now
      for (const listener of listeners) listener()
    },
    EVERY_MS,
    signal,
  )

  return {
    get overview() {
      return last?.overview
    },
    /** @returns {readonly Sample[]} */
    get samples() {
      return samples
    },
    /** Asks at once. */
    now: () => turn.now(),
    /** Another pod is looked at: what was is no comparison. */
    restart() {
      last = undefined
      samples = []
      turn.now()
    },
    /** Called at once if there is something, and for each answer. @param {() => void} listener @param {AbortSignal} until */
    listen(listener, until) {
      listeners.add(listener)
      until.addEventListener('abort', () => listeners.delete(listener), { once: true })
      if (last) listener()
    },
  }
}
