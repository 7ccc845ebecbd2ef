import type { BrokerCounters } from '../counters.ts'
import type { Store, StoredSubscription } from '../store/contract.ts'
import type { ClientSession, Subscription } from './client-session.ts'
import type { Message } from './message.ts'
import { Router } from './router.ts'
import { ShareGroup } from './share-group.ts'

/** A subscriber inside this process. */
export interface LocalSubscription {
  readonly kind: 'local'
  readonly listener: (message: Message) => void
}

export type Route = Subscription | ShareGroup | LocalSubscription

export interface SubscriptionsContext {
  readonly store: Store
  readonly counters: BrokerCounters
  readonly limits: { readonly queueMaxMessages: number; readonly cleanQueueMaxBytes: number }
  readonly onStoreFailure: (what: string, error: unknown) => void
}

/** Who has subscribed to what: sessions, shared groups, and listeners in this process. */
export class Subscriptions {
  readonly #context: SubscriptionsContext
  readonly #router = new Router<Route>()
  readonly #groups = new Map<string, ShareGroup>()
  #count = 0

  constructor(context: SubscriptionsContext) {
    this.#context = context
  }

  /** Filters of all sessions. */
  get count(): number {
    return this.#count
  }

  get groupCount(): number {
    return this.#groups.size
  }

  match(topic: string): readonly Route[] {
    return this.#router.match(topic)
  }

  /** Creates the stored queue that a shared subscription of a stored session needs. Rejects when the store fails. */
  async prepare(subscription: StoredSubscription): Promise<void> {
    if (subscription.shareGroup === undefined) return
    const key = groupKey(subscription)
    if (!this.#context.store.groups.has(key)) await this.#context.store.createSession('group', key)
  }

  /** Adds, or replaces the one of the same filter. */
  add(session: ClientSession, stored: StoredSubscription): void {
    const replaced = session.subscriptions.get(stored.filter)
    this.#count++
    if (stored.shareGroup === undefined) {
      const subscription: Subscription = { ...stored, kind: 'session', session, group: undefined }
      session.subscriptions.set(stored.filter, subscription)
      this.#router.add(stored.matchFilter, subscription)
      if (replaced !== undefined) this.#drop(session, replaced)
      return
    }
    const group = this.#obtainGroup(groupKey(stored), stored.matchFilter)
    const subscription: Subscription = { ...stored, kind: 'session', session, group }
    session.subscriptions.set(stored.filter, subscription)
    group.members.push(subscription)
    ;(session.groups ??= new Set()).add(group)
    // Not before the new one is a member: with its last member a group ends, and all that waits in it.
    if (replaced !== undefined) this.#drop(session, replaced)
    const queue = this.#context.store.groups.get(group.key)
    if (session.stored !== undefined && group.stored === undefined && queue !== undefined) group.keepIn(queue)
    group.pump()
  }

  /** True when the session had it. */
  remove(session: ClientSession, filter: string): boolean {
    const subscription = session.subscriptions.get(filter)
    if (subscription === undefined) return false
    session.subscriptions.delete(filter)
    session.forgetReplay(filter)
    this.#drop(session, subscription)
    return true
  }

  #drop(session: ClientSession, subscription: Subscription): void {
    this.#count--
    if (subscription.group === undefined) this.#router.remove(subscription.matchFilter, subscription)
    else this.#leave(session, subscription, subscription.group)
  }

  #leave(session: ClientSession, subscription: Subscription, group: ShareGroup): void {
    group.members.splice(group.members.indexOf(subscription), 1)
    if (!group.members.some((member) => member.session === session)) session.groups?.delete(group)
    if (group.members.length > 0) return
    this.#groups.delete(group.key)
    this.#router.remove(group.matchFilter, group)
    const queue = group.stored
    if (queue !== undefined) {
      // Nobody is left who is owed what waits.
      group.stored = undefined
      this.#context.store
        .removeSession(queue)
        .catch((error: unknown) => this.#context.onStoreFailure('queue of a shared subscription', error))
    }
  }

  #obtainGroup(key: string, matchFilter: string): ShareGroup {
    const existing = this.#groups.get(key)
    if (existing !== undefined) return existing
    const { store, counters, limits, onStoreFailure } = this.#context
    const group = new ShareGroup(key, matchFilter, {
      store,
      counters,
      limits,
      onStoreFailure: (_, error) => onStoreFailure('queue of a shared subscription', error),
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

  /** Listens in this process; returns what ends it. */
  listen(filter: string, listener: (message: Message) => void): () => void {
    const route: LocalSubscription = { kind: 'local', listener }
    this.#router.add(filter, route)
    return () => {
      this.#router.remove(filter, route)
    }
  }
}

function groupKey(subscription: StoredSubscription): string {
  return `${subscription.shareGroup ?? ''}/${subscription.matchFilter}`
}
