import type { Cluster, ClusterStats } from '../../../src/cluster/contract.ts'

export const clusterStats: ClusterStats = {
  pods: 2,
  logLag: 3,
  logPosition: 400,
  logGaps: 5,
  inboxGaps: 6,
  reloads: 7,
  claims: 8,
  takeovers: 9,
  lostClaims: 10,
  fencedWrites: 11,
  owned: 12,
  routed: { out: { qos0: 13, stored: 14, frame: 15 }, in: { qos0: 16, stored: 17, frame: 18 } },
  routedDropped: 19,
  waitingBytes: 0,
  garbage: 20,
  deadPods: 21,
  willsDue: 22,
  lateSettles: 23,
  fresh: 1,
  emptied: 24,
}

/** What health and metrics read of a cluster, and nothing behind it. */
export function fakeCluster(changes: Partial<Cluster> = {}): Cluster {
  const read: Partial<Cluster> = {
    pod: '0123456789abcdef',
    isShared: true,
    failure: undefined,
    pendingBytes: 0,
    pods: () => [],
    stats: () => clusterStats,
    ...changes,
  }
  return read as Cluster
}
