import { totalmem } from 'node:os'
import type { NumberMetric } from './metric-list.ts'
import { byKey, one } from './samples.ts'

/** Without a limit of a cgroup, Node says 0, or what the kernel writes for "none", which is more than any machine has. */
function memoryLimitBytes(): number {
  const constrained = process.constrainedMemory()
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
}

export const processMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_handler_failures_total',
    type: 'counter',
    help: 'Calls of handlers that did not say yes, by cause: refused, error (not an AuthError), timeout.',
    labels: ['handler', 'method', 'cause'],
    read: (model) =>
      model.counters.handlers.flatMap(({ handler, method, refused, failed, timedOut }) =>
        Object.entries({ refused, error: failed, timeout: timedOut }).map(([cause, value]) => ({
          labels: { handler, method, cause },
          value,
        })),
      ),
  },
  {
    name: 'tunnelmq_spans_sent_total',
    type: 'counter',
    help: 'Spans that the collector of OpenTelemetry has taken.',
    labels: [],
    read: (model) => one(model.tracing()?.sent ?? 0),
  },
  {
    name: 'tunnelmq_spans_dropped_total',
    type: 'counter',
    help: 'Spans that were lost, by reason: queue-full (tracing.maxQueuedSpans waited), not-sent (the collector was away or refused them).',
    labels: ['reason'],
    read: (model) => {
      const { queueFull, notSent } = model.tracing() ?? { queueFull: 0, notSent: 0 }
      return byKey('reason', { 'queue-full': queueFull, 'not-sent': notSent })
    },
  },
  {
    name: 'tunnelmq_unhandled_errors_total',
    type: 'counter',
    help: 'Errors that nobody caught, and that were only logged. Please report them.',
    labels: [],
    read: (model) => one(model.counters.unhandledErrors),
  },
  {
    name: 'tunnelmq_ready',
    type: 'gauge',
    help: '1 while /ready says 200: clients may be sent here.',
    labels: [],
    read: (model) => one(model.notReadyReasons().length === 0 ? 1 : 0),
  },
  {
    name: 'tunnelmq_uptime_seconds',
    type: 'gauge',
    help: 'Since the start.',
    labels: [],
    read: (model) => one((Date.now() - model.startedAtMs) / 1_000),
  },
  {
    name: 'tunnelmq_info',
    type: 'gauge',
    help: 'Always 1; the version is in the label.',
    labels: ['version'],
    read: (model) => [{ labels: { version: model.version }, value: 1 }],
  },
  {
    name: 'tunnelmq_process_resident_memory_bytes',
    type: 'gauge',
    help: 'Resident memory of the process.',
    labels: [],
    read: () => one(process.memoryUsage.rss()),
  },
  {
    name: 'tunnelmq_process_memory_limit_bytes',
    type: 'gauge',
    help: 'Memory that the process may have: that of its cgroup (container, systemd), or else of the machine.',
    labels: [],
    read: () => one(memoryLimitBytes()),
  },
  {
    name: 'tunnelmq_process_heap_used_bytes',
    type: 'gauge',
    help: 'JavaScript heap in use.',
    labels: [],
    read: () => one(process.memoryUsage().heapUsed),
  },
  {
    name: 'tunnelmq_process_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time of the process, user and system.',
    labels: [],
    read: () => {
      const { user, system } = process.cpuUsage()
      return one((user + system) / 1_000_000)
    },
  },
]
