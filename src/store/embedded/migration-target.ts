import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type {
  IdentityKind,
  QueueEntry,
  SessionKind,
  StoredIdentity,
  StoredMessage,
  StoredWill,
} from '../contract.ts'
import {
  decodeSession,
  encodeEntry,
  encodeMessage,
  encodeSession,
  encodeSubscription,
  releasedEntry,
  VERSION,
} from '../codec.ts'
import { encodeIdentity, identityField } from '../identities.ts'
import { encodeWill } from '../will-codec.ts'
import type { MovedSession, PlacedSession, StoreTarget } from '../migration/contract.ts'
import {
  identityKey,
  identityRevisionKey,
  incomingKey,
  parseKey,
  queueKey,
  retainedKey,
  sessionKey,
  subscriptionKey,
  versionKey,
  willKey,
} from './keys.ts'
import { type Level, type LevelBatch, openLevel } from './level.ts'
import { LAYOUT, readLayout, takeLayout, UNFINISHED } from './layout.ts'
import { readEmbedded } from './migration-source.ts'

const CACHE_BYTES = 8 * 1024 * 1024
const BATCH_BYTES = 1024 * 1024
const EVERYTHING = { from: Buffer.of(0), before: Buffer.of(0xff) }
const PORTION = { maxCount: 1_000, maxBytes: 1024 * 1024 }

/** Opens a folder, which need not be there, to be filled. Throws TMQ_STORE when a broker has it open. */
export async function openEmbeddedTarget(path: string): Promise<StoreTarget> {
  const level = await openLevel(path, { cacheBytes: CACHE_BYTES, createIfMissing: true })
  return new EmbeddedTarget(level, path)
}

class EmbeddedTarget implements StoreTarget {
  readonly name: string
  readonly #level: Level
  readonly #path: string
  /** Sessions as `c<id>` and `g<key>`, retained as `r<topic>`, wills as `w<client id>`, identities as `u<field>`. */
  readonly #there = new Set<string>()
  #identityRevision = 0
  readonly #numbers = new Map<string, number>()
  #nextNumber = 1
  #batch: LevelBatch

  constructor(level: Level, path: string) {
    this.name = path
    this.#level = level
    this.#path = path
    this.#batch = level.begin()
  }

  get written() {
    return readEmbedded(this.#level, this.#path)
  }

  async begin(merge: boolean): Promise<void> {
    const isUnfinished = (await readLayout(this.#level, this.#path)) === 'unfinished'
    if (!isUnfinished) await takeLayout(this.#level, this.#path)
    await this.#look()
    if (this.#there.size > 0 && !merge && !isUnfinished) {
      throw new TunnelMQError(
        ErrorCode.store,
        `The store ${this.#path} is not empty: use another folder, or --merge, which leaves alone what is there already`,
      )
    }
    this.#batch.put(versionKey, UNFINISHED)
    await this.flush()
  }

  hasSession(kind: SessionKind, id: string): boolean {
    return this.#there.has(`${kind === 'client' ? 'c' : 'g'}${id}`)
  }

  hasRetained(topic: string): boolean {
    return this.#there.has(`r${topic}`)
  }

  hasWill(clientId: string): boolean {
    return this.#there.has(`w${clientId}`)
  }

  hasIdentity(kind: IdentityKind, name: string): boolean {
    return this.#there.has(`u${identityField(kind, name)}`)
  }

  async putEntries(session: MovedSession, entries: readonly QueueEntry[]): Promise<void> {
    const number = this.#numberOf(session)
    for (const { seq, qos, message } of entries) {
      this.#batch.put(
        queueKey(number, seq),
        message === undefined ? releasedEntry : encodeEntry(message, qos),
      )
    }
    await this.#flushIfFull()
  }

  async putSession(session: PlacedSession): Promise<void> {
    const number = this.#numberOf(session)
    for (const subscription of session.subscriptions) {
      this.#batch.put(subscriptionKey(number, subscription.filter), encodeSubscription(subscription))
    }
    for (const messageId of session.incomingIds) {
      this.#batch.put(incomingKey(number, messageId), Buffer.of(VERSION))
    }
    const { connected, sentUpToSeq, createdAtMs, expiresAtMs, expirySeconds, lastSeq } = session
    const record = {
      connected,
      number,
      seqMark: lastSeq,
      sentUpToSeq,
      createdAtMs,
      expiresAtMs,
      expirySeconds,
    }
    this.#batch.put(sessionKey(session.kind, session.id), encodeSession(record))
    await this.#flushIfFull()
  }

  async putRetained(message: StoredMessage): Promise<void> {
    this.#batch.put(retainedKey(message.topic), encodeMessage(message))
    await this.#flushIfFull()
  }

  async putWill(will: StoredWill): Promise<void> {
    this.#batch.put(willKey(will.clientId), encodeWill(will))
    await this.#flushIfFull()
  }

  async putIdentity({ kind, name, revision, json }: StoredIdentity): Promise<void> {
    this.#identityRevision = Math.max(this.#identityRevision, revision)
    this.#batch.put(identityKey(identityField(kind, name)), encodeIdentity(revision, json))
    await this.#flushIfFull()
  }

  async flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = this.#level.begin()
    await batch.write(true)
  }

  async finish(): Promise<void> {
    const revision = Number((await this.#level.get(identityRevisionKey)) ?? 0) || 0
    if (this.#identityRevision > revision)
      this.#batch.put(identityRevisionKey, Buffer.from(String(this.#identityRevision)))
    this.#batch.put(versionKey, Buffer.of(LAYOUT))
    await this.flush()
  }

  async close(): Promise<void> {
    this.#batch.discard()
    await this.#level.close()
  }

  async #flushIfFull(): Promise<void> {
    if (this.#batch.bytes >= BATCH_BYTES) await this.flush()
  }

  #numberOf({ kind, id }: MovedSession): number {
    const name = `${kind} ${id}`
    let number = this.#numbers.get(name)
    if (number === undefined) this.#numbers.set(name, (number = this.#nextNumber++))
    return number
  }

  /** What is there, and numbers that nothing in it has: of an interrupted run, entries without a session may be left. */
  async #look(): Promise<void> {
    for await (const entries of this.#level.scan(EVERYTHING, PORTION)) {
      for (const [key, value] of entries) {
        const parsed = parseKey(key)
        switch (parsed?.kind) {
          case 'session':
            this.#there.add(key.toString('utf8', 1))
            this.#nextNumber = Math.max(this.#nextNumber, (decodeSession(value)?.number ?? 0) + 1)
            break
          case 'retained':
          case 'will':
            this.#there.add(`${parsed.kind === 'will' ? 'w' : 'r'}${parsed.name}`)
            break
          case 'identity':
            this.#there.add(`u${parsed.name}`)
            break
          case 'subscription':
          case 'queue':
          case 'incoming':
            this.#nextNumber = Math.max(this.#nextNumber, parsed.session + 1)
            break
          default:
        }
      }
    }
  }
}
