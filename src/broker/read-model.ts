import type { BrokerReadModel } from '../admin/read-model.ts'
import type { BrokerCounters } from '../counters.ts'
import type { Admission } from '../listeners/admission.ts'
import type { Store } from '../store/contract.ts'
import { version } from '../version.ts'
import type { Broker } from './broker.ts'

export interface ReadModelParts {
  readonly startedAtMs: number
  /** Why clients should not come, beside the store's own reasons. */
  readonly notReady: ReadonlySet<string>
  readonly counters: BrokerCounters
  readonly broker: Broker
  readonly store: Store
  readonly admission: Admission
}

/** What health and metrics read. */
export function createReadModel({
  startedAtMs,
  notReady,
  counters,
  broker,
  store,
  admission,
}: ReadModelParts): BrokerReadModel {
  return {
    version,
    startedAtMs,
    notReadyReasons: () =>
      store.failure === undefined ? [...notReady] : [...notReady, `store: ${store.failure}`],
    counters,
    sessions: () => ({ connected: broker.sessions.connectedCount, stored: store.sessions.size }),
    subscriptionCount: () => broker.subscriptions.count,
    inflightCount: () => {
      let count = 0
      for (const session of broker.sessions.all()) count += session.outbox.inflightCount
      return count
    },
    storeStats: () => store.stats(),
    bannedCount: () => admission.bans().length,
  }
}
