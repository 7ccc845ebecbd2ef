import type { Sessions } from './sessions.ts'

/** The one "subscription" that tells Aedes that a session is present; `authorizeSubscribe` refuses it. */
const SENTINEL = [{ topic: '$session', qos: 0 }] as const
const NOTHING = [] as const

/**
 * What Aedes asks of its persistence between CONNECT and CONNACK, and at the end of a connection.
 *
 * Sessions, queues and wills are already in the store by then (sessions.ts), in fewer and atomic writes, so the
 * answers are facts from memory. Aedes derives session present from the number of stored subscriptions, which
 * is wrong for a session without any; one refused sentinel mends that [MQTT-3.2.2-2].
 */
export class EnginePersistence {
  readonly #sessions: Sessions

  constructor(sessions: Sessions) {
    this.#sessions = sessions
  }

  // Aedes insists on an async function.
  async setup(): Promise<void> {}

  async subscriptionsByClient(client: { id: string }): Promise<readonly { topic: string; qos: number }[]> {
    return this.#sessions.get(client.id)?.connection?.sessionPresent ? SENTINEL : NOTHING
  }

  async cleanSubscriptions(): Promise<void> {}

  async cleanIncoming(): Promise<void> {}

  async putWill(): Promise<void> {}

  async delWill(): Promise<void> {}

  /** Queues are sent by outbox.ts. */
  outgoingStream(): readonly never[] {
    return NOTHING
  }
}
