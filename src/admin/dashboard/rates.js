/**
 * Rates, as differences of counters. Pure.
 *
 * @import { Overview } from '../api/resources.ts'
 *
 * @typedef {object} Sample
 * @property {number} atMs  of this browser's clock
 * @property {number} connections
 * @property {number} streams
 * @property {number} memoryBytes
 * @property {number | null} messagesIn  a second; null: not known
 * @property {number | null} messagesOut
 * @property {number | null} bytesIn
 * @property {number | null} bytesOut
 * @property {number | null} dropped
 * @property {number | null} refused
 * @property {number | null} streamBytes
 * @property {number | null} cpu  seconds of CPU a second
 */

/**
 * @param {{ overview: Overview, atMs: number } | undefined} before
 * @param {{ overview: Overview, atMs: number }} after
 * @returns {Sample}
 */
export function sampleOf(before, after) {
  const seconds = before === undefined ? 0 : secondsBetween(before, after)
  /** @param {(overview: Overview) => number} read */
  const perSecond = (read) => {
    if (before === undefined || seconds <= 0) return null
    const difference = read(after.overview) - read(before.overview)
    // A counter that went back: a restart, or a pod that is gone.
    return difference < 0 ? null : difference / seconds
  }
  const { overview, atMs } = after
  return {
    atMs,
    connections: overview.connections,
    streams: overview.streams,
    memoryBytes: overview.memoryBytes,
    messagesIn: perSecond(({ totals }) => totals.messagesReceived),
    messagesOut: perSecond(({ totals }) => totals.messagesSent),
    bytesIn: perSecond(({ totals }) => totals.bytesReceived),
    bytesOut: perSecond(({ totals }) => totals.bytesSent),
    dropped: perSecond(({ totals }) => totals.messagesDropped),
    refused: perSecond(({ totals }) => totals.connectionsRefused + totals.handlerRefusals),
    streamBytes: perSecond(({ totals }) => totals.streamBytes),
    cpu: perSecond(({ cpuSeconds }) => cpuSeconds),
  }
}

/**
 * By the broker's clock; by ours where another pod has answered, whose clock has another zero.
 *
 * @param {{ overview: Overview, atMs: number }} before
 * @param {{ overview: Overview, atMs: number }} after
 */
function secondsBetween(before, after) {
  const isSameClock = before.overview.pod === after.overview.pod
  const theirsMs = after.overview.atMs - before.overview.atMs
  return (isSameClock && theirsMs > 0 ? theirsMs : after.atMs - before.atMs) / 1_000
}

/**
 * Bytes a second of things with a key, from one look to the next.
 *
 * @template Item
 * @param {(item: Item) => string} keyOf
 * @param {(item: Item) => number} bytesOf
 */
export function createThroughput(keyOf, bytesOf) {
  /** @type {Map<string, number>} */
  let last = new Map()
  let lastAtMs = 0
  /** @type {Map<string, number | null>} */
  let rates = new Map()
  return {
    /** @param {readonly Item[]} items @param {number} atMs */
    look(items, atMs) {
      const seconds = (atMs - lastAtMs) / 1_000
      rates = new Map(
        items.map((item) => {
          const before = last.get(keyOf(item))
          const difference = before === undefined ? -1 : bytesOf(item) - before
          return [keyOf(item), difference < 0 || seconds <= 0 ? null : difference / seconds]
        }),
      )
      last = new Map(items.map((item) => [keyOf(item), bytesOf(item)]))
      lastAtMs = atMs
    },
    /** @param {Item} item @returns {number | null} */
    of: (item) => rates.get(keyOf(item)) ?? null,
  }
}
