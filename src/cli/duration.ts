import { ErrorCode, TunnelMQError } from '../errors.ts'
import { MAX_TIMER_MS } from '../timer.ts'

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

/** `500ms`, `30s`, `5m`, `1h`, or a number of seconds, in ms; `mostMs` at most. Throws TMQ_USAGE. */
export function parseDuration(option: string, text: string, mostMs = MAX_TIMER_MS): number {
  const match = /^(\d{1,9}(?:\.\d+)?)(ms|s|m|h)?$/.exec(text)
  if (match === null)
    throw new TunnelMQError(
      ErrorCode.usage,
      `${option} ${text}: not a duration, such as 30s, 500ms, 5m or 1h`,
    )
  const ms = Math.round(Number(match[1]) * (unitsMs[match[2] ?? 's'] ?? 0))
  if (ms > mostMs)
    throw new TunnelMQError(ErrorCode.usage, `${option} ${text}: at most ${mostMs / 3_600_000}h`)
  return ms
}

/** A whole number from 1 on. Throws TMQ_USAGE. */
export function parseCount(option: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new TunnelMQError(ErrorCode.usage, `${option} ${text}: not a count, from 1 to 999999999`)
  return Number(text)
}
