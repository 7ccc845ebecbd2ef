import type { NumberMetric } from './metric-list.ts'
import type { BrokerReadModel, CoapListenerFigures } from './read-model.ts'

/** One sample for each listener. */
const each =
  (value: (figures: CoapListenerFigures) => number): NumberMetric['read'] =>
  (model: BrokerReadModel) =>
    model.coap().map((figures) => ({ labels: { listener: figures.listener }, value: value(figures) }))

/** Of listeners for CoAP; bounds are those of their `coap`. */
export const coapMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_coap_clients',
    type: 'gauge',
    help: 'Addresses, ports and credentials that are connected to the broker by CoAP. Bound: maxConnections of the listener.',
    labels: ['listener'],
    read: each(({ sessions }) => sessions),
  },
  {
    name: 'tunnelmq_coap_clients_unchecked',
    type: 'gauge',
    help: 'Those among them whose address was not checked when they came. Bound: maxUncheckedClients.',
    labels: ['listener'],
    read: each(({ uncheckedSessions }) => uncheckedSessions),
  },
  {
    name: 'tunnelmq_coap_observations',
    type: 'gauge',
    help: 'Topics and filters that are observed. Bound: maxObservationsPerClient.',
    labels: ['listener'],
    read: each(({ observations }) => observations),
  },
  {
    name: 'tunnelmq_coap_requests_active',
    type: 'gauge',
    help: 'Requests that are worked on. Bound: maxRequests.',
    labels: ['listener'],
    read: each(({ working }) => working),
  },
  {
    name: 'tunnelmq_coap_requests_waiting',
    type: 'gauge',
    help: 'Requests that wait until their address has answered a ping. Bound: maxRequests.',
    labels: ['listener'],
    read: each(({ waiting }) => waiting),
  },
  {
    name: 'tunnelmq_coap_remembered_messages',
    type: 'gauge',
    help: 'Messages that would be known again if they were repeated. Bound: maxRememberedMessages.',
    labels: ['listener'],
    read: each(({ remembered }) => remembered),
  },
  {
    name: 'tunnelmq_coap_transfers',
    type: 'gauge',
    help: 'Block-wise uploads that are not complete, and downloads. Bound: maxTransfers of each.',
    labels: ['listener'],
    read: each(({ uploads, downloads }) => uploads + downloads),
  },
  {
    name: 'tunnelmq_coap_requests_total',
    type: 'counter',
    help: 'Requests, without those that were repeated.',
    labels: ['listener'],
    read: each(({ counts }) => counts.requests),
  },
  {
    name: 'tunnelmq_coap_duplicates_total',
    type: 'counter',
    help: 'Requests that were repeated, and not done again.',
    labels: ['listener'],
    read: each(({ counts }) => counts.duplicates),
  },
  {
    name: 'tunnelmq_coap_notifications_total',
    type: 'counter',
    help: 'Notifications to observers.',
    labels: ['listener'],
    read: each(({ counts }) => counts.notifications),
  },
  {
    name: 'tunnelmq_coap_notifications_skipped_total',
    type: 'counter',
    help: 'Messages that an observer was not told, as newer ones came before it was ready.',
    labels: ['listener'],
    read: each(({ counts }) => counts.skippedNotifications),
  },
  {
    name: 'tunnelmq_coap_observers_lost_total',
    type: 'counter',
    help: 'Observations that ended because nobody answered any more.',
    labels: ['listener'],
    read: each(({ counts }) => counts.lostObservers),
  },
  {
    name: 'tunnelmq_coap_address_checks_total',
    type: 'counter',
    help: 'Addresses that had to show that they are not forged (addressCheck), by result: asked, passed.',
    labels: ['listener', 'result'],
    read: (model) =>
      model.coap().flatMap(({ listener, counts }) =>
        Object.entries(counts.addressChecks).map(([result, value]) => ({
          labels: { listener, result },
          value,
        })),
      ),
  },
  {
    name: 'tunnelmq_coap_datagrams_dropped_total',
    type: 'counter',
    help: 'Datagrams that were not worked on, by reason: malformed, rate, banned, unexpected.',
    labels: ['listener', 'reason'],
    read: (model) =>
      model
        .coap()
        .flatMap(({ listener, counts }) =>
          Object.entries(counts.dropped).map(([reason, value]) => ({ labels: { listener, reason }, value })),
        ),
  },
]
