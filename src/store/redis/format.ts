import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { ScriptReply } from './contract.ts'

/**
 * Value of the key `format`: layout of the data (docs/decisions/0009-pods.md). Pods of a later one and of an earlier one
 * never use the same data: neither would read what the other writes. So it is raised with every change that the
 * programs before it cannot read, and only while no pod of the earlier one lives (lua/join.lua).
 *
 *   1  before MQTT 5
 *   2  session expiry intervals, delays of wills, properties of MQTT 5
 */
export const FORMAT = 2
/** Those from here on are read as they are; the pod that joins raises them. */
const OLDEST_FORMAT = 1
/** In its place while `tunnelmq store migrate` fills it: no pod joins. */
export const UNFINISHED = 'migrating'

/** Undefined: there is none. Throws TMQ_STORE when it is one that this program does not read. */
export function formatIn(value: ScriptReply | undefined, whose: string): number | 'unfinished' | undefined {
  if (value === null || value === undefined) return undefined
  const text = Buffer.isBuffer(value) ? value.toString() : JSON.stringify(value)
  if (text === UNFINISHED) return 'unfinished'
  const format = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (format >= OLDEST_FORMAT && format <= FORMAT) return format
  throw new TunnelMQError(
    ErrorCode.store,
    `${whose} has format ${text}, and this TunnelMQ reads ${OLDEST_FORMAT} to ${FORMAT}: use the version that wrote it, or a later one. Nothing was changed`,
  )
}
