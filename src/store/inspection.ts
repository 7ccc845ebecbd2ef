import type { QueueEntry, SessionKind } from './contract.ts'

/** What tools show of a session. */
export interface SessionFacts {
  readonly kind: SessionKind
  readonly id: string
  readonly connected: boolean
  readonly createdAtMs: number
  readonly expiresAtMs: number
  /** Session expiry interval of a client of MQTT 5; undefined: as the configuration says. */
  readonly expirySeconds: number | undefined
  subscriptions: number
  incomingIds: number
  queuedMessages: number
  queuedBytes: number
}

/** `set aside`: kept under another name, where nobody reads it. `correct`: what it says is put right. */
export type Repair = 'set aside' | 'delete' | 'correct' | 'none'

export interface StoreProblem {
  /** For people. */
  readonly what: string
  readonly repair: Repair
}

export interface Inspection {
  readonly sessions: readonly SessionFacts[]
  readonly retainedMessages: number
  readonly retainedBytes: number
  readonly wills: number
  /** With groups and roles. */
  readonly identities: number
  /** Values that were set aside earlier. */
  readonly quarantined: number
  /** What it takes: of the disk, or of the memory of Redis. */
  readonly size: { readonly diskBytes: number } | { readonly memoryBytes: number }
  readonly problems: readonly StoreProblem[]
}

/** A store, for tools: opened without being a broker. */
export interface StoreInspector {
  /** Reads every key and value. */
  inspect(): Promise<Inspection>
  /** Mends what `inspect` has found last; gives the number of mended problems. */
  repair(): Promise<number>
  /** One queue, oldest first; damaged entries are left out. Undefined: there is no such session. */
  queue(kind: SessionKind, id: string): Promise<AsyncIterable<QueueEntry> | undefined>
  close(): Promise<void>
}
