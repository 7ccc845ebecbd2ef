import { ErrorCode, TunnelMQError } from '../errors.ts'

const HOUR_MS = 3_600_000
const unitsMs: Readonly<Record<string, number>> = {
  m: 60_000,
  h: HOUR_MS,
  d: 24 * HOUR_MS,
  w: 7 * 24 * HOUR_MS,
  y: 365 * 24 * HOUR_MS,
}

/**
 * When a key is to end, in ms since 1970: after `12h`, `30d`, `1y`, or at `2027-01-31`.
 * @throws {TunnelMQError} TMQ_USAGE for what is no time, or has passed.
 */
export function parseExpiry(text: string, nowMs: number): number {
  const [, count, unit = ''] = /^(\d{1,6})([mhdwy])$/.exec(text) ?? []
  const isDate = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z)?$/.test(text)
  const atMs =
    count !== undefined ? nowMs + Number(count) * (unitsMs[unit] ?? 0) : isDate ? Date.parse(text) : NaN
  // 31 February would be a day of March.
  const isInCalendar = count !== undefined || new Date(atMs || 0).toISOString().startsWith(text.slice(0, 10))
  if (Number.isNaN(atMs) || !isInCalendar || atMs > Date.parse('9999-01-01'))
    throw usage(`--expires ${text}: is neither a time such as 12h, 30d, 1y nor a date such as 2027-01-31`)
  if (atMs <= nowMs) throw usage(`--expires ${text}: has passed already`)
  return atMs
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}
