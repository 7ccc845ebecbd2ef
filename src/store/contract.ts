import type { MessageProperties, QoS } from '../hooks/types.ts'

/** What is kept of a message beside its fields; src/store/properties.ts encodes it. */
export interface StoredProperties extends MessageProperties {
  /** It was published with RETAIN; only where somebody wants to know. */
  readonly retain?: true
  /** Of a retained message for a new subscription: the identifier of that one. */
  readonly subscriptionIdentifiers?: readonly number[]
  /** A packet as Aedes hands it to its persistence, without what the message has of it: JSON. */
  readonly packet?: Readonly<Record<string, unknown>>
  /** The payload of `packet` is text. */
  readonly text?: true
}

/** A message at rest. */
export interface StoredMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** Client id of the publisher; empty for the broker's own. */
  readonly publisher: string
  readonly publishedAtMs: number
  /** Unix time in ms after which it is not delivered any more; 0: never. */
  readonly expiresAtMs: number
  readonly properties?: StoredProperties
}

export interface StoredSubscription {
  /** As the client named it, `$share/...` included: the key of UNSUBSCRIBE. */
  readonly filter: string
  /** What is matched: without `$share/<group>/`, with mountpoint, as rewritten by a handler. */
  readonly matchFilter: string
  readonly shareGroup?: string
  readonly qos: QoS
  readonly noLocal?: boolean
  readonly retainAsPublished?: boolean
  readonly retainHandling?: 0 | 1 | 2
  readonly subscriptionIdentifier?: number
}

/** `client`: a session that outlives its connection. `group`: the queue of a shared subscription. */
export type SessionKind = 'client' | 'group'

/** A stored session. The store keeps these fields up to date; everybody else only reads. */
export interface StoredSession {
  readonly kind: SessionKind
  readonly id: string
  /** Messages waiting or in flight. */
  readonly queuedCount: number
  readonly queuedBytes: number
  /** Highest sequence number given out; sequence numbers start at 1 and have gaps. */
  readonly lastSeq: number
  /**
   * Entries up to this sequence number may have been sent before: redelivery sets DUP.
   * After an unclean stop it covers as many of the oldest entries as may have been in flight.
   */
  readonly sentUpToSeq: number
  readonly subscriptions: ReadonlyMap<string, StoredSubscription>
  /** Packet identifiers of incoming QoS 2 messages that await PUBREL. */
  readonly incomingIds: ReadonlySet<number>
  /** Unix time in ms at which an offline session ends; 0 while connected or when it never ends. */
  readonly expiresAtMs: number
  /**
   * How long it outlives its connection, as its client of MQTT 5 has agreed with us, for the broker that dies; 0: it ends
   * with that, 0xffffffff: never. Undefined: before MQTT 5, as long as the configuration says.
   */
  readonly expirySeconds: number | undefined
  readonly createdAtMs: number
}

/** `publish`: not acknowledged; `pubrel`: PUBREC came (QoS 2), PUBCOMP is awaited, and the message is gone. */
export interface QueueEntry {
  readonly seq: number
  readonly qos: 1 | 2
  readonly state: 'publish' | 'pubrel'
  /** Undefined in state `pubrel`. */
  readonly message: StoredMessage | undefined
}

export interface StoredWill {
  readonly clientId: string
  readonly message: StoredMessage
  /** Seconds that it waits when its connection is lost, whole; MQTT 5, 3.1.3.2.2. Undefined: none. */
  readonly delaySeconds?: number
  /** Message expiry interval, whole seconds from its publication on (MQTT 5, 3.1.3.2.4). Undefined: never. */
  readonly messageExpirySeconds?: number
  /** Its connection is lost, and it waits until then: Unix time in ms. Redis knows that by itself. */
  readonly dueAtMs?: number
}

/**
 * Acknowledged entries of one session whose removal is not durable yet, at most: whoever delivers keeps to it.
 * With what is in flight, it is what an unclean stop can lead to be delivered again.
 */
export const MAX_UNFORGOTTEN_COUNT = 1_000

export interface PublishTarget {
  readonly session: StoredSession
  readonly qos: 1 | 2
  /** True: exempt from the bound by count (retained messages for a new subscription). */
  readonly unbounded?: boolean
}

/** One publish as one atomic, idempotent write. */
export interface PublishWrite {
  readonly message: StoredMessage
  readonly targets: readonly PublishTarget[]
  /** Becomes the retained value of its topic; an empty payload deletes it. */
  readonly retain: boolean
  /** The publisher's QoS 2 identifier, if its session is stored. */
  readonly incoming?: { readonly session: StoredSession; readonly messageId: number }
  /**
   * The will that this message is: deleted in the same write. If it is gone, or not of that `claim` (Redis), nothing
   * is written, and the answer is `duplicate`.
   */
  readonly willOf?: string
  /** The number that the will was stored with; undefined: that of this pod. */
  readonly willClaim?: number
  /** Other pods that have connected sessions to which it matches (Redis only). */
  readonly pods?: readonly string[]
}

/**
 * For each target the sequence number, or 0: the queue's bound was reached and the message dropped there, or
 * the session is gone. `duplicate`: the QoS 2 identifier was taken already, or
 * the will is gone; nothing was written, all are 0.
 */
export type PublishDone = (error: Error | undefined, seqs: readonly number[], duplicate: boolean) => void

export type IdentityKind = 'identity' | 'group' | 'role'

/** An identity, group or role: JSON that src/identities writes and reads, and the store does not look into. */
export interface StoredIdentity {
  readonly kind: IdentityKind
  readonly name: string
  /** Number of the write that it is of. */
  readonly revision: number
  readonly json: string
}

/** One record of a write. `json` undefined: it is deleted. */
export interface IdentityWrite {
  readonly kind: IdentityKind
  readonly name: string
  readonly json: string | undefined
  /** As it is stored; undefined: it is not. */
  readonly before: Pick<StoredIdentity, 'json' | 'revision'> | undefined
}

export interface IdentityListener {
  /** At `open`, and when all of it was read again (Redis): what is not among them is gone. */
  loaded(records: readonly StoredIdentity[], revision: number): void
  /** One write, by this broker or another, in their order. Records that `loaded` has told already may come again. */
  changed(
    records: readonly (Omit<StoredIdentity, 'json'> & { json: string | undefined })[],
    revision: number,
  ): void
}

/** Identities, groups and roles. They are few and change seldom; the listener keeps them in memory, not the store. */
export interface IdentityStore {
  /** Set before `open`. */
  listen(listener: IdentityListener): void
  /**
   * All of it or nothing, if the last write is the one of `atRevision`. Resolves to its number when it is durable and the
   * listener has been told; to undefined when somebody was faster, and the listener has been told of that.
   */
  write(writes: readonly IdentityWrite[], atRevision: number): Promise<number | undefined>
}

export interface StoreLimits {
  readonly queueMaxMessages: number
  readonly queueMaxBytes: number
  readonly retainedMaxMessages: number
  readonly retainedMaxBytes: number
  /** In-flight window: so many, and {@link MAX_UNFORGOTTEN_COUNT}, may have been sent before an unclean stop. */
  readonly maxInflight: number
}

export interface StoreStats {
  readonly sessions: number
  readonly subscriptions: number
  readonly queuedMessages: number
  readonly queuedBytes: number
  readonly retainedMessages: number
  readonly retainedBytes: number
  readonly wills: number
  /** Messages that were not queued because a session's bound was reached, since start. */
  readonly droppedMessages: number
  /** Retained values that were not kept because a bound was reached, since start. */
  readonly droppedRetained: number
  /** Stored values that could not be decoded and were set aside, since start. */
  readonly corruptValues: number
  /** Writes that wait for their commit. */
  readonly pendingWrites: number
  readonly pendingBytes: number
  readonly commits: number
  /** Empty while the store works; else why it does not. */
  readonly failure: string
  /** Sessions that `sweep` has ended because their clients stayed away (Redis only), since start. */
  readonly expiredSessions: number
}

/**
 * What a store that is shared tells of changes, by other brokers and by this one, in their order. A change by this
 * one is told before its promise resolves. The subscriptions of a session that is added are in it already.
 */
export interface ReplicaListener {
  sessionAdded(session: StoredSession): void
  sessionRemoved(session: StoredSession): void
  /** These filters of it were set or removed: `session.subscriptions` says what holds. */
  subscriptionsChanged(session: StoredSession, filters: readonly string[]): void
  /** All of it was loaded again: compare with `sessions` and `groups`; handles of sessions that are still there are the same. */
  reloaded(): void
}

/**
 * Redis (store/redis) keeps this contract for several pods: `sessions` and `groups` are those of all of them, with
 * `queuedCount`, `queuedBytes` and `lastSeq` as this pod knows them, exact for sessions that it owns; `wills` are
 * those of this pod. Sequence numbers of a session have no gaps there, and another pod may have used the next one.
 * `readQueue` of a group leases what it gives to this pod, in the order of the queue, whatever `afterSeq` says.
 *
 * The session store: memory, embedded and Redis keep this contract, and one test suite is run on all.
 *
 * Rules: writes are atomic, and are answered in the order in which they were asked. An answer without an
 * error means that the write survives what the store promises to survive (embedded: kill -9, power loss).
 * An answer with an error means that nothing of it was written. While the store is unavailable, writes fail
 * with TunnelMQError `TMQ_STORE_UNAVAILABLE`, quickly, and it goes on by itself when it can.
 * `StoredSession` objects are handles: identity is kept until `removeSession`.
 */
export interface Store {
  readonly kind: 'memory' | 'embedded' | 'redis'
  /** Reads everything that is kept in memory (sessions, subscriptions, retained messages). */
  open(): Promise<void>
  /** Waits for pending writes, then closes. */
  close(): Promise<void>
  /** Undefined when well; else the reason, fit for `/ready`. */
  readonly failure: string | undefined

  readonly sessions: ReadonlyMap<string, StoredSession>
  /** Sessions of kind `group`, by `<group>/<matchFilter>`. */
  readonly groups: ReadonlyMap<string, StoredSession>
  /** In `sessions` or `groups` at once. One that exists already is given as it is. */
  createSession(kind: SessionKind, id: string): Promise<StoredSession>
  /** With queue, subscriptions and identifiers. The handle is dead at once: publishing to it yields 0. */
  removeSession(session: StoredSession): Promise<void>
  /** The session has a connection now: it does not expire. `expirySeconds`: as in {@link StoredSession}. */
  sessionConnected(session: StoredSession, expirySeconds?: number): Promise<void>
  /** Its connection is gone. Not waited for by callers; a lost write costs a DUP flag or a later expiry only. */
  sessionDisconnected(
    session: StoredSession,
    state: { expiresAtMs: number; sentUpToSeq: number },
  ): Promise<void>
  /** Adds or replaces by `filter`, all in one write. */
  putSubscriptions(session: StoredSession, subscriptions: readonly StoredSubscription[]): Promise<void>
  removeSubscriptions(session: StoredSession, filters: readonly string[]): Promise<void>

  /** `done` is never called before `publish` has returned. */
  publish(write: PublishWrite, done: PublishDone): void
  /** Entries with `seq > afterSeq`, in order, at most `maxCount` and (one at least) about `maxBytes` of messages. */
  readQueue(
    session: StoredSession,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]>
  /** As `readQueue`, for people who look: nothing is handed out, and whoever owns the session does not notice. */
  browseQueue(
    session: StoredSession,
    afterSeq: number,
    maxCount: number,
    maxBytes: number,
  ): Promise<readonly QueueEntry[]>
  /** The owner holds this entry, and all before it, without having read them: as if `readQueue` had given them. */
  handedOut(session: StoredSession, seq: number): void
  /**
   * PUBACK or PUBCOMP: forget the entry. `payloadBytes` is what its message counts for (counted-bytes.ts). Not waited for: a lost write means a redelivery with DUP.
   * `forgotten` is called when that is durable, and never if false is returned: the entry was gone already.
   */
  acknowledge(session: StoredSession, seq: number, payloadBytes: number, forgotten?: () => void): boolean
  /**
   * PUBREC: the message is forgotten, its sequence number kept until PUBCOMP. PUBREL may go out when `done`
   * says so. The one write that is kept, and written later, when its commit fails: PUBREC cannot be un-received.
   */
  release(
    session: StoredSession,
    seq: number,
    payloadBytes: number,
    done: (error: Error | undefined) => void,
  ): void
  /** PUBREL: forget the identifier. PUBCOMP may go out when `done` says so. */
  releaseIncoming(session: StoredSession, messageId: number, done: (error: Error | undefined) => void): void

  putWill(will: StoredWill): Promise<void>
  deleteWill(clientId: string): Promise<void>
  readonly wills: ReadonlyMap<string, StoredWill>

  readonly identities: IdentityStore

  /** The retained message of one topic. */
  retained(topic: string): StoredMessage | undefined
  /** Retained messages whose topics match the filter (a trie walk). Expired ones are left out. */
  retainedMatching(filter: string): readonly StoredMessage[]
  /** All retained messages, expired ones as well, in no order. May be walked in portions, while they change. */
  allRetained(): Iterable<StoredMessage>
  /**
   * Takes expired retained messages and queue entries away. Entries that were handed out, or that may have
   * been sent before, are left: their owner lets go of them with `acknowledge`. Redis: and sessions whose time away
   * is over.
   */
  sweep(nowMs: number): Promise<void>
  /** Leased entries of a group (`readQueue`) are free again: no member here can take them. Nothing to do elsewhere. */
  giveBack(group: StoredSession, seqs: readonly number[]): void
  /** Set before `open`. A store of one broker never calls it. */
  listen(listener: ReplicaListener): void
  stats(): StoreStats
}
