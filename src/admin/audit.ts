import type { Log } from '../log.ts'
import type { AuditEntry } from './api/resources.ts'

/** The changes that were made through the API of this pod: told to the log, and the last of them kept. */
export interface Audit {
  note(entry: Omit<AuditEntry, 'at' | 'pod'>): void
  /** Newest first. */
  recent(limit: number): AuditEntry[]
}

export interface AuditOptions {
  readonly kept: number
  readonly pod: () => string
  readonly log: Log
  /** `Date.now` */
  readonly now: () => number
}

export function createAudit({ kept, pod, log, now }: AuditOptions): Audit {
  const ring: AuditEntry[] = []
  let next = 0
  return {
    note(change) {
      log.info(change, 'admin change')
      ring[next] = { at: new Date(now()).toISOString(), pod: pod(), ...change }
      next = (next + 1) % kept
    },
    recent(limit) {
      const oldestFirst = [...ring.slice(next), ...ring.slice(0, next)]
      return oldestFirst.reverse().slice(0, limit)
    },
  }
}
