import type { Overview, Pod } from '../../admin/api/resources.ts'
import type { BrokerReadModel } from '../../admin/read-model.ts'
import type { Cluster } from '../../cluster/contract.ts'
import type { BrokerCounters } from '../../counters.ts'
import type { Broker } from '../broker.ts'

export interface OverviewParts {
  readonly model: BrokerReadModel
  readonly broker: Broker
  readonly cluster: Cluster
  readonly isDraining: () => boolean
}

/** Figures of this pod: what health and metrics read, and the totals of its counters. */
export function overviewOf({ model, broker, cluster, isDraining }: OverviewParts): Overview {
  const notReadyReasons = [...model.notReadyReasons()]
  const sessions = model.sessions()
  const stats = model.storeStats()
  const tunnels = model.tunnels()
  const { user, system } = process.cpuUsage()
  return {
    version: model.version,
    pod: cluster.pod,
    podCount: cluster.pods().length,
    startedAt: new Date(model.startedAtMs).toISOString(),
    uptimeSeconds: uptimeSecondsOf(model),
    isReady: notReadyReasons.length === 0,
    notReadyReasons,
    isDraining: isDraining(),
    connections: broker.connections.size,
    sessionsConnected: sessions.connected,
    sessionsStored: sessions.stored,
    subscriptions: model.subscriptionCount(),
    retainedMessages: stats.retainedMessages,
    retainedBytes: stats.retainedBytes,
    queuedMessages: stats.queuedMessages,
    queuedBytes: stats.queuedBytes,
    inflightMessages: model.inflightCount(),
    streams: tunnels?.streams ?? 0,
    agents: tunnels?.agents ?? 0,
    bannedAddresses: model.bannedCount(),
    totals: totalsOf(model.counters, stats.droppedMessages, tunnels),
    memoryBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1_000_000,
    atMs: performance.now(),
  }
}

/** As one of the pods. */
export function podOf({ model, broker, cluster, isDraining }: OverviewParts): Pod {
  return {
    id: cluster.pod,
    name: broker.figures().name,
    isSelf: true,
    version: model.version,
    silentMs: 0,
    connected: model.sessions().connected,
    uptimeSeconds: uptimeSecondsOf(model),
    isReady: model.notReadyReasons().length === 0,
    isDraining: isDraining(),
    memoryBytes: process.memoryUsage.rss(),
  }
}

function uptimeSecondsOf({ startedAtMs }: BrokerReadModel): number {
  return Math.max(0, Date.now() - startedAtMs) / 1_000
}

function totalsOf(
  counters: BrokerCounters,
  droppedByStore: number,
  tunnels: ReturnType<BrokerReadModel['tunnels']>,
): Overview['totals'] {
  const { listeners, handlers } = counters
  return {
    connectionsAccepted: sum(listeners.map(({ accepted }) => accepted)),
    connectionsRefused: sum(Object.values(counters.refused)),
    disconnects: sum(Object.values(counters.disconnects)),
    messagesReceived: sum(counters.messagesIn),
    messagesSent: sum(counters.messagesOut),
    messagesDropped: sum(Object.values(counters.dropped)) + droppedByStore,
    bytesReceived: sum(listeners.map(({ bytesIn }) => bytesIn)),
    bytesSent: sum(listeners.map(({ bytesOut }) => bytesOut)),
    handlerRefusals: sum(handlers.map(({ refused }) => refused)),
    streamsOpened: tunnels?.counters.opened ?? 0,
    streamBytes: tunnels === undefined ? 0 : tunnels.counters.bytes.up + tunnels.counters.bytes.down,
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
