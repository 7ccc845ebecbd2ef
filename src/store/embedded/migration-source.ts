import type {
  QueueEntry,
  StoredIdentity,
  StoredMessage,
  StoredSubscription,
  StoredWill,
} from '../contract.ts'
import type { MovedSession, StoreSource } from '../migration/contract.ts'
import { allOf, KeyKind, type KeyRange, ownedBy, queueRange } from './keys.ts'
import { checkLayout } from './layout.ts'
import { type Level, openLevel } from './level.ts'
import { decodeRecord, type StoredRecord } from './walk.ts'

const PORTION = { maxCount: 1_000, maxBytes: 1024 * 1024 }
const CACHE_BYTES = 8 * 1024 * 1024

/** Opens the store in a folder to be read. Throws TMQ_STORE when there is none, or a broker has it open. */
export async function openEmbeddedSource(path: string): Promise<StoreSource> {
  const level = await openLevel(path, { cacheBytes: CACHE_BYTES, createIfMissing: false })
  try {
    await checkLayout(level, path)
  } catch (error) {
    await level.close()
    throw error
  }
  return readEmbedded(level, path)
}

/** The source over an open LevelDB; `close` closes it. */
export function readEmbedded(level: Level, path: string): StoreSource {
  const numbers = new WeakMap<MovedSession, number>()
  const counts = { unreadable: 0 }

  async function* records<K extends StoredRecord['kind']>(
    range: KeyRange,
    kind: K,
  ): AsyncGenerator<Extract<StoredRecord, { kind: K }>[]> {
    for await (const entries of level.scan(range, PORTION)) {
      const decoded = entries.map(([key, value]) => decodeRecord(key, value))
      const right = decoded.filter((record) => record?.kind === kind)
      counts.unreadable += decoded.length - right.length
      yield right as Extract<StoredRecord, { kind: K }>[]
    }
  }

  async function gather<K extends StoredRecord['kind'], T>(
    range: KeyRange,
    kind: K,
    of: (record: Extract<StoredRecord, { kind: K }>) => T,
  ): Promise<T[]> {
    const all: T[] = []
    for await (const portion of records(range, kind)) all.push(...portion.map(of))
    return all
  }

  async function* sessions(): AsyncGenerator<MovedSession> {
    for await (const portion of records(allOf(KeyKind.session), 'session')) {
      for (const { sessionKind, id, session: record } of portion) {
        const { number, seqMark, sentUpToSeq, createdAtMs, expiresAtMs, expirySeconds, connected } = record
        const subscriptions = await gather(
          ownedBy(KeyKind.subscription, number),
          'subscription',
          ({ subscription }): StoredSubscription => subscription,
        )
        const incomingIds = await gather(
          ownedBy(KeyKind.incoming, number),
          'incoming',
          (one) => one.messageId,
        )
        const session: MovedSession = {
          kind: sessionKind,
          id,
          createdAtMs,
          expiresAtMs,
          expirySeconds,
          connected,
          lastSeq: seqMark,
          sentUpToSeq,
          subscriptions,
          incomingIds,
        }
        numbers.set(session, number)
        yield session
      }
    }
  }

  async function* queue(session: MovedSession): AsyncGenerator<readonly QueueEntry[]> {
    const number = numbers.get(session) ?? 0
    for await (const portion of records(queueRange(number, 0), 'entry')) {
      yield portion.map(({ entry }) => entry)
    }
  }

  async function* retained(): AsyncGenerator<readonly StoredMessage[]> {
    for await (const portion of records(allOf(KeyKind.retained), 'retained')) {
      yield portion.map(({ message }) => message)
    }
  }

  async function* wills(): AsyncGenerator<readonly StoredWill[]> {
    for await (const portion of records(allOf(KeyKind.will), 'will')) yield portion.map(({ will }) => will)
  }

  async function* identities(): AsyncGenerator<readonly StoredIdentity[]> {
    for await (const portion of records(allOf(KeyKind.identity), 'identity')) {
      yield portion.map(({ identity }) => identity)
    }
  }

  return {
    name: path,
    sessions,
    queue,
    retained,
    wills,
    identities,
    get unreadable() {
      return counts.unreadable
    },
    close: () => level.close(),
  }
}
