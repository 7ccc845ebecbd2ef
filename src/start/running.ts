import type { Config } from '../config/schema.ts'
import type { Cluster } from '../cluster/contract.ts'
import type { BrokerCounters } from '../counters.ts'
import type { Admin } from '../admin/admin.ts'
import type { Operations } from '../admin/operations.ts'
import type { RunningBridges } from '../bridge/start.ts'
import type { Broker } from '../broker/broker.ts'
import type { LocalPublish } from '../broker/local-client.ts'
import type { Draining } from '../broker/operations/draining.ts'
import type { Traces } from '../broker/trace/traces.ts'
import type { Gateway } from '../gateway/gateway.ts'
import type { Directory } from '../identities/directory.ts'
import type { Listener } from '../listeners/listener.ts'
import type { Log } from '../log.ts'
import type { Store, StoreStats } from '../store/contract.ts'
import type { Tracing } from '../tracing/contract.ts'
import { sessionIdOf } from '../store/session-id.ts'
import { closeHandlers, type Chain } from './listener-chain.ts'

/** What the program around a broker has of it. */
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

const FAREWELL_MS = 2_000

/** Everything has started: how it is used, drained, reloaded, and stopped in the reverse order. */
export function createRunning(parts: RunningParts): RunningBroker {
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
