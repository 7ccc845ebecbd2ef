/** What lists show of a payload. */
const SHOWN_BYTES = 1_024

/** A payload for people: how long it is, and its beginning; `maxBytes`: how much of it. */
export function payloadFacts(
  payload: Buffer,
  maxBytes = SHOWN_BYTES,
): { bytes: number; payload: string; payloadIsWhole: boolean } {
  return {
    bytes: payload.length,
    payload: payload.toString('base64', 0, Math.min(payload.length, maxBytes)),
    payloadIsWhole: payload.length <= maxBytes,
  }
}
