import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { LATENCY_BOUNDS_MS } from '../latency-histogram.ts'
import {
  eventLoopMetric,
  latencyMetrics,
  numberMetrics,
  type LatencyMetric,
  type LatencySample,
  type NumberMetric,
} from './metric-list.ts'
import type { BrokerReadModel } from './read-model.ts'

/** How often the event loop is looked at; what the timer itself takes is subtracted. */
const LAG_RESOLUTION_MS = 10
const lagQuantiles = [0.5, 0.99, 1]

/** Of the time, which figures may take: whoever reaches the port can ask without a key, as often as they want. */
const MAX_PART_OF_TIME = 0.1
/** Less than scrapers wait, however long the figures of very many sessions take. */
const MAX_PAUSE_MS = 3_000

export interface Metrics {
  readonly contentType: string
  /** All metrics in the text format of Prometheus, as they are after the call. Those who wait get the same answer. */
  render(): Promise<string>
  /** Stops looking at the event loop. */
  close(): void
}

/** Metrics that are read from the broker when they are asked for, and cost nothing in between. */
export function createMetrics(model: BrokerReadModel): Metrics {
  const registry = new Registry()
  for (const metric of numberMetrics) registerNumber(registry, metric, model)
  for (const metric of latencyMetrics) registry.registerMetric(new ReadHistogram(metric, model))
  const stopLag = registerEventLoopLag(registry)
  return { contentType: registry.contentType, render: spaced(() => registry.metrics()), close: stopLag }
}

/** `work`, so seldom that it takes no more than its part of the time. What is asked for meanwhile is asked for once. */
function spaced(work: () => Promise<string>): () => Promise<string> {
  let next: Promise<string> | undefined
  let notBeforeMs = 0
  async function run(): Promise<string> {
    await pause(Math.max(0, notBeforeMs - performance.now()))
    next = undefined
    const beganMs = performance.now()
    try {
      return await work()
    } finally {
      const nowMs = performance.now()
      notBeforeMs = nowMs + Math.min(MAX_PAUSE_MS, (nowMs - beganMs) * (1 / MAX_PART_OF_TIME - 1))
    }
  }
  return () => (next ??= run())
}

function registerNumber(registry: Registry, metric: NumberMetric, model: BrokerReadModel): void {
  const facts = {
    name: metric.name,
    help: metric.help,
    labelNames: [...metric.labels],
    registers: [registry],
  }
  if (metric.type === 'gauge') {
    const gauge = new Gauge({
      ...facts,
      collect: () => {
        gauge.reset()
        for (const { labels, value } of metric.read(model)) gauge.set(labels, value)
      },
    })
    return
  }
  const counter = new Counter({
    ...facts,
    collect: () => {
      counter.reset()
      for (const { labels, value } of metric.read(model)) counter.inc(labels, value)
    },
  })
}

function registerEventLoopLag(registry: Registry): () => void {
  const delay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
  delay.enable()
  const { name, help, labels } = eventLoopMetric
  const gauge = new Gauge({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect: () => {
      for (const quantile of lagQuantiles) {
        const delayMs = delay.count === 0 ? 0 : delay.percentile(quantile * 100) / 1e6
        gauge.set({ quantile: String(quantile) }, Math.max(0, delayMs - LAG_RESOLUTION_MS) / 1_000)
      }
      delay.reset()
    },
  })
  return () => delay.disable()
}

/** A histogram whose buckets the broker has counted: prom-client's own would cost a hash for each call. */
class ReadHistogram extends Histogram {
  readonly #metric: LatencyMetric
  readonly #model: BrokerReadModel

  constructor(metric: LatencyMetric, model: BrokerReadModel) {
    super({ name: metric.name, help: metric.help, labelNames: [...metric.labels], registers: [] })
    this.#metric = metric
    this.#model = model
  }

  /** What the registry of prom-client 15 asks for, and what its `get` builds on; not in its types. */
  async getForPromString(): Promise<object> {
    const { name, help, type } = this.#metric
    const values = this.#metric.read(this.#model).flatMap((sample) => histogramValues(name, sample))
    return { name, help, type, values }
  }
}

interface HistogramValue {
  readonly metricName: string
  readonly labels: Record<string, string | number>
  readonly value: number
}

function histogramValues(name: string, { labels, latency }: LatencySample): HistogramValue[] {
  let cumulative = 0
  const buckets = latency.bucketCounts.map((count, index) => {
    cumulative += count
    const boundMs = LATENCY_BOUNDS_MS[index]
    const le = boundMs === undefined ? '+Inf' : boundMs / 1_000
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: cumulative }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels: { ...labels }, value: latency.sumMs / 1_000 },
    { metricName: `${name}_count`, labels: { ...labels }, value: latency.count },
  ]
}
