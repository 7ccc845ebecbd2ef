import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** RFC 9175, 2.2.2: as hard to guess as 64 bits. */
const VALUE_BYTES = 8
/** A value is good for so long at least, and twice as long at most. */
const PERIOD_MS = 60_000

export interface EchoValues {
  /** For who asks from this address and port. */
  valueFor(endpoint: string, nowMs: number): Buffer
  isFresh(value: Buffer, endpoint: string, nowMs: number): boolean
}

/**
 * Values of the Echo option (RFC 9175, 2): who brings one back has received what was sent to its address. They are an
 * HMAC over address, port and time with a key of this process, so that nothing is kept of those who never come again.
 * Pure but for the key: the time is given.
 */
export function createEchoValues(): EchoValues {
  const key = randomBytes(32)
  const valueOf = (endpoint: string, period: number): Buffer =>
    createHmac('sha256', key).update(`${period} ${endpoint}`).digest().subarray(0, VALUE_BYTES)
  const periodOf = (nowMs: number): number => Math.floor(nowMs / PERIOD_MS)
  return {
    valueFor: (endpoint, nowMs) => valueOf(endpoint, periodOf(nowMs)),
    isFresh(value, endpoint, nowMs) {
      if (value.length !== VALUE_BYTES) return false
      const period = periodOf(nowMs)
      return [period, period - 1].some((one) => timingSafeEqual(value, valueOf(endpoint, one)))
    },
  }
}
