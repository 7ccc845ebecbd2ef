import type { QueueEntry, Store, StoredSession } from '../../src/store/contract.ts'

/**
 * A store whose groups several pods read, as they read those in Redis: an entry is leased to the one that has read it,
 * until it is acknowledged or given back.
 */
export function createLeasingStore(store: Store): Store & { readonly leased: ReadonlySet<number> } {
  const leased = new Set<number>()
  const readGroup = async (group: StoredSession, maxCount: number): Promise<readonly QueueEntry[]> => {
    const entries = await store.readQueue(group, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
    const free = entries.filter(({ seq }) => !leased.has(seq)).slice(0, maxCount)
    for (const { seq } of free) leased.add(seq)
    return free
  }
  const own: Partial<Store> & { leased: ReadonlySet<number> } = {
    leased,
    readQueue: (session, afterSeq, maxCount, maxBytes) =>
      session.kind === 'group'
        ? readGroup(session, maxCount)
        : store.readQueue(session, afterSeq, maxCount, maxBytes),
    giveBack(_group, seqs) {
      for (const seq of seqs) leased.delete(seq)
    },
    acknowledge(session, seq, payloadBytes, forgotten) {
      if (session.kind === 'group') leased.delete(seq)
      return store.acknowledge(session, seq, payloadBytes, forgotten)
    },
  }
  return new Proxy(store, {
    get: (target, name) => Reflect.get(name in own ? own : target, name) as unknown,
  }) as Store & { readonly leased: ReadonlySet<number> }
}
