import { withoutSecrets } from './config/print.ts'
import { createSchemaTree } from './config/schema-tree.ts'
import type { Config } from './config/schema.ts'
import { createBrokerCounters } from './counters.ts'
import { startAdmin } from './admin/admin.ts'
import { createAudit } from './admin/audit.ts'
import { createPodCalls } from './admin/pod-calls.ts'
import type { RunningBridges } from './bridge/start.ts'
import { Broker } from './broker/broker.ts'
import { createDoor } from './broker/door/client.ts'
import { Draining, type Door } from './broker/operations/draining.ts'
import { createOperations } from './broker/operations/operations.ts'
import { createReadModel } from './broker/read-model.ts'
import type { Refusals } from './broker/refusals.ts'
import { publishSysTopics } from './broker/sys-publisher.ts'
import { createTraces } from './broker/trace/traces.ts'
import { createWhy } from './broker/why/why.ts'
import type { CoapListener } from './gateway/coap/listener.ts'
import { startGateway } from './gateway/gateway.ts'
import type { InterceptorEntry } from './hooks/interceptor.ts'
import type { Handler } from './hooks/types.ts'
import { createIdentityOperations } from './identities/administration.ts'
import { Directory } from './identities/directory.ts'
import { createAdmission } from './listeners/admission.ts'
import type { Listener } from './listeners/listener.ts'
import type { RefusedConnection } from './listeners/lobby.ts'
import type { Transport } from './listeners/transport.ts'
import { createSilentLog, type Log } from './log.ts'
import type { AskedStream } from './tunnel/router/audit.ts'
import { TunnelRouter } from './tunnel/router/router.ts'
import { closeHandlers, createListenerChain, type Chain } from './start/listener-chain.ts'
import { logRefused, openListenerOrDoor } from './start/open-listener.ts'
import { createRunning, type RunningBroker } from './start/running.ts'
import { createStoreAndCluster, createTracing } from './start/store.ts'

export type { RunningBroker } from './start/running.ts'

export interface StartOptions {
  readonly config: Config
  /** Asked before the handlers of the configuration, on every listener. */
  readonly handlers?: readonly Handler[]
  /** Asked before the interceptors of the configuration. */
  readonly interceptors?: readonly InterceptorEntry[]
  /** Default: silent. */
  readonly log?: Log
}

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
      ? await startAdmin({
          config: config.admin,
          model,
          podCalls,
          audit,
          longestNameBytes: Math.max(config.limits.maxClientIdBytes, config.limits.maxTopicBytes),
          log,
        })
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
      maxPropertyBytes: config.mqtt5.maxPropertyBytes,
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

function noteStreamRefused(
  refusals: Refusals,
  { lane, client }: AskedStream,
  why: { readonly reason: string; readonly handler: string | undefined },
): void {
  const { username, address } = client
  refusals.note({ point: 'open', client: lane.client.name, username, address, topic: lane.up.topic, ...why })
}
