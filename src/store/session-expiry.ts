/** Session expiry interval: never (MQTT 5, 3.1.2.11.2). */
export const NEVER_EXPIRES = 0xffff_ffff

/** What a client of MQTT 5 gets that asks for so many seconds [MQTT-3.2.2.3.2]. `boundMs` 0: whatever it asks for. */
export function boundedExpirySeconds(seconds: number, boundMs: number): number {
  return boundMs === 0 ? seconds : Math.min(seconds, Math.ceil(boundMs / 1_000))
}

/**
 * When a session ends whose client goes now: Unix time in ms; 0: never. `expirySeconds` undefined: of a client before
 * MQTT 5, for which the configuration says how long (`configuredMs`, 0: never).
 */
export function sessionEndsAtMs(
  nowMs: number,
  expirySeconds: number | undefined,
  configuredMs: number,
): number {
  if (expirySeconds === undefined) return configuredMs === 0 ? 0 : nowMs + configuredMs
  return expirySeconds === NEVER_EXPIRES ? 0 : nowMs + expirySeconds * 1_000
}

/** Is a session to be stored that is not there? Before MQTT 5 that is what clean session says. */
export function isToBeStored(clean: boolean, expirySeconds: number | undefined): boolean {
  return expirySeconds === undefined ? !clean : expirySeconds > 0
}

/** A will waits for its delay, or for the end of the session, if that comes first [MQTT-3.1.3-9]. */
export function willWaitSeconds(delaySeconds: number, expirySeconds: number | undefined): number {
  return expirySeconds === undefined || expirySeconds === NEVER_EXPIRES
    ? delaySeconds
    : Math.min(delaySeconds, expirySeconds)
}
