import { afterEach, describe, expect, it } from 'vitest'
import { createBrokerCounters } from '../../../src/counters.ts'
import { createMetrics, type Metrics } from '../../../src/admin/metrics.ts'
import { eventLoopMetric, latencyMetrics, numberMetrics } from '../../../src/admin/metric-list.ts'
import type { BrokerReadModel } from '../../../src/admin/read-model.ts'
import { clusterStats } from './fake-cluster.ts'
import { emptyStoreStats, fakeReadModel } from './fake-read-model.ts'

let metrics: Metrics | undefined
afterEach(() => metrics?.close())

async function render(model: BrokerReadModel): Promise<string[]> {
  metrics = createMetrics(model)
  return (await metrics.render()).split('\n')
}

describe('metrics', () => {
  it('renders every declared metric once, with help and type', async () => {
    const lines = await render(fakeReadModel())
    for (const { name, type } of [...numberMetrics, ...latencyMetrics, eventLoopMetric]) {
      expect(name).toMatch(/^tunnelmq_[a-z_]+$/)
      expect(lines.filter((line) => line === `# TYPE ${name} ${type}`)).toHaveLength(1)
      expect(lines.filter((line) => line.startsWith(`# HELP ${name} `))).toHaveLength(1)
    }
    const types = lines.filter((line) => line.startsWith('# TYPE '))
    expect(types).toHaveLength(numberMetrics.length + latencyMetrics.length + 1)
  })

  it('calls counters _total, and nothing else', () => {
    for (const { name, type } of numberMetrics) expect(name.endsWith('_total')).toBe(type === 'counter')
  })

  it('reads the figures of the broker when they are asked for', async () => {
    const counters = createBrokerCounters()
    const model = fakeReadModel({
      counters,
      sessions: () => ({ connected: 2, stored: 7 }),
      storeStats: () => ({ ...emptyStoreStats, queuedMessages: 11, failure: 'disk full' }),
      bannedCount: () => 4,
    })
    const listener = counters.listener('ws-8083', 'ws')
    listener.accepted = 5
    listener.bytesIn = 1_000
    counters.messagesIn[1] += 6
    counters.dropped['queue-full'] += 8
    counters.refused.banned += 9
    const lines = await render(model)
    expect(lines).toContain('tunnelmq_connections_accepted_total{listener="ws-8083",transport="ws"} 5')
    expect(lines).toContain('tunnelmq_received_bytes_total{listener="ws-8083",transport="ws"} 1000')
    expect(lines).toContain('tunnelmq_messages_received_total{qos="1"} 6')
    expect(lines).toContain('tunnelmq_messages_dropped_total{reason="queue-full"} 8')
    expect(lines).toContain('tunnelmq_connections_refused_total{reason="banned"} 9')
    expect(lines).toContain('tunnelmq_sessions{state="stored"} 7')
    expect(lines).toContain('tunnelmq_queued_messages 11')
    expect(lines).toContain('tunnelmq_store_up 0')
    expect(lines).toContain('tunnelmq_banned_addresses 4')
  })

  it('reads them once for all who wait, and anew for who comes later', async () => {
    let banned = 0
    const own = createMetrics(fakeReadModel({ bannedCount: () => (banned += 1) }))
    metrics = own
    const ask = (): Promise<string> => own.render()
    const [first, second] = await Promise.all([ask(), ask()])
    expect(first).toContain('tunnelmq_banned_addresses 1\n')
    expect(second).toBe(first)
    expect(await ask()).toContain('tunnelmq_banned_addresses 2\n')
  })

  it('shows each figure of a cluster, and none when the broker is alone', async () => {
    const silent = (await render(fakeReadModel())).filter((line) => line.startsWith('tunnelmq_cluster_'))
    expect(silent.filter((line) => !line.endsWith(' 0'))).toEqual([])
    const lines = await render(
      fakeReadModel({ cluster: () => ({ stats: clusterStats, silentMs: 1_500, pendingBytes: 25 }) }),
    )
    const values = lines.filter((line) => line.startsWith('tunnelmq_cluster_')).map((line) => line.slice(17))
    expect(values.toSorted()).toEqual(
      [
        'pods 2',
        'silent_seconds 1.5',
        'dead_pods_total 21',
        'log_position 400',
        'log_lag_entries 3',
        'fresh 1',
        'log_gaps_total 5',
        'inbox_gaps_total 6',
        'reloads_total 7',
        'emptied_total 24',
        'late_settles_total 23',
        'owned_clients 12',
        'claims_total 8',
        'takeovers_total 9',
        'lost_claims_total 10',
        'fenced_writes_total 11',
        'wills_due_total 22',
        'routed_total{direction="out",kind="qos0"} 13',
        'routed_total{direction="out",kind="stored"} 14',
        'routed_total{direction="out",kind="frame"} 15',
        'routed_total{direction="in",kind="qos0"} 16',
        'routed_total{direction="in",kind="stored"} 17',
        'routed_total{direction="in",kind="frame"} 18',
        'dropped_total 19',
        'pending_bytes 25',
        'garbage_total 20',
      ].toSorted(),
    )
  })

  it('does not add a counter to itself when it is scraped twice', async () => {
    const counters = createBrokerCounters()
    counters.messagesIn[0] = 3
    metrics = createMetrics(fakeReadModel({ counters }))
    await metrics.render()
    expect(await metrics.render()).toContain('tunnelmq_messages_received_total{qos="0"} 3')
  })

  it('renders latencies as cumulative buckets in seconds', async () => {
    const counters = createBrokerCounters()
    const call = counters.handler('acl-file', 'authPublish')
    for (const durationMs of [0.05, 0.06, 4, 60_000]) call.latency.observe(durationMs)
    call.failed = 2
    const lines = await render(fakeReadModel({ counters }))
    const labels = 'handler="acl-file",method="authPublish"'
    expect(lines).toContain(`tunnelmq_handler_seconds_bucket{${labels},le="0.00005"} 1`)
    expect(lines).toContain(`tunnelmq_handler_seconds_bucket{${labels},le="0.0001"} 2`)
    expect(lines).toContain(`tunnelmq_handler_seconds_bucket{${labels},le="0.005"} 3`)
    expect(lines).toContain(`tunnelmq_handler_seconds_bucket{${labels},le="5"} 3`)
    expect(lines).toContain(`tunnelmq_handler_seconds_bucket{${labels},le="+Inf"} 4`)
    expect(lines).toContain(`tunnelmq_handler_seconds_count{${labels}} 4`)
    expect(lines).toContain(`tunnelmq_handler_failures_total{${labels},cause="error"} 2`)
    expect(lines).toContain('tunnelmq_store_commit_seconds_count 0')
  })

  it('gives the same counters for the same listener and the same handler method', () => {
    const counters = createBrokerCounters()
    expect(counters.listener('a', 'tcp')).toBe(counters.listener('a', 'tcp'))
    expect(counters.listener('a', 'tls')).not.toBe(counters.listener('a', 'tcp'))
    expect(counters.handler('h', 'publish')).toBe(counters.handler('h', 'publish'))
    expect(counters.listeners).toHaveLength(2)
  })
})
