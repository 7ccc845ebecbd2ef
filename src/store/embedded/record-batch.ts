import type {
  IdentityKind,
  StoredIdentity,
  StoredMessage,
  StoredSubscription,
  StoredWill,
} from '../contract.ts'
import { encodeIdentity, identityField } from '../identities.ts'
import type { Records } from '../journal.ts'
import type { SessionHandle } from '../session-index.ts'
import {
  encodeEntry,
  encodeMessage,
  encodeSession,
  encodeSubscription,
  releasedEntry,
  setEntryQos,
  VERSION,
} from '../codec.ts'
import { encodeWill } from '../will-codec.ts'
import type { CommitBatch } from './group-commit.ts'
import {
  identityKey,
  identityRevisionKey,
  incomingKey,
  queueKey,
  retainedKey,
  sessionKey,
  subscriptionKey,
  willKey,
} from './keys.ts'
import type { LevelBatch } from './level.ts'

const present = Buffer.of(VERSION)

/** Records as keys and values of one LevelDB batch. */
export class RecordBatch implements Records, CommitBatch {
  readonly raw: LevelBatch
  /** The entry that was encoded last: a publish to many sessions is encoded once. */
  #message: StoredMessage | undefined
  #entry: Buffer | undefined

  constructor(raw: LevelBatch) {
    this.raw = raw
  }

  get isEmpty(): boolean {
    return this.raw.isEmpty
  }

  get bytes(): number {
    return this.raw.bytes
  }

  write(sync: boolean): Promise<void> {
    return this.raw.write(sync)
  }

  discard(): void {
    this.raw.discard()
  }

  putSession(session: SessionHandle): void {
    if (session.removed) return
    this.raw.put(sessionKey(session.kind, session.id), encodeSession(session))
  }

  deleteSession(session: SessionHandle): void {
    this.raw.del(sessionKey(session.kind, session.id))
  }

  putSubscription(session: SessionHandle, subscription: StoredSubscription): void {
    this.raw.put(subscriptionKey(session.number, subscription.filter), encodeSubscription(subscription))
  }

  deleteSubscription(session: SessionHandle, filter: string): void {
    this.raw.del(subscriptionKey(session.number, filter))
  }

  putEntry(session: SessionHandle, seq: number, qos: 1 | 2, message: StoredMessage): void {
    if (this.#message !== message || this.#entry === undefined) {
      this.#entry = encodeEntry(message, qos)
      this.#message = message
    }
    setEntryQos(this.#entry, qos)
    this.raw.put(queueKey(session.number, seq), this.#entry)
  }

  putReleased(session: SessionHandle, seq: number): void {
    this.raw.put(queueKey(session.number, seq), releasedEntry)
  }

  deleteEntry(session: SessionHandle, seq: number): void {
    this.raw.del(queueKey(session.number, seq))
  }

  putIncoming(session: SessionHandle, messageId: number): void {
    this.raw.put(incomingKey(session.number, messageId), present)
  }

  deleteIncoming(session: SessionHandle, messageId: number): void {
    this.raw.del(incomingKey(session.number, messageId))
  }

  putRetained(message: StoredMessage): void {
    this.raw.put(retainedKey(message.topic), encodeMessage(message))
  }

  deleteRetained(topic: string): void {
    this.raw.del(retainedKey(topic))
  }

  putWill(will: StoredWill): void {
    this.raw.put(willKey(will.clientId), encodeWill(will))
  }

  deleteWill(clientId: string): void {
    this.raw.del(willKey(clientId))
  }

  putIdentity({ kind, name, revision, json }: StoredIdentity): void {
    this.raw.put(identityKey(identityField(kind, name)), encodeIdentity(revision, json))
  }

  deleteIdentity(kind: IdentityKind, name: string): void {
    this.raw.del(identityKey(identityField(kind, name)))
  }

  putIdentityRevision(revision: number): void {
    this.raw.put(identityRevisionKey, Buffer.from(String(revision)))
  }
}
