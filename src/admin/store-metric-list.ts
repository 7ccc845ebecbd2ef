import type { NumberMetric } from './metric-list.ts'
import { one } from './samples.ts'

export const storeMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_queued_messages',
    type: 'gauge',
    help: 'Messages that wait for stored sessions or are in flight to them.',
    labels: [],
    read: (model) => one(model.storeStats().queuedMessages),
  },
  {
    name: 'tunnelmq_queued_bytes',
    type: 'gauge',
    help: 'Payload bytes of the queued messages.',
    labels: [],
    read: (model) => one(model.storeStats().queuedBytes),
  },
  {
    name: 'tunnelmq_retained_messages',
    type: 'gauge',
    help: 'Retained messages.',
    labels: [],
    read: (model) => one(model.storeStats().retainedMessages),
  },
  {
    name: 'tunnelmq_retained_bytes',
    type: 'gauge',
    help: 'Payload bytes of the retained messages.',
    labels: [],
    read: (model) => one(model.storeStats().retainedBytes),
  },
  {
    name: 'tunnelmq_store_up',
    type: 'gauge',
    help: '1 while the store works.',
    labels: [],
    read: (model) => one(model.storeStats().failure === '' ? 1 : 0),
  },
  {
    name: 'tunnelmq_store_commits_total',
    type: 'counter',
    help: 'Batches that the store has written; one holds many messages under load.',
    labels: [],
    read: (model) => one(model.storeStats().commits),
  },
  {
    name: 'tunnelmq_store_expired_sessions_total',
    type: 'counter',
    help: 'Stored sessions that this pod has ended because their clients stayed away (Redis only; others end theirs).',
    labels: [],
    read: (model) => one(model.storeStats().expiredSessions),
  },
  {
    name: 'tunnelmq_store_corrupt_values_total',
    type: 'counter',
    help: 'Stored values that could not be read and were set aside. Anything but 0 is a damaged disk or our bug.',
    labels: [],
    read: (model) => one(model.storeStats().corruptValues),
  },
  {
    name: 'tunnelmq_store_pending_writes',
    type: 'gauge',
    help: 'Writes that wait for their commit.',
    labels: [],
    read: (model) => one(model.storeStats().pendingWrites),
  },
  {
    name: 'tunnelmq_store_pending_bytes',
    type: 'gauge',
    help: 'Bytes of the writes that wait for their commit.',
    labels: [],
    read: (model) => one(model.storeStats().pendingBytes),
  },
]

/** How near the broker is to what it was told to stop at. */
export const limitMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_max_connections',
    type: 'gauge',
    help: 'limits.maxConnections: at it, connections are refused.',
    labels: [],
    read: (model) => one(model.limits.maxConnections),
  },
  {
    name: 'tunnelmq_retained_max_messages',
    type: 'gauge',
    help: 'retained.maxMessages: at it, new topics are not retained.',
    labels: [],
    read: (model) => one(model.limits.retainedMaxMessages),
  },
  {
    name: 'tunnelmq_retained_max_bytes',
    type: 'gauge',
    help: 'retained.maxBytes: at it, new topics are not retained.',
    labels: [],
    read: (model) => one(model.limits.retainedMaxBytes),
  },
  {
    name: 'tunnelmq_fullest_queue_ratio',
    type: 'gauge',
    help: 'How full the fullest stored queue is; at 1 (session.queueMaxMessages or queueMaxBytes) messages are dropped for it.',
    labels: [],
    read: (model) => one(model.fullestQueueRatio()),
  },
  {
    name: 'tunnelmq_certificate_end_timestamp_seconds',
    type: 'gauge',
    help: 'Unix time at which the certificate ends that clients of a TLS listener are shown now.',
    labels: ['listener'],
    read: (model) =>
      model
        .certificates()
        .map(({ listener, endsAtMs }) => ({ labels: { listener }, value: endsAtMs / 1_000 })),
  },
]
