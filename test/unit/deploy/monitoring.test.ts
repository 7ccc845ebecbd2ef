import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { createMetrics } from '../../../src/admin/metrics.ts'
import { eventLoopMetric, latencyMetrics, numberMetrics } from '../../../src/admin/metric-list.ts'
import { createBridgeCounters } from '../../../src/bridge/counters.ts'
import { createBrokerCounters } from '../../../src/counters.ts'
import { createTunnelCounters } from '../../../src/tunnel/router/counters.ts'
import { readPromql, type Selector } from '../../support/promql.ts'
import { clusterStats } from '../admin/fake-cluster.ts'
import { fakeReadModel } from '../admin/fake-read-model.ts'

const text = (file: string) => readFileSync(new URL(`../../../deploy/${file}`, import.meta.url), 'utf8')

const rulesFile = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string().regex(/^TunnelMQ[A-Za-z]+$/),
          expr: z.string(),
          for: z
            .string()
            .regex(/^\d+[smh]$/)
            .optional(),
          labels: z.strictObject({ severity: z.enum(['critical', 'warning', 'info']) }),
          annotations: z.strictObject({ summary: z.string(), description: z.string().min(80) }),
        }),
      ),
    }),
  ),
})
const rules = rulesFile
  .parse(parse(text('prometheus/rules.yaml')))
  .groups.flatMap(({ rules: ofGroup }) => ofGroup)

const panelSchema = z.looseObject({
  id: z.int(),
  type: z.string(),
  title: z.string().min(1),
  description: z.string().optional(),
  gridPos: z.object({ x: z.int(), y: z.int(), w: z.int(), h: z.int() }),
  datasource: z.object({ type: z.literal('prometheus'), uid: z.literal('${datasource}') }).optional(),
  targets: z
    .array(z.looseObject({ refId: z.string(), expr: z.string(), legendFormat: z.string() }))
    .default([]),
  fieldConfig: z.object({ defaults: z.looseObject({ unit: z.string().optional() }) }).optional(),
})
const dashboard = z
  .looseObject({
    uid: z.string(),
    panels: z.array(panelSchema),
    templating: z.object({ list: z.array(z.looseObject({ name: z.string(), type: z.string() })) }),
    annotations: z.object({ list: z.array(z.looseObject({ expr: z.string().optional() })) }),
  })
  .parse(JSON.parse(text('grafana/tunnelmq.json')))
const panels = dashboard.panels.filter(({ type }) => type !== 'row')
const variables = dashboard.templating.list.map(({ name }) => name)

/** Names of variables, in place of which Prometheus sees a duration or a text. */
function withoutVariables(expr: string): string {
  return expr.replace(/\$__(?:rate_interval|range)\b/g, '5m').replace(/\$(\w+)/g, (whole, name: string) => {
    expect(variables, `${whole} in ${expr}`).toContain(name)
    return '.*'
  })
}

const shown = [
  ...panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ where: title, expr }))),
  ...dashboard.annotations.list.flatMap(({ expr }) => (expr === undefined ? [] : [{ where: 'notes', expr }])),
].map(({ where, expr }) => ({ where, expr: withoutVariables(expr) }))
const alerts = rules.map(({ alert, expr }) => ({ where: alert, expr }))
const expressions = [...shown, ...alerts].map(({ where, expr }) => ({ where, expr, ...readPromql(expr) }))

/** Those that Prometheus adds, or a ServiceMonitor. */
const targetLabels = ['namespace', 'job', 'instance', 'pod']
const series = new Map<string, { readonly type: string; readonly labels: readonly string[] }>([
  ['up', { type: 'gauge', labels: [] }],
  ...[...numberMetrics, eventLoopMetric].map(({ name, type, labels }) => [name, { type, labels }] as const),
  ...latencyMetrics.flatMap(({ name, labels }) => [
    [`${name}_bucket`, { type: 'counter', labels: [...labels, 'le'] }] as const,
    [`${name}_sum`, { type: 'counter', labels }] as const,
    [`${name}_count`, { type: 'counter', labels }] as const,
  ]),
])
const labelsOf = (selector: Selector) => [...(series.get(selector.metric)?.labels ?? []), ...targetLabels]
/** Everything that is wrong with each selector, with its place. */
const wrong = (judge: (selector: Selector) => boolean) =>
  expressions.flatMap(({ where, expr, selectors }) =>
    selectors.filter((selector) => !judge(selector)).map(({ metric }) => `${where}: ${metric} in ${expr}`),
  )

const ofCounters = ['rate', 'irate', 'increase', 'resets']
const ofRanges = [...ofCounters, 'last_over_time', 'max_over_time', 'min_over_time', 'avg_over_time']

describe('expressions of alerts and the dashboard', () => {
  it('are PromQL, and many', () => {
    expect(expressions.flatMap(({ errors }) => errors)).toEqual([])
    expect(shown.length).toBeGreaterThan(50)
    expect(alerts.length).toBeGreaterThan(30)
  })

  it('name metrics that there are, by labels that these have', () => {
    expect(wrong(({ metric }) => series.has(metric))).toEqual([])
    expect(
      wrong((selector) => selector.matchers.every(({ label }) => labelsOf(selector).includes(label))),
    ).toEqual([])
    const strange = expressions.flatMap(({ where, selectors, groupingLabels }) => {
      const known = selectors.flatMap(labelsOf)
      return groupingLabels.filter((label) => !known.includes(label)).map((label) => `${where}: ${label}`)
    })
    expect(strange).toEqual([])
  })

  it('take rates of counters, and of nothing else', () => {
    const typeOf = ({ metric }: Selector) => series.get(metric)?.type
    expect(
      wrong((selector) => !ofCounters.includes(selector.within[0] ?? '') || typeOf(selector) === 'counter'),
    ).toEqual([])
    expect(
      wrong(
        (selector) =>
          typeOf(selector) !== 'counter' ||
          ofCounters.includes(selector.within[0] ?? '') ||
          // A figure that must never be anything but 0, and may have been counted before the first scrape.
          selector.metric === 'tunnelmq_store_corrupt_values_total',
      ),
    ).toEqual([])
    expect(wrong(({ isRange, within }) => isRange === ofRanges.includes(within[0] ?? ''))).toEqual([])
  })

  it('take quantiles of buckets, whose bounds are still there', () => {
    const quantiles = expressions.filter(({ expr }) => expr.includes('histogram_quantile'))
    expect(quantiles.length).toBeGreaterThan(3)
    expect(
      wrong(({ metric, within }) => within.includes('histogram_quantile') === metric.endsWith('_bucket')),
    ).toEqual([])
    const lost = quantiles.filter(({ groupingLabels: by }) => by.length > 0 && !by.includes('le'))
    expect(lost.map(({ where }) => where)).toEqual([])
  })

  describe('against rendered metrics', () => {
    const counters = createBrokerCounters()
    counters.listener('tls-8883', 'tls')
    for (const method of ['authConnect', 'authPublish']) counters.handler('chain', method)
    const metrics = createMetrics(
      fakeReadModel({
        counters,
        tunnels: () => ({ counters: createTunnelCounters(), streams: 0, agents: 0, clients: 0, shaped: 0 }),
        cluster: () => ({ stats: clusterStats, silentMs: 0, pendingBytes: 0 }),
        bridges: () => [
          {
            name: 'cloud',
            isRunning: true,
            isUp: true,
            counters: createBridgeCounters(),
            queuedCount: 0,
            queuedBytes: 0,
          },
        ],
        certificates: () => [{ listener: 'tls-8883', endsAtMs: 0 }],
      }),
    )
    afterAll(() => metrics.close())
    let samples: { readonly name: string; readonly labels: ReadonlyMap<string, string> }[] = []
    beforeAll(async () => {
      samples = [...(await metrics.render()).matchAll(/^(\w+)(?:\{(.*)\})? /gm)].map(
        ([, name = '', labels = '']) => ({
          name,
          labels: new Map(
            [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', value = '']) => [label, value]),
          ),
        }),
      )
    })

    it('match samples, each alternative of a label as well', () => {
      const alternatives = ({ op, value }: Selector['matchers'][number]) =>
        op.startsWith('=~') || op === '!~' ? value.split('|') : [value]
      const silent = wrong(({ metric, matchers }) => {
        if (metric === 'up') return true
        const ours = matchers.filter(({ label }) => !targetLabels.includes(label))
        const named = samples.filter(({ name }) => name === metric)
        return (
          named.length > 0 &&
          ours.every((matcher) =>
            alternatives(matcher).every((value) =>
              named.some(({ labels }) => labels.get(matcher.label) === value),
            ),
          )
        )
      })
      expect(silent).toEqual([])
    })
  })
})

describe('the alerts', () => {
  it('have names of their own, and show labels and values that their expressions have', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length)
    for (const { alert, expr, annotations } of rules) {
      const labels = readPromql(expr).selectors.flatMap(labelsOf)
      for (const [, label] of Object.values(annotations)
        .join(' ')
        .matchAll(/\$labels\.(\w+)/g))
        expect(labels, alert).toContain(label)
    }
  })

  it('cover what takes the broker, the store, messages, connections, pods and tunnels away', () => {
    const watched = expressions.filter(({ where }) => where.startsWith('TunnelMQ'))
    const metrics = new Set(watched.flatMap(({ selectors }) => selectors.map(({ metric }) => metric)))
    for (const metric of [
      ...['up', 'tunnelmq_ready', 'tunnelmq_store_up', 'tunnelmq_fullest_queue_ratio'],
      ...[
        'tunnelmq_messages_dropped_total',
        'tunnelmq_connections_refused_total',
        'tunnelmq_banned_addresses',
      ],
      ...['tunnelmq_handler_failures_total', 'tunnelmq_event_loop_lag_seconds'],
      ...['tunnelmq_process_memory_limit_bytes', 'tunnelmq_certificate_end_timestamp_seconds'],
      ...['tunnelmq_cluster_silent_seconds', 'tunnelmq_cluster_fresh', 'tunnelmq_cluster_log_lag_entries'],
      ...['tunnelmq_cluster_log_gaps_total', 'tunnelmq_tunnel_streams_refused_total'],
      ...['tunnelmq_tunnel_streams_ended_total', 'tunnelmq_bridge_up'],
    ])
      expect(metrics).toContain(metric)
  })
})

describe('the dashboard', () => {
  it('has panels with ids of their own, a text, a unit and a data source that can be chosen', () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length)
    expect(dashboard.templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource' })
    for (const { title, type, description, datasource, targets, fieldConfig } of panels) {
      expect(description, title).toMatch(/\.$/)
      expect(datasource, title).toBeDefined()
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(Math.max(1, targets.length))
      expect(type === 'table' || fieldConfig?.defaults.unit !== undefined, title).toBe(true)
    }
  })

  it('lies in its grid of 24 columns, and no panel on another', () => {
    const taken = new Map<string, string>()
    const clashes = dashboard.panels.flatMap(({ title, gridPos: { x, y, w, h } }) => {
      expect(x + w, title).toBeLessThanOrEqual(24)
      const cells = Array.from(
        { length: w * h },
        (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`,
      )
      const found = cells.filter((cell) => taken.has(cell)).map((cell) => `${title} on ${taken.get(cell)}`)
      for (const cell of cells) taken.set(cell, title)
      return found
    })
    expect(clashes).toEqual([])
  })

  it('can be narrowed to a namespace, job, instance and pod in each panel', () => {
    expect(variables).toEqual(['datasource', ...targetLabels])
    const notNarrowed = expressions
      .filter(({ where }) => !where.startsWith('TunnelMQ'))
      .flatMap(({ where, selectors }) =>
        selectors
          .filter(({ matchers }) => !targetLabels.every((label) => matchers.some((at) => at.label === label)))
          .map(({ metric }) => `${where}: ${metric}`),
      )
    expect(notNarrowed).toEqual([])
  })

  it('names series by labels that are left', () => {
    for (const { title, targets } of panels) {
      for (const { expr, legendFormat } of targets) {
        const { selectors, groupingLabels } = readPromql(withoutVariables(expr))
        const left = groupingLabels.length > 0 ? groupingLabels : selectors.flatMap(labelsOf)
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) expect(left, title).toContain(label)
      }
    }
  })
})
