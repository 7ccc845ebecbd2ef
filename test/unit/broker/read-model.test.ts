import { describe, expect, it } from 'vitest'
import { createReadModel } from '../../../src/broker/read-model.ts'
import { configSchema, type ConfigInput } from '../../../src/config/schema.ts'
import { createBrokerCounters } from '../../../src/counters.ts'
import { createAdmission } from '../../../src/listeners/admission.ts'
import type { StoredSession } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { createMetrics } from '../../../src/admin/metrics.ts'
import { clusterStats, fakeCluster } from '../admin/fake-cluster.ts'
import { message, publish, testLimits, to } from '../../support/store-fixtures.ts'

function partsOf(config: ConfigInput = {}) {
  return {
    config: configSchema.parse(config),
    startedAtMs: Date.now(),
    notReady: new Set(['starting']),
    counters: createBrokerCounters(),
    store: createMemoryStore(testLimits),
    admission: createAdmission(configSchema.parse({}).limits, () => performance.now()),
    broker: () => undefined,
    cluster: () => undefined,
    tunnels: () => undefined,
    listeners: [],
    bridges: () => [],
  }
}

describe('the read model', () => {
  it('can be read before the store is open and the broker made: health is asked for then, too', async () => {
    const model = createReadModel(partsOf())
    expect(model.notReadyReasons()[0]).toBe('starting')
    const metrics = createMetrics(model)
    expect(await metrics.render()).toContain('tunnelmq_sessions{state="connected"} 0')
    metrics.close()
  })

  it('names what is wrong with the store and the cluster, each with its part', async () => {
    const parts = partsOf()
    parts.notReady.clear()
    const cluster = fakeCluster({ failure: 'loading' })
    await parts.store.open()
    expect(createReadModel({ ...parts, cluster: () => cluster }).notReadyReasons()).toEqual([
      'cluster: loading',
    ])
    await parts.store.close()
    const away = { ...parts.store, failure: 'Redis is away' }
    expect(createReadModel({ ...parts, store: away, cluster: () => cluster }).notReadyReasons()).toEqual([
      'store: Redis is away',
      'cluster: loading',
    ])
  })

  it('has no figures of a cluster when the broker is alone', () => {
    const cluster = fakeCluster({ isShared: false })
    expect(createReadModel({ ...partsOf(), cluster: () => cluster }).cluster()).toBeUndefined()
  })

  it('tells the silence of the other pods, not its own', () => {
    const cluster = fakeCluster({
      stats: () => ({ ...clusterStats, waitingBytes: 5 }),
      pods: () => [
        { id: 'a', isSelf: true, silentMs: 9_000, figures: undefined },
        { id: 'b', isSelf: false, silentMs: 200, figures: undefined },
        { id: 'c', isSelf: false, silentMs: 1_500, figures: undefined },
      ],
    })
    const figures = createReadModel({ ...partsOf(), cluster: () => cluster }).cluster()
    expect(figures).toMatchObject({ silentMs: 1_500, pendingBytes: 5 })
  })

  it('tells how full the fullest queue is, by count or bytes, of clients and shared subscriptions', async () => {
    const parts = partsOf({ session: { queueMaxMessages: 4, queueMaxBytes: 100 } })
    await parts.store.open()
    const model = createReadModel(parts)
    expect(model.fullestQueueRatio()).toBe(0)
    const put = (session: StoredSession, payload: string) =>
      publish(parts.store, { message: message('a', payload), targets: to(session) })
    const few = await parts.store.createSession('client', 'few')
    await put(few, 'x')
    expect(model.fullestQueueRatio()).toBe(0.25)
    await put(await parts.store.createSession('group', 'g/#'), 'y'.repeat(90))
    expect(model.fullestQueueRatio()).toBe(0.9)
    await parts.store.close()
  })

  it('tells when certificates end, of listeners that have one', () => {
    const listeners = [
      { name: 'tcp-1883', certificateEndsAtMs: undefined },
      { name: 'tls-8883', certificateEndsAtMs: 1_700_000_000_000 },
    ]
    expect(createReadModel({ ...partsOf(), listeners }).certificates()).toEqual([
      { listener: 'tls-8883', endsAtMs: 1_700_000_000_000 },
    ])
  })
})
