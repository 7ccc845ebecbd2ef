import type { BridgeFigures } from '../admin/read-model.ts'
import type { Broker } from '../broker/broker.ts'
import type { Cluster } from '../cluster/contract.ts'
import type { Config } from '../config/schema.ts'
import type { Log } from '../log.ts'
import type { Store } from '../store/contract.ts'
import { sessionIdOf } from '../store/session-id.ts'
import type { BridgeHost } from './bridge.ts'
import { Bridges } from './bridges.ts'

export interface RunningBridges {
  figures(): readonly BridgeFigures[]
  stop(): Promise<void>
}

/** Starts the bridges of the configuration in this broker. Never rejects: what fails is tried again, and logged. */
export async function startBridges(parts: {
  readonly config: Config
  readonly broker: Broker
  readonly store: Store
  readonly cluster: Cluster
  readonly log: Log
}): Promise<RunningBridges> {
  const { config, broker, store, cluster, log } = parts
  const host: BridgeHost = {
    accept: (transport, profile) => broker.accept(transport, profile),
    publishBridged: (request, done) => broker.local.publishBridged(request, done),
    subscribedQos: (clientId, mountpoint, filter) =>
      broker.sessions.get(sessionIdOf(clientId, mountpoint))?.subscriptions.get(filter)?.qos,
    // Cut off from Redis, this pod may be taken for dead: then another one has the bridges.
    isFailing: () => store.failure !== undefined || (cluster.isShared && cluster.failure !== undefined),
  }
  const bridges = new Bridges({
    bridges: config.bridges,
    host,
    cluster,
    limits: {
      sessionExpiryMs: config.session.expiryMs,
      messageExpiryMs: config.session.messageExpiryMs,
      maxPacketBytes: config.limits.maxPacketBytes,
    },
    log,
  })
  await bridges.start()
  return {
    figures: () =>
      bridges.all.map(({ name, clientId, mountpoint, isRunning, isUp, counters }) => {
        const stored = store.sessions.get(sessionIdOf(clientId, mountpoint))
        const { queuedCount = 0, queuedBytes = 0 } = stored ?? {}
        return { name, isRunning, isUp, counters, queuedCount, queuedBytes }
      }),
    stop: () => bridges.stop(),
  }
}
