import type { Cluster, PodId } from '../../src/cluster/contract.ts'
import { createSingleCluster } from '../../src/cluster/single.ts'
import type { Store, StoredMessage } from '../../src/store/contract.ts'

/** A cluster in which the test plays the other pods: what is asked of it is noted down. */
export interface FakeCluster extends Cluster {
  /** Filters that other pods were told of, and not told to forget, each as often as it is wanted. */
  readonly wanted: string[]
  /** Keys of groups, likewise. */
  readonly joined: string[]
  /** `pod topic=payload`, or `pod/group topic=payload`. */
  readonly sent: string[]
  /** Subscriptions are known to be as they are everywhere; from now on. */
  becomeFresh(): void
  becomeStale(): void
  /** Whoever waits for that has waited for too long. */
  giveUp(error: Error): void
}

/** Shared, fresh, and with the claims of a broker that is alone. */
export function createFakeCluster(store: Store): FakeCluster {
  const single = createSingleCluster(store, { expiryMs: 0 })
  const wanted: string[] = []
  const joined: string[] = []
  const sent: string[] = []
  let isFresh = true
  let waiting: ((error: Error | undefined) => void)[] = []
  const answer = (error: Error | undefined): void => {
    const all = waiting
    waiting = []
    for (const done of all) done(error)
  }
  const note = (place: string, { topic, payload }: StoredMessage): void => {
    sent.push(`${place} ${topic}=${payload.toString()}`)
  }
  return {
    ...single,
    isShared: true,
    get isFresh() {
      return isFresh
    },
    wanted,
    joined,
    sent,
    becomeFresh() {
      isFresh = true
      answer(undefined)
    },
    becomeStale() {
      isFresh = false
    },
    giveUp: answer,
    onceFresh: (done) => void waiting.push(done),
    want: (filter) => void wanted.push(filter),
    unwant: (filter) => void wanted.splice(wanted.indexOf(filter), 1),
    joinGroup: (key) => void joined.push(key),
    quitGroup: (key) => void joined.splice(joined.indexOf(key), 1),
    send(pods: readonly PodId[], message) {
      for (const pod of pods) note(pod, message)
    },
    sendToGroup: (pod, key, message) => note(`${pod}/${key}`, message),
  }
}
