import { hostname } from 'node:os'
import type { Cluster, PodFigures } from '../cluster/contract.ts'
import type { Config } from '../config/schema.ts'
import type { BrokerCounters } from '../counters.ts'
import type { Admission } from '../listeners/admission.ts'
import type { Transport } from '../listeners/transport.ts'
import type { Log } from '../log.ts'
import { RefuseReason, type DisconnectReason, type Session, type Will } from '../hooks/types.ts'
import type { Store } from '../store/contract.ts'
import { boundedExpirySeconds, willWaitSeconds } from '../store/session-expiry.ts'
import { statusTopic } from '../tunnel/protocol/names.ts'
import { parseStatus } from '../tunnel/router/presence.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import { connectAttributes } from '../tracing/attributes.ts'
import type { Tracing } from '../tracing/contract.ts'
import { addMountpoint } from './client-session.ts'
import { Accepting } from './accepting.ts'
import { Authenticating } from './authenticating.ts'
import { Connecting } from './connecting.ts'
import { ConnectionEvents } from './connection-events.ts'
import { Connection } from './connection.ts'
import type { PacketHandler } from './packet-handler.ts'
import { Dispatcher } from './dispatch.ts'
import { Engine } from './engine.ts'
import { EnginePersistence } from './engine-persistence.ts'
import { Downward } from './interceptors/downward.ts'
import { InterceptedPackets, type InterceptedBroker } from './interceptors/upward.ts'
import type { Interceptors } from './interceptors/interceptors.ts'
import type { ListenerProfile } from './listener-profile.ts'
import { LocalClient } from './local-client.ts'
import { Message } from './message.ts'
import type { ConnectPacket } from './packets/connect.ts'
import type { ReasonPacket } from './packets/ending.ts'
import { protocolError } from './packets/fault.ts'
import type { PublishInput } from './packets/publish.ts'
import { ReasonCode } from './packets/reason.ts'
import type { SubscribePacket, UnsubscribePacket } from './packets/subscribe.ts'
import { VERSION_NAMES, type PacketType } from './packets/types.ts'
import { PodEvents } from './pod-events.ts'
import { Publishing } from './publishing.ts'
import { Rechecking } from './rechecking.ts'
import { Refusals } from './refusals.ts'
import { Sessions } from './sessions.ts'
import { Subscribing, type RetainedRead } from './subscribing.ts'
import { Subscriptions } from './subscriptions.ts'
import { Unsubscribing } from './unsubscribing.ts'
import { parseTunnelStatus, TUNNEL_ROOT } from './topics.ts'
import type { Tap } from './trace/tap.ts'
import { WillRights } from './will-rights.ts'
import { Wills } from './wills.ts'

export interface BrokerContext {
  readonly config: Config
  /** Not open yet, if it is shared: what other pods have stored is told while it opens. */
  readonly store: Store
  readonly cluster: Cluster
  readonly counters: BrokerCounters
  readonly admission: Admission
  /** Undefined: `$tunnel/` is refused. */
  readonly tunnels?: TunnelRouter | undefined
  /** Undefined: nobody wants spans. */
  readonly tracing?: Tracing | undefined
  readonly log: Log
}

const DEADLINE_CHECK_MS = 1_000
const SWEEP_MS = { least: 250, most: 10_000 } as const

/**
 * The parts of the broker, put together: transports in, packets to the part that knows them.
 * No sockets are opened here, and no files read.
 */
export class Broker implements InterceptedBroker {
  readonly connections = new Set<Connection>()
  /** Of connections to come (broker/trace/). */
  tap: Tap | undefined
  readonly sessions: Sessions
  readonly subscriptions: Subscriptions
  /** The last ones, of clients and of connections that never became clients. */
  readonly refusals: Refusals
  /** The program around it, as a client. */
  readonly local: LocalClient
  /** What other pods do. */
  readonly podEvents: PodEvents
  readonly #context: BrokerContext
  readonly #events: ConnectionEvents
  readonly #topics: { readonly maxBytes: number; readonly maxLevels: number }
  readonly #dispatcher: Dispatcher
  readonly #accepting: Accepting
  readonly #publishing: Publishing
  readonly #subscribing: Subscribing
  readonly #unsubscribing: Unsubscribing
  readonly #authenticating: Authenticating
  readonly #willRights: WillRights
  readonly #connecting: Connecting
  readonly #rechecking: Rechecking
  readonly #wills: Wills
  readonly #interceptedBy = new Map<Interceptors, PacketHandler>()
  #engine: Engine | undefined
  #timers: NodeJS.Timeout[] = []
  #sysRetained: (filter: string) => readonly Message[] = () => []

  constructor(context: BrokerContext) {
    this.#context = context
    const { config, store, cluster, counters, admission, tunnels, tracing, log } = context
    const refusals = (this.refusals = new Refusals(config.admin.refusalsKept))
    const { limits, session, auth } = config
    this.#topics = { maxBytes: limits.maxTopicBytes, maxLevels: limits.maxTopicLevels }
    const queueLimits = {
      maxInflight: limits.maxInflight,
      queueMaxMessages: session.queueMaxMessages,
      cleanQueueMaxBytes: session.cleanQueueMaxBytes,
      queueMaxBytes: session.queueMaxBytes,
    }
    this.subscriptions = new Subscriptions({
      store,
      cluster,
      counters,
      limits: queueLimits,
      onStoreFailure: (what, error) => log.warn({ err: error, what }, 'store failed'),
    })
    this.sessions = new Sessions(
      this.subscriptions,
      {
        store,
        cluster,
        isShared: cluster.isShared,
        counters,
        limits: queueLimits,
        // What it has not been sent stays in the store: the client comes again and gets it.
        onStoreFailure: (client, error) =>
          client.connection?.close({
            kind: 'error',
            detail: error instanceof Error ? error.message : String(error),
          }),
      },
      {
        expiryMs: session.expiryMs,
        maxSessions: session.maxSessions,
        maxConnectionsPerUser: limits.maxConnectionsPerUser,
        willGraceMs: session.willGraceMs,
      },
      log,
    )
    this.#dispatcher = new Dispatcher({
      store,
      cluster,
      subscriptions: this.subscriptions,
      commitLatency: counters.storeCommit,
      maxHeldBytes: config.store.redis.maxPendingBytes,
    })
    const { maxInflightIncoming } = limits
    this.#accepting = new Accepting(
      { store, dispatcher: this.#dispatcher, counters, refusals, log },
      {
        onRefusedPublish: auth.onRefusedPublish,
        maxInflightIncoming,
        messageExpiryMs: session.messageExpiryMs,
      },
    )
    this.#publishing = new Publishing(
      { accepting: this.#accepting, tunnels, counters, tracing, log },
      {
        topics: this.#topics,
        maxInflightIncoming,
        messagesPerSecond: limits.messagesPerSecond,
        bytesPerSecond: limits.bytesPerSecond,
        checkPayloadFormat: config.mqtt5.checkPayloadFormat,
      },
    )
    this.#subscribing = new Subscribing(
      {
        store,
        cluster,
        subscriptions: this.subscriptions,
        dispatcher: this.#dispatcher,
        tunnels,
        retained: (filter) => this.#retained(filter),
        refusals,
        tracing,
        log,
      },
      { topics: this.#topics, maxSubscriptionsPerClient: limits.maxSubscriptionsPerClient },
    )
    this.#unsubscribing = new Unsubscribing(
      { store, subscriptions: this.subscriptions, tunnels },
      this.#topics,
    )
    this.#authenticating = new Authenticating({
      maxRounds: auth.maxRounds,
      refusedAgain: (connection, decision) => this.#events.refusedAgain(connection, decision),
    })
    this.#willRights = new WillRights(this.#topics, refusals)
    this.#connecting = new Connecting(
      {
        sessions: this.sessions,
        recheck: (connection, subscriptions) => this.#subscribing.recheck(connection, subscriptions),
        refused: (connection, reason, detail, handler) => this.refused(connection, reason, detail, handler),
        admission,
        authenticating: this.#authenticating,
        willRights: this.#willRights,
        log,
      },
      {
        topics: this.#topics,
        maxClientIdBytes: limits.maxClientIdBytes,
        maxKeepaliveSeconds: limits.maxKeepaliveSeconds,
        // Of a shared store, the claim counts those of all pods.
        maxConnectionsPerUser: cluster.isShared ? 0 : limits.maxConnectionsPerUser,
        onRefusedWill: auth.onRefusedWill,
        sessionExpiryMs: session.expiryMs,
        maxInflightIncoming: limits.maxInflightIncoming,
        maxPacketBytes: limits.maxPacketBytes,
        ...config.mqtt5,
        tunnels: tunnels !== undefined,
      },
    )
    this.#rechecking = new Rechecking({
      connections: this.connections,
      sessions: this.sessions,
      subscribing: this.#subscribing,
      tunnels,
      log,
    })
    this.#wills = new Wills(
      { store, dispatcher: this.#dispatcher, sessions: this.sessions, log },
      session.messageExpiryMs,
    )
    this.#events = new ConnectionEvents({
      counters,
      admission,
      cluster,
      banMs: limits.banMs,
      refusals,
      log,
    })
    this.local = new LocalClient({
      dispatcher: this.#dispatcher,
      subscriptions: this.subscriptions,
      topics: this.#topics,
      messageExpiryMs: session.messageExpiryMs,
      log,
    })
    this.podEvents = new PodEvents({
      sessions: this.sessions,
      subscriptions: this.subscriptions,
      dispatcher: this.#dispatcher,
      wills: this.#wills,
      admission,
      tunnels,
      connections: this.connections,
    })
    store.listen(this.podEvents)
  }

  /** After the store was opened, before the first transport. */
  async start(): Promise<void> {
    await this.sessions.restore(Date.now())
    this.#engine = await Engine.start(
      {
        authenticate: (connection) => {
          this.#rechecking.connecting(connection)
          return this.#connecting.authenticate(connection).catch((error: unknown) => {
            this.failed(connection, error)
            this.refused(connection, RefuseReason.unavailable, 'internal error')
            return ReasonCode.unspecifiedError
          })
        },
        attach: (connection) => this.#connecting.attach(connection),
        ready: (connection) => this.#ready(connection),
        // It stays in the store, as when nobody could be asked.
        will: (connection) =>
          this.#publishWill(connection).catch((error: unknown) => this.failed(connection, error)),
        fault: (connection, error) => connection.close({ kind: 'error', detail: error.message }),
      },
      new EnginePersistence(this.#context.store, this.sessions),
    )
    this.#expectAgents()
    this.#context.tunnels?.start()
    if (!this.#context.cluster.isShared) {
      this.#wills.publishOrphansAfter(this.#context.config.session.willGraceMs)
    }
    this.#timers = [
      setInterval(() => this.#checkDeadlines(), DEADLINE_CHECK_MS),
      setInterval(() => this.#sweep(), sweepIntervalMs(this.#context.config.session)),
    ]
  }

  /** The retained status of an agent of tunnels. */
  publishStatus(mountpoint: string, agent: string, status: Buffer): void {
    const topic = addMountpoint(statusTopic(agent), mountpoint)
    const message = new Message(topic, status, 0, false, '', Date.now(), 0)
    this.#dispatcher.dispatch(message, { retain: true }, (error) => {
      if (error !== undefined) this.#context.log.warn({ err: error, topic }, 'status not stored')
    })
  }

  statusOf(mountpoint: string, agent: string): Buffer | undefined {
    return this.#context.store.retained(addMountpoint(statusTopic(agent), mountpoint))?.payload
  }

  /** Agents of the last run are not connected now. Those that live come back within the grace, and were not missed. */
  #expectAgents(): void {
    const { store, tunnels } = this.#context
    if (tunnels === undefined) return
    for (const { topic, payload } of store.retainedMatching(`${TUNNEL_ROOT}#`)) {
      const place = parseTunnelStatus(topic)
      const status = parseStatus(payload)
      if (place === undefined || typeof status === 'string' || status['online'] !== true) continue
      tunnels.expect(place)
    }
  }

  /** `$SYS` values, for new subscriptions. */
  set sysRetained(lookUp: (filter: string) => readonly Message[]) {
    this.#sysRetained = lookUp
  }

  // --- connections

  accept(transport: Transport, profile: ListenerProfile): Connection {
    const { counters, config } = this.#context
    const { listener, transport: kind } = transport.peer
    const traffic = counters.listener(listener, kind)
    traffic.open++
    const { interceptors } = profile
    const connection = new Connection(transport, profile, {
      handler: interceptors === undefined ? this : this.#intercepted(interceptors),
      limits: config.limits,
      bounds: config.mqtt5,
      traffic,
      nowMs: Date.now(),
    })
    connection.tap = this.tap
    if (interceptors !== undefined) connection.downward = new Downward(connection, interceptors)
    this.connections.add(connection)
    // It may have ended before it was handed over.
    if (connection.phase === 'closed') this.gone(connection, connection.reason!)
    return connection
  }

  #intercepted(interceptors: Interceptors): PacketHandler {
    let packets = this.#interceptedBy.get(interceptors)
    if (packets === undefined) {
      packets = new InterceptedPackets(this, interceptors, this.refusals)
      this.#interceptedBy.set(interceptors, packets)
    }
    return packets
  }

  connect(connection: Connection, packet: ConnectPacket): void {
    const { tracing } = this.#context
    if (tracing !== undefined) {
      connection.connectSpan = tracing.begin({
        name: 'CONNECT',
        agoMs: Date.now() - connection.acceptedAtMs,
        attributes: connectAttributes(connection.transport.peer, {
          ...packet,
          protocolVersion: VERSION_NAMES[packet.protocolVersion]!,
        }),
      })
    }
    if (this.#connecting.accept(connection, packet)) this.#engine!.handle(connection)
  }

  #ready(connection: Connection): void {
    if (connection.phase !== 'connecting') return
    this.#wills.returned(connection.sessionId)
    this.#events.connected(connection)
    connection.profile.guard.connect(connection.session!)
    connection.opened()
    connection.clientSession?.outbox.resume()
    this.#rechecking.connected(connection)
  }

  refused(connection: Connection, reason: string, detail: string, handler?: string): void {
    const by = handler === undefined ? '' : ` (${handler})`
    connection.tap?.refused(connection, `${reason}: ${detail}${by}`)
    connection.sideChannel?.connectRefused(reason)
    this.#events.refused(connection, reason, detail, handler)
  }

  gone(connection: Connection, reason: DisconnectReason): void {
    if (!this.connections.delete(connection)) return
    connection.traffic.open--
    this.#connecting.released(connection)
    if (connection.tunnelEnd !== undefined) this.#context.tunnels?.gone(connection.tunnelEnd, reason.kind)
    this.sessions.detach(connection)
    const { session } = connection
    if (session === undefined) return
    this.#events.disconnected(connection, reason)
    session.end()
    connection.profile.guard.disconnect(session, reason)
  }

  failed(connection: Connection, error: unknown): void {
    this.#events.failed(connection, error)
  }

  async #publishWill(connection: Connection): Promise<void> {
    const { session } = connection
    const will = session?.will
    if (session === undefined || will === undefined || connection.clientSession === undefined) return
    // Again, because rights may have changed since CONNECT.
    const authorized = await this.#willRights.authorize(connection, will)
    if (!('code' in authorized)) {
      // Who comes back in time has none; else it is published as it was allowed at CONNECT, by whichever pod.
      if (await this.#waits(connection, authorized)) return
      const topic = addMountpoint(authorized.topic, connection.profile.mountpoint)
      await this.#wills.publish(connection.sessionId, { ...authorized, topic })
      return
    }
    this.#context.counters.dropped.refused++
    const { reason } = authorized
    this.#context.log.info({ client: session.id, topic: will.topic, reason }, 'will refused')
    await this.#wills.discard(connection.sessionId)
  }

  /** It has a delay, and a session that lasts for longer than its connection. */
  async #waits(connection: Connection, { delaySeconds = 0 }: Will): Promise<boolean> {
    const { clientSession, terms, sessionId } = connection
    if (delaySeconds <= 0 || clientSession?.stored === undefined) return false
    const waitSeconds = willWaitSeconds(delaySeconds, terms?.sessionExpirySeconds)
    if (waitSeconds === 0) return false
    connection.willDueAtMs = Date.now() + waitSeconds * 1_000
    // Else the claim says so when it is given up.
    if (!this.#context.cluster.isShared) await this.#wills.wait(sessionId, connection.willDueAtMs)
    return true
  }

  // --- packets

  publish(connection: Connection, fields: PublishInput): void {
    this.#publishing.receive(connection, fields)
  }

  publishDropped(connection: Connection, packet: PublishInput, by: string): void {
    this.#publishing.dropped(connection, packet, by)
  }

  acknowledge(connection: Connection, type: PacketType, messageId: number, reasonCode: number): void {
    connection.clientSession!.outbox.acknowledge(type, messageId, reasonCode)
  }

  authenticate(connection: Connection, packet: ReasonPacket): void {
    if (connection.phase === 'connecting') connection.authAnswered(packet)
    else this.#authenticating.again(connection, packet)
  }

  disconnecting(connection: Connection, { properties }: ReasonPacket): void {
    const { terms } = connection
    const { sessionExpiryInterval: seconds } = properties
    if (terms === undefined || seconds === undefined) return
    // [MQTT-3.14.2.2.2]
    if (terms.sessionExpirySeconds === 0 && seconds > 0) {
      throw protocolError('a session expiry interval in DISCONNECT, and none in CONNECT')
    }
    terms.sessionExpirySeconds = boundedExpirySeconds(seconds, this.#context.config.session.expiryMs)
  }

  release(connection: Connection, messageId: number): void {
    this.#accepting.release(connection, messageId)
  }

  subscribe(connection: Connection, packet: SubscribePacket): void {
    this.#subscribing.subscribe(connection, packet)
  }

  unsubscribe(connection: Connection, packet: UnsubscribePacket): void {
    this.#unsubscribing.unsubscribe(connection, packet)
  }

  /** The retained message of one topic, for a client that is not subscribed. */
  readRetained(connection: Connection, topic: string): Promise<RetainedRead> {
    return this.#subscribing.readRetained(connection, topic)
  }

  #retained(filter: string): readonly Message[] {
    const stored = this.#context.store
      .retainedMatching(filter)
      .map(
        (found) =>
          new Message(
            found.topic,
            found.payload,
            found.qos,
            true,
            found.publisher,
            found.publishedAtMs,
            found.expiresAtMs,
            found.properties,
          ),
      )
    const sys = this.#sysRetained(filter)
    return sys.length === 0 ? stored : [...stored, ...sys]
  }

  // --- time and change

  #checkDeadlines(): void {
    const nowMs = Date.now()
    for (const connection of this.connections) connection.checkDeadlines(nowMs)
  }

  #sweep(): void {
    const nowMs = Date.now()
    const { store, log } = this.#context
    this.sessions
      .expire(nowMs)
      .then((count) => {
        this.expiredCount += count
        return store.sweep(nowMs)
      })
      .catch((error: unknown) => log.warn({ err: error }, 'sweep failed'))
  }

  /** Sessions that ended because their clients stayed away, since the start. */
  expiredCount = 0

  /** Rights have changed: asks again for live connections of this listener; `concerned`: one, or those; undefined: all. */
  recheck(profile: ListenerProfile, concerned?: Session | ((session: Session) => boolean)): Promise<void> {
    return this.#rechecking.recheck(profile, concerned)
  }

  /** Connections but the broker's own, which are bridges: from outside. */
  *#clients(): Generator<Connection> {
    for (const connection of this.connections)
      if (connection.profile.ownClientId === undefined) yield connection
  }

  get clientCount(): number {
    let count = 0
    for (const _ of this.#clients()) count++
    return count
  }

  /**
   * Ends every connection from outside, spread over `drainMs`, so that they do not all come back at once. Wills stay
   * stored. Resolves early when `signal` fires.
   */
  async drain(drainMs: number, signal?: AbortSignal): Promise<void> {
    this.#engine?.stopping()
    const waiting = [...this.#clients()]
    const steps = Math.max(1, Math.min(waiting.length, Math.floor(drainMs / DRAIN_STEP_MS)))
    for (let step = 0; step < steps; step++) {
      const from = Math.floor((waiting.length * step) / steps)
      const to = Math.floor((waiting.length * (step + 1)) / steps)
      for (const connection of waiting.slice(from, to)) this.#sendAway(connection)
      if (step < steps - 1) await new Promise((resolve) => setTimeout(resolve, DRAIN_STEP_MS))
      if (signal?.aborted === true) return
    }
    for (const connection of [...this.#clients()]) this.#sendAway(connection)
  }

  /** MQTT 5, 4.11 */
  #sendAway(connection: Connection): void {
    const { serverReference } = this.#context.config.mqtt5
    if (serverReference === '') connection.close({ kind: 'shutdown' })
    else connection.close({ kind: 'shutdown', reasonCode: ReasonCode.useAnotherServer }, serverReference)
  }

  /**
   * After {@link drain}, when the broker goes on: clients that do not come back in time are gone, and their wills and
   * the statuses of agents have to say so.
   */
  drained(): void {
    const { cluster, config } = this.#context
    this.#engine?.goesOn()
    this.#expectAgents()
    // Else they are due by the word of the store.
    if (!cluster.isShared) this.#wills.publishOrphansAfter(config.session.willGraceMs)
  }

  /**
   * As an empty retained message of a client does it: subscribers are sent that, too. Any topic, the broker's own
   * included; resolves when it is deleted as safely as it was stored.
   */
  deleteRetained(topic: string): Promise<boolean> {
    const stored = this.#context.store.retained(topic)
    if (stored === undefined) return Promise.resolve(false)
    const message = new Message(topic, Buffer.alloc(0), stored.qos, false, '', Date.now(), 0)
    return new Promise((resolve, reject) => {
      const isSafe = this.#dispatcher.dispatch(message, { retain: true }, (error) => {
        if (error === undefined) resolve(true)
        else reject(error)
      })
      if (isSafe) resolve(true)
    })
  }

  /** For other pods, and for `$SYS`: totals since the start. */
  figures(): PodFigures {
    const { counters, store, config } = this.#context
    const total = (field: 'packetsIn' | 'packetsOut' | 'bytesIn' | 'bytesOut' | 'accepted'): number =>
      sum(counters.listeners.map((listener) => listener[field]))
    return {
      name: config.cluster.podName === '' ? hostname() : config.cluster.podName,
      connected: this.sessions.connectedCount,
      connectedClean: this.sessions.cleanCount,
      packetsReceived: total('packetsIn'),
      packetsSent: total('packetsOut'),
      publishReceived: sum(counters.messagesIn),
      publishSent: sum(counters.messagesOut),
      publishDropped: sum(Object.values(counters.dropped)) + store.stats().droppedMessages,
      bytesReceived: total('bytesIn'),
      bytesSent: total('bytesOut'),
      connectionsAccepted: total('accepted'),
    }
  }

  /** Resolves when the claims of all connections that are gone have been given up. */
  departed(): Promise<void> {
    return this.sessions.departed()
  }

  async close(): Promise<void> {
    this.#context.tunnels?.stop()
    for (const timer of this.#timers) clearInterval(timer)
    this.#wills.stop()
    await this.#engine?.close()
  }
}

const DRAIN_STEP_MS = 50

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/** What ends by itself does so at most a quarter of its time late. */
function sweepIntervalMs({ expiryMs, messageExpiryMs }: Config['session']): number {
  const shortest = Math.min(...[expiryMs, messageExpiryMs].filter((ms) => ms > 0))
  return Math.min(SWEEP_MS.most, Math.max(SWEEP_MS.least, shortest / 4))
}
