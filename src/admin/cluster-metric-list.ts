import type { NumberMetric } from './metric-list.ts'
import type { BrokerReadModel, ClusterFigures } from './read-model.ts'
import { one, type Sample } from './samples.ts'

/** Of a broker that is alone the metrics are there, and say nothing. */
const of =
  (read: (figures: ClusterFigures) => readonly Sample[]): NumberMetric['read'] =>
  (model: BrokerReadModel) => {
    const figures = model.cluster()
    return figures === undefined ? [] : read(figures)
  }

function routed({ stats }: ClusterFigures): readonly Sample[] {
  return Object.entries(stats.routed).flatMap(([direction, kinds]) =>
    Object.entries(kinds).map(([kind, value]) => ({ labels: { direction, kind }, value })),
  )
}

const membership: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_cluster_pods',
    type: 'gauge',
    help: 'Pods that live, as this one knows; itself included.',
    labels: [],
    read: of(({ stats }) => one(stats.pods)),
  },
  {
    name: 'tunnelmq_cluster_silent_seconds',
    type: 'gauge',
    help: 'Since the last beat of the pod that has been silent for longest. At cluster.leaseMs it is declared dead.',
    labels: [],
    read: of(({ silentMs }) => one(silentMs / 1_000)),
  },
  {
    name: 'tunnelmq_cluster_dead_pods_total',
    type: 'counter',
    help: 'Pods that were declared dead, by whichever pod, as this one has seen.',
    labels: [],
    read: of(({ stats }) => one(stats.deadPods)),
  },
]

const replica: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_cluster_log_position',
    type: 'gauge',
    help: 'Number of the entry of the change log up to which it is applied here. The same at all pods when nothing changes.',
    labels: [],
    read: of(({ stats }) => one(stats.logPosition)),
  },
  {
    name: 'tunnelmq_cluster_log_lag_entries',
    type: 'gauge',
    help: 'Entries of the change log that are not applied here yet, as far as is known.',
    labels: [],
    read: of(({ stats }) => one(stats.logLag)),
  },
  {
    name: 'tunnelmq_cluster_fresh',
    type: 'gauge',
    help: '1 while what is known of subscriptions is young enough; at 0 messages at QoS 1 and 2 are held.',
    labels: [],
    read: of(({ stats }) => one(stats.fresh)),
  },
  {
    name: 'tunnelmq_cluster_log_gaps_total',
    type: 'counter',
    help: 'Times that entries of the change log were gone before they were read: everything is loaded again.',
    labels: [],
    read: of(({ stats }) => one(stats.logGaps)),
  },
  {
    name: 'tunnelmq_cluster_inbox_gaps_total',
    type: 'counter',
    help: 'Times that the inbox in Redis was full (cluster.inboxMaxBytes): all queues are read again.',
    labels: [],
    read: of(({ stats }) => one(stats.inboxGaps)),
  },
  {
    name: 'tunnelmq_cluster_reloads_total',
    type: 'counter',
    help: 'Times that everything was loaded from Redis again: it was away, or there was a gap.',
    labels: [],
    read: of(({ stats }) => one(stats.reloads)),
  },
  {
    name: 'tunnelmq_cluster_emptied_total',
    type: 'counter',
    help: 'Times that Redis came back with other data, or none. Stored sessions and messages were lost.',
    labels: [],
    read: of(({ stats }) => one(stats.emptied)),
  },
  {
    name: 'tunnelmq_cluster_late_settles_total',
    type: 'counter',
    help: 'SUBACKs that were given after the time of cluster.freshMs, and not because every pod had answered.',
    labels: [],
    read: of(({ stats }) => one(stats.lateSettles)),
  },
]

const ownership: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_cluster_owned_clients',
    type: 'gauge',
    help: 'Client ids that this pod owns: those of its connections.',
    labels: [],
    read: of(({ stats }) => one(stats.owned)),
  },
  {
    name: 'tunnelmq_cluster_claims_total',
    type: 'counter',
    help: 'Client ids that were claimed, one for each CONNECT.',
    labels: [],
    read: of(({ stats }) => one(stats.claims)),
  },
  {
    name: 'tunnelmq_cluster_takeovers_total',
    type: 'counter',
    help: 'Claims of a client id that was connected to another pod.',
    labels: [],
    read: of(({ stats }) => one(stats.takeovers)),
  },
  {
    name: 'tunnelmq_cluster_lost_claims_total',
    type: 'counter',
    help: 'Connections that were closed here because another pod has their client id now.',
    labels: [],
    read: of(({ stats }) => one(stats.lostClaims)),
  },
  {
    name: 'tunnelmq_cluster_fenced_writes_total',
    type: 'counter',
    help: 'Writes of a session that Redis refused because its claim was lost.',
    labels: [],
    read: of(({ stats }) => one(stats.fencedWrites)),
  },
  {
    name: 'tunnelmq_cluster_wills_due_total',
    type: 'counter',
    help: 'Wills of clients that did not come back, which this pod was told to publish.',
    labels: [],
    read: of(({ stats }) => one(stats.willsDue)),
  },
]

const routing: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_cluster_routed_total',
    type: 'counter',
    help: 'Messages to (out) and from (in) other pods: qos0 by pub/sub, stored (QoS 1 and 2) by inbox, frame of tunnels.',
    labels: ['direction', 'kind'],
    read: of(routed),
  },
  {
    name: 'tunnelmq_cluster_dropped_total',
    type: 'counter',
    help: 'QoS 0 messages and frames that were not sent to other pods, or not taken from them, because too much waited (cluster.crossingMaxBytes).',
    labels: [],
    read: of(({ stats }) => one(stats.routedDropped)),
  },
  {
    name: 'tunnelmq_cluster_pending_bytes',
    type: 'gauge',
    help: 'QoS 0 and tunnel bytes on their way to other pods that Redis has not taken.',
    labels: [],
    read: of(({ pendingBytes }) => one(pendingBytes)),
  },
  {
    name: 'tunnelmq_cluster_garbage_total',
    type: 'counter',
    help: 'What came on channels and streams of ours, and could not be read. Somebody else writes there, or it is our bug.',
    labels: [],
    read: of(({ stats }) => one(stats.garbage)),
  },
]

export const clusterMetrics: readonly NumberMetric[] = [...membership, ...replica, ...ownership, ...routing]
