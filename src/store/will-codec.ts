import { decodeMessage, encodeMessage, VERSION } from './codec.ts'
import type { StoredWill } from './contract.ts'

/**
 * Wills at rest, in LevelDB and in Redis. One that is published as soon as its connection is lost is its message
 * (codec.ts). Of the others there is a head before that:
 *
 *   version 2, flags (has an expiry interval 0), delay s u32, expiry interval s u32, dueAtMs f64
 *
 * lua/lib-session.lua reads the delay. Decoders are strict, as those of codec.ts.
 */
const WITH_HEAD = VERSION + 1
const HEAD_BYTES = 18
const HAS_EXPIRY = 0x01

export function encodeWill({
  message,
  delaySeconds = 0,
  messageExpirySeconds,
  dueAtMs = 0,
}: StoredWill): Buffer {
  if (delaySeconds === 0 && messageExpirySeconds === undefined && dueAtMs === 0) return encodeMessage(message)
  const value = encodeMessage(message, HEAD_BYTES)
  value[0] = WITH_HEAD
  value[1] = messageExpirySeconds === undefined ? 0 : HAS_EXPIRY
  value.writeUInt32BE(delaySeconds, 2)
  value.writeUInt32BE(messageExpirySeconds ?? 0, 6)
  value.writeDoubleBE(dueAtMs, 10)
  return value
}

/** The payload is a slice of `value`. Undefined: it is none that {@link encodeWill} would have written. */
export function decodeWill(clientId: string, value: Buffer, from = 0): StoredWill | undefined {
  if (value[from] !== WITH_HEAD) {
    const message = decodeMessage(value, from)
    return message && { clientId, message }
  }
  const message = decodeMessage(value, from + HEAD_BYTES)
  const flags = value[from + 1] ?? 0
  if (message === undefined || flags > HAS_EXPIRY) return undefined
  const delaySeconds = value.readUInt32BE(from + 2)
  const messageExpirySeconds = value.readUInt32BE(from + 6)
  const dueAtMs = value.readDoubleBE(from + 10)
  if (!Number.isFinite(dueAtMs)) return undefined
  return {
    clientId,
    message,
    ...(delaySeconds > 0 && { delaySeconds }),
    ...(flags === HAS_EXPIRY && { messageExpirySeconds }),
    ...(dueAtMs > 0 && { dueAtMs }),
  }
}
