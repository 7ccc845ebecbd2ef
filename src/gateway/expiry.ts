/** The longest message expiry interval (MQTT 5, 3.3.2.3.3). */
const MAX_SECONDS = 0xffff_ffff

/** `?expiry=` of a request: for how many seconds a message is worth having. Undefined: that is no such number. */
export function parseExpiry(text: string): number | undefined {
  const seconds = /^\d{1,10}$/.test(text) ? Number(text) : 0
  return seconds >= 1 && seconds <= MAX_SECONDS ? seconds : undefined
}

export const EXPIRY_FAULT = `expiry is a number of seconds, 1 to ${MAX_SECONDS}`
