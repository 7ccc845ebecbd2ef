import type { StoredSubscription } from '../store/contract.ts'
import type { Message } from './message.ts'
import { encodeIdentifiers } from './publish-wire.ts'
import { Router } from './router.ts'

/** What the subscriptions of one session that match a message make of it (MQTT 5, 3.8.2.1.2 and 3.8.3.1). */
export interface MatchedOptions {
  /** Subscription identifiers, encoded. */
  readonly identifiers: Buffer
  /** RETAIN stays as it was published. */
  readonly retainAsPublished: boolean
}

/** Topics repeat; of so many it is known what matches them. */
const MAX_KNOWN_TOPICS = 100

const NOTHING: MatchedOptions = { identifiers: Buffer.alloc(0), retainAsPublished: false }

/**
 * Found when a message is delivered, not when it is queued: what holds then is what is said. Sessions whose subscriptions
 * have no options pay for one test.
 */
export class OptionsOfSubscriptions {
  readonly #sessionId: string
  readonly #subscriptions: ReadonlyMap<string, StoredSubscription>
  /** Undefined: to be looked at again. */
  #areNeeded: boolean | undefined
  #known: Map<string, MatchedOptions> | undefined
  /** In the order in which they were made; made when it is needed. */
  #router: Router<readonly [place: number, StoredSubscription]> | undefined

  constructor(sessionId: string, subscriptions: ReadonlyMap<string, StoredSubscription>) {
    this.#sessionId = sessionId
    this.#subscriptions = subscriptions
  }

  /** Subscriptions were added or removed. */
  changed(): void {
    this.#areNeeded = undefined
    this.#known = undefined
    this.#router = undefined
  }

  /** `via`: the shared subscription that the message is of. */
  of(message: Message, via?: StoredSubscription): MatchedOptions {
    if (via !== undefined) return optionsOf([via])
    this.#areNeeded ??= [...this.#subscriptions.values()].some(hasOptions)
    // A retained message is for one new subscription, and carries what is said of that one.
    if (!this.#areNeeded || message.retain) return NOTHING
    const topic = message.subscribedTopic
    const isOwn = message.publisher === this.#sessionId
    if (isOwn) return this.#find(topic, isOwn)
    if (this.#known === undefined || this.#known.size >= MAX_KNOWN_TOPICS) this.#known = new Map()
    let known = this.#known.get(topic)
    if (known === undefined) this.#known.set(topic, (known = this.#find(topic, isOwn)))
    return known
  }

  #find(topic: string, isOwn: boolean): MatchedOptions {
    this.#router ??= this.#createRouter()
    const matching = this.#router
      .match(topic)
      .filter(([, { noLocal }]) => !(isOwn && noLocal === true))
      .sort(([one], [other]) => one - other)
    return optionsOf(matching.map(([, subscription]) => subscription))
  }

  /** There may be a thousand subscriptions, and more topics than are known here. */
  #createRouter(): Router<readonly [number, StoredSubscription]> {
    const router = new Router<readonly [number, StoredSubscription]>(0)
    for (const [place, subscription] of [...this.#subscriptions.values()].entries()) {
      if (subscription.shareGroup === undefined) router.add(subscription.matchFilter, [place, subscription])
    }
    return router
  }
}

function hasOptions({ subscriptionIdentifier, retainAsPublished }: StoredSubscription): boolean {
  return subscriptionIdentifier !== undefined || retainAsPublished === true
}

function optionsOf(matching: readonly StoredSubscription[]): MatchedOptions {
  if (!matching.some(hasOptions)) return NOTHING
  const identifiers = matching.flatMap(({ subscriptionIdentifier: one }) => (one === undefined ? [] : [one]))
  return {
    identifiers: encodeIdentifiers(identifiers),
    retainAsPublished: matching.some(({ retainAsPublished }) => retainAsPublished === true),
  }
}
