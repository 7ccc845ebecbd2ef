import type { ClientRef, Listener as ListenerFacts, LogLevel } from '../../admin/api/resources.ts'
import type { IdentityOperations, Operations } from '../../admin/operations.ts'
import type { BrokerReadModel } from '../../admin/read-model.ts'
import type { Cluster } from '../../cluster/contract.ts'
import type { Config, ListenerConfig } from '../../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Admission } from '../../listeners/admission.ts'
import type { Log } from '../../log.ts'
import type { Store } from '../../store/contract.ts'
import { sessionIdOf } from '../../store/session-id.ts'
import type { TunnelRouter } from '../../tunnel/router/router.ts'
import type { Broker } from '../broker.ts'
import { Addresses } from './addresses.ts'
import { timeOf } from './client-facts.ts'
import { Clients } from './clients.ts'
import type { Draining } from './draining.ts'
import { overviewOf, podOf } from './overview.ts'
import { queuePage } from './queue.ts'
import { retainedFacts, retainedPage } from './retained.ts'
import { agentsOf, streamsOf } from './tunnels.ts'

/** A listener that is open. */
export interface OpenListener {
  readonly name: string
  readonly config: ListenerConfig
  readonly url: string
  readonly connectionCount: number
  readonly certificateEndsAtMs: number | undefined
}

export interface OperationsParts extends Pick<Operations, 'why' | 'startTrace' | 'readTrace' | 'stopTrace'> {
  readonly config: Config
  /** The same, for people: without secrets. */
  readonly printableConfig: () => unknown
  readonly model: BrokerReadModel
  readonly broker: Broker
  readonly store: Store
  readonly cluster: Cluster
  readonly admission: Admission
  readonly tunnels: TunnelRouter | undefined
  readonly draining: Draining
  /** Those that are open, when they are asked for. */
  readonly listeners: () => readonly OpenListener[]
  /** The store is open, and sessions are known. */
  readonly isStarted: () => boolean
  readonly identities: IdentityOperations
  readonly log: Log
}

/** What the API asks of this pod: see admin/operations.ts. */
export function createOperations(parts: OperationsParts): Operations {
  const { config, broker, store, cluster, tunnels, draining, log } = parts
  const overview = { ...parts, isDraining: () => draining.state.isDraining }
  const clients = new Clients(parts)
  const addresses = new Addresses(parts.admission, cluster)
  const topics = { maxBytes: config.limits.maxTopicBytes, maxLevels: config.limits.maxTopicLevels }

  /** Before that nothing is known, which is not the same as that there is nothing. */
  function assertStarted(): void {
    if (!parts.isStarted())
      throw new TunnelMQError(ErrorCode.storeUnavailable, 'The broker is starting: its store is not open yet')
  }

  return {
    overview: () => overviewOf(overview),
    async clients(query) {
      assertStarted()
      return await clients.page(query)
    },
    client(ref) {
      assertStarted()
      return clients.client(ref)
    },
    async disconnect(ref) {
      assertStarted()
      return await cluster.kick(idOf(ref))
    },
    async removeSession(ref) {
      assertStarted()
      return await broker.sessions.discard(idOf(ref))
    },
    async queue(ref, query) {
      assertStarted()
      return await queuePage(parts, ref, query)
    },
    async retained(query) {
      assertStarted()
      return await retainedPage(store, query, topics)
    },
    retainedMessage(topic) {
      assertStarted()
      const message = store.retained(topic)
      return message && retainedFacts(message, Infinity)
    },
    async deleteRetained(topic) {
      assertStarted()
      return await broker.deleteRetained(topic)
    },
    agents() {
      assertStarted()
      return agentsOf(tunnels, store, cluster.pod)
    },
    streams: () => streamsOf(tunnels, cluster.pod),
    cutStream: (id) => tunnels?.cut(id) === true,
    listeners: () => parts.listeners().map((listener) => listenerFacts(listener, parts)),
    bans: () => addresses.list(),
    ban: (request) => addresses.ban(request),
    unban: (address) => addresses.unban(address),
    refusals: (limit) => broker.refusals.list(cluster.pod, limit),
    pod: () => podOf(overview),
    config: () => parts.printableConfig(),
    logLevel: () => readLevel(log),
    setLogLevel(level) {
      setLevel(log, level)
      return readLevel(log)
    },
    drainState: () => draining.state,
    drain: ({ spreadMs }) => draining.drain(spreadMs),
    undrain: () => draining.undrain(),
    why: (request) => parts.why(request),
    startTrace: (request) => parts.startTrace(request),
    readTrace: (id, after, waitMs) => parts.readTrace(id, after, waitMs),
    stopTrace: (id) => parts.stopTrace(id),
    ...parts.identities,
  }
}

function idOf({ id, mountpoint }: ClientRef): string {
  return sessionIdOf(id, mountpoint)
}

function listenerFacts(
  { name, config, url, connectionCount, certificateEndsAtMs }: OpenListener,
  { model, cluster }: OperationsParts,
): ListenerFacts {
  const { accepted, bytesIn, bytesOut } = model.counters.listener(name, config.type)
  const proxyProtocol =
    'proxyProtocol' in config && config.proxyProtocol !== 'off' ? config.proxyProtocol : null
  return {
    name,
    type: config.type,
    url,
    pod: cluster.pod,
    connections: connectionCount,
    accepted,
    bytesReceived: bytesIn,
    bytesSent: bytesOut,
    mountpoint: config.mountpoint,
    proxyProtocol,
    certificateExpiresAt: timeOf(certificateEndsAtMs ?? 0),
  }
}

const LEVELS: readonly LogLevel['level'][] = ['trace', 'debug', 'info', 'warn', 'error', 'silent']

function readLevel({ level }: Log): LogLevel {
  // Of the program around us, which may have levels of its own: the least that says as much.
  return { level: LEVELS.find((known) => known === level) ?? 'error' }
}

function setLevel(log: Log, { level }: LogLevel): void {
  if (log.level === undefined)
    throw new TunnelMQError(ErrorCode.usage, 'The log of the program around the broker has no level to set')
  const before = log.level
  const say = (): void => log.info({ from: before, to: level }, 'log level changed')
  // While the one of the two that says more holds: a log that falls silent says so.
  const isLess = LEVELS.indexOf(level) > LEVELS.indexOf(readLevel(log).level)
  if (isLess) say()
  log.level = level
  if (!isLess && before !== level) say()
}
