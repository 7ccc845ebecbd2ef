/** Why a datagram got no answer. */
export const dropReasons = ['malformed', 'rate', 'banned', 'unexpected'] as const
export type DropReason = (typeof dropReasons)[number]

/** What a CoAP listener counts. */
export interface CoapCounts {
  /** Requests, without those that came again. */
  requests: number
  /** That came again, and were not done again. */
  duplicates: number
  notifications: number
  /** Messages that an observer was not told, as a newer one came before it was ready. */
  skippedNotifications: number
  /** Observers that did not answer any more. */
  lostObservers: number
  /** Addresses that were asked whether they are true, by a ping or with Echo, and those that have shown it. */
  readonly addressChecks: { asked: number; passed: number }
  readonly dropped: Record<DropReason, number>
}

/** What it holds now. */
export interface CoapFigures {
  readonly counts: CoapCounts
  readonly sessions: number
  readonly uncheckedSessions: number
  readonly observations: number
  readonly uploads: number
  readonly downloads: number
  /** Messages that would be known again. */
  readonly remembered: number
  /** Requests that are worked on. */
  readonly working: number
  /** Requests that wait until their address is known to be true. */
  readonly waiting: number
}

export function createCoapCounts(): CoapCounts {
  return {
    requests: 0,
    duplicates: 0,
    notifications: 0,
    skippedNotifications: 0,
    lostObservers: 0,
    addressChecks: { asked: 0, passed: 0 },
    dropped: { malformed: 0, rate: 0, banned: 0, unexpected: 0 },
  }
}
