import type { Will } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store, StoredMessage, StoredWill } from '../store/contract.ts'
import type { Dispatcher } from './dispatch.ts'
import { keptProperties, Message } from './message.ts'
import type { Sessions } from './sessions.ts'

/** Publishes wills: in one write with their removal, so that each is published once. */
export class Wills {
  readonly #store: Store
  readonly #dispatcher: Dispatcher
  readonly #sessions: Sessions
  readonly #log: Log
  #grace: NodeJS.Timeout | undefined

  constructor(store: Store, dispatcher: Dispatcher, sessions: Sessions, log: Log) {
    this.#store = store
    this.#dispatcher = dispatcher
    this.#sessions = sessions
    this.#log = log
  }

  /** Resolves when the will is safe, or given up because the store has failed: then it stays for the next start. */
  publish(clientId: string, will: Will, willClaim?: number): Promise<void> {
    const { topic, payload, qos, retain } = will
    const properties = keptProperties(retain && this.#dispatcher.keepsRetain)
    const message = new Message(topic, payload, qos, false, clientId, Date.now(), 0, properties)
    return new Promise((resolve) => {
      const done = (error: Error | undefined): void => {
        if (error !== undefined) this.#log.warn({ err: error, client: clientId }, 'will not published')
        resolve()
      }
      const once = willClaim === undefined ? { willOf: clientId } : { willOf: clientId, willClaim }
      if (this.#dispatcher.dispatch(message, { retain: will.retain, ...once }, done)) resolve()
    })
  }

  /** It was not due, or is not allowed any more. */
  async discard(clientId: string): Promise<void> {
    if (!this.#store.wills.has(clientId)) return
    await this.#store
      .deleteWill(clientId)
      .catch((error: unknown) => this.#log.warn({ err: error, client: clientId }, 'will not deleted'))
  }

  /**
   * Wills of connections that ended with the last run of the broker, or were sent away: published after a grace,
   * except for clients that are back by then.
   */
  publishOrphansAfter(graceMs: number): void {
    const orphans = [...this.#store.wills.values()]
    if (orphans.length === 0) return
    // Those that waited before are among them.
    clearTimeout(this.#grace)
    this.#grace = setTimeout(() => {
      for (const { clientId, message } of orphans) {
        if (this.#store.wills.get(clientId)?.message !== message) continue
        if (this.#sessions.connectionOf(clientId) !== undefined) continue
        this.#log.info({ client: clientId }, 'will of a client that did not come back published')
        void this.publish(clientId, toWill(message))
      }
    }, graceMs)
  }

  /** Of a client that did not come back to any pod in time: published once, by whoever is first. */
  publishDue({ clientId, message }: StoredWill, claim: number): void {
    this.#log.info({ client: clientId }, 'will of a client that did not come back published')
    void this.publish(clientId, toWill(message), claim)
  }

  stop(): void {
    clearTimeout(this.#grace)
  }
}

function toWill(message: StoredMessage): Will {
  return { topic: message.topic, payload: message.payload, qos: message.qos, retain: message.retain }
}
