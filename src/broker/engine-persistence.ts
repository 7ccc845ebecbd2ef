import type { Store } from '../store/contract.ts'
import type { EngineSubscription } from './engine-subscriptions.ts'
import { StorePersistence, type ClientRef, type PacketSource } from './persistence.ts'
import type { Sessions } from './sessions.ts'

/** The one "subscription" that tells Aedes that a session is present; `authorizeSubscribe` refuses it. */
const SENTINEL = [{ topic: '$session', qos: 0 }] as const
const NOTHING = [] as const

/**
 * What Aedes asks of its persistence between CONNECT and CONNACK, and at the end of a connection.
 *
 * Sessions, queues and wills are already in the store by then (sessions.ts), in fewer and atomic writes, so the
 * answers are facts from memory. What Aedes asks for beyond that is answered by {@link StorePersistence}.
 */
export class EnginePersistence extends StorePersistence {
  readonly #sessions: Sessions

  constructor(store: Store, sessions: Sessions) {
    super(store)
    this.#sessions = sessions
  }

  // Subscriptions are in subscriptions.ts: once is enough. Aedes insists on an async function.
  override async setup(): Promise<void> {}

  /**
   * Aedes derives session present from the number of stored subscriptions, which is wrong for a session without
   * any; one refused sentinel mends that. [MQTT-3.2.2-2]
   */
  override async subscriptionsByClient(client: ClientRef): Promise<readonly EngineSubscription[]> {
    return this.#sessions.connectionOf(client.id)?.sessionPresent ? SENTINEL : NOTHING
  }

  // At a clean CONNECT the session is new already, and in use: what Aedes would clean is the new one.
  override async cleanSubscriptions(): Promise<void> {}

  override async cleanIncoming(): Promise<void> {}

  // The will is stored with the session, as the handlers have rewritten it, and deleted with its publication.
  override async putWill(): Promise<void> {}

  override async delWill(): Promise<undefined> {}

  /** Queues are sent by outbox.ts. */
  override outgoingStream(): PacketSource {
    return NOTHING
  }
}
