import { expect, it } from 'vitest'
import { Broker } from '../../../src/broker/broker.ts'
import { createSingleCluster } from '../../../src/cluster/single.ts'
import { configSchema } from '../../../src/config/schema.ts'
import { createBrokerCounters } from '../../../src/counters.ts'
import { createAdmission } from '../../../src/listeners/admission.ts'
import type { TransportReceiver } from '../../../src/listeners/transport.ts'
import { createSilentLog } from '../../../src/log.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { openProfile } from '../../support/broker-parts.ts'
import { FakeTransport } from '../../support/fake-transport.ts'
import { testLimits } from '../../support/store-fixtures.ts'

class EndedTransport extends FakeTransport {
  override attach(receiver: TransportReceiver): void {
    super.attach(receiver)
    receiver.closed()
  }
}

it('a connection that has ended before it was handed over is not counted as open', () => {
  const config = configSchema.parse({})
  const counters = createBrokerCounters()
  const store = createMemoryStore(testLimits)
  const broker = new Broker({
    config,
    store,
    cluster: createSingleCluster(store, { expiryMs: 0 }),
    counters,
    admission: createAdmission(config.limits, () => 0),
    log: createSilentLog(),
  })
  broker.accept(new FakeTransport(), openProfile)
  broker.accept(new EndedTransport(), openProfile)
  expect(broker.connections.size).toBe(1)
  expect(counters.listener('test', 'tcp').open).toBe(1)
})
