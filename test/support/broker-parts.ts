import { NO_PROPERTIES } from '../../src/broker/packets/properties.ts'
import type { Terms } from '../../src/broker/terms.ts'
import mqttPacket from 'mqtt-packet'
import type { ClientSession } from '../../src/broker/client-session.ts'
import { ConnectionSession } from '../../src/broker/connection-session.ts'
import { Connection } from '../../src/broker/connection.ts'
import type { PacketHandler } from '../../src/broker/packet-handler.ts'
import { Dispatcher, type DispatchOptions } from '../../src/broker/dispatch.ts'
import type { ListenerProfile } from '../../src/broker/listener-profile.ts'
import { Message } from '../../src/broker/message.ts'
import type { OutboxContext } from '../../src/broker/outbox.ts'
import { Sessions } from '../../src/broker/sessions.ts'
import { Subscriptions } from '../../src/broker/subscriptions.ts'
import { parseShare } from '../../src/broker/topics.ts'
import { createSingleCluster } from '../../src/cluster/single.ts'
import type { Cluster } from '../../src/cluster/contract.ts'
import { createBrokerCounters } from '../../src/counters.ts'
import { createChain } from '../../src/hooks/chain.ts'
import { createGuard } from '../../src/hooks/guard.ts'
import type { DisconnectReason, QoS } from '../../src/hooks/types.ts'
import { createSilentLog } from '../../src/log.ts'
import type { Store, StoredSubscription } from '../../src/store/contract.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { FakeTransport } from './fake-transport.ts'
import { settled, testLimits } from './store-fixtures.ts'
import { ackPacket, Packet } from './wire.ts'

export interface PartsOptions {
  readonly maxInflight?: number
  readonly queueMaxMessages?: number
  readonly cleanQueueMaxBytes?: number
  readonly expiryMs?: number
  readonly maxSessions?: number
  /** Default: the memory store. It must be open. */
  readonly store?: Store
  /** Default: alone with its store. */
  readonly cluster?: Cluster
  readonly maxHeldBytes?: number
}

/** Everyone may do everything. */
export const openProfile: ListenerProfile = {
  name: 'test',
  guard: createGuard(createChain([]), { timeoutMs: 5_000, maxConcurrent: 10, onFailure: () => {} }),
  allowAnonymous: true,
  protocolVersions: new Set([3, 4, 5]),
  mountpoint: '',
}

export const connectionLimits = {
  connectTimeoutMs: 10_000,
  maxConnectBytes: 10_000,
  maxPacketBytes: 1_000_000,
  packetTimeoutMs: 10_000,
  maxOutboundBytes: 1_000_000,
  drainTimeoutMs: 10_000,
  storeTimeoutMs: 10_000,
}

/** The broker's message path, from a message to the bytes for its receivers, without listeners and Aedes. */
export class BrokerParts {
  readonly store: Store
  readonly cluster: Cluster
  readonly counters = createBrokerCounters()
  readonly subscriptions: Subscriptions
  readonly sessions: Sessions
  readonly dispatcher: Dispatcher
  /** What the store could not do for a session. */
  readonly failures: unknown[] = []
  /** Connections that are gone, with their reasons, in order. */
  readonly gone: { connection: Connection; reason: DisconnectReason }[] = []
  /** Filters that are refused when a session comes back. */
  refused: readonly string[] = []

  private constructor(store: Store, options: PartsOptions) {
    const { expiryMs = 0, maxSessions = 1_000 } = options
    this.store = store
    const cluster = (this.cluster = options.cluster ?? createSingleCluster(store, { expiryMs }))
    const limits = {
      maxInflight: options.maxInflight ?? 4,
      queueMaxMessages: options.queueMaxMessages ?? 1_000,
      cleanQueueMaxBytes: options.cleanQueueMaxBytes ?? 1_000_000,
      queueMaxBytes: 64 * 1024 * 1024,
    }
    const context: OutboxContext & { readonly cluster: Cluster } = {
      store,
      cluster,
      isShared: cluster.isShared,
      limits,
      counters: this.counters,
      onStoreFailure: (_session, error) => this.failures.push(error),
    }
    this.subscriptions = new Subscriptions({
      store,
      cluster,
      limits,
      counters: this.counters,
      onStoreFailure: (_what, error) => this.failures.push(error),
    })
    this.sessions = new Sessions(
      this.subscriptions,
      context,
      { expiryMs, maxSessions, maxConnectionsPerUser: 0, willGraceMs: 1_000 },
      createSilentLog(),
    )
    this.dispatcher = new Dispatcher({
      store,
      cluster,
      subscriptions: this.subscriptions,
      commitLatency: this.counters.storeCommit,
      maxHeldBytes: options.maxHeldBytes ?? 1_000_000,
    })
  }

  static async open(options: PartsOptions = {}): Promise<BrokerParts> {
    if (options.store !== undefined) return new BrokerParts(options.store, options)
    const store = createMemoryStore({ ...testLimits, queueMaxMessages: 100_000, queueMaxBytes: 100_000_000 })
    await store.open()
    return new BrokerParts(store, options)
  }

  /** A connection that has sent its CONNECT; not yet attached to its session. */
  connecting(id: string, clean = false, terms?: Partial<Terms>): PartsClient {
    return new PartsClient(this, id, clean, terms)
  }

  /** A connection with its session; with `terms` it is one of MQTT 5. */
  async connect(id: string, clean = false, terms?: Partial<Terms>): Promise<PartsClient> {
    const client = this.connecting(id, clean, terms)
    await client.attach()
    return client
  }

  async subscribe(
    session: ClientSession,
    filter: string,
    qos: QoS,
    options: Partial<StoredSubscription> = {},
  ): Promise<void> {
    const shared = parseShare(filter)
    if (typeof shared === 'string') throw new Error(shared)
    const subscription: StoredSubscription =
      shared === undefined
        ? { filter, matchFilter: filter, qos, ...options }
        : { filter, matchFilter: shared.filter, shareGroup: shared.group, qos, ...options }
    if (session.stored !== undefined) {
      await this.subscriptions.prepare(subscription)
      await this.store.putSubscriptions(session.stored, [subscription])
    }
    this.subscriptions.add(session, subscription)
  }

  /** Resolves when the message is safe, to whether that was so at once. */
  publish(topic: string, payload: string | Buffer, qos: QoS, options: Partial<DispatchOptions> = {}) {
    const message = new Message(topic, Buffer.from(payload), qos, false, 'publisher', Date.now(), 0)
    return new Promise<'at once' | 'stored'>((resolve, reject) => {
      const done = (error: Error | undefined): void =>
        error === undefined ? resolve('stored') : reject(error)
      if (this.dispatcher.dispatch(message, { retain: false, ...options }, done)) resolve('at once')
    })
  }

  /** All that was asked of the store so far has been answered, and what followed from the answers too. */
  async quiet(): Promise<void> {
    for (let i = 0; i < 3; i++) await settled(this.store)
  }
}

/** One connection, and its peer. */
export class PartsClient {
  readonly transport = new FakeTransport()
  readonly connection: Connection
  readonly #parts: BrokerParts
  readonly #parser: mqttPacket.Parser
  #packets: mqttPacket.Packet[] = []

  constructor(parts: BrokerParts, id: string, clean: boolean, terms?: Partial<Terms>) {
    this.#parts = parts
    this.#parser = mqttPacket.parser({ protocolVersion: terms === undefined ? 4 : 5 })
    this.connection = new Connection(this.transport, openProfile, {
      handler: partsHandler(parts),
      limits: connectionLimits,
      traffic: parts.counters.listener('test', 'tcp'),
      nowMs: Date.now(),
    })
    const packet = {
      protocolVersion: 4 as const,
      properties: NO_PROPERTIES,
      willProperties: NO_PROPERTIES,
      isBridge: false,
      clean,
      keepaliveSeconds: 0,
      clientId: id,
      will: undefined,
      username: undefined,
      password: undefined,
    }
    this.connection.session = new ConnectionSession(id, packet, this.transport.peer, Date.now())
    this.connection.phase = 'connecting'
    if (terms !== undefined) {
      this.connection.version = 5
      this.connection.terms = { ...generousTerms, ...terms }
    }
    this.#parser.on('packet', (one) => this.#packets.push(one))
  }

  /** Resolves to session present. */
  async attach(): Promise<boolean> {
    const present = await this.#parts.sessions.attach(this.connection, () =>
      Promise.resolve(this.#parts.refused),
    )
    this.connection.opened()
    this.session.outbox.resume()
    return present
  }

  get session(): ClientSession {
    return this.connection.clientSession!
  }

  subscribe(filter: string, qos: QoS, options?: Partial<StoredSubscription>): Promise<void> {
    return this.#parts.subscribe(this.session, filter, qos, options)
  }

  /** Packets since the last call. */
  packets(): mqttPacket.Packet[] {
    this.connection.outbound.flush()
    this.#parser.parse(this.transport.takeWritten())
    return this.#packets.splice(0)
  }

  /** As {@link packets}, one line each: `publish a=x qos1 #7 dup`, `pubrel #7`. */
  received(): string[] {
    return this.packets().map((packet) => {
      if (packet.cmd !== 'publish') return `${packet.cmd} #${packet.messageId}`
      const { topic, payload, qos, messageId, dup, retain } = packet
      const marks = `${dup ? ' dup' : ''}${retain ? ' retain' : ''}`
      return `publish ${topic}=${payload.toString()} qos${qos}${qos > 0 ? ` #${messageId}` : ''}${marks}`
    })
  }

  /** Payloads of PUBLISH packets since the last call; each is acknowledged with PUBACK. */
  takeAndAcknowledge(): string[] {
    const payloads: string[] = []
    for (const packet of this.packets()) {
      if (packet.cmd !== 'publish') continue
      payloads.push(packet.payload.toString())
      if (packet.qos === 1) this.acknowledge('puback', packet.messageId!)
    }
    return payloads
  }

  acknowledge(type: 'puback' | 'pubrec' | 'pubcomp', messageId: number): void {
    this.transport.send(ackPacket(Packet[type], messageId))
  }

  /** The connection is lost. */
  lose(): void {
    this.transport.lose()
  }
}

const generousTerms: Terms = {
  receiveMaximum: 65_535,
  maximumPacketSize: Infinity,
  topicAliasMaximum: 0,
  wantsProblems: true,
  wantsResponseInformation: false,
  incomingTopicAliases: 0,
  sessionExpirySeconds: 0,
  connack: {},
}

function partsHandler(parts: BrokerParts): PacketHandler {
  const unexpected = (): never => {
    throw new Error('this packet has no part here')
  }
  return {
    connect: unexpected,
    publish: unexpected,
    release: unexpected,
    subscribe: unexpected,
    unsubscribe: unexpected,
    refused: unexpected,
    authenticate: unexpected,
    disconnecting: unexpected,
    acknowledge: (connection, type, messageId) =>
      connection.clientSession!.outbox.acknowledge(type, messageId),
    failed: (_connection, error) => parts.failures.push(error),
    gone: (connection, reason) => {
      parts.gone.push({ connection, reason })
      parts.sessions.detach(connection)
    },
  }
}
