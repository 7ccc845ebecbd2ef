import type { RedisConfig } from '../../config/cluster-schema.ts'
import { countedBytes } from '../counted-bytes.ts'
import type { QueueEntry } from '../contract.ts'
import { decodeIdentity } from '../identities.ts'
import type { Inspection, SessionFacts, StoreInspector } from '../inspection.ts'
import { sessionEndsAtMs } from '../session-expiry.ts'
import { type DirectRedis, openDirect } from './direct.ts'
import { formatIn } from './format.ts'
import { findings, type Findings } from './inspect-findings.ts'
import { inspectNames } from './inspect-names.ts'
import { inspectOwners } from './inspect-owners.ts'
import { podsAlive, refuseWhilePodsLive } from './pods-alive.ts'
import { decodeRetained, readQueue, readSession, readSessions, type StoredRecords } from './stored-session.ts'

/** While pods write, what is read in two steps may not fit: so often it is looked at again. */
const LOOKS = 3

/**
 * Looks into Redis without joining. `expiryMs`: how long a session may stay away, 0: for ever.
 * Throws TMQ_STORE, for a format that it does not read too; TMQ_STORE_UNAVAILABLE.
 */
export async function openRedisInspector(
  config: RedisConfig,
  leaseMs: number,
  expiryMs: number,
): Promise<StoreInspector> {
  const redis = await openDirect(config)
  let format: ReturnType<typeof formatIn>
  try {
    format = formatIn(await redis.command('get', redis.key('format')), `The store at ${redis.name}`)
  } catch (error) {
    redis.close()
    throw error
  }
  let last: Findings | undefined
  return {
    async inspect() {
      last = findings(redis)
      checkFormat(last, format)
      return inspectRedis({ redis, found: last, leaseMs, expiryMs })
    },
    async repair() {
      if (last === undefined || last.problems.every(({ repair }) => repair === 'none')) return 0
      await refuseWhilePodsLive(redis, leaseMs)
      return last.mend()
    },
    async queue(kind, id) {
      const kid = `${kind === 'client' ? 'c' : 'g'}${id}`
      const isThere = await redis.command('hexists', redis.key('sessions'), kid)
      return isThere === 1 ? entriesOf(redis, kid) : undefined
    },
    close() {
      redis.close()
      return Promise.resolve()
    },
  }
}

async function* entriesOf(redis: DirectRedis, kid: string): AsyncGenerator<QueueEntry> {
  for await (const portion of readQueue(redis, kid)) {
    for (const { entry } of portion) if (entry !== undefined) yield entry
  }
}

interface Inspecting {
  readonly redis: DirectRedis
  readonly found: Findings
  readonly leaseMs: number
  readonly expiryMs: number
}

async function inspectRedis(inspecting: Inspecting): Promise<Inspection> {
  const { redis, found, leaseMs } = inspecting
  const [aside, info] = await redis.commands([
    ['hlen', redis.key('aside')],
    ['info', 'memory'],
  ])
  const isLive = (await podsAlive(redis, leaseMs)).length > 0
  const sessions: SessionFacts[] = []
  const kids = new Set<string>()
  for await (const records of readSessions(redis)) {
    kids.add(records.kid)
    sessions.push(await inspectSession(inspecting, records, isLive))
  }
  const retained = await inspectRetained(redis, found, isLive)
  const wills = await inspectOwners(redis, found, isLive)
  const identities = await inspectIdentities(redis, found)
  await inspectNames(redis, found, kids, isLive)
  return {
    sessions,
    retainedMessages: retained.count,
    retainedBytes: retained.bytes,
    wills,
    identities,
    quarantined: Number(aside),
    size: { memoryBytes: Number(/^used_memory:(\d+)/m.exec(String(info))?.[1] ?? 0) },
    problems: found.problems,
  }
}

function checkFormat(found: Findings, format: ReturnType<typeof formatIn>): void {
  if (format === 'unfinished')
    found.add('format: a migration into this store is not finished: run it again', 'none')
  else if (format === undefined) found.add('format: is missing', 'none')
}

async function inspectSession(
  inspecting: Inspecting,
  first: StoredRecords,
  isLive: boolean,
): Promise<SessionFacts> {
  const { redis, found } = inspecting
  let records = first
  for (let look = 1; ; look++) {
    const before = found.mark()
    const facts = await inspectRecords(inspecting, records)
    if (!isLive || look === LOOKS || found.mark() === before) return facts
    found.forget(before)
    records = await readSession(redis, records.kid)
  }
}

async function inspectRecords(inspecting: Inspecting, records: StoredRecords): Promise<SessionFacts> {
  const { redis, found } = inspecting
  const { kid, kind, id } = records
  const name = `${kind} ${JSON.stringify(id)}`
  for (const { where, field } of records.damaged) {
    const isId = where.startsWith('i:')
    const what = `${isId ? 'incoming id' : 'subscription'} ${JSON.stringify(field.toString())} of ${name}: is damaged`
    found.add(
      what,
      'set aside',
      isId ? ['srem', redis.key(where), field] : ['hdel', redis.key(where), field],
      {
        name: where,
        field,
        ...(isId ? {} : { from: 'hash' as const }),
      },
    )
  }
  let [count, bytes, highest] = [0, 0, 0]
  for await (const portion of readQueue(redis, kid)) {
    for (const { id: at, value, entry } of portion) {
      if (entry === undefined) {
        const isReleased = !at.includes('-')
        const remove = isReleased
          ? (['zrem', redis.key(`r:${kid}`), at] as const)
          : (['xdel', redis.key(`q:${kid}`), at] as const)
        found.add(`queue entry ${at} of ${name}: is damaged`, 'set aside', remove, {
          name: `q:${kid}`,
          field: at,
          value,
        })
        continue
      }
      count++
      bytes += entry.message === undefined ? 0 : countedBytes(entry.message)
      highest = Math.max(highest, entry.seq)
    }
  }
  const correct = (field: string, is: number, should: number, wrong: boolean): void => {
    if (!wrong) return
    const what = `${name}: ${field} is ${Number.isNaN(is) ? 'missing' : is}, and should be ${should}`
    found.add(what, 'correct', ['hset', redis.key(`s:${kid}`), field, should])
  }
  correct('n', records.queuedCount, count, records.queuedCount !== count)
  correct('b', records.queuedBytes, bytes, records.queuedBytes !== bytes)
  correct('seq', records.lastSeq, highest, !(records.lastSeq >= highest))
  correct('sent', records.sentUpToSeq, 0, Number.isNaN(records.sentUpToSeq))
  correct('created', records.createdAtMs, Date.now(), Number.isNaN(records.createdAtMs))
  correct('expires', records.expiresAtMs, 0, Number.isNaN(records.expiresAtMs))
  await inspectEnd(inspecting, records, name)
  return {
    kind,
    id,
    connected: records.owner !== undefined,
    createdAtMs: records.createdAtMs,
    expiresAtMs: records.expiresAtMs || 0,
    expirySeconds: records.expirySeconds,
    subscriptions: records.subscriptions.length,
    incomingIds: records.incomingIds.length,
    queuedMessages: count,
    queuedBytes: bytes,
  }
}

/** Everything has an owner or a time to live: a client its claim or its end, a group its members. */
async function inspectEnd(inspecting: Inspecting, records: StoredRecords, name: string): Promise<void> {
  const { redis, found, expiryMs } = inspecting
  const { kid, kind, id, expiresAtMs, expirySeconds, owner } = records
  if (kind === 'group') {
    if ((await redis.command('exists', redis.key(`gm:${id}`))) === 1) return
    const keys = [`s:${kid}`, `q:${kid}`, `r:${kid}`, `gr:${id}`, `gl:${id}`].map((key) => redis.key(key))
    found.add(`${name}: nobody is a member`, 'delete', ['unlink', ...keys], undefined, [
      'hdel',
      redis.key('sessions'),
      kid,
    ])
    return
  }
  const due = await redis.command('zscore', redis.key('expiry'), kid)
  if (owner !== undefined || due !== null) return
  const endMs = sessionEndsAtMs(Date.now(), expirySeconds, expiryMs)
  if (!(expiresAtMs > 0) && endMs > 0) {
    const mend = ['hset', redis.key(`s:${kid}`), 'expires', endMs] as const
    found.add(`${name}: is not connected, and never ends`, 'correct', mend, undefined, [
      'zadd',
      redis.key('expiry'),
      endMs,
      kid,
    ])
  } else if (expiresAtMs > 0) {
    const what = `${name}: ends at ${new Date(expiresAtMs).toISOString()}, and nobody looks`
    found.add(what, 'correct', ['zadd', redis.key('expiry'), expiresAtMs, kid])
  }
}

async function inspectIdentities(redis: DirectRedis, found: Findings): Promise<number> {
  const fields = new Set<string>()
  for await (const portion of redis.hashes(redis.key('identities'))) {
    for (const [bytes, value] of portion) {
      const field = bytes.toString()
      if (fields.has(field)) continue
      fields.add(field)
      if (decodeIdentity(field, value) !== undefined) continue
      const remove = ['hdel', redis.key('identities'), bytes] as const
      found.add(`identity ${JSON.stringify(field.slice(1))}: is damaged`, 'set aside', remove, {
        name: 'identities',
        field: bytes,
        value,
      })
    }
  }
  return fields.size
}

async function inspectRetained(
  redis: DirectRedis,
  found: Findings,
  isLive: boolean,
): Promise<{ count: number; bytes: number }> {
  let bytes = 0
  const topics = new Set<string>()
  for await (const portion of redis.hashes(redis.key('retained'))) {
    for (const [topic, value] of portion) {
      if (topics.has(topic.toString())) continue
      const message = decodeRetained(topic, value)
      if (message === undefined) {
        const what = `retained ${JSON.stringify(topic.toString())}: is damaged`
        found.add(what, 'set aside', ['hdel', redis.key('retained'), topic], {
          name: 'retained',
          field: topic,
          value,
        })
        continue
      }
      topics.add(topic.toString())
      bytes += countedBytes(message)
    }
  }
  const sum = Number((await redis.command('get', redis.key('retainedbytes'))) ?? 0)
  if (sum !== bytes && !isLive) {
    const what = `retainedbytes: is ${sum}, and should be ${bytes}`
    found.add(what, 'correct', ['set', redis.key('retainedbytes'), bytes])
  }
  return { count: topics.size, bytes }
}
