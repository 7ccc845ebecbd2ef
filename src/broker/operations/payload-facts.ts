/** What lists show of a payload. */
const SHOWN_BYTES = 1_024

/**
 * Characters of the messages of one page, about. Publishers choose how many properties a message has, and pods answer each
 * other with 4 MiB at most (cluster/asking.ts); a character is up to three bytes.
 */
const PAGE_CHARACTERS = 1_048_576

/** Room for the messages of a page: `take` is false for the one that comes too late for it. The first one always fits. */
export function pageRoom(): {
  take(item: { readonly payload: string; readonly properties: unknown }): boolean
} {
  let characters = 0
  return {
    take({ payload, ...rest }) {
      const isFull = characters >= PAGE_CHARACTERS
      characters += payload.length + JSON.stringify(rest).length
      return !isFull
    },
  }
}

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
