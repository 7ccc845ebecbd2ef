import { randomUUID } from 'node:crypto'
import { listenerName } from './config/listener-name.ts'
import { tlsOf } from './config/listener-tls.ts'
import { withoutSecrets } from './config/print.ts'
import { createSchemaTree } from './config/schema-tree.ts'
import type { Config, HandlerConfig, Limits, ListenerConfig } from './config/schema.ts'
import { createSingleCluster } from './cluster/single.ts'
import type { Cluster } from './cluster/contract.ts'
import { createBrokerCounters, type BrokerCounters, type Refusal } from './counters.ts'
import { startAdmin, type Admin } from './admin/admin.ts'
import { createAudit } from './admin/audit.ts'
import type { Operations } from './admin/operations.ts'
import { createPodCalls } from './admin/pod-calls.ts'
import type { RunningBridges } from './bridge/start.ts'
import { Broker } from './broker/broker.ts'
import { createDoor } from './broker/door/client.ts'
import type { OpenDoorClient } from './broker/door/contract.ts'
import type { LocalPublish } from './broker/local-client.ts'
import type { ListenerProfile } from './broker/listener-profile.ts'
import { Draining, type Door } from './broker/operations/draining.ts'
import { createOperations } from './broker/operations/operations.ts'
import { createReadModel } from './broker/read-model.ts'
import type { Refusals } from './broker/refusals.ts'
import { publishSysTopics } from './broker/sys-publisher.ts'
import { createTraces, type Traces } from './broker/trace/traces.ts'
import { createWhy } from './broker/why/why.ts'
import type { CoapListener } from './gateway/coap/listener.ts'
import { startGateway, type Gateway } from './gateway/gateway.ts'
import { Interceptors } from './broker/interceptors/interceptors.ts'
import { buildHandlers } from './hooks/build.ts'
import { createChain } from './hooks/chain.ts'
import { createGuard } from './hooks/guard.ts'
import type { Interceptor, InterceptorEntry, InterceptorPlace } from './hooks/interceptor.ts'
import { buildInterceptors, type PlacedInterceptor } from './hooks/interceptor-module.ts'
import type { Handler, ManagedHandler } from './hooks/types.ts'
import { createIdentityOperations } from './identities/administration.ts'
import { Directory } from './identities/directory.ts'
import { createAdmission, type Admission } from './listeners/admission.ts'
import { openListener, type Listener, type ListenerEvents } from './listeners/listener.ts'
import type { RefusedConnection } from './listeners/lobby.ts'
import type { Transport } from './listeners/transport.ts'
import { createSilentLog, type Log } from './log.ts'
import type { Store, StoreLimits, StoreStats } from './store/contract.ts'
import type { Tracing } from './tracing/contract.ts'
import type { AskedStream } from './tunnel/router/audit.ts'
import { TunnelRouter } from './tunnel/router/router.ts'
import { createEmbeddedStore } from './store/embedded/store.ts'
import { createMemoryStore } from './store/memory.ts'
import { version } from './version.ts'
import { sessionIdOf } from './store/session-id.ts'

export interface StartOptions {
  readonly config: Config
  /** Asked before the handlers of the configuration, on every listener. */
  readonly handlers?: readonly Handler[]
  /** Asked before the interceptors of the configuration. */
  readonly interceptors?: readonly InterceptorEntry[]
  /** Default: silent. */
  readonly log?: Log
}

export interface RunningBroker {
  readonly listeners: readonly { readonly name: string; readonly url: string }[]
  readonly adminUrl: string | undefined
  /** Of `tunnel.listen`, in its order: TCP ports that lead into tunnels. */
  readonly tunnelPorts: readonly { readonly bind: string; readonly port: number; readonly to: string }[]
  /** Publishes past the handlers; resolves when the message is as safe as its QoS asks. */
  publish(message: LocalPublish): Promise<void>
  /** Each message that matches, as it is published; returns what ends it. */
  subscribe(filter: string, listener: (topic: string, payload: Buffer) => void): () => void
  /**
   * Ends the connection of a client, at whichever pod it is; client ids are names within their mountpoint.
   * Resolves to false: it has none.
   */
  disconnect(clientId: string, mountpoint?: string): Promise<boolean>
  /**
   * Frees the ports, so that no client can come, and sends those that are here away, spread over `spreadMs` (default
   * 30,000); the broker goes on, not ready. Resolves when nobody new can come.
   */
  drain(spreadMs?: number): Promise<void>
  /** Accepts again, on the same ports. Rejects with TMQ_LISTEN when one of them is somebody else's by now. */
  undrain(): Promise<void>
  /** What the admin API asks of this pod; for programs that embed the broker, with or without that. */
  readonly operations: Operations
  /** Certificates, password and ACL files; then live sessions are asked again. Rejects with the first that failed. */
  reload(): Promise<void>
  /** Stops accepting, sends clients away, closes the store. Resolves when all is written. */
  stop(reason?: string): Promise<void>
  /** For the process around it: writes that wait for their commit, commits since the start; `failure`: '' or why not. */
  storeProgress(): Pick<StoreStats, 'failure' | 'pendingWrites' | 'commits'>
  /** For the process around it: a promise was rejected that nobody awaited. Counted in the metrics. */
  noteUnhandledError(): void
  /** Resolves when the broker has stopped. */
  readonly closed: Promise<void>
}

interface Chain {
  readonly profile: ListenerProfile
  readonly configs: readonly HandlerConfig[]
  readonly handlers: readonly ManagedHandler[]
  readonly interceptors: readonly PlacedInterceptor[]
}

const FAREWELL_MS = 2_000

/**
 * The composition root: log, store, broker, admin, and the listeners last.
 * Rejects with a TunnelMQError when something of it cannot start; what was started is stopped again.
 */
export async function startBroker(options: StartOptions): Promise<RunningBroker> {
  const { config } = options
  const log = options.log ?? createSilentLog()
  const startedAtMs = Date.now()
  const counters = createBrokerCounters()
  const admission = createAdmission(config.limits, () => performance.now())
  const undo: (() => Promise<unknown> | undefined)[] = []
  const notReady = new Set(['starting'])
  try {
    const directory = new Directory(log)
    undo.push(() => Promise.resolve(directory.close()))
    const chains: Chain[] = []
    undo.push(() => closeHandlers(chains))
    for (const listener of config.listeners) {
      const { handlers: own = [], interceptors: ownInterceptors = [] } = options
      const context = { config, own, ownInterceptors, counters, directory, log }
      chains.push(await createListenerChain(listener, context))
    }

    const { store, cluster } = await createStoreAndCluster(config, log)
    const tracing = await createTracing(config, cluster, log)
    undo.push(() => tracing?.close())
    const tunnels = config.tunnel.enabled
      ? new TunnelRouter({
          config: config.tunnel,
          log,
          publishStatus: (mountpoint, agent, status) => broker.publishStatus(mountpoint, agent, status),
          statusOf: (mountpoint, agent) => broker.statusOf(mountpoint, agent),
          graceMs: config.session.willGraceMs,
          pods: cluster.isShared ? cluster : undefined,
          refused: (asked, reason, handler) => noteStreamRefused(broker.refusals, asked, { reason, handler }),
          tracing,
        })
      : undefined
    const broker: Broker = new Broker({ config, store, cluster, counters, admission, tunnels, tracing, log })

    // Before the store: while that waits for Redis, somebody wants to know why nothing goes on.
    const listeners: Listener[] = []
    const coapListeners: CoapListener[] = []
    let bridges: RunningBridges | undefined
    const model = createReadModel({
      config,
      startedAtMs,
      notReady,
      counters,
      store,
      admission,
      cluster: () => cluster,
      broker: () => broker,
      tunnels: () => tunnels,
      tracing,
      listeners,
      bridges: () => bridges?.figures() ?? [],
      coap: () => coapListeners.map(({ name, figures }) => ({ listener: name, ...figures })),
      identities: () => directory.figures(),
    })
    const doors: Door[] = []
    const draining = new Draining({ broker, doors, notReady, log })
    const traces = createTraces({
      broker,
      limits: config.admin,
      topics: { maxBytes: config.limits.maxTopicBytes, maxLevels: config.limits.maxTopicLevels },
      pod: () => cluster.pod,
      log,
    })
    undo.push(() => Promise.resolve(traces.close()))
    const operations = createOperations({
      config,
      printableConfig: () => withoutSecrets(config, createSchemaTree()),
      model,
      broker,
      store,
      cluster,
      admission,
      tunnels,
      draining,
      listeners: () => listeners,
      identities: createIdentityOperations({
        directory,
        store: store.identities,
        limits: config.identities,
        isInForce: chains.some((chain) => chain.configs.some(({ type }) => type === 'dynamic')),
      }),
      isStarted: () => !notReady.has('starting'),
      log,
      why: createWhy({
        config,
        admission,
        store,
        tunnels,
        connections: broker.connections,
        profiles: chains.map(({ profile }) => profile),
        pod: () => cluster.pod,
        connectionOf: (id) => broker.sessions.connectionOf(id),
        storedOf: (id) => store.sessions.get(id),
        statusOf: (mountpoint, agent) => broker.statusOf(mountpoint, agent),
      }),
      startTrace: (request) => traces.start(request),
      readTrace: (id, after, waitMs) => traces.read(id, after, waitMs),
      stopTrace: (id) => traces.stop(id),
    })
    const audit = createAudit({ kept: config.admin.auditKept, pod: () => cluster.pod, log, now: Date.now })
    const podCalls = createPodCalls({
      cluster,
      operations: { ...operations, audit: (limit) => audit.recent(limit) },
      timeoutMs: config.admin.podTimeoutMs,
    })
    broker.podEvents.answerer = (pod, question) => podCalls.answer(pod, question)
    const admin = config.admin.enabled
      ? await startAdmin({ config: config.admin, model, podCalls, audit, log })
      : undefined
    undo.push(() => admin?.close())

    undo.push(() => store.close())
    store.identities.listen(directory)
    await store.open()
    undo.push(() => broker.close())
    await broker.start()
    undo.push(() => cluster.leave())
    await cluster.start(broker.podEvents, () => broker.figures())

    for (const { profile, handlers } of chains) {
      for (const handler of handlers) {
        handler.onChange?.((concerned) => {
          broker
            .recheck(profile, concerned)
            .catch((error: unknown) => log.error({ err: error }, 'recheck failed'))
        })
      }
    }
    const stopSys = publishSysTopics({
      intervalMs: config.sysIntervalMs,
      broker,
      cluster,
      store,
      startedAtMs,
      bridges: () => bridges?.figures() ?? [],
    })
    undo.push(() => Promise.resolve(stopSys()))

    const gateway =
      tunnels &&
      (await startGateway({
        config: config.tunnel,
        router: tunnels,
        mountpoints: [...new Set(config.listeners.map(({ mountpoint }) => mountpoint))],
        isBanned: (address) => admission.isBanned(address),
        refused: ({ bind, address, reason }) =>
          broker.refusals.note({ point: 'connection', address, listener: bind, reason }),
        publishStatus: (mountpoint, agent, status) => broker.publishStatus(mountpoint, agent, status),
        log,
      }))
    undo.push(() => gateway?.close())
    if (gateway !== undefined) doors.push(gateway)

    // Before listeners: what clients publish is kept for the other brokers from the first message on.
    if (config.bridges.length > 0) {
      const { startBridges } = await import('./bridge/start.ts')
      bridges = await startBridges({ config, broker, store, cluster, log })
    }
    undo.push(() => bridges?.stop())

    const openDoorClient = createDoor({
      broker,
      topics: { maxBytes: config.limits.maxTopicBytes, maxLevels: config.limits.maxTopicLevels },
      maxPacketBytes: config.limits.maxPacketBytes,
    })
    undo.push(() => Promise.all(listeners.map((listener) => listener.close())))
    for (const [index, listenerConfig] of config.listeners.entries()) {
      const { profile } = chains[index]!
      const events = {
        connection: (transport: Transport) => void broker.accept(transport, profile),
        refused: (refusal: RefusedConnection) =>
          logRefused(refusal, { counters, refusals: broker.refusals, log }),
        error: (error: Error) => log.error({ err: error, listener: profile.name }, 'listener failed'),
      }
      const listener = await openListenerOrDoor(listenerConfig, {
        admission,
        events,
        profile,
        openDoorClient,
        counters,
        limits: config.limits,
        log,
        coapListeners,
        tunnels,
        tunnelConfig: config.tunnel,
      })
      listeners.push(listener)
      doors.push(listener)
      // A figure that is 0 is there from the start, and not from the first client.
      counters.listener(listener.name, listenerConfig.type)
    }
    notReady.clear()
    return createRunning({
      config,
      log,
      broker,
      counters,
      store,
      cluster,
      admin,
      tracing,
      gateway,
      bridges,
      listeners,
      chains,
      directory,
      notReady,
      draining,
      operations,
      traces,
      stopSys,
    })
  } catch (error) {
    for (const step of undo.reverse()) await Promise.resolve(step()).catch(() => undefined)
    throw error
  }
}

interface ListenerContext {
  readonly admission: Admission
  readonly events: ListenerEvents
  readonly profile: ListenerProfile
  readonly openDoorClient: OpenDoorClient
  readonly counters: BrokerCounters
  readonly limits: Limits
  readonly log: Log
  readonly tunnels: TunnelRouter | undefined
  readonly tunnelConfig: Config['tunnel']
  /** Those that are opened are added. */
  readonly coapListeners: CoapListener[]
}

async function openListenerOrDoor(config: ListenerConfig, context: ListenerContext): Promise<Listener> {
  if (config.type === 'proxy') {
    const { tunnels, profile, openDoorClient, tunnelConfig, log } = context
    // The configuration was checked: with such a listener `tunnel.enabled` is on.
    const { createProxyDoor } = await import('./gateway/proxy/door.ts')
    const door = {
      config: config.proxy,
      tunnel: tunnelConfig,
      router: tunnels!,
      profile,
      openDoorClient,
      log,
    }
    return openListener(config, { ...context, visits: createProxyDoor(door) })
  }
  // Only now: who has no such door has none of its code in memory.
  if (config.type === 'coap') {
    const { openCoapListener } = await import('./gateway/coap/listener.ts')
    const listener = await openCoapListener(config, context)
    context.coapListeners.push(listener)
    return listener
  }
  if (!('http' in config)) return openListener(config, context)
  const { createHttpDoor } = await import('./gateway/http/door.ts')
  const { profile, openDoorClient: openClient, limits, log } = context
  const counters = context.counters.httpListener(profile.name)
  const http = createHttpDoor({ config: config.http, limits, profile, openClient, counters, log })
  return openListener(config, { ...context, http })
}

async function createStoreAndCluster(config: Config, log: Log): Promise<{ store: Store; cluster: Cluster }> {
  const limits: StoreLimits = {
    queueMaxMessages: config.session.queueMaxMessages,
    queueMaxBytes: config.session.queueMaxBytes,
    retainedMaxMessages: config.retained.maxMessages,
    retainedMaxBytes: config.retained.maxBytes,
    maxInflight: config.limits.maxInflight,
  }
  const { path, sync, cacheBytes, redis } = config.store
  if (config.store.type === 'redis') {
    // Only now: who has no Redis has none of its code in memory.
    const [{ createRedisLink }, { createRedisStore }, { createCluster }] = await Promise.all([
      import('./store/redis/link.ts'),
      import('./store/redis/store.ts'),
      import('./cluster/cluster.ts'),
    ])
    const link = createRedisLink({ config: redis, cluster: config.cluster, log })
    const store = createRedisStore({ link, limits, log })
    return { store, cluster: createCluster({ store, config, log }) }
  }
  const store =
    config.store.type === 'memory'
      ? createMemoryStore(limits)
      : createEmbeddedStore({ path, sync, cacheBytes, limits, log })
  return { store, cluster: createSingleCluster(store, { expiryMs: config.session.expiryMs }) }
}

/** Undefined, and none of its code in memory, without `tracing.endpoint`. */
async function createTracing(
  { tracing: { endpoint, ...rest } }: Config,
  cluster: Cluster,
  log: Log,
): Promise<Tracing | undefined> {
  if (endpoint === undefined) return undefined
  const { createOtlpTracing } = await import('./tracing/otlp.ts')
  const instance = cluster.isShared ? cluster.pod : randomUUID()
  return createOtlpTracing({ config: { ...rest, endpoint }, version, instance, log })
}

interface ChainContext {
  readonly config: Config
  readonly own: readonly Handler[]
  readonly ownInterceptors: readonly InterceptorEntry[]
  readonly counters: BrokerCounters
  readonly directory: Directory
  readonly log: Log
}

async function createListenerChain(listener: ListenerConfig, context: ChainContext): Promise<Chain> {
  const { config, counters, directory, log } = context
  const name = listenerName(listener)
  const configs: readonly HandlerConfig[] = listener.handlers ?? config.handlers
  const handlers = await buildHandlers(configs, {
    log,
    mountpoint: listener.mountpoint,
    clientCa: tlsOf(listener)?.clientCa,
    counters,
    directory,
  })
  const placed = await buildInterceptors(listener.interceptors).catch(async (error: unknown) => {
    await Promise.allSettled(handlers.map(async (handler) => handler.close?.()))
    throw error
  })
  const chain = createChain([...context.own, ...handlers])
  if (!chain.decidesPublish && !chain.decidesSubscribe) {
    log.info(
      { listener: name },
      'no handler decides on topics: every accepted client may publish and subscribe',
    )
  }
  const guard = createGuard(chain, {
    timeoutMs: config.auth.timeoutMs,
    maxConcurrent: config.auth.maxConcurrent,
    onFailure: ({ method, handler, kind, cause, session }) => {
      const figures = counters.handler(handler, method)
      if (kind === 'timed-out') figures.timedOut++
      else figures.failed++
      log.error({ handler, method, kind, err: cause, client: session.id }, 'handler failed')
    },
    onRefused: (method, handler) => void counters.handler(handler, method).refused++,
    onLatency: (method, durationMs) => counters.handler('chain', method).latency.observe(durationMs),
  })
  const profile: ListenerProfile = {
    name,
    guard,
    allowAnonymous: listener.allowAnonymous,
    protocolVersions: protocolLevels(listener),
    mountpoint: listener.mountpoint,
    interceptors: createInterceptors(name, placed, context),
  }
  return { profile, configs, handlers, interceptors: placed }
}

/** Undefined: the listener has none. */
function createInterceptors(
  listener: string,
  placed: readonly PlacedInterceptor[],
  { config, ownInterceptors, counters, log }: ChainContext,
): Interceptors | undefined {
  const own = ownInterceptors.filter((entry) => entry.listener === undefined || entry.listener === listener)
  if (own.length + placed.length === 0) return undefined
  const at = (place: InterceptorPlace): Interceptor[] =>
    [...own, ...placed].filter((one) => (one.at ?? 'before') === place).map(({ interceptor }) => interceptor)
  return new Interceptors({
    before: at('before'),
    after: at('after'),
    limits: {
      topics: { maxBytes: config.limits.maxTopicBytes, maxLevels: config.limits.maxTopicLevels },
      maxPacketBytes: config.limits.maxPacketBytes,
    },
    timeoutMs: config.auth.timeoutMs,
    onFailure: ({ handler, kind, cause, session }) => {
      const figures = counters.handler(handler, 'intercept')
      if (kind === 'timed-out') figures.timedOut++
      else figures.failed++
      log.error({ interceptor: handler, kind, err: cause, client: session.id }, 'interceptor failed')
    },
    onRefused: (handler) => void counters.handler(handler, 'intercept').refused++,
  })
}

/** 3: MQTT 3.1, 4: MQTT 3.1.1, which is what the clients of doors are taken for. */
function protocolLevels(listener: ListenerConfig): ReadonlySet<number> {
  if (!('protocolVersions' in listener)) return new Set([4])
  return new Set(listener.protocolVersions.map((served) => (served === '3.1' ? 3 : 4)))
}

function noteStreamRefused(
  refusals: Refusals,
  { lane, client }: AskedStream,
  why: { readonly reason: string; readonly handler: string | undefined },
): void {
  const { username, address } = client
  refusals.note({ point: 'open', client: lane.client.name, username, address, topic: lane.up.topic, ...why })
}

function logRefused(
  refusal: RefusedConnection,
  { counters, refusals, log }: { counters: BrokerCounters; refusals: Refusals; log: Log },
): void {
  const { address, port, listener, reason, detail, socketAddress } = refusal
  counters.refused[refusalOf(reason)]++
  const why = detail === undefined ? reason : `${reason}: ${detail}`
  refusals.note({ point: 'connection', address, listener, reason: why })
  log.info({ address, port, listener, reason, detail, socketAddress }, 'connection refused')
}

function refusalOf(reason: RefusedConnection['reason']): Refusal {
  if (reason === 'banned') return 'banned'
  if (reason.includes('rate')) return 'rate'
  if (reason.includes('connections') || reason === 'pending-limit') return 'max-connections'
  if (reason.startsWith('proxy')) return 'proxy-protocol'
  if (reason.startsWith('request')) return 'malformed'
  if (reason.startsWith('http')) return 'http'
  return reason.startsWith('tls') ? 'tls' : 'websocket'
}

interface RunningParts {
  readonly config: Config
  readonly log: Log
  readonly broker: Broker
  readonly counters: BrokerCounters
  readonly store: Store
  readonly cluster: Cluster
  readonly tracing: Tracing | undefined
  readonly admin: Admin | undefined
  readonly gateway: Gateway | undefined
  readonly bridges: RunningBridges | undefined
  readonly listeners: readonly Listener[]
  readonly chains: readonly Chain[]
  readonly directory: Directory
  readonly notReady: Set<string>
  readonly draining: Draining
  readonly operations: Operations
  readonly traces: Traces
  readonly stopSys: () => void
}

function createRunning(parts: RunningParts): RunningBroker {
  const {
    config,
    log,
    broker,
    counters,
    store,
    cluster,
    admin,
    tracing,
    gateway,
    bridges,
    listeners,
    chains,
    directory,
    notReady,
    draining,
    operations,
    traces,
    stopSys,
  } = parts
  let stopping: Promise<void> | undefined
  let resolveClosed!: () => void
  const closed = new Promise<void>((resolve) => (resolveClosed = resolve))

  async function stop(reason: string): Promise<void> {
    log.info({ reason, connections: broker.connections.size }, 'broker stopping')
    notReady.add('stopping')
    draining.stop()
    gateway?.stopAccepting()
    await Promise.all(listeners.map((listener) => listener.stopAccepting()))
    // While agents are still connected: they are told of the end of each stream.
    await gateway?.close()
    await bridges?.stop()
    await broker.drain(config.shutdown.drainMs)
    await untilGone(listeners)
    await Promise.all(listeners.map((listener) => listener.close()))
    stopSys()
    await broker.departed()
    // Whoever reads one has seen the end, and does not hold up the API's.
    traces.close()
    await broker.close()
    await cluster.leave()
    await store.close()
    await closeHandlers(chains)
    directory.close()
    await tracing?.close()
    await admin?.close()
    log.info('broker stopped')
  }

  return {
    listeners: listeners.map(({ name, url }) => ({ name, url })),
    adminUrl: admin?.url,
    tunnelPorts: gateway?.ports.map(({ bind, port, to }) => ({ bind, port, to })) ?? [],
    publish: (message) => broker.local.publish(message),
    subscribe: (filter, listener) => broker.local.subscribe(filter, listener),
    async drain(spreadMs = 30_000) {
      await draining.drain(spreadMs)
    },
    async undrain() {
      await draining.undrain()
    },
    operations,
    disconnect: (clientId, mountpoint = '') => cluster.kick(sessionIdOf(clientId, mountpoint)),
    async reload() {
      const handlers = chains.flatMap((chain) => [
        ...chain.handlers.map((handler) => handler.reload?.()),
        ...chain.interceptors.map(({ interceptor }) => interceptor.reload?.()),
      ])
      const results = await Promise.allSettled([
        ...handlers,
        ...listeners.map((listener) => listener.reloadCertificates()),
        admin?.reload(),
      ])
      for (const { profile } of chains) await broker.recheck(profile)
      const failed = results.find((result) => result.status === 'rejected')
      if (failed !== undefined) throw failed.reason
    },
    stop(reason = 'asked to') {
      stopping ??= withDeadline(stop(reason), config.shutdown.timeoutMs, log).finally(resolveClosed)
      return stopping
    },
    storeProgress: () => store.stats(),
    noteUnhandledError() {
      counters.unhandledErrors++
    },
    closed,
  }
}

async function closeHandlers(chains: readonly Chain[]): Promise<void> {
  const closing = chains.flatMap(({ handlers, interceptors }) => [
    ...handlers.map(async (handler) => handler.close?.()),
    ...interceptors.map(async ({ interceptor }) => interceptor.close?.()),
  ])
  await Promise.all(closing)
}

/** What was written to clients last is on its way: a moment for it, before sockets are destroyed. */
async function untilGone(listeners: readonly Listener[]): Promise<void> {
  const deadlineMs = performance.now() + FAREWELL_MS
  while (listeners.some(({ connectionCount }) => connectionCount > 0) && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

async function withDeadline(work: Promise<void>, timeoutMs: number, log: Log): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      log.error({ timeoutMs }, 'stop did not finish in time')
      resolve()
    }, timeoutMs)
  })
  await Promise.race([work, deadline])
  clearTimeout(timer)
}
