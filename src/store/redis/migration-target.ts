import { randomBytes, randomInt } from 'node:crypto'
import type { RedisConfig } from '../../config/cluster-schema.ts'
import { countedBytes } from '../counted-bytes.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type {
  IdentityKind,
  QueueEntry,
  SessionKind,
  StoredIdentity,
  StoredMessage,
  StoredWill,
} from '../contract.ts'
import { encodeEntry, encodeMessage, encodeSubscription } from '../codec.ts'
import { encodeIdentity, identityField } from '../identities.ts'
import { encodeWill } from '../will-codec.ts'
import type { MovedSession, PlacedSession, StoreSource, StoreTarget } from '../migration/contract.ts'
import { type DirectCommand, type DirectRedis, openDirect } from './direct.ts'
import { FORMAT, formatIn, UNFINISHED } from './format.ts'
import { readRedis } from './migration-source.ts'
import { refuseWhilePodsLive } from './pods-alive.ts'
import { decodeRetained } from './stored-session.ts'

/** Clients have this long to come back before their wills are published: pods have to be started first. */
const WILL_GRACE_MS = 600_000
const MAX_WAITING_COMMANDS = 500
const MAX_WAITING_BYTES = 1024 * 1024
/** Numbers of sessions are random, and exact in 14 digits, as pods give them (session.ts). */
const NUMBERS = { from: 10 ** 13, count: 8 * 10 ** 13 } as const

/** Opens a Redis to be filled. Throws TMQ_STORE while brokers use it. */
export async function openRedisTarget(config: RedisConfig, leaseMs: number): Promise<StoreTarget> {
  const redis = await openDirect(config)
  try {
    await refuseWhilePodsLive(redis, leaseMs)
  } catch (error) {
    redis.close()
    throw error
  }
  return new RedisTarget(redis)
}

class RedisTarget implements StoreTarget {
  readonly name: string
  readonly written: StoreSource
  readonly #redis: DirectRedis
  /** Sessions as kid, retained as `r<topic>`, wills as `w<client id>`, identities as `u<field>`. */
  readonly #there = new Set<string>()
  #identityRevision = 0
  /** Sessions whose remains of an interrupted run are gone. */
  readonly #begun = new Set<string>()
  #waiting: DirectCommand[] = []
  #waitingBytes = 0

  constructor(redis: DirectRedis) {
    this.name = redis.name
    this.#redis = redis
    this.written = readRedis(redis)
  }

  async begin(merge: boolean): Promise<void> {
    const value = await this.#redis.command('get', this.#redis.key('format'))
    const format = formatIn(value, `The store at ${this.name}`)
    await this.#look()
    if (this.#there.size > 0 && !merge && format !== 'unfinished') {
      throw new TunnelMQError(
        ErrorCode.store,
        `The store at ${this.name} is not empty: use another database or prefix, or --merge, which leaves alone what is there already`,
      )
    }
    await this.#redis.commands([
      ['set', this.#redis.key('format'), UNFINISHED],
      // A pod that was frozen for longer than its lease, and wakes up, finds other data, and loads it.
      ['set', this.#redis.key('epoch'), randomBytes(8).toString('hex')],
    ])
  }

  hasSession(kind: SessionKind, id: string): boolean {
    return this.#there.has(kidOf(kind, id))
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
    const kid = kidOf(session.kind, session.id)
    this.#beginSession(kid)
    for (const { seq, qos, message } of entries) {
      if (message === undefined) this.#put('zadd', this.#redis.key(`r:${kid}`), seq, seq)
      else this.#put('xadd', this.#redis.key(`q:${kid}`), `${seq}-0`, 'e', encodeEntry(message, qos))
      if (session.kind === 'group') this.#put('zadd', this.#redis.key(`gr:${session.id}`), seq, seq)
      await this.#flushIfFull()
    }
  }

  async putSession(session: PlacedSession): Promise<void> {
    const { kind, id, createdAtMs, expiresAtMs, expirySeconds, lastSeq, sentUpToSeq } = session
    const kid = kidOf(kind, id)
    const key = (name: string): string => this.#redis.key(name)
    this.#beginSession(kid)
    for (const subscription of session.subscriptions) {
      this.#put('hset', key(`f:${kid}`), subscription.filter, encodeSubscription(subscription))
      const { shareGroup, matchFilter } = subscription
      if (shareGroup !== undefined) this.#put('sadd', key(`gm:${shareGroup}/${matchFilter}`), `s${id}`)
    }
    for (const messageId of session.incomingIds) this.#put('sadd', key(`i:${kid}`), messageId)
    const fields = {
      number: NUMBERS.from + randomInt(NUMBERS.count),
      created: createdAtMs,
      expires: expiresAtMs,
      seq: lastSeq,
      sent: sentUpToSeq,
      n: session.queuedCount,
      b: session.queuedBytes,
      ...(expirySeconds !== undefined && { expiry: expirySeconds }),
    }
    this.#put('hset', key(`s:${kid}`), ...Object.entries(fields).flat())
    if (expiresAtMs > 0) this.#put('zadd', key('expiry'), expiresAtMs, kid)
    if (session.firstExpiryMs > 0) this.#put('zadd', key('qexpiry'), session.firstExpiryMs, kid)
    this.#put('hset', key('sessions'), kid, createdAtMs)
    await this.#flushIfFull()
  }

  async putRetained(message: StoredMessage): Promise<void> {
    this.#put('hset', this.#redis.key('retained'), message.topic, encodeMessage(message))
    if (message.expiresAtMs > 0)
      this.#put('zadd', this.#redis.key('rexpiry'), message.expiresAtMs, message.topic)
    await this.#flushIfFull()
  }

  async putWill(will: StoredWill): Promise<void> {
    const { clientId, delaySeconds = 0, dueAtMs = Date.now() + delaySeconds * 1_000 } = will
    const number = String(await this.#redis.command('incr', this.#redis.key('fence')))
    const value = Buffer.concat([Buffer.from(`${number}:`), encodeWill(will)])
    const dueMs = Math.max(Date.now() + WILL_GRACE_MS, dueAtMs)
    this.#put('zadd', this.#redis.key('willdue'), dueMs, clientId)
    this.#put('hset', this.#redis.key('wills'), clientId, value)
    await this.#flushIfFull()
  }

  async putIdentity({ kind, name, revision, json }: StoredIdentity): Promise<void> {
    this.#identityRevision = Math.max(this.#identityRevision, revision)
    const field = identityField(kind, name)
    this.#put('hset', this.#redis.key('identities'), field, encodeIdentity(revision, json))
    await this.#flushIfFull()
  }

  async flush(): Promise<void> {
    const commands = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    await this.#redis.commands(commands)
  }

  async finish(): Promise<void> {
    let bytes = 0
    const seen = new Set<string>()
    for await (const found of this.#redis.hashes(this.#redis.key('retained'))) {
      for (const [topic, value] of found) {
        if (seen.has(topic.toString())) continue
        seen.add(topic.toString())
        const message = decodeRetained(topic, value)
        bytes += message === undefined ? 0 : countedBytes(message)
      }
    }
    const revision = Number(await this.#redis.command('get', this.#redis.key('identityrev')))
    await this.#redis.commands([
      ['set', this.#redis.key('identityrev'), Math.max(this.#identityRevision, revision)],
      ['set', this.#redis.key('retainedbytes'), bytes],
      ['set', this.#redis.key('format'), FORMAT],
    ])
  }

  close(): Promise<void> {
    this.#redis.close()
    return Promise.resolve()
  }

  async #look(): Promise<void> {
    for (const [name, mark] of [
      ['sessions', ''],
      ['retained', 'r'],
      ['wills', 'w'],
      ['identities', 'u'],
    ] as const) {
      for await (const found of this.#redis.hashes(this.#redis.key(name))) {
        for (const [field] of found) this.#there.add(`${mark}${field.toString()}`)
      }
    }
  }

  #beginSession(kid: string): void {
    if (this.#begun.has(kid)) return
    this.#begun.add(kid)
    const parts = ['s', 'f', 'q', 'r', 'i'].map((part) => this.#redis.key(`${part}:${kid}`))
    const ofGroup = kid.startsWith('g')
      ? ['gr', 'gl'].map((part) => this.#redis.key(`${part}:${kid.slice(1)}`))
      : []
    this.#put('unlink', ...parts, ...ofGroup)
  }

  #put(...command: DirectCommand): void {
    this.#waiting.push(command)
    for (const part of command) this.#waitingBytes += Buffer.isBuffer(part) ? part.length : 32
  }

  async #flushIfFull(): Promise<void> {
    if (this.#waiting.length >= MAX_WAITING_COMMANDS || this.#waitingBytes >= MAX_WAITING_BYTES)
      await this.flush()
  }
}

function kidOf(kind: SessionKind, id: string): string {
  return `${kind === 'client' ? 'c' : 'g'}${id}`
}
