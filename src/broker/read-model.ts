import type {
  BridgeFigures,
  CoapListenerFigures,
  BrokerReadModel,
  CertificateFigures,
  ClusterFigures,
  IdentityFigures,
} from '../admin/read-model.ts'
import type { Cluster } from '../cluster/contract.ts'
import type { Config } from '../config/schema.ts'
import type { BrokerCounters, MqttVersion } from '../counters.ts'
import type { Admission } from '../listeners/admission.ts'
import type { Store } from '../store/contract.ts'
import type { Tracing } from '../tracing/contract.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import { version } from '../version.ts'
import type { Broker } from './broker.ts'
import { VERSION_NAMES } from './packets/types.ts'

export interface ReadModelParts {
  readonly config: Config
  readonly startedAtMs: number
  /** Why clients should not come, beside the store's and the cluster's own reasons. */
  readonly notReady: ReadonlySet<string>
  readonly counters: BrokerCounters
  readonly store: Store
  readonly admission: Admission
  /** These may be made later than the model: health is served before the store is open. */
  readonly cluster: () => Cluster | undefined
  readonly broker: () => Broker | undefined
  readonly tunnels: () => TunnelRouter | undefined
  readonly bridges: () => readonly BridgeFigures[]
  readonly coap?: () => readonly CoapListenerFigures[]
  readonly identities?: () => IdentityFigures
  readonly tracing?: Tracing | undefined
  /** Listeners that are open, as far as they have certificates. */
  readonly listeners: readonly { readonly name: string; readonly certificateEndsAtMs: number | undefined }[]
}

/** What health and metrics read. */
export function createReadModel(parts: ReadModelParts): BrokerReadModel {
  const { config, startedAtMs, notReady, counters, store, admission } = parts
  return {
    version,
    startedAtMs,
    notReadyReasons: () => reasonsOf(notReady, store, parts.cluster()),
    counters,
    sessions: () => ({
      connected: parts.broker()?.sessions.connectedCount ?? 0,
      stored: store.sessions.size,
    }),
    clientsByVersion: () => clientsByVersion(parts.broker()),
    subscriptionCount: () => parts.broker()?.subscriptions.count ?? 0,
    inflightCount: () => inflightCount(parts.broker()),
    storeStats: () => store.stats(),
    limits: {
      maxConnections: config.limits.maxConnections,
      retainedMaxMessages: config.retained.maxMessages,
      retainedMaxBytes: config.retained.maxBytes,
    },
    fullestQueueRatio: () => fullestQueueRatio(store, config.session),
    tracing: () => parts.tracing?.figures(),
    certificates: () => parts.listeners.flatMap(certificateOf),
    bannedCount: () => admission.bans().length,
    tunnels: () => {
      const tunnels = parts.tunnels()
      return tunnels && { counters: tunnels.counters, streams: tunnels.streamCount, ...tunnels.counts() }
    },
    bridges: parts.bridges,
    coap: () => parts.coap?.() ?? [],
    identities: () => parts.identities?.(),
    cluster: () => clusterFigures(parts.cluster()),
  }
}

function reasonsOf(notReady: ReadonlySet<string>, store: Store, cluster: Cluster | undefined): string[] {
  const reasons = [...notReady]
  if (store.failure !== undefined) reasons.push(`store: ${store.failure}`)
  if (cluster?.failure !== undefined) reasons.push(`cluster: ${cluster.failure}`)
  return reasons
}

function fullestQueueRatio(
  { sessions, groups }: Store,
  { queueMaxMessages, queueMaxBytes }: Config['session'],
): number {
  let fullest = 0
  for (const kind of [sessions, groups])
    for (const { queuedCount, queuedBytes } of kind.values())
      fullest = Math.max(fullest, queuedCount / queueMaxMessages, queuedBytes / queueMaxBytes)
  return fullest
}

function certificateOf({
  name,
  certificateEndsAtMs,
}: ReadModelParts['listeners'][number]): CertificateFigures[] {
  return certificateEndsAtMs === undefined ? [] : [{ listener: name, endsAtMs: certificateEndsAtMs }]
}

function clientsByVersion(broker: Broker | undefined): Record<MqttVersion, number> {
  const counts: Record<MqttVersion, number> = { '3.1': 0, '3.1.1': 0, '5': 0 }
  for (const { connection } of broker?.sessions.connected() ?? []) {
    const name = VERSION_NAMES[connection?.version ?? 0]
    if (name !== undefined) counts[name]++
  }
  return counts
}

function inflightCount(broker: Broker | undefined): number {
  let count = 0
  // Without a connection nothing is on its way, and there may be 100,000 stored sessions.
  for (const session of broker?.sessions.connected() ?? []) count += session.outbox.inflightCount
  return count
}

function clusterFigures(cluster: Cluster | undefined): ClusterFigures | undefined {
  if (cluster === undefined || !cluster.isShared) return undefined
  const others = cluster.pods().filter(({ isSelf }) => !isSelf)
  const stats = cluster.stats()
  return {
    stats,
    silentMs: Math.max(0, ...others.map(({ silentMs }) => silentMs)),
    pendingBytes: stats.waitingBytes,
  }
}
