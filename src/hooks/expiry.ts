import type { Session } from './types.ts'

/** The clock is looked at so often: it may be set, as on a machine without one after its start, and timers do not notice. */
const MAX_TIMER_MS = 60_000

/** Sessions whose right to be here ends at a time. One timer for each that is connected. */
export interface Expiry {
  /** Says until when; no timer runs yet. */
  note(session: Session, endsAtMs: number): void
  /** It is connected: it will be told when it ends, at once if it has. */
  start(session: Session): void
  /** It is gone. */
  forget(session: Session): void
  endsAtMs(session: Session): number | undefined
  hasEnded(session: Session): boolean
  onEnd(listener: (session: Session) => void): void
  close(): void
}

export function createExpiry(now: () => number = Date.now): Expiry {
  const ends = new WeakMap<Session, number>()
  const timers = new Map<Session, NodeJS.Timeout>()
  const listeners: ((session: Session) => void)[] = []

  function wait(session: Session, endsAtMs: number): void {
    const leftMs = endsAtMs - now()
    if (leftMs <= 0) {
      timers.delete(session)
      for (const listener of listeners) listener(session)
      return
    }
    const timer = setTimeout(() => wait(session, endsAtMs), Math.min(leftMs, MAX_TIMER_MS))
    timer.unref()
    timers.set(session, timer)
  }

  return {
    note: (session, endsAtMs) => void ends.set(session, endsAtMs),
    start(session) {
      const endsAtMs = ends.get(session)
      if (endsAtMs !== undefined && !timers.has(session)) wait(session, endsAtMs)
    },
    forget(session) {
      clearTimeout(timers.get(session))
      timers.delete(session)
    },
    endsAtMs: (session) => ends.get(session),
    hasEnded: (session) => (ends.get(session) ?? Infinity) <= now(),
    onEnd: (listener) => void listeners.push(listener),
    close() {
      for (const timer of timers.values()) clearTimeout(timer)
      timers.clear()
    },
  }
}
