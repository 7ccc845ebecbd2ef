import type { BrokerCounters } from '../counters.ts'
import type { Store } from '../store/contract.ts'
import { version } from '../version.ts'
import type { Broker } from './broker.ts'
import { SysTopics } from './sys-topics.ts'

export interface SysPublisherParts {
  /** 0: never. */
  readonly intervalMs: number
  readonly broker: Broker
  readonly counters: BrokerCounters
  readonly store: Store
  readonly startedAtMs: number
}

/** Publishes `$SYS/broker/...`; returns what ends it. */
export function publishSysTopics(parts: SysPublisherParts): () => void {
  const { intervalMs, broker, counters, store, startedAtMs } = parts
  if (intervalMs === 0) return () => {}
  const sys = new SysTopics(version, startedAtMs)
  const update = (): void => {
    const stats = store.stats()
    const total = (field: 'packetsIn' | 'packetsOut' | 'bytesIn' | 'bytesOut' | 'accepted'): number =>
      sum(counters.listeners.map((listener) => listener[field]))
    const figures = {
      clientsConnected: broker.sessions.connectedCount,
      clientsStored: [...broker.sessions.all()].length,
      clientsExpired: broker.expiredCount,
      subscriptions: broker.subscriptions.count,
      sharedSubscriptions: broker.subscriptions.groupCount,
      packetsReceived: total('packetsIn'),
      packetsSent: total('packetsOut'),
      publishReceived: sum(counters.messagesIn),
      publishSent: sum(counters.messagesOut),
      publishDropped: sum(Object.values(counters.dropped)) + stats.droppedMessages,
      bytesReceived: total('bytesIn'),
      bytesSent: total('bytesOut'),
      connectionsAccepted: total('accepted'),
      storedMessages: stats.queuedMessages + stats.retainedMessages,
      storedBytes: stats.queuedBytes + stats.retainedBytes,
      retainedMessages: stats.retainedMessages,
    }
    for (const message of sys.update(figures, Date.now())) broker.local.publishSys(message)
  }
  update()
  broker.sysRetained = (filter) => sys.retainedMatching(filter)
  const timer = setInterval(update, intervalMs)
  return () => clearInterval(timer)
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
