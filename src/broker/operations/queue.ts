import type { ClientRef, Page, QueueEntry, QueueQuery } from '../../admin/api/resources.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { QueueEntry as StoredEntry, Store } from '../../store/contract.ts'
import { sessionIdOf } from '../../store/session-id.ts'
import type { Broker } from '../broker.ts'
import { stripMountpoint } from '../client-session.ts'
import { timeOf } from './client-facts.ts'
import { shownProperties } from './mqtt5-facts.ts'
import { pageRoom, payloadFacts } from './payload-facts.ts'

/** Payload bytes that are read at once to show the beginnings of. */
const READ_BYTES = 4 * 1024 * 1024

/** Stores write sequence numbers in 48 bits. */
const MAX_SEQ = 2 ** 48 - 1

/**
 * What waits for a client, looked at without touching it; fewer than `limit` where they are long. Undefined: it has no stored
 * session.
 */
export async function queuePage(
  { store, broker }: { readonly store: Store; readonly broker: Broker },
  ref: ClientRef,
  { after, limit }: QueueQuery,
): Promise<Page<QueueEntry> | undefined> {
  const session = store.sessions.get(sessionIdOf(ref.id, ref.mountpoint))
  if (session === undefined) return undefined
  const sentUpToSeq = broker.sessions.get(session.id)?.outbox.sentUpToSeq ?? session.sentUpToSeq
  const items: QueueEntry[] = []
  const room = pageRoom()
  let hasMore = false
  for (let from = readCursor(after); !hasMore;) {
    const entries = await store.browseQueue(session, from, limit + 1 - items.length, READ_BYTES)
    for (const entry of entries) {
      const facts = entryFacts(entry, sentUpToSeq, ref.mountpoint)
      hasMore = items.length === limit || !room.take(facts)
      if (hasMore) break
      items.push(facts)
    }
    const last = entries.at(-1)
    if (last === undefined) break
    from = last.seq
  }
  return { items, next: hasMore ? String(items.at(-1)!.seq) : null, total: session.queuedCount }
}

function readCursor(after: string | undefined): number {
  if (after === undefined) return 0
  if (/^\d{1,15}$/.test(after) && Number(after) < MAX_SEQ) return Number(after)
  throw new TunnelMQError(ErrorCode.usage, 'after: is not the `next` of a page of a queue')
}

function entryFacts(
  { seq, qos, state, message }: StoredEntry,
  sentUpToSeq: number,
  mountpoint: string,
): QueueEntry {
  return {
    seq,
    // Of one that is released only the packet identifier is left.
    topic: message === undefined ? '' : stripMountpoint(message.topic, mountpoint),
    qos,
    retain: message?.retain ?? false,
    isInflight: state === 'pubrel' || seq <= sentUpToSeq,
    expiresAt: timeOf(message?.expiresAtMs ?? 0),
    properties: shownProperties(message?.properties),
    ...payloadFacts(message?.payload ?? Buffer.alloc(0)),
  }
}
