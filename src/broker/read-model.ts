import type { BrokerReadModel } from '../admin/read-model.ts'
import type { BrokerCounters } from '../counters.ts'
import type { Admission } from '../listeners/admission.ts'
import type { Store } from '../store/contract.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
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
  readonly tunnels: TunnelRouter | undefined
}

/** What health and metrics read. */
export function createReadModel({
  startedAtMs,
  notReady,
  counters,
  broker,
  store,
  admission,
  tunnels,
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
    tunnels: () =>
      tunnels && { counters: tunnels.counters, streams: tunnels.streamCount, ...tunnels.counts() },
  }
}
