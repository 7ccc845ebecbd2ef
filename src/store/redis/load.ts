import { decodeSubscription } from '../codec.ts'
import type { StoredSubscription } from '../contract.ts'
import type { ScriptReply } from './contract.ts'
import type { LoadedSession, Replica } from './replica.ts'
import { listIn, numberIn, textIn } from './reply.ts'
import type { Requests } from './requests.ts'
import type { RedisSession } from './session.ts'

/** Sessions that one script reads: some 2 ms, in which Redis does nothing else. */
const PORTION = 500

/**
 * Reads all sessions into the replica. Resolves to the count of values that could not be read, and were left out.
 *
 * A queue that ends before what this pod knows of it is that of an older Redis (a replica that was behind, a disk that
 * was). Its numbers are given out again, to other messages than those that its connection has: that has to end.
 */
export async function loadSessions(
  requests: Requests,
  replica: Replica,
  position: number,
  isFirst: boolean,
): Promise<number> {
  const present = new Set<RedisSession>()
  const seqs = new Map<RedisSession, number>()
  for (const session of replica.all()) if (session.claim > 0) seqs.set(session, session.lastSeq)
  const older: RedisSession[] = []
  let corrupt = 0
  let cursor = '0'
  do {
    const [next, ...values] = await requests.read('load-sessions', cursor, PORTION)
    cursor = textIn(next)
    for (let at = 0; at + 3 < values.length; at += 4) {
      const { session, corruptCount } = sessionIn(values.slice(at, at + 4))
      corrupt += corruptCount
      if (session === undefined) continue
      const loaded = replica.load(session)
      present.add(loaded)
      if (session.figures.seq < (seqs.get(loaded) ?? 0)) older.push(loaded)
      for (const id of session.incomingIds)
        if (!loaded.incomingIds.has(id)) releaseAgain(requests, loaded, id)
    }
  } while (cursor !== '0')
  replica.loaded(present, position, isFirst)
  for (const session of older) if (session.claim > 0) requests.lost(session.id, session.claim, false)
  return corrupt
}

/** Redis may be older than the release: a new message with this identifier would be taken for the one before. */
function releaseAgain(requests: Requests, { kid, claim }: RedisSession, messageId: number): void {
  requests.submit('release-incoming', [kid, claim, messageId], { patience: 'keep', frees: true }, () => {})
}

function sessionIn([kid, fields, filters, ids]: readonly ScriptReply[]): {
  session: LoadedSession | undefined
  corruptCount: number
} {
  let corruptCount = 0
  try {
    const [expiry, ...numbers] = listIn(fields)
    const [incarnation, createdAtMs, expiresAtMs, seq, sent, count, bytes] = numbers.map(numberIn)
    const name = textIn(kid)
    if (!/^[cg]/.test(name)) return { session: undefined, corruptCount: 1 }
    const subscriptions = new Map<string, StoredSubscription>()
    const pairs = listIn(filters)
    for (let at = 0; at + 1 < pairs.length; at += 2) {
      const filter = textIn(pairs[at])
      const value = pairs[at + 1]
      const subscription = Buffer.isBuffer(value) ? decodeSubscription(filter, value) : undefined
      if (subscription === undefined) corruptCount++
      else subscriptions.set(filter, subscription)
    }
    const session = {
      kid: name,
      incarnation: incarnation ?? 0,
      createdAtMs: createdAtMs ?? 0,
      expiresAtMs: expiresAtMs ?? 0,
      expirySeconds: Buffer.isBuffer(expiry) ? numberIn(expiry) : undefined,
      figures: { seq: seq ?? 0, sent: sent ?? 0, count: count ?? 0, bytes: bytes ?? 0 },
      subscriptions,
      incomingIds: listIn(ids).map(numberIn),
    }
    return { session, corruptCount }
  } catch {
    return { session: undefined, corruptCount: corruptCount + 1 }
  }
}
