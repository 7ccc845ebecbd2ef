import type { Cluster, PodId } from '../cluster/contract.ts'
import type { BrokerCounters } from '../counters.ts'
import type { Store, StoredSession, StoredSubscription } from '../store/contract.ts'
import type { ClientSession, Subscription } from './client-session.ts'
import type { Message } from './message.ts'
import { Router } from './router.ts'
import { ShareGroup, type GroupLimits } from './share-group.ts'

/** A subscriber inside this process. */
export interface LocalSubscription {
  readonly kind: 'local'
  readonly listener: (message: Message) => void
}

/** Another pod has connected sessions to which it matches. */
export interface PodRoute {
  readonly kind: 'pod'
  readonly pod: PodId
}

export type Route = Subscription | ShareGroup | LocalSubscription | PodRoute

export interface SubscriptionsContext {
  readonly store: Store
  readonly cluster: Cluster
  readonly counters: BrokerCounters
  readonly limits: GroupLimits
  readonly onStoreFailure: (what: string, error: unknown) => void
}

/** Who has subscribed to what: sessions, shared groups, listeners in this process, and other pods. */
export class Subscriptions {
  readonly #context: SubscriptionsContext
  readonly #router = new Router<Route>()
  readonly #groups = new Map<string, ShareGroup>()
  readonly #pods = new Map<PodId, { readonly route: PodRoute; readonly filters: Set<string> }>()
  #count = 0
  #asPublishedCount = 0

  constructor(context: SubscriptionsContext) {
    this.#context = context
  }

  /** Filters of all sessions. */
  get count(): number {
    return this.#count
  }

  /** Somebody wants RETAIN as it was published; who is connected at other pods with clean session 1 is not known. */
  get keepsRetain(): boolean {
    return this.#asPublishedCount > 0 || this.#context.cluster.isShared
  }

  get groupCount(): number {
    return this.#groups.size
  }

  match(topic: string): readonly Route[] {
    return this.#router.match(topic)
  }

  /**
   * Creates the stored queue that a shared subscription of a stored session needs; a store that is shared does it
   * itself, with the first member. Rejects when the store fails.
   */
  async prepare(subscription: StoredSubscription): Promise<void> {
    if (subscription.shareGroup === undefined || this.#context.cluster.isShared) return
    const key = groupKey(subscription)
    if (!this.#context.store.groups.has(key)) await this.#context.store.createSession('group', key)
  }

  /** Adds, or replaces the one of the same filter. */
  add(session: ClientSession, stored: StoredSubscription): void {
    const replaced = session.subscriptions.get(stored.filter)
    session.subscribed()
    this.#count++
    if (stored.retainAsPublished === true) this.#asPublishedCount++
    if (stored.shareGroup === undefined) {
      const subscription: Subscription = {
        ...stored,
        kind: 'session',
        session,
        group: undefined,
        isWanted: false,
      }
      session.subscriptions.set(stored.filter, subscription)
      this.#router.add(stored.matchFilter, subscription)
      this.#want(subscription)
      if (replaced !== undefined) this.#drop(session, replaced)
      return
    }
    const group = this.#obtainGroup(groupKey(stored), stored.matchFilter)
    const subscription: Subscription = { ...stored, kind: 'session', session, group, isWanted: false }
    session.subscriptions.set(stored.filter, subscription)
    group.members.push(subscription)
    ;(session.groups ??= new Set()).add(group)
    this.#want(subscription)
    // Not before the new one is a member: with its last member a group ends, and all that waits in it.
    if (replaced !== undefined) this.#drop(session, replaced)
    const { store, cluster } = this.#context
    const queue = store.groups.get(group.key)
    const isKept = session.stored !== undefined || cluster.isShared
    if (isKept && group.stored === undefined && queue !== undefined) group.keepIn(queue)
    group.pump()
  }

  /** True when the session had it. */
  remove(session: ClientSession, filter: string): boolean {
    const subscription = session.subscriptions.get(filter)
    if (subscription === undefined) return false
    session.subscriptions.delete(filter)
    session.unsubscribed(filter)
    this.#drop(session, subscription)
    return true
  }

  #drop(session: ClientSession, subscription: Subscription): void {
    this.#count--
    if (subscription.retainAsPublished === true) this.#asPublishedCount--
    this.#unwant(subscription)
    if (subscription.group === undefined) this.#router.remove(subscription.matchFilter, subscription)
    else this.#leave(session, subscription, subscription.group)
  }

  // --- what other pods are to send here

  /** A connection has come for the session: other pods hear of its filters. */
  connected(session: ClientSession): void {
    for (const subscription of session.subscriptions.values()) this.#want(subscription)
  }

  /** Its connection is gone. */
  disconnected(session: ClientSession): void {
    for (const subscription of session.subscriptions.values()) this.#unwant(subscription)
  }

  #want(subscription: Subscription): void {
    if (subscription.isWanted || subscription.session.connection === undefined) return
    subscription.isWanted = true
    const { cluster } = this.#context
    if (subscription.group === undefined) cluster.want(subscription.matchFilter)
    else cluster.joinGroup(subscription.group.key, subscription.matchFilter)
  }

  #unwant(subscription: Subscription): void {
    if (!subscription.isWanted) return
    subscription.isWanted = false
    const { cluster } = this.#context
    if (subscription.group === undefined) cluster.unwant(subscription.matchFilter)
    else cluster.quitGroup(subscription.group.key)
  }

  // --- groups

  #leave(session: ClientSession, subscription: Subscription, group: ShareGroup): void {
    group.members.splice(group.members.indexOf(subscription), 1)
    if (!group.members.some((member) => member.session === session)) session.groups?.delete(group)
    // A shared store ends the queue itself, when no pod has members any more.
    if (this.#context.cluster.isShared) this.#dropIfEmpty(group)
    if (group.members.length > 0 || this.#context.cluster.isShared) return
    this.#removeGroup(group)
    const queue = group.stored
    if (queue !== undefined) {
      // Nobody is left who is owed what waits.
      group.unkeep()
      this.#context.store.removeSession(queue).catch((error: unknown) => this.#groupFailed(error))
    }
  }

  #dropIfEmpty(group: ShareGroup): void {
    if (group.members.length === 0 && group.stored === undefined && group.pods.length === 0) {
      this.#removeGroup(group)
    }
  }

  #removeGroup(group: ShareGroup): void {
    if (this.#groups.get(group.key) !== group) return
    this.#groups.delete(group.key)
    this.#router.remove(group.matchFilter, group)
  }

  #groupFailed(error: unknown): void {
    this.#context.onStoreFailure('queue of a shared subscription', error)
  }

  #obtainGroup(key: string, matchFilter: string): ShareGroup {
    const existing = this.#groups.get(key)
    if (existing !== undefined) return existing
    const { store, cluster, counters, limits } = this.#context
    const group = new ShareGroup(key, matchFilter, {
      store,
      cluster,
      counters,
      limits,
      onStoreFailure: (_, error) => this.#groupFailed(error),
    })
    this.#groups.set(key, group)
    this.#router.add(matchFilter, group)
    return group
  }

  /** Stored queues of groups that no stored session belongs to any more: after a crash between two writes. */
  async removeOrphans(): Promise<void> {
    const { store } = this.#context
    for (const [key, queue] of store.groups) {
      if (this.#groups.get(key)?.stored !== queue) await store.removeSession(queue)
    }
  }

  /** The queue of a group, in a store that is shared. */
  queueAdded(queue: StoredSession): void {
    const group = this.#obtainGroup(queue.id, queue.id.slice(queue.id.indexOf('/') + 1))
    if (group.stored === queue) return
    group.keepIn(queue)
    group.pump()
  }

  /** Nobody at all was a member any more; or all was lost. */
  queueRemoved(queue: StoredSession): void {
    const group = this.#groups.get(queue.id)
    if (group === undefined || group.stored !== queue) return
    // Whoever becomes one here makes another, with the word to other pods.
    group.unkeep()
    this.#dropIfEmpty(group)
  }

  /** Of all groups, as a store that is shared has them now. */
  queuesReloaded(): void {
    const { groups } = this.#context.store
    for (const group of [...this.#groups.values()]) {
      if (group.stored !== undefined && groups.get(group.key) !== group.stored) {
        this.queueRemoved(group.stored)
      }
    }
    for (const queue of groups.values()) this.queueAdded(queue)
  }

  groupFilled(key: string): void {
    this.#groups.get(key)?.filled()
  }

  /** Something may have been missed. */
  rescanGroups(): void {
    for (const group of this.#groups.values()) group.filled()
  }

  // --- other pods

  podWants(pod: PodId, matchFilter: string, wanted: boolean): void {
    let routes = this.#pods.get(pod)
    if (routes === undefined)
      this.#pods.set(pod, (routes = { route: { kind: 'pod', pod }, filters: new Set() }))
    if (routes.filters.has(matchFilter) === wanted) return
    if (wanted) {
      routes.filters.add(matchFilter)
      this.#router.add(matchFilter, routes.route)
    } else {
      routes.filters.delete(matchFilter)
      this.#router.remove(matchFilter, routes.route)
    }
  }

  podInGroup(pod: PodId, key: string, matchFilter: string, joined: boolean): void {
    if (!joined) {
      const group = this.#groups.get(key)
      if (group !== undefined) this.#podLeft(pod, group)
      return
    }
    const { pods } = this.#obtainGroup(key, matchFilter)
    if (!pods.includes(pod)) pods.push(pod)
  }

  #podLeft(pod: PodId, group: ShareGroup): void {
    const place = group.pods.indexOf(pod)
    if (place < 0) return
    group.pods.splice(place, 1)
    this.#dropIfEmpty(group)
  }

  podGone(pod: PodId): void {
    const routes = this.#pods.get(pod)
    this.#pods.delete(pod)
    if (routes !== undefined) {
      for (const filter of routes.filters) this.#router.remove(filter, routes.route)
    }
    for (const group of [...this.#groups.values()]) this.#podLeft(pod, group)
  }

  /** For one member here, of a message that another pod has sent to the group. */
  deliverToGroup(key: string, message: Message): void {
    this.#groups.get(key)?.deliverHere(message)
  }

  // --- this process

  /** Listens in this process; returns what ends it. */
  listen(filter: string, listener: (message: Message) => void): () => void {
    const route: LocalSubscription = { kind: 'local', listener }
    const { cluster } = this.#context
    this.#router.add(filter, route)
    cluster.want(filter)
    return () => {
      if (this.#router.remove(filter, route)) cluster.unwant(filter)
    }
  }
}

function groupKey(subscription: StoredSubscription): string {
  return `${subscription.shareGroup ?? ''}/${subscription.matchFilter}`
}
