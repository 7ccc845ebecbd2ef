import { Broker } from '../../src/broker/broker.ts'
import type { ListenerProfile } from '../../src/broker/listener-profile.ts'
import { createSingleCluster } from '../../src/cluster/single.ts'
import { configSchema, type ConfigInput, type StreamListenerConfig } from '../../src/config/schema.ts'
import { createBrokerCounters } from '../../src/counters.ts'
import { createChain } from '../../src/hooks/chain.ts'
import { createGuard } from '../../src/hooks/guard.ts'
import { createAdmission } from '../../src/listeners/admission.ts'
import { openListener } from '../../src/listeners/listener.ts'
import { createSilentLog } from '../../src/log.ts'
import type { Store } from '../../src/store/contract.ts'

export interface BrokerOnStore {
  readonly port: number
  /** Ends connections and broker; the store is the caller's. */
  stop(): Promise<void>
}

/** The broker on an open store of the caller's: slow, failing or watched. Open to anonymous clients. */
export async function startBrokerOnStore(
  store: Store,
  overrides: Pick<ConfigInput, 'limits' | 'session' | 'retained'> = {},
): Promise<BrokerOnStore> {
  const config = configSchema.parse({
    listeners: [{ type: 'tcp', port: 0, allowAnonymous: true }],
    ...overrides,
  })
  const log = createSilentLog()
  const counters = createBrokerCounters()
  const admission = createAdmission(config.limits, () => performance.now())
  const cluster = createSingleCluster(store, { expiryMs: config.session.expiryMs })
  const broker = new Broker({ config, store, cluster, counters, admission, log })
  await broker.start()
  const profile: ListenerProfile = {
    name: 'tcp',
    guard: createGuard(createChain([]), { timeoutMs: 5_000, maxConcurrent: 100, onFailure: () => {} }),
    allowAnonymous: true,
    protocolVersions: new Set([3, 4, 5]),
    mountpoint: '',
  }
  const failures: unknown[] = []
  const listener = await openListener(config.listeners[0] as StreamListenerConfig, {
    admission,
    events: {
      connection: (transport) => broker.accept(transport, profile),
      refused: (refusal) => failures.push(refusal),
      error: (error) => failures.push(error),
    },
  })
  return {
    port: listener.port!,
    async stop() {
      await listener.stopAccepting()
      await broker.drain(0)
      await listener.close()
      await broker.close()
      if (failures.length > 0) throw new Error('the listener failed', { cause: failures[0] })
    },
  }
}
