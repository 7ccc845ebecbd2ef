import type { ClusterConfig } from '../config/cluster-schema.ts'
import type { Log } from '../log.ts'
import type { RedisStore } from '../store/redis/contract.ts'
import { createAnnouncer, type Announcer } from './announcer.ts'
import { createApplied } from './applied.ts'
import type { Cluster, ClusterEvents, ClusterStats } from './contract.ts'
import { createCrossing } from './crossing.ts'
import { createFreshness } from './freshness.ts'
import { createInbox } from './inbox.ts'
import { createInterest } from './interest.ts'
import { createOtherPods } from './other-pods.ts'
import { createPeerInterests } from './peer-interests.ts'
import { createQuestions } from './questions.ts'
import { decodePairs, decodeTexts } from './reply-texts.ts'
import { encodeSeat, seatKeyOf } from './seat-codec.ts'
import { createSettling } from './settling.ts'

export interface RoutingOptions {
  readonly store: Pick<RedisStore, 'link' | 'sessions' | 'groups'>
  readonly config: ClusterConfig
  /** `store.redis.holdMs`. */
  readonly holdMs: number
  readonly log: Log
}

/** What there is to know of other pods for messages and tunnels, and the ways to them: a part of Cluster. */
export interface Routing extends Pick<
  Cluster,
  | 'want'
  | 'unwant'
  | 'joinGroup'
  | 'quitGroup'
  | 'settled'
  | 'isFresh'
  | 'onceFresh'
  | 'send'
  | 'sendToGroup'
  | 'announceSeat'
  | 'withdrawSeat'
  | 'sendFrame'
  | 'pendingBytes'
  | 'onceDrained'
  | 'ask'
> {
  /** Tells, within this call, what is known of other pods; from then on what changes. Before `link.start`. */
  start(events: ClusterEvents): void
  /** What is gathered is sent; whoever waits is told that it failed. */
  leave(): void
  /** `routed.out.stored` is 0: the store writes those. `garbage` is what the follower has not counted. */
  stats(): Pick<
    ClusterStats,
    'routed' | 'routedDropped' | 'waitingBytes' | 'lateSettles' | 'fresh' | 'garbage'
  >
}

/** Before `store.open`, as it loads with the link; and before whoever tells the broker that a pod is gone. */
export function createRouting({ store, config, holdMs, log }: RoutingOptions): Routing {
  const { link } = store
  let garbageCount = 0
  const garbage = (): void => {
    garbageCount++
  }

  const others = createOtherPods(link)
  const { wants, groups, seats } = createAnnouncers(store)
  const interest = createInterest({ wants, groups })
  const freshness = createFreshness({ follower: link.follower, freshMs: config.freshMs, holdMs })
  const peers = createPeerInterests({ link, others, garbage })
  const applied = createApplied({
    link,
    beatMs: config.beatMs,
    others,
    onHint: () => settling.check(),
    garbage,
  })
  const settling = createSettling({
    link,
    freshMs: config.freshMs,
    holdMs,
    others,
    appliedBy: (pod) => applied.by(pod),
    tell() {
      wants.flush()
      groups.flush()
    },
    untold: () => wants.failure ?? groups.failure,
  })
  link.follower.onProgress(() => settling.check())
  const crossing = createCrossing({
    link,
    others,
    maxWaitingBytes: config.crossingMaxBytes,
    log,
    garbage,
  })
  const inbox = createInbox({ store, garbage })
  const questions = createQuestions({ link, others, log, garbage })

  return {
    start(events) {
      peers.start(events)
      crossing.start(events)
      inbox.start(events)
      questions.start(events)
      applied.start()
    },
    leave() {
      questions.close()
      settling.close()
      freshness.close()
      interest.close()
      applied.close()
      crossing.close()
      for (const announcer of [wants, groups, seats]) announcer.close()
    },

    want: (matchFilter) => interest.want(matchFilter),
    unwant: (matchFilter) => interest.unwant(matchFilter),
    joinGroup: (key, matchFilter) => interest.joinGroup(key, matchFilter),
    quitGroup: (key) => interest.quitGroup(key),
    settled: () => settling.settled(),
    get isFresh() {
      return freshness.isFresh
    },
    onceFresh: (done) => freshness.onceFresh(done),

    send: (pods, message) => crossing.send(pods, message),
    sendToGroup: (pod, key, message) => crossing.sendToGroup(pod, key, message),
    sendFrame: (pod, mountpoint, topic, frame) => crossing.sendFrame(pod, mountpoint, topic, frame),
    get pendingBytes() {
      return crossing.pendingBytes
    },
    onceDrained: (listener) => crossing.onceDrained(listener),
    ask: (pod, question, timeoutMs) => questions.ask(pod, question, timeoutMs),

    announceSeat: (seat) => seats.set(seatKeyOf(seat), encodeSeat(seat)),
    // A connection that has been replaced in its seat takes nothing with it when it ends.
    withdrawSeat: (seat, reason) => seats.removeIf(seatKeyOf(seat), encodeSeat(seat), reason),

    stats() {
      const { counts } = crossing
      return {
        routed: { out: { ...counts.out, stored: 0 }, in: { ...counts.in, stored: inbox.count } },
        routedDropped: counts.dropped,
        waitingBytes: crossing.waitingBytes,
        lateSettles: settling.lateCount,
        fresh: freshness.isFresh ? 1 : 0,
        garbage: garbageCount,
      }
    },
  }
}

interface Announcers {
  readonly wants: Announcer
  readonly groups: Announcer
  readonly seats: Announcer
}

/** What this pod tells, compared with Redis at each load: a new name, or another Redis, has nothing of it. */
function createAnnouncers({ link }: RoutingOptions['store']): Announcers {
  const { writer } = link
  const flag = (value: string | undefined): number => (value === undefined ? 0 : 1)
  const wants = createAnnouncer({
    writer,
    op: 'want',
    encode: ({ name, value }) => [flag(value), name],
  })
  const groups = createAnnouncer({
    writer,
    op: 'group',
    encode: ({ name, value }) => [flag(value), name, value ?? ''],
  })
  const seats = createAnnouncer({
    writer,
    op: 'seat',
    encode: ({ name, value, reason }) => [name, value ?? '', reason],
  })
  link.onLoad(async () => {
    const [ofWants = null, ofGroups = null, ofSeats = null] = await link.pipeline([
      ['SMEMBERS', link.key(`wants:${link.pod}`)],
      ['HGETALL', link.key(`groups:${link.pod}`)],
      ['HGETALL', link.key(`seats:${link.pod}`)],
    ])
    wants.reconcile(new Map(decodeTexts(ofWants).map((matchFilter) => [matchFilter, '1'])))
    groups.reconcile(decodePairs(ofGroups))
    seats.reconcile(decodePairs(ofSeats))
  })
  return { wants, groups, seats }
}
