import { createBrokerCounters } from '../../../src/counters.ts'
import type { BrokerReadModel } from '../../../src/admin/read-model.ts'
import type { StoreStats } from '../../../src/store/contract.ts'

export const emptyStoreStats: StoreStats = {
  sessions: 0,
  subscriptions: 0,
  queuedMessages: 0,
  queuedBytes: 0,
  retainedMessages: 0,
  retainedBytes: 0,
  wills: 0,
  droppedMessages: 0,
  droppedRetained: 0,
  corruptValues: 0,
  pendingWrites: 0,
  pendingBytes: 0,
  commits: 0,
  failure: '',
  expiredSessions: 0,
}

/** A broker in which nothing happens. */
export function fakeReadModel(changes: Partial<BrokerReadModel> = {}): BrokerReadModel {
  return {
    version: '0.0.0',
    startedAtMs: Date.now(),
    notReadyReasons: () => [],
    counters: createBrokerCounters(),
    clientsByVersion: () => ({ '3.1': 0, '3.1.1': 1, '5': 2 }),
    sessions: () => ({ connected: 0, stored: 0 }),
    subscriptionCount: () => 0,
    inflightCount: () => 0,
    storeStats: () => emptyStoreStats,
    limits: { maxConnections: 1, retainedMaxMessages: 1, retainedMaxBytes: 1 },
    fullestQueueRatio: () => 0,
    certificates: () => [],
    tracing: () => undefined,
    identities: () => undefined,
    bannedCount: () => 0,
    tunnels: () => undefined,
    bridges: () => [],
    coap: () => [],
    cluster: () => undefined,
    ...changes,
  }
}
