import type { RedisConfig } from '../../config/cluster-schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { QueueEntry, StoredIdentity, StoredMessage, StoredWill } from '../contract.ts'
import { decodeIdentity } from '../identities.ts'
import type { MovedSession, StoreSource } from '../migration/contract.ts'
import { type DirectRedis, openDirect } from './direct.ts'
import { formatIn } from './format.ts'
import { refuseWhilePodsLive } from './pods-alive.ts'
import { decodeRetained, decodeWill, readQueue, readSessions } from './stored-session.ts'

/** Opens a Redis to be read. Throws TMQ_STORE when it holds nothing of ours, or brokers use it. */
export async function openRedisSource(config: RedisConfig, leaseMs: number): Promise<StoreSource> {
  const redis = await openDirect(config)
  try {
    const format = formatIn(await redis.command('get', redis.key('format')), `The store at ${redis.name}`)
    if (typeof format !== 'number') {
      const what =
        format === undefined
          ? `There is no store at ${redis.name} under the prefix ${config.keyPrefix}`
          : `The migration into ${redis.name} is not finished: run it again`
      throw new TunnelMQError(ErrorCode.store, what)
    }
    await refuseWhilePodsLive(redis, leaseMs)
  } catch (error) {
    redis.close()
    throw error
  }
  return readRedis(redis)
}

/** The source over an open connection; `close` closes it. */
export function readRedis(redis: DirectRedis): StoreSource {
  let unreadable = 0

  async function* sessions(): AsyncGenerator<MovedSession> {
    for await (const records of readSessions(redis)) {
      const { kind, id, createdAtMs, expiresAtMs, expirySeconds, lastSeq, sentUpToSeq, damaged } = records
      unreadable += damaged.length
      if ([createdAtMs, expiresAtMs, lastSeq, sentUpToSeq].some((field) => Number.isNaN(field))) unreadable++
      yield {
        kind,
        id,
        createdAtMs: createdAtMs || Date.now(),
        expiresAtMs: expiresAtMs || 0,
        expirySeconds,
        connected: records.owner !== undefined || records.isClaimed,
        lastSeq: lastSeq || 0,
        sentUpToSeq: sentUpToSeq || 0,
        subscriptions: records.subscriptions,
        incomingIds: records.incomingIds,
      }
    }
  }

  async function* queue({ kind, id }: MovedSession): AsyncGenerator<readonly QueueEntry[]> {
    for await (const portion of readQueue(redis, `${kind === 'client' ? 'c' : 'g'}${id}`)) {
      const entries = portion.flatMap(({ entry }) => entry ?? [])
      unreadable += portion.length - entries.length
      yield entries
    }
  }

  async function* decoded<T>(
    name: string,
    decode: (field: Buffer, value: Buffer) => T | undefined,
  ): AsyncGenerator<readonly T[]> {
    const seen = new Set<string>()
    for await (const found of redis.hashes(redis.key(name))) {
      const fresh = found.filter(([field]) => !seen.has(field.toString()))
      for (const [field] of fresh) seen.add(field.toString())
      const values = fresh.flatMap(([field, value]) => decode(field, value) ?? [])
      unreadable += fresh.length - values.length
      yield values
    }
  }

  return {
    name: redis.name,
    sessions,
    queue,
    retained: (): AsyncGenerator<readonly StoredMessage[]> => decoded('retained', decodeRetained),
    wills: (): AsyncGenerator<readonly StoredWill[]> => decoded('wills', decodeWill),
    identities: (): AsyncGenerator<readonly StoredIdentity[]> =>
      decoded('identities', (field, value) => decodeIdentity(field.toString(), value)),
    get unreadable() {
      return unreadable
    },
    close() {
      redis.close()
      return Promise.resolve()
    },
  }
}
