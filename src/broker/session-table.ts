import type { DisconnectReason } from '../hooks/types.ts'
import type { Store, StoredSession, StoredSubscription } from '../store/contract.ts'
import { ClientSession } from './client-session.ts'
import type { OutboxContext } from './outbox.ts'
import type { Subscriptions } from './subscriptions.ts'

/**
 * Sessions by client id, with their subscriptions: of all pods those that are stored, as the store says; of this one
 * the others as well.
 */
export class SessionTable {
  readonly #store: Store
  readonly #subscriptions: Subscriptions
  readonly #context: OutboxContext
  readonly #byId = new Map<string, ClientSession>()

  constructor(subscriptions: Subscriptions, context: OutboxContext) {
    this.#store = context.store
    this.#subscriptions = subscriptions
    this.#context = context
  }

  all(): IterableIterator<ClientSession> {
    return this.#byId.values()
  }

  get(id: string): ClientSession | undefined {
    return this.#byId.get(id)
  }

  /** One that lasts as long as its connection. */
  add(session: ClientSession): void {
    this.#byId.set(session.id, session)
  }

  /** A session of the store, with its subscriptions; nothing happens if it is known. */
  adopt(stored: StoredSession): ClientSession {
    const known = this.#byId.get(stored.id)
    if (known?.stored === stored) return known
    if (known?.stored !== undefined) this.forget(known, BEGUN_ANEW)
    const session = new ClientSession(stored.id, stored, this.#context)
    this.#byId.set(stored.id, session)
    for (const subscription of stored.subscriptions.values()) this.#subscriptions.add(session, subscription)
    return session
  }

  /** It is not in the store any more: its client has come to another pod, and begun anew. */
  drop(stored: StoredSession): void {
    const session = this.#byId.get(stored.id)
    if (session?.stored === stored) this.forget(session, BEGUN_ANEW)
  }

  /** The one of this id, if it is not in the store any more. */
  dropIfRemoved(id: string): void {
    const known = this.#byId.get(id)
    if (known?.stored !== undefined && !this.isStored(known)) this.forget(known)
  }

  /** Not while it is being removed. */
  isStored({ id, stored }: ClientSession): boolean {
    return stored !== undefined && this.#store.sessions.get(id) === stored
  }

  /** Subscriptions of a stored session are what the store says. */
  takeOver(stored: StoredSession, filters: Iterable<string>): void {
    const session = this.#byId.get(stored.id)
    if (session === undefined || session.stored !== stored) return
    for (const filter of filters) {
      const subscription = stored.subscriptions.get(filter)
      const known = session.subscriptions.get(filter)
      if (subscription === undefined) this.#subscriptions.remove(session, filter)
      else if (known === undefined || !isSame(known, subscription)) {
        this.#subscriptions.add(session, subscription)
      }
    }
  }

  /** The store has loaded everything again. */
  reloaded(): void {
    for (const session of [...this.#byId.values()]) {
      if (session.stored !== undefined && !this.isStored(session)) this.forget(session)
    }
    for (const stored of this.#store.sessions.values()) {
      const session = this.adopt(stored)
      this.takeOver(stored, new Set([...session.subscriptions.keys(), ...stored.subscriptions.keys()]))
    }
  }

  /** Takes it out of everything; its connection, if it has one, has no session any more. */
  forget(session: ClientSession, reason = REMOVED): void {
    if (this.#byId.get(session.id) === session) this.#byId.delete(session.id)
    session.connection?.close(reason)
    for (const filter of [...session.subscriptions.keys()]) this.#subscriptions.remove(session, filter)
  }
}

const REMOVED: DisconnectReason = { kind: 'kicked', detail: 'its session was removed' }
const BEGUN_ANEW: DisconnectReason = { kind: 'taken-over', detail: 'at another pod' }

function isSame(a: StoredSubscription, b: StoredSubscription): boolean {
  return (
    a.matchFilter === b.matchFilter &&
    a.shareGroup === b.shareGroup &&
    a.qos === b.qos &&
    a.noLocal === b.noLocal &&
    a.retainAsPublished === b.retainAsPublished &&
    a.retainHandling === b.retainHandling &&
    a.subscriptionIdentifier === b.subscriptionIdentifier
  )
}
