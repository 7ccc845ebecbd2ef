import type { QoS } from '../hooks/types.ts'
import type { StoredSubscription } from '../store/contract.ts'
import { Router } from './router.ts'
import { hasWildcard } from './topics.ts'

/** A subscription as Aedes has it; rh, rap and nl are those of MQTT 5, 3.8.3.1. */
export interface EngineSubscription {
  readonly topic: string
  readonly qos: QoS
  readonly rh?: 0 | 1 | 2 | undefined
  readonly rap?: boolean | undefined
  readonly nl?: boolean | undefined
  readonly subscriptionIdentifier?: number
}

export type TopicSubscription = EngineSubscription & { readonly clientId: string }

export function toStoredSubscription(subscription: EngineSubscription): StoredSubscription {
  const { topic, qos, rh, rap, nl, subscriptionIdentifier } = subscription
  return {
    filter: topic,
    matchFilter: topic,
    qos,
    ...(rh !== undefined && { retainHandling: rh }),
    ...(rap !== undefined && { retainAsPublished: rap }),
    ...(nl !== undefined && { noLocal: nl }),
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
  }
}

export function toEngineSubscription(stored: StoredSubscription): EngineSubscription {
  const { filter, qos, retainHandling, retainAsPublished, noLocal, subscriptionIdentifier } = stored
  return {
    topic: filter,
    qos,
    rh: retainHandling,
    rap: retainAsPublished,
    nl: noLocal,
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
  }
}

/** Who has subscribed to a topic above QoS 0: for whom Aedes queues. */
export class TopicSubscriptions {
  readonly #router = new Router<TopicSubscription>()
  readonly #byClient = new Map<string, Map<string, TopicSubscription>>()

  get size(): number {
    return this.#router.size
  }

  /** Filters with wildcards come first, as Aedes' suite has it. */
  match(topic: string): TopicSubscription[] {
    const rank = (subscription: TopicSubscription): number => (hasWildcard(subscription.topic) ? 0 : 1)
    return [...this.#router.match(topic)].sort((a, b) => rank(a) - rank(b))
  }

  /** Adds, or replaces the one of the same filter. */
  put(clientId: string, { topic, qos, rh, rap, nl }: EngineSubscription): void {
    this.remove(clientId, topic)
    if (qos === 0) return
    const subscription = { clientId, topic, qos, rh, rap, nl }
    const filters = this.#byClient.get(clientId)
    if (filters === undefined) this.#byClient.set(clientId, new Map([[topic, subscription]]))
    else filters.set(topic, subscription)
    this.#router.add(topic, subscription)
  }

  remove(clientId: string, topic: string): void {
    const filters = this.#byClient.get(clientId)
    const subscription = filters?.get(topic)
    if (filters === undefined || subscription === undefined) return
    this.#router.remove(topic, subscription)
    filters.delete(topic)
    if (filters.size === 0) this.#byClient.delete(clientId)
  }
}
