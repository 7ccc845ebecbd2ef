import type { Will } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store, StoredMessage, StoredWill } from '../store/contract.ts'
import { willWaitSeconds } from '../store/session-expiry.ts'
import { sessionIdOfWill } from '../store/session-id.ts'
import { withinTimer } from '../timer.ts'
import type { Dispatcher } from './dispatch.ts'
import { expiresAt } from './message-properties.ts'
import { keptProperties, Message } from './message.ts'
import type { Sessions } from './sessions.ts'

/** Each look is at all that wait; delays are whole seconds. */
const LOOK_AGAIN_MS = 100

/** A will as it was when it began to wait: its client may have stored another one since. */
interface Waiting {
  readonly dueAtMs: number
  readonly message: StoredMessage
}

/** Publishes wills: in one write with their removal, so that each is published once. */
export class Wills {
  readonly #store: Store
  readonly #dispatcher: Dispatcher
  readonly #sessions: Sessions
  readonly #messageExpiryMs: number
  readonly #log: Log
  /** Those that wait for their delay, or for their clients to come back after a start; by session id. */
  readonly #waiting = new Map<string, Waiting>()
  #timer: NodeJS.Timeout | undefined
  #nextMs = Number.POSITIVE_INFINITY
  #isStopped = false

  /** `messageExpiryMs`: as of all messages; 0: no bound. */
  constructor(
    context: { store: Store; dispatcher: Dispatcher; sessions: Sessions; log: Log },
    messageExpiryMs: number,
  ) {
    const { store, dispatcher, sessions, log } = context
    this.#store = store
    this.#dispatcher = dispatcher
    this.#sessions = sessions
    this.#messageExpiryMs = messageExpiryMs
    this.#log = log
  }

  /** Resolves when the will is safe, or given up because the store has failed: then it stays for the next start. */
  publish(clientId: string, will: Will, willClaim?: number): Promise<void> {
    const { topic, payload, qos, retain, messageExpirySeconds } = will
    const nowMs = Date.now()
    const expiresAtMs = expiresAt(nowMs, messageExpirySeconds, this.#messageExpiryMs)
    const properties = keptProperties(retain && this.#dispatcher.keepsRetain, will.properties)
    const publisher = sessionIdOfWill(clientId)
    const message = new Message(topic, payload, qos, false, publisher, nowMs, expiresAtMs, properties)
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

  /** Its connection is lost, and it is due then, unless its client is back. Of a broker that is alone. */
  async wait(clientId: string, dueAtMs: number): Promise<void> {
    const will = this.#store.wills.get(clientId)
    if (will === undefined) return
    // So that a restart does not begin the delay anew.
    await this.#store
      .putWill({ ...will, dueAtMs })
      .catch((error: unknown) =>
        this.#log.warn({ err: error, client: clientId }, 'delay of a will not stored'),
      )
    const stored = this.#store.wills.get(clientId)
    if (stored !== undefined) this.#waits(stored, dueAtMs)
  }

  /**
   * Wills of connections that ended with the last run of the broker, or were sent away: published after a grace, or when
   * their delay is over, if that is later, except for clients that are back by then. A delay begins once, at the first of
   * these: however often the broker is started again, the will is due then.
   */
  publishOrphansAfter(graceMs: number): void {
    const nowMs = Date.now()
    for (const will of this.#store.wills.values()) {
      const { clientId, message, delaySeconds = 0, dueAtMs } = will
      if (this.#waiting.get(clientId)?.message === message) continue
      const session = this.#store.sessions.get(clientId)
      const waitSeconds = session === undefined ? 0 : willWaitSeconds(delaySeconds, session.expirySeconds)
      const atMs = Math.max(nowMs + graceMs, dueAtMs ?? nowMs + waitSeconds * 1_000)
      const begins = dueAtMs === undefined && waitSeconds > 0 && !this.#isConnected(clientId)
      if (begins) void this.wait(clientId, atMs)
      else this.#waits(will, atMs)
    }
  }

  /** Its client is back: what waited is not sent any more. */
  returned(clientId: string): void {
    this.#waiting.delete(clientId)
  }

  #waits({ clientId, message }: StoredWill, dueAtMs: number): void {
    this.#waiting.set(clientId, { dueAtMs, message })
    if (dueAtMs < this.#nextMs && !this.#isStopped) this.#wakeAt(dueAtMs)
  }

  #wakeAt(atMs: number): void {
    clearTimeout(this.#timer)
    this.#nextMs = atMs
    this.#timer = setTimeout(() => this.#wake(), withinTimer(Math.max(0, atMs - Date.now())))
  }

  #wake(): void {
    const nowMs = Date.now()
    let nextMs = (this.#nextMs = Number.POSITIVE_INFINITY)
    for (const [clientId, { dueAtMs, message }] of this.#waiting) {
      if (dueAtMs > nowMs) {
        nextMs = Math.min(nextMs, dueAtMs)
        continue
      }
      this.#waiting.delete(clientId)
      const will = this.#store.wills.get(clientId)
      if (will?.message !== message || this.#isConnected(clientId)) continue
      this.publishDue(will)
    }
    if (nextMs < this.#nextMs) this.#wakeAt(Math.max(nextMs, nowMs + LOOK_AGAIN_MS))
  }

  /**
   * Of a client that did not come back, at any pod, in time, as it was allowed at CONNECT: published once, by whoever is
   * first. `claim`: as in {@link PublishWrite.willClaim}.
   */
  publishDue({ clientId, message, messageExpirySeconds }: StoredWill, claim?: number): void {
    this.#waiting.delete(clientId)
    this.#log.info({ client: sessionIdOfWill(clientId) }, 'will of a client that did not come back published')
    const { topic, payload, qos, retain, properties } = message
    void this.publish(clientId, { topic, payload, qos, retain, properties, messageExpirySeconds }, claim)
  }

  #isConnected(clientId: string): boolean {
    return this.#sessions.connectionOf(clientId) !== undefined
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }
}
