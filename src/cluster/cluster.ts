import type { Config } from '../config/schema.ts'
import type { Log } from '../log.ts'
import type { RedisStore } from '../store/redis/contract.ts'
import { BanSharing } from './bans.ts'
import type { Cluster, ClusterEvents, ClusterStats } from './contract.ts'
import { DueWills } from './due-wills.ts'
import { Membership } from './membership.ts'
import { Ownership } from './ownership.ts'
import { PodDeath } from './pod-death.ts'
import { createRouting, type Routing } from './routing.ts'
import { submitted } from './submitted.ts'

/** How often it is looked for what no message tells of: wills that are due, burials left half done. */
const TICK_MS = 1_000
/** Groups of this pod that one run of a script lets go of. */
const GROUPS_PORTION = 500

export interface ClusterOptions {
  readonly store: RedisStore
  readonly config: Pick<Config, 'cluster' | 'limits' | 'session' | 'store'>
  readonly log: Log
}

/** Several brokers on one Redis: docs/decisions/0009-pods.md. Made before the store is opened. */
export function createCluster({ store, config, log }: ClusterOptions): Cluster {
  const { link } = store
  const { leaseMs, takeoverMs } = config.cluster
  const sessionExpiryMs = config.session.expiryMs
  const { holdMs } = config.store.redis
  // First: what a pod wanted goes before the word that the pod is gone.
  const routing = createRouting({ store, config: config.cluster, holdMs, log })
  const wills = new DueWills({ link, log })
  const onWillsDue = (): void => wills.tick()
  const ownership = new Ownership({ store, takeoverMs, sessionExpiryMs, onWillsDue, log })
  const death = new PodDeath({ link, leaseMs, sessionExpiryMs, log, onWillsDue })
  const membership = new Membership({
    link,
    leaseMs,
    log,
    onSilent: (pod) => death.suspect(pod),
    onGone: (pod) => ownership.podGone(pod),
  })
  const bans = new BanSharing({ link, limits: config.limits, log })
  let events: ClusterEvents | undefined
  let timer: NodeJS.Timeout | undefined

  link.onEmptied(() => {
    log.error('Redis has lost everything: sessions, queues and retained messages are gone')
    events?.emptied()
  })
  link.onExpelled(() => {
    log.error({ pod: link.pod }, 'declared dead by another pod: all connections are closed')
    ownership.expelled()
    events?.expelled()
  })
  link.onReloaded(() => void ownership.reclaim())

  const tick = (): void => {
    ownership.tick()
    bans.tick()
    wills.tick()
    void death.tick()
  }

  return {
    get pod() {
      return link.pod
    },
    isShared: true,
    get failure() {
      if (events === undefined) return 'not started'
      if (ownership.isReclaiming) return 'sessions are being claimed again'
      return routing.isFresh ? undefined : 'not heard from Redis for too long'
    },
    start(given, figures) {
      events = given
      membership.start(given, figures)
      routing.start(given)
      bans.start((address, untilMs) => given.banned(address, untilMs))
      wills.start((will, claim) => given.willDue(will, claim))
      link.start()
      timer = setInterval(tick, TICK_MS)
      return Promise.resolve()
    },
    async leave() {
      clearInterval(timer)
      wills.stop()
      routing.leave()
      try {
        let more: unknown = 1
        while (more === 1)
          more = await submitted(link.writer, 'leaving', [GROUPS_PORTION], { patience: 'now', frees: true })
      } catch (error) {
        log.warn({ err: error }, 'left without a word to other pods')
      }
    },
    claim: (request) => ownership.claim(request),
    async elsewhere(sessionIds) {
      if (store.failure !== undefined) return new Map()
      // For people who look: an answer without it is better than none.
      return ownership.elsewhere(sessionIds).catch(() => new Map<string, string>())
    },
    async kick(sessionId) {
      return (await submitted(link.writer, 'kick', [sessionId], { patience: 'now' })) === 1
    },
    want: (matchFilter) => routing.want(matchFilter),
    unwant: (matchFilter) => routing.unwant(matchFilter),
    joinGroup: (key, matchFilter) => routing.joinGroup(key, matchFilter),
    quitGroup: (key) => routing.quitGroup(key),
    settled: () => routing.settled(),
    get isFresh() {
      return routing.isFresh
    },
    onceFresh: (done) => routing.onceFresh(done),
    send: (pods, message) => routing.send(pods, message),
    sendToGroup: (pod, key, message) => routing.sendToGroup(pod, key, message),
    announceSeat: (seat) => routing.announceSeat(seat),
    withdrawSeat: (seat, reason) => routing.withdrawSeat(seat, reason),
    sendFrame: (pod, mountpoint, topic, frame) => routing.sendFrame(pod, mountpoint, topic, frame),
    get pendingBytes() {
      return routing.pendingBytes
    },
    onceDrained: (listener) => routing.onceDrained(listener),
    ban: (address, untilMs) => bans.ban(address, untilMs),
    unban: (address) => bans.unban(address),
    ask: (pod, question, timeoutMs) => routing.ask(pod, question, timeoutMs),
    credentialsRefused: (address) => bans.credentialsRefused(address),
    pods: () => membership.pods(),
    stats: () => clusterStats({ store, routing, ownership, membership, wills }),
  }
}

function clusterStats(parts: {
  store: RedisStore
  routing: Routing
  ownership: Ownership
  membership: Membership
  wills: DueWills
}): ClusterStats {
  const { store, routing, ownership, membership, wills } = parts
  const { follower, reloads, emptied } = store.link
  const members = membership.stats()
  const { willsDue, garbage } = wills.stats()
  const routed = routing.stats()
  return {
    pods: members.pods,
    logLag: Math.max(0, follower.head - follower.position),
    logPosition: follower.position,
    logGaps: follower.logGaps,
    inboxGaps: follower.inboxGaps,
    reloads,
    ...ownership.stats(),
    fencedWrites: store.fencedWrites,
    owned: store.claimedCount,
    routed: routed.routed,
    routedDropped: routed.routedDropped,
    waitingBytes: routed.waitingBytes,
    garbage: follower.garbage + members.garbage + garbage + routed.garbage,
    deadPods: members.deadPods,
    willsDue,
    lateSettles: routed.lateSettles,
    fresh: routed.fresh,
    emptied,
  }
}
