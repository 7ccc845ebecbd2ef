import type { Store, StoredSession } from '../../src/store/contract.ts'
import { wholeQueue } from './store-fixtures.ts'

/** Everything that a store holds, in a form that can be compared. */
export async function snapshot(store: Store) {
  const sessions = [...store.sessions.values(), ...store.groups.values()]
  const { queuedMessages, queuedBytes, subscriptions, retainedBytes } = store.stats()
  return {
    sums: { queuedMessages, queuedBytes, subscriptions, retainedBytes },
    sessions: Object.fromEntries(
      await Promise.all(
        sessions.map(async (session) => [`${session.kind} ${session.id}`, await one(store, session)]),
      ),
    ) as Record<string, unknown>,
    retained: store
      .retainedMatching('#')
      .map((message) => `${message.topic} ${message.payload.toString()}`)
      .sort(),
    wills: [...store.wills.values()].map((will) => `${will.clientId} ${will.message.payload.toString()}`),
  }
}

async function one(store: Store, session: StoredSession) {
  const queue = await wholeQueue(store, session)
  return {
    queue: queue.map((entry) => `${entry.seq} ${entry.qos} ${entry.message?.payload.toString() ?? 'pubrel'}`),
    queuedCount: session.queuedCount,
    queuedBytes: session.queuedBytes,
    subscriptions: [...session.subscriptions.values()].sort((a, b) => (a.filter < b.filter ? -1 : 1)),
    incomingIds: [...session.incomingIds].sort((a, b) => a - b),
    expiresAtMs: session.expiresAtMs,
  }
}
