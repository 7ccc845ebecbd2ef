import { dropReasons, refusals } from '../counters.ts'
import type { LatencyHistogram } from '../latency-histogram.ts'
import type { BrokerReadModel } from './read-model.ts'
import { bridgeMetrics } from './bridge-metric-list.ts'
import { certificateMetrics } from './certificate-metric-list.ts'
import { coapMetrics } from './coap-metric-list.ts'
import { clusterMetrics } from './cluster-metric-list.ts'
import { handlerMetrics } from './handler-metric-list.ts'
import { processMetrics } from './process-metric-list.ts'
import { byKey, one, type Sample } from './samples.ts'
import { identityMetrics } from './identity-metric-list.ts'
import { limitMetrics, storeMetrics } from './store-metric-list.ts'
import { tunnelMetrics } from './tunnel-metric-list.ts'

export interface LatencySample {
  readonly labels: Readonly<Record<string, string>>
  readonly latency: LatencyHistogram
}

interface MetricFacts {
  /** With the unit that Prometheus asks for: `_seconds`, `_bytes`, `_total`. */
  readonly name: string
  readonly help: string
  /** Each has few values, known from the code or the configuration: never a client, address or topic. */
  readonly labels: readonly string[]
}

export interface NumberMetric extends MetricFacts {
  readonly type: 'counter' | 'gauge'
  read(model: BrokerReadModel): readonly Sample[]
}

export interface LatencyMetric extends MetricFacts {
  readonly type: 'histogram'
  read(model: BrokerReadModel): readonly LatencySample[]
}

const byQos = (counts: readonly number[]): readonly Sample[] =>
  counts.map((value, qos) => ({ labels: { qos: String(qos) }, value }))
const byListener = (
  model: BrokerReadModel,
  field: 'open' | 'accepted' | 'bytesIn' | 'bytesOut',
): readonly Sample[] =>
  model.counters.listeners.map((counters) => ({
    labels: { listener: counters.listener, transport: counters.transport },
    value: counters[field],
  }))
/** A stored queue and the retained messages keep their own bounds, and count what these cost. */
function dropped(model: BrokerReadModel): Readonly<Record<string, number>> {
  const { dropped: counted } = model.counters
  const { droppedMessages, droppedRetained } = model.storeStats()
  return {
    ...counted,
    'queue-full': counted['queue-full'] + droppedMessages,
    'retained-full': counted['retained-full'] + droppedRetained,
  }
}
const listenerLabels = ['listener', 'transport']

const connectionMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_connections',
    type: 'gauge',
    help: 'Open connections, with or without a CONNECT.',
    labels: listenerLabels,
    read: (model) => byListener(model, 'open'),
  },
  {
    name: 'tunnelmq_connections_accepted_total',
    type: 'counter',
    help: 'Connections whose CONNECT was accepted.',
    labels: listenerLabels,
    read: (model) => byListener(model, 'accepted'),
  },
  {
    name: 'tunnelmq_connections_refused_total',
    type: 'counter',
    help: `Connections that were refused, by reason: ${refusals.join(', ')}.`,
    labels: ['reason'],
    read: (model) => byKey('reason', model.counters.refused),
  },
  {
    name: 'tunnelmq_clients',
    type: 'gauge',
    help: 'Clients that are connected, by version of MQTT.',
    labels: ['version'],
    read: (model) => byKey('version', model.clientsByVersion()),
  },
  {
    name: 'tunnelmq_clients_accepted_total',
    type: 'counter',
    help: 'Clients whose CONNECT was accepted, by version of MQTT.',
    labels: ['version'],
    read: (model) => byKey('version', model.counters.accepted),
  },
  {
    name: 'tunnelmq_disconnects_total',
    type: 'counter',
    help: 'Connections that ended, by how: client is a DISCONNECT, lost is the network, the others were closed here.',
    labels: ['kind'],
    read: (model) => byKey('kind', model.counters.disconnects),
  },
  {
    name: 'tunnelmq_received_bytes_total',
    type: 'counter',
    help: 'Bytes received from clients, after TLS and WebSocket.',
    labels: listenerLabels,
    read: (model) => byListener(model, 'bytesIn'),
  },
  {
    name: 'tunnelmq_sent_bytes_total',
    type: 'counter',
    help: 'Bytes sent to clients, before TLS and WebSocket.',
    labels: listenerLabels,
    read: (model) => byListener(model, 'bytesOut'),
  },
  {
    name: 'tunnelmq_banned_addresses',
    type: 'gauge',
    help: 'Addresses that are banned now.',
    labels: [],
    read: (model) => one(model.bannedCount()),
  },
]

const httpMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_http_answers_total',
    type: 'counter',
    help: 'Answers of listeners for HTTP, by status code.',
    labels: ['listener', 'status'],
    read: ({ counters }) =>
      counters.http.flatMap(({ listener, answers }) =>
        [...answers].map(([status, value]) => ({ labels: { listener, status: String(status) }, value })),
      ),
  },
  {
    name: 'tunnelmq_http_event_streams',
    type: 'gauge',
    help: 'Event streams that are open now; `http.maxEventStreams` is their bound.',
    labels: ['listener'],
    read: ({ counters }) =>
      counters.http.map(({ listener, eventStreams }) => ({ labels: { listener }, value: eventStreams })),
  },
]

const messageMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_messages_received_total',
    type: 'counter',
    help: 'PUBLISH packets received.',
    labels: ['qos'],
    read: (model) => byQos(model.counters.messagesIn),
  },
  {
    name: 'tunnelmq_messages_sent_total',
    type: 'counter',
    help: 'PUBLISH packets sent.',
    labels: ['qos'],
    read: (model) => byQos(model.counters.messagesOut),
  },
  {
    name: 'tunnelmq_messages_redelivered_total',
    type: 'counter',
    help: 'PUBLISH packets sent again, with DUP.',
    labels: [],
    read: (model) => one(model.counters.redelivered),
  },
  {
    name: 'tunnelmq_messages_dropped_total',
    type: 'counter',
    help: `Messages that did not go to somebody, by reason: ${dropReasons.join(', ')}.`,
    labels: ['reason'],
    read: (model) => byKey('reason', dropped(model)),
  },
  {
    name: 'tunnelmq_publish_refused_total',
    type: 'counter',
    help: 'Messages of clients that were refused, by reason code of MQTT 5, such as 0x87 (not authorized). Those of clients before MQTT 5 are among them.',
    labels: ['code'],
    read: ({ counters }) =>
      Object.entries(counters.refusedPublishes).map(([code, value]) => ({
        labels: { code: `0x${Number(code).toString(16)}` },
        value,
      })),
  },
  {
    name: 'tunnelmq_messages_inflight',
    type: 'gauge',
    help: 'QoS 1 and 2 messages on their way to clients.',
    labels: [],
    read: (model) => one(model.inflightCount()),
  },
]

const sessionMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_sessions',
    type: 'gauge',
    help: 'Sessions: connected ones, and stored ones that outlive their connection. A session can be both.',
    labels: ['state'],
    read: (model) => {
      const { connected, stored } = model.sessions()
      return byKey('state', { connected, stored })
    },
  },
  {
    name: 'tunnelmq_subscriptions',
    type: 'gauge',
    help: 'Subscriptions of all sessions.',
    labels: [],
    read: (model) => one(model.subscriptionCount()),
  },
]

export const numberMetrics: readonly NumberMetric[] = [
  ...connectionMetrics,
  ...httpMetrics,
  ...messageMetrics,
  ...sessionMetrics,
  ...storeMetrics,
  ...identityMetrics,
  ...limitMetrics,
  ...tunnelMetrics,
  ...clusterMetrics,
  ...bridgeMetrics,
  ...coapMetrics,
  ...handlerMetrics,
  ...certificateMetrics,
  ...processMetrics,
]

export const latencyMetrics: readonly LatencyMetric[] = [
  {
    name: 'tunnelmq_store_commit_seconds',
    type: 'histogram',
    help: 'From a write that is waited for to the answer that it is safe.',
    labels: [],
    read: (model) => [{ labels: {}, latency: model.counters.storeCommit }],
  },
  {
    name: 'tunnelmq_handler_seconds',
    type: 'histogram',
    help: 'Calls of handlers.',
    labels: ['handler', 'method'],
    read: (model) =>
      model.counters.handlers.map(({ handler, method, latency }) => ({
        labels: { handler, method },
        latency,
      })),
  },
]

/** Measured by the server itself, between two scrapes. */
export const eventLoopMetric = {
  name: 'tunnelmq_event_loop_lag_seconds',
  type: 'gauge',
  help: 'How late the event loop was since the scrape before, by quantile; 1 is the worst.',
  labels: ['quantile'],
} as const
