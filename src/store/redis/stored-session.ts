import type { QueueEntry, SessionKind, StoredMessage, StoredSubscription, StoredWill } from '../contract.ts'
import { decodeEntry, decodeMessage, decodeSubscription } from '../codec.ts'
import { decodeWill as decodeStoredWill } from '../will-codec.ts'
import { buffersOf, type DirectRedis, listOf, numberOf, pairsOf } from './direct.ts'

/** Queue entries that are read at once. */
const QUEUE_COUNT = 500
/** Sessions whose records are read at once. */
const SESSION_COUNT = 100

/** What is stored of one session, as it is; numbers that cannot be read are NaN. */
export interface StoredRecords {
  /** `c` and the session id, or `g` and the key of a group. */
  readonly kid: string
  readonly kind: SessionKind
  readonly id: string
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly expirySeconds: number | undefined
  readonly lastSeq: number
  readonly sentUpToSeq: number
  /** As they are accounted for, not as they are. */
  readonly queuedCount: number
  readonly queuedBytes: number
  readonly subscriptions: readonly StoredSubscription[]
  readonly incomingIds: readonly number[]
  /** `<number>:<pod>`; undefined: nobody's. */
  readonly owner: string | undefined
  /** It was connected, and that has not ended in order. */
  readonly isClaimed: boolean
  /** Filters and identifiers that cannot be read. */
  readonly damaged: readonly { readonly where: string; readonly field: Buffer }[]
}

/** All sessions and groups, each once. */
export async function* readSessions(redis: DirectRedis): AsyncGenerator<StoredRecords> {
  const seen = new Set<string>()
  for await (const found of redis.hashes(redis.key('sessions'))) {
    const kids = found.map(([kid]) => kid.toString()).filter((kid) => !seen.has(kid))
    for (const kid of kids) seen.add(kid)
    const fresh = [...new Set(kids)]
    for (let at = 0; at < fresh.length; at += SESSION_COUNT) {
      yield* await Promise.all(fresh.slice(at, at + SESSION_COUNT).map((kid) => readSession(redis, kid)))
    }
  }
}

/** One session; its fields are NaN when it has no record. */
export async function readSession(redis: DirectRedis, kid: string): Promise<StoredRecords> {
  const [fields, filters, ids, owner] = await redis.commands([
    ['hmget', redis.key(`s:${kid}`), 'created', 'expires', 'seq', 'sent', 'n', 'b', 'claim', 'expiry'],
    ['hgetall', redis.key(`f:${kid}`)],
    ['smembers', redis.key(`i:${kid}`)],
    ['hget', redis.key('owner'), kid.slice(1)],
  ])
  const [created, expires, seq, sent, n, b, claim, expiry] = listOf(fields).map(numberOf)
  const damaged: { where: string; field: Buffer }[] = []
  const subscriptions = pairsOf(buffersOf(filters)).flatMap(([filter, value]) => {
    const subscription = decodeSubscription(filter.toString(), value)
    if (subscription === undefined) damaged.push({ where: `f:${kid}`, field: filter })
    return subscription ?? []
  })
  const incomingIds = buffersOf(ids).flatMap((id) => {
    const number = numberOf(id)
    if (Number.isInteger(number) && number > 0 && number <= 65_535) return number
    damaged.push({ where: `i:${kid}`, field: id })
    return []
  })
  const kind = kid.startsWith('g') ? 'group' : 'client'
  return {
    kid,
    kind,
    id: kid.slice(1),
    createdAtMs: created ?? Number.NaN,
    expiresAtMs: expires ?? Number.NaN,
    expirySeconds: expiry === undefined || Number.isNaN(expiry) ? undefined : expiry,
    lastSeq: seq ?? Number.NaN,
    sentUpToSeq: sent ?? Number.NaN,
    queuedCount: n ?? Number.NaN,
    queuedBytes: b ?? Number.NaN,
    subscriptions,
    incomingIds,
    owner: kind === 'client' && Buffer.isBuffer(owner) ? owner.toString() : undefined,
    isClaimed: !Number.isNaN(claim ?? Number.NaN),
    damaged,
  }
}

export interface QueueRecord {
  /** Of the stream: `<seq>-0`; of a released entry: its sequence number. */
  readonly id: string
  readonly value: Buffer
  /** Undefined: it cannot be read. */
  readonly entry: QueueEntry | undefined
}

/** The queue of a session, oldest first, in portions; released entries at their places. */
export async function* readQueue(redis: DirectRedis, kid: string): AsyncGenerator<QueueRecord[]> {
  // As many as an in-flight window holds.
  const released = buffersOf(await redis.command('zrange', redis.key(`r:${kid}`), 0, -1)).map(releasedRecord)
  const key = redis.key(`q:${kid}`)
  for (let from = '-'; ;) {
    const found = listOf(await redis.command('xrange', key, from, '+', 'COUNT', QUEUE_COUNT))
    const isLast = found.length < QUEUE_COUNT
    const records = found.flatMap((one) => {
      const record = queueRecord(one)
      const seq = record.entry?.seq ?? 0
      const before = released.findIndex(({ entry }) => (entry?.seq ?? 0) > seq)
      return [...released.splice(0, before === -1 ? released.length : before), record]
    })
    yield isLast ? [...records, ...released] : records
    if (isLast) return
    from = `(${records.at(-1)?.id ?? ''}`
  }
}

function releasedRecord(member: Buffer): QueueRecord {
  const seq = numberOf(member)
  const entry: QueueEntry | undefined =
    Number.isSafeInteger(seq) && seq > 0 ? { seq, qos: 2, state: 'pubrel', message: undefined } : undefined
  return { id: member.toString(), value: member, entry }
}

function queueRecord(reply: unknown): QueueRecord {
  const [id, fields] = Array.isArray(reply) ? (reply as unknown[]) : []
  const name = String(id)
  const flat = Array.isArray(fields) ? (fields as unknown[]).filter((one) => Buffer.isBuffer(one)) : []
  const [field, value = Buffer.alloc(0)] = flat
  const seq = /^\d+-0$/.test(name) && String(field) === 'e' ? Number.parseInt(name, 10) : Number.NaN
  const entry = Number.isSafeInteger(seq) ? decodeEntry(seq, value) : undefined
  return { id: name, value, entry }
}

/** The message under its topic; undefined: it cannot be read. */
export function decodeRetained(topic: Buffer, value: Buffer): StoredMessage | undefined {
  const message = decodeMessage(value)
  return message?.topic === topic.toString() ? message : undefined
}

/** `<claim>:<message>`; undefined: it cannot be read. */
export function decodeWill(sessionId: Buffer, value: Buffer): StoredWill | undefined {
  const at = value.indexOf(0x3a)
  if (at < 1 || !/^\d+$/.test(value.toString('latin1', 0, at))) return undefined
  return decodeStoredWill(sessionId.toString(), value, at + 1)
}
