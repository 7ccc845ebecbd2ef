import type {
  IdentityKind,
  QueueEntry,
  SessionKind,
  StoredIdentity,
  StoredMessage,
  StoredSubscription,
  StoredWill,
} from '../contract.ts'

/** A session as it is moved between stores; its queue comes by itself, in portions. */
export interface MovedSession {
  readonly kind: SessionKind
  readonly id: string
  readonly createdAtMs: number
  /** As `StoredSession.expiresAtMs`. */
  readonly expiresAtMs: number
  /** As `StoredSession.expirySeconds`. */
  readonly expirySeconds: number | undefined
  /** Its broker ended without saying goodbye: the client was connected. */
  readonly connected: boolean
  /** Highest sequence number given out. */
  readonly lastSeq: number
  readonly sentUpToSeq: number
  readonly subscriptions: readonly StoredSubscription[]
  readonly incomingIds: readonly number[]
}

/** A store that is read, and not changed. Throws TMQ_STORE, TMQ_STORE_UNAVAILABLE. */
export interface StoreSource {
  /** For people; without passwords. */
  readonly name: string
  sessions(): AsyncIterable<MovedSession>
  /** Oldest first; of a session that `sessions` has given. */
  queue(session: MovedSession): AsyncIterable<readonly QueueEntry[]>
  retained(): AsyncIterable<readonly StoredMessage[]>
  wills(): AsyncIterable<readonly StoredWill[]>
  identities(): AsyncIterable<readonly StoredIdentity[]>
  /** Values that could not be read, and are not given. */
  readonly unreadable: number
  close(): Promise<void>
}

/** A session with what only its whole queue tells. */
export interface PlacedSession extends MovedSession {
  readonly queuedCount: number
  readonly queuedBytes: number
  /** Unix time in ms at which the first message ends; 0: none does. */
  readonly firstExpiryMs: number
}

/**
 * A store that is filled. It is marked from `begin` on, so that no broker starts on half of it, until `finish`. A
 * session counts only when `putSession` was called, after its entries: what an interrupted run has left of others is
 * thrown away by the next.
 */
export interface StoreTarget {
  readonly name: string
  /** Rejects with TMQ_STORE when it is in use, or holds something and `merge` is false, unless a migration was cut short. */
  begin(merge: boolean): Promise<void>
  /** There already: left as it is. */
  hasSession(kind: SessionKind, id: string): boolean
  hasRetained(topic: string): boolean
  hasWill(clientId: string): boolean
  hasIdentity(kind: IdentityKind, name: string): boolean
  putEntries(session: MovedSession, entries: readonly QueueEntry[]): Promise<void>
  putSession(session: PlacedSession): Promise<void>
  putRetained(message: StoredMessage): Promise<void>
  putWill(will: StoredWill): Promise<void>
  putIdentity(record: StoredIdentity): Promise<void>
  /** Everything put is durable, as far as the store can tell. */
  flush(): Promise<void>
  /** Reads back what it holds. */
  readonly written: StoreSource
  /** Takes the mark away: brokers may start. */
  finish(): Promise<void>
  close(): Promise<void>
}
