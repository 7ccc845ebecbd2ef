import { listenerName } from '../config/listener-name.ts'
import { tlsOf } from '../config/listener-tls.ts'
import type { Config, HandlerConfig, ListenerConfig } from '../config/schema.ts'
import type { BrokerCounters } from '../counters.ts'
import type { ListenerProfile } from '../broker/listener-profile.ts'
import { Interceptors } from '../broker/interceptors/interceptors.ts'
import { buildHandlers } from '../hooks/build.ts'
import { createChain } from '../hooks/chain.ts'
import { createGuard } from '../hooks/guard.ts'
import type { Interceptor, InterceptorEntry, InterceptorPlace } from '../hooks/interceptor.ts'
import { buildInterceptors, type PlacedInterceptor } from '../hooks/interceptor-module.ts'
import type { Handler, ManagedHandler } from '../hooks/types.ts'
import type { Directory } from '../identities/directory.ts'
import type { Log } from '../log.ts'

/** What decides at one listener, and what has to be closed with it. */
export interface Chain {
  readonly profile: ListenerProfile
  readonly configs: readonly HandlerConfig[]
  readonly handlers: readonly ManagedHandler[]
  readonly interceptors: readonly PlacedInterceptor[]
}

interface ChainContext {
  readonly config: Config
  readonly own: readonly Handler[]
  readonly ownInterceptors: readonly InterceptorEntry[]
  readonly counters: BrokerCounters
  readonly directory: Directory
  readonly log: Log
}

export async function createListenerChain(listener: ListenerConfig, context: ChainContext): Promise<Chain> {
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

/** Protocol levels: 5 is MQTT 5, which is what the clients of doors are taken for. */
function protocolLevels(listener: ListenerConfig): ReadonlySet<number> {
  if (!('protocolVersions' in listener)) return new Set([5])
  return new Set(listener.protocolVersions.map((served) => LEVELS[served]))
}

const LEVELS = { '3.1': 3, '3.1.1': 4, '5': 5 } as const

export async function closeHandlers(chains: readonly Chain[]): Promise<void> {
  const closing = chains.flatMap(({ handlers, interceptors }) => [
    ...handlers.map(async (handler) => handler.close?.()),
    ...interceptors.map(async ({ interceptor }) => interceptor.close?.()),
  ])
  await Promise.all(closing)
}
