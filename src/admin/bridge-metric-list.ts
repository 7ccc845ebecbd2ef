import { bridgeDropReasons, bridgeFailureKinds } from '../bridge/counters.ts'
import type { NumberMetric } from './metric-list.ts'
import type { BridgeFigures, BrokerReadModel } from './read-model.ts'
import type { Sample } from './samples.ts'

/** One sample for each bridge. */
const each =
  (value: (figures: BridgeFigures) => number): NumberMetric['read'] =>
  (model: BrokerReadModel) =>
    model.bridges().map((figures) => ({ labels: { bridge: figures.name }, value: value(figures) }))

/** One for each bridge and key. */
const eachBy =
  (
    label: string,
    counts: (figures: BridgeFigures) => Readonly<Record<string, number>>,
  ): NumberMetric['read'] =>
  (model: BrokerReadModel) =>
    model.bridges().flatMap((figures) =>
      Object.entries(counts(figures)).map(([key, value]): Sample => ({
        labels: { bridge: figures.name, [label]: key },
        value,
      })),
    )

/** Of the pod that runs the bridge; the others say 0. The queue is the same at all pods. */
export const bridgeMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_bridge_up',
    type: 'gauge',
    help: 'The bridge is connected to the other broker: 1. Of several pods, the one that runs it says so.',
    labels: ['bridge'],
    read: each(({ isUp }) => (isUp ? 1 : 0)),
  },
  {
    name: 'tunnelmq_bridge_queued_messages',
    type: 'gauge',
    help: 'Messages at QoS 1 and 2 that wait for the other broker, those under way included. Bound: session.queueMaxMessages.',
    labels: ['bridge'],
    read: each(({ queuedCount }) => queuedCount),
  },
  {
    name: 'tunnelmq_bridge_queued_bytes',
    type: 'gauge',
    help: 'Their payload. Bound: session.queueMaxBytes.',
    labels: ['bridge'],
    read: each(({ queuedBytes }) => queuedBytes),
  },
  {
    name: 'tunnelmq_bridge_connects_total',
    type: 'counter',
    help: 'Times that the bridge was connected.',
    labels: ['bridge'],
    read: each(({ counters }) => counters.connects),
  },
  {
    name: 'tunnelmq_bridge_failures_total',
    type: 'counter',
    help: `Connections that were lost or not made, by kind: ${bridgeFailureKinds.join(', ')}.`,
    labels: ['bridge', 'kind'],
    read: eachBy('kind', ({ counters }) => counters.failures),
  },
  {
    name: 'tunnelmq_bridge_messages_total',
    type: 'counter',
    help: 'Messages that the other side has taken over: in is from the other broker, out is to it.',
    labels: ['bridge', 'direction', 'qos'],
    read: (model) =>
      model.bridges().flatMap(({ name, counters }) =>
        (['in', 'out'] as const).flatMap((direction) =>
          counters[direction].map((value, qos) => ({
            labels: { bridge: name, direction, qos: String(qos) },
            value,
          })),
        ),
      ),
  },
  {
    name: 'tunnelmq_bridge_messages_dropped_total',
    type: 'counter',
    help: `Messages that did not cross, by reason: ${bridgeDropReasons.join(', ')}. What the queue had no room for is counted as queue-full by tunnelmq_messages_dropped_total.`,
    labels: ['bridge', 'reason'],
    read: eachBy('reason', ({ counters }) => counters.dropped),
  },
]
