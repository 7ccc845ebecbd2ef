import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { MessageProperties, QoS } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import { sessionIdOf } from '../store/session-id.ts'
import { addMountpoint } from './client-session.ts'
import type { Dispatcher } from './dispatch.ts'
import { keptProperties, Message } from './message.ts'
import { expiresAt } from './message-properties.ts'
import type { Subscriptions } from './subscriptions.ts'
import { reservedNamespace, topicFilterFault, topicNameFault, type TopicLimits } from './topics.ts'

/** A message of the program that embeds the broker. */
export interface LocalPublish {
  readonly topic: string
  readonly payload: Buffer | string
  /** Default 0. */
  readonly qos?: QoS
  readonly retain?: boolean
}

/** A message that a bridge has taken from another broker. */
export interface BridgedPublish {
  readonly mountpoint: string
  /** Without the mountpoint. */
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** The bridge's client id here: its own session does not get it. */
  readonly publisher: string
  /** Unix time in ms; 0: never. */
  readonly expiresAtMs: number
  readonly properties?: MessageProperties | undefined
}

/** The program around the broker as a client of it: without a connection, past the handlers. */
export class LocalClient {
  readonly #dispatcher: Dispatcher
  readonly #subscriptions: Subscriptions
  readonly #topics: TopicLimits
  readonly #messageExpiryMs: number
  readonly #log: Log

  constructor(context: {
    dispatcher: Dispatcher
    subscriptions: Subscriptions
    topics: TopicLimits
    /** 0: messages of the program never expire. */
    messageExpiryMs: number
    log: Log
  }) {
    this.#dispatcher = context.dispatcher
    this.#subscriptions = context.subscriptions
    this.#topics = context.topics
    this.#messageExpiryMs = context.messageExpiryMs
    this.#log = context.log
  }

  /**
   * Resolves when the message is as safe as its QoS asks.
   * Rejects for illegal topics (TMQ_USAGE), and when the store has failed (TMQ_STORE_UNAVAILABLE).
   */
  publish(request: LocalPublish): Promise<void> {
    const { topic, qos = 0, retain = false } = request
    const fault = this.#fault(topic)
    if (fault !== undefined) {
      const text = `cannot publish to ${JSON.stringify(topic)}: ${fault}`
      return Promise.reject(new TunnelMQError(ErrorCode.usage, text))
    }
    const payload = Buffer.from(request.payload)
    const properties = keptProperties(retain && this.#dispatcher.keepsRetain)
    const nowMs = Date.now()
    const expiresAtMs = expiresAt(nowMs, undefined, this.#messageExpiryMs)
    const message = new Message(topic, payload, qos, false, '', nowMs, expiresAtMs, properties)
    return new Promise((resolve, reject) => {
      const safe = this.#dispatcher.dispatch(message, { retain }, (error) => {
        if (error === undefined) resolve()
        else reject(error)
      })
      if (safe) resolve()
    })
  }

  /**
   * `done` is called once, perhaps within the call, when the message is as safe as its QoS asks, or with why it is not.
   * Returns why it cannot be published at all; `done` is not called then.
   */
  publishBridged(request: BridgedPublish, done: (error: Error | undefined) => void): string | undefined {
    const { mountpoint, payload, qos, retain, publisher, expiresAtMs } = request
    const topic = addMountpoint(request.topic, mountpoint)
    const fault = this.#fault(topic)
    if (fault !== undefined) return fault
    const properties = keptProperties(retain && this.#dispatcher.keepsRetain, request.properties)
    const session = sessionIdOf(publisher, mountpoint)
    const message = new Message(topic, payload, qos, false, session, Date.now(), expiresAtMs, properties)
    if (this.#dispatcher.dispatch(message, { retain }, done)) done(undefined)
    return undefined
  }

  #fault(topic: string): string | undefined {
    return (
      topicNameFault(topic, this.#topics) ??
      (reservedNamespace(topic) === undefined ? undefined : 'reserved topic')
    )
  }

  /** `$SYS` only, which nobody else may publish; each pod tells its own clients. */
  publishSys(message: Message): void {
    this.#dispatcher.deliverOwn(message)
  }

  /** Every message that matches, as it is published; returns what ends it. */
  subscribe(filter: string, listener: (topic: string, payload: Buffer) => void): () => void {
    const fault = topicFilterFault(filter, this.#topics)
    if (fault !== undefined) {
      throw new TunnelMQError(ErrorCode.usage, `cannot subscribe to ${JSON.stringify(filter)}: ${fault}`)
    }
    return this.#subscriptions.listen(filter, ({ topic, payload }) => {
      try {
        listener(topic, Buffer.from(payload))
      } catch (error) {
        this.#log.error({ err: error, filter }, 'listener failed')
      }
    })
  }
}
