import { Readable } from 'node:stream'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { PublishTarget, SessionKind, Store, StoredMessage, StoredSession } from '../store/contract.ts'
import { toPacket, toQueuedMessage, toStoredMessage, type EnginePacket } from './engine-packet.ts'
import {
  toEngineSubscription,
  toStoredSubscription,
  TopicSubscriptions,
  type EngineSubscription,
  type TopicSubscription,
} from './engine-subscriptions.ts'
import { PacketQueue } from './packet-queue.ts'

export type ClientRef = { readonly id: string }
/** What a pipeline of Aedes can begin with. */
export type PacketSource = Iterable<EnginePacket> | AsyncIterable<EnginePacket>

/**
 * Aedes' persistence contract (aedes-persistence, asyncPersistence.js) over our store, whole: its abstract suite
 * passes. Opening and closing the store is its owner's.
 *
 * Incoming QoS 2 packets, which Aedes publishes only at PUBREL, wait in a queue of their own.
 */
export class StorePersistence {
  readonly #store: Store
  readonly #queues = new WeakMap<StoredSession, Promise<PacketQueue>>()
  readonly #topics = new TopicSubscriptions()
  #broker: { id: string } = { id: '' }

  constructor(store: Store) {
    this.#store = store
  }

  get broker(): { id: string } {
    return this.#broker
  }

  // Literally an async function: Aedes looks at it.
  async setup(broker: { id: string }): Promise<void> {
    this.#broker = broker
    for (const { id, subscriptions } of this.#store.sessions.values()) {
      for (const stored of subscriptions.values()) this.#topics.put(id, toEngineSubscription(stored))
    }
  }

  async destroy(): Promise<void> {}

  // --- retained messages

  async storeRetained(packet: EnginePacket): Promise<void> {
    await this.#publish(toStoredMessage(packet), [], true)
  }

  createRetainedStream(pattern: string): Readable {
    return this.createRetainedStreamCombi([pattern])
  }

  createRetainedStreamCombi(patterns: readonly string[]): Readable {
    const found = patterns.flatMap((pattern) => this.#store.retainedMatching(pattern))
    return Readable.from(found.map((message) => ({ ...toPacket(message), retain: true })))
  }

  // --- subscriptions

  async addSubscriptions(client: ClientRef, subscriptions: readonly EngineSubscription[]): Promise<void> {
    const session = await this.#obtain('client', client.id)
    await this.#store.putSubscriptions(session, subscriptions.map(toStoredSubscription))
    for (const subscription of subscriptions) this.#topics.put(client.id, subscription)
  }

  async removeSubscriptions(client: ClientRef, topics: readonly string[]): Promise<void> {
    const session = this.#store.sessions.get(client.id)
    if (session === undefined) return
    await this.#store.removeSubscriptions(session, topics)
    for (const topic of topics) this.#topics.remove(client.id, topic)
  }

  async subscriptionsByClient(client: ClientRef): Promise<readonly EngineSubscription[]> {
    return [...(this.#store.sessions.get(client.id)?.subscriptions.values() ?? [])].map(toEngineSubscription)
  }

  /** Those above QoS 0. */
  async subscriptionsByTopic(topic: string): Promise<readonly TopicSubscription[]> {
    return this.#topics.match(topic)
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    let clientsCount = 0
    for (const session of this.#store.sessions.values()) if (session.subscriptions.size > 0) clientsCount++
    return { subsCount: this.#topics.size, clientsCount }
  }

  getClientList(topic: string): Readable {
    const sessions = [...this.#store.sessions.values()]
    return Readable.from(sessions.filter(({ subscriptions }) => subscriptions.has(topic)).map(({ id }) => id))
  }

  /** Asked for at a CONNECT with clean session 1: all that the session had is discarded. [MQTT-3.1.2-6] */
  async cleanSubscriptions(client: ClientRef): Promise<void> {
    const session = this.#store.sessions.get(client.id)
    if (session === undefined) return
    const topics = [...session.subscriptions.keys()]
    await this.#store.removeSession(session)
    for (const topic of topics) this.#topics.remove(client.id, topic)
  }

  // --- queues to clients

  outgoingEnqueue(subscription: { readonly clientId: string }, packet: EnginePacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet)
  }

  /** A client with several matching subscriptions gets one message. [MQTT-3.3.5-1] */
  async outgoingEnqueueCombi(
    subscriptions: readonly { readonly clientId: string }[],
    packet: EnginePacket,
  ): Promise<void> {
    const ids = [...new Set(subscriptions.map(({ clientId }) => clientId))]
    const queues = await Promise.all(ids.map(async (id) => this.#queueOf(await this.#obtain('client', id))))
    await this.#publish(toQueuedMessage(packet), queues, false)
  }

  async outgoingUpdate(client: ClientRef, packet: EnginePacket): Promise<void> {
    const queue = await this.#queueOf(await this.#obtain('client', client.id))
    await queue.update(packet)
  }

  async outgoingClearMessageId(client: ClientRef, packet: EnginePacket): Promise<EnginePacket | undefined> {
    const session = this.#store.sessions.get(client.id)
    if (session === undefined) return undefined
    const queue = await this.#queueOf(session)
    const found = await queue.find(packet.messageId)
    queue.forget(packet.messageId)
    return found
  }

  outgoingStream(client: ClientRef): PacketSource {
    return Readable.from(this.#outgoing(client.id))
  }

  async *#outgoing(clientId: string): AsyncGenerator<EnginePacket> {
    const session = this.#store.sessions.get(clientId)
    if (session !== undefined) yield* (await this.#queueOf(session)).packets()
  }

  // --- QoS 2 from clients

  async incomingStorePacket(client: ClientRef, packet: EnginePacket): Promise<void> {
    const queue = await this.#queueOf(await this.#obtain('group', incomingId(client)))
    const [seq] = await this.#publish(toQueuedMessage(packet, packet.messageId), [queue], false)
    // It must not be acknowledged.
    if (seq === 0) throw new TunnelMQError(ErrorCode.limit, 'too many messages at QoS 2 await PUBREL')
  }

  async incomingGetPacket(client: ClientRef, packet: EnginePacket): Promise<EnginePacket> {
    const queue = await this.#incoming(client)
    const found = await queue?.find(packet.messageId)
    if (found === undefined) throw new TunnelMQError(ErrorCode.store, 'no such packet')
    return found
  }

  async incomingDelPacket(client: ClientRef, packet: EnginePacket): Promise<void> {
    const queue = await this.#incoming(client)
    if (queue?.forget(packet.messageId) !== true) throw new TunnelMQError(ErrorCode.store, 'no such packet')
  }

  async cleanIncoming(client: ClientRef): Promise<void> {
    const session = this.#store.groups.get(incomingId(client))
    if (session !== undefined) await this.#store.removeSession(session)
  }

  async #incoming(client: ClientRef): Promise<PacketQueue | undefined> {
    const session = this.#store.groups.get(incomingId(client))
    return session === undefined ? undefined : await this.#queueOf(session)
  }

  // --- wills

  /** Writes broker id and client id into the packet, too: Aedes' contract. */
  async putWill(client: ClientRef, packet: EnginePacket): Promise<void> {
    Object.assign(packet, { brokerId: this.#broker.id, clientId: client.id })
    await this.#store.putWill({ clientId: client.id, message: toStoredMessage(packet) })
  }

  async getWill(client: ClientRef): Promise<EnginePacket | undefined> {
    const will = this.#store.wills.get(client.id)
    return will && toPacket(will.message)
  }

  async delWill(client: ClientRef): Promise<EnginePacket | undefined> {
    const will = await this.getWill(client)
    if (will !== undefined) await this.#store.deleteWill(client.id)
    return will
  }

  /** Wills that none of these brokers answers for. */
  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    const wills = [...this.#store.wills.values()].map(({ message }) => toPacket(message))
    return Readable.from(wills.filter(({ brokerId }) => !Object.hasOwn(brokers, brokerId ?? '')))
  }

  // --- the store

  async #obtain(kind: SessionKind, id: string): Promise<StoredSession> {
    const known = kind === 'client' ? this.#store.sessions.get(id) : this.#store.groups.get(id)
    return known ?? (await this.#store.createSession(kind, id))
  }

  #queueOf(session: StoredSession): Promise<PacketQueue> {
    let queue = this.#queues.get(session)
    if (queue === undefined) this.#queues.set(session, (queue = PacketQueue.load(this.#store, session)))
    return queue
  }

  #publish(
    message: StoredMessage,
    queues: readonly PacketQueue[],
    retain: boolean,
  ): Promise<readonly number[]> {
    const targets = queues.map(({ session }): PublishTarget => ({ session, qos: message.qos === 2 ? 2 : 1 }))
    return new Promise((resolve, reject) =>
      this.#store.publish({ message, targets, retain }, (error, seqs) => {
        if (error !== undefined) {
          reject(error)
          return
        }
        seqs.forEach((seq, index) => {
          if (seq > 0) queues[index]!.remember(seq, message)
        })
        resolve(seqs)
      }),
    )
  }
}

/** No shared subscription has an empty group, so this is nobody else's queue. */
function incomingId(client: ClientRef): string {
  return `/incoming/${client.id}`
}
