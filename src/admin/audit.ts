import type { Log } from '../log.ts'
import type { AuditEntry } from './api/resources.ts'

/** The changes that were made through the API of this pod: told to the log, and the last of them kept. */
export interface Audit {
  note(entry: Omit<AuditEntry, 'at' | 'pod'>): void
  /** Newest first. */
  recent(limit: number): AuditEntry[]
}

/** Of a target: whoever has a key, of whatever scope, can name one as long as a URL or a body. */
const MAX_TARGET_CHARACTERS = 256

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
    note({ target, ...rest }) {
      const change = { ...rest, target: target && clip(target) }
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

function clip(text: string): string {
  return text.length <= MAX_TARGET_CHARACTERS ? text : `${text.slice(0, MAX_TARGET_CHARACTERS - 1)}…`
}
