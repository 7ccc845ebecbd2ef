import type {
  IdentityKind,
  QueueEntry,
  Store,
  StoredIdentity,
  StoredMessage,
  StoredSubscription,
  StoredWill,
} from './contract.ts'
import type { SessionHandle } from './session-index.ts'
import type { StoreState } from './state.ts'

/** What a write changes, record by record. Nothing handed in is kept: it is copied or encoded before the return. */
export interface Records {
  /** As the session's fields are at this moment. */
  putSession(session: SessionHandle): void
  deleteSession(session: SessionHandle): void
  putSubscription(session: SessionHandle, subscription: StoredSubscription): void
  deleteSubscription(session: SessionHandle, filter: string): void
  putEntry(session: SessionHandle, seq: number, qos: 1 | 2, message: StoredMessage): void
  /** Takes the message out of an entry: state `pubrel`. */
  putReleased(session: SessionHandle, seq: number): void
  deleteEntry(session: SessionHandle, seq: number): void
  putIncoming(session: SessionHandle, messageId: number): void
  deleteIncoming(session: SessionHandle, messageId: number): void
  putRetained(message: StoredMessage): void
  deleteRetained(topic: string): void
  putWill(will: StoredWill): void
  deleteWill(clientId: string): void
  putIdentity(record: StoredIdentity): void
  deleteIdentity(kind: IdentityKind, name: string): void
  /** Of the last write of identities. */
  putIdentityRevision(revision: number): void
}

/**
 * One atomic write. The caller has changed what is kept in memory already.
 *
 * With `rollback` and `revert`, a failure takes it back: memory at once, and the records when the medium works
 * again (the failed write may or may not be on the disk). Without, the write is kept and made later: `settle`
 * is then called with the error, and once more without one.
 */
export interface JournalWrite {
  /** Wait for the disk's sync before settling. */
  readonly durable: boolean
  putInto(records: Records): void
  rollback?(): void
  /** Makes the records say again what memory says. */
  revert?(records: Records): void
  settle(error: Error | undefined): void
}

/** Where writes go and queues are read from: what makes one store differ from another. */
export interface Journal {
  readonly kind: Store['kind']
  readonly failure: string | undefined
  readonly pendingWrites: number
  readonly pendingBytes: number
  readonly commits: number
  readonly corruptValues: number
  /** Fills the state with what is stored. */
  open(state: StoreState): Promise<void>
  close(): Promise<void>
  /** Why a write that can be taken back would not be accepted now. */
  refusal(): Error | undefined
  write(write: JournalWrite): void
  /** Calls back in order with the writes, with the error of one before it that failed only now. */
  answer(settle: (error: Error | undefined) => void): void
  /** Entries after `afterSeq` as they are stored. */
  readEntries(
    session: SessionHandle,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]>
  /** Lets go of all entries of a session whose removal is committed. */
  dropQueue(session: SessionHandle): void
}
