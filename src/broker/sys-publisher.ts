import type { Cluster, PodFigures } from '../cluster/contract.ts'
import type { Store } from '../store/contract.ts'
import { version } from '../version.ts'
import type { Broker } from './broker.ts'
import { SysTopics, type SysFigures } from './sys-topics.ts'

export interface SysPublisherParts {
  /** 0: never. */
  readonly intervalMs: number
  readonly broker: Broker
  readonly cluster: Cluster
  readonly store: Store
  readonly startedAtMs: number
  /** Those that this pod runs. */
  readonly bridges: () => SysFigures['bridges']
}

/** Publishes `$SYS/broker/...`, of all pods, to the clients of this one; returns what ends it. */
export function publishSysTopics(parts: SysPublisherParts): () => void {
  const { intervalMs, broker, cluster, store, startedAtMs, bridges } = parts
  if (intervalMs === 0) return () => {}
  const sys = new SysTopics(version, startedAtMs)
  const update = (): void => {
    const stats = store.stats()
    const others = cluster.pods().flatMap(({ isSelf, figures }) => (isSelf || !figures ? [] : [figures]))
    const { connected, connectedClean, ...traffic } = totals([broker.figures(), ...others])
    const figures = {
      ...traffic,
      clientsConnected: connected,
      clientsStored: store.sessions.size + connectedClean,
      clientsExpired: broker.expiredCount + stats.expiredSessions,
      subscriptions: broker.subscriptions.count,
      sharedSubscriptions: broker.subscriptions.groupCount,
      storedMessages: stats.queuedMessages + stats.retainedMessages,
      storedBytes: stats.queuedBytes + stats.retainedBytes,
      retainedMessages: stats.retainedMessages,
      bridges: bridges(),
    }
    for (const message of sys.update(figures, Date.now())) broker.local.publishSys(message)
  }
  update()
  broker.sysRetained = (filter) => sys.retainedMatching(filter)
  const timer = setInterval(update, intervalMs)
  return () => clearInterval(timer)
}

/** Of all pods. */
function totals(pods: readonly PodFigures[]): Omit<PodFigures, 'name'> {
  const total = (field: keyof Omit<PodFigures, 'name'>): number =>
    pods.reduce((sum, figures) => sum + figures[field], 0)
  return {
    connected: total('connected'),
    connectedClean: total('connectedClean'),
    packetsReceived: total('packetsReceived'),
    packetsSent: total('packetsSent'),
    publishReceived: total('publishReceived'),
    publishSent: total('publishSent'),
    publishDropped: total('publishDropped'),
    bytesReceived: total('bytesReceived'),
    bytesSent: total('bytesSent'),
    connectionsAccepted: total('connectionsAccepted'),
  }
}
