import type { DisconnectReason } from './hooks/types.ts'
import type { TransportKind } from './peer.ts'
import { createLatencyHistogram, type LatencyHistogram } from './latency-histogram.ts'

/** Why a connection was refused: a label of tunnelmq_connections_refused_total, so the list is closed. */
export const refusals = [
  'bad-credentials',
  'not-authorized',
  'identifier-rejected',
  'unavailable',
  'protocol-version',
  'banned',
  'max-connections',
  'rate',
  'connect-timeout',
  'malformed',
  'too-large',
  'proxy-protocol',
  'tls',
  'websocket',
  'http',
] as const
export type Refusal = (typeof refusals)[number]

/** Of MQTT, as people know them: a label of tunnelmq_clients. */
export const mqttVersions = ['3.1', '3.1.1', '5'] as const
export type MqttVersion = (typeof mqttVersions)[number]

/** Why a message did not go to somebody: a label of tunnelmq_messages_dropped_total. */
export const dropReasons = [
  'queue-full',
  'slow-reader',
  'refused',
  'not-delivered',
  'expired',
  'retained-full',
  'store-failed',
  'too-large',
] as const
export type DropReason = (typeof dropReasons)[number]

/** How connections end: a label of tunnelmq_disconnects_total. */
export const disconnectKinds = [
  'client',
  'refused',
  'lost',
  'keepalive',
  'protocol',
  'taken-over',
  'revoked',
  'limit',
  'kicked',
  'shutdown',
  'error',
] as const satisfies readonly DisconnectReason['kind'][]

export interface ListenerCounters {
  readonly listener: string
  readonly transport: TransportKind
  /** Connections that are open now, with or without a CONNECT. */
  open: number
  /** Connections whose CONNECT was accepted. */
  accepted: number
  /** Control packets of every type. */
  packetsIn: number
  packetsOut: number
  bytesIn: number
  bytesOut: number
}

/** What a listener for HTTP has answered. */
export interface HttpCounters {
  readonly listener: string
  /** By status code, of which there are few. */
  readonly answers: ReadonlyMap<number, number>
  answered(status: number): void
  /** Open now. */
  eventStreams: number
}

/** The calls of one method of one handler. */
export interface HandlerCounters {
  readonly handler: string
  readonly method: string
  readonly latency: LatencyHistogram
  refused: number
  /** Threw something other than AuthError. */
  failed: number
  timedOut: number
}

/** Why a request of the handler `http` was in vain: a label of tunnelmq_webhook_failures_total. */
export const webhookFaults = ['connection', 'timeout', 'broken-off', 'status', 'answer'] as const
export type WebhookFault = (typeof webhookFaults)[number]

/** One endpoint of one handler `http`, of all listeners that have it. */
export interface WebhookEndpointCounters {
  readonly handler: string
  /** Host and port. */
  readonly endpoint: string
  requests: number
  readonly failures: Record<WebhookFault, number>
  /** Left out by the breaker now, at so many listeners. */
  leftOut: number
}

/** The handler `http`, of all listeners that have it. */
export interface WebhookCounters {
  readonly handler: string
  cacheHits: number
  cacheMisses: number
  /** Now. */
  cacheEntries: number
  /** Notifications that wait now. */
  queued: number
  dropped: number
}

/** Fetches of a key set by the handler `jwt`. */
export interface KeySetCounters {
  readonly handler: string
  fetched: number
  failed: number
}

/** Why a client certificate does not count: a label of tunnelmq_certificates_refused_total. */
export const revocationRefusals = ['revoked', 'unknown', 'unavailable', 'untrusted'] as const
export type RevocationRefusal = (typeof revocationRefusals)[number]

/** A revocation list in memory. */
export interface RevocationListFigures {
  readonly entries: number
  readonly thisUpdateMs: number
  readonly nextUpdateMs: number | undefined
}

/** Of the certificate handlers. */
export interface RevocationCounters {
  readonly refused: Record<RevocationRefusal, number>
  /** Of revocation lists over HTTP. */
  crlFetches: number
  crlFetchFailures: number
  ocspRequests: number
  /** No answer that counts, also without a request. */
  ocspFailures: number
  /** Connections that were decided without a question. */
  ocspCacheHits: number
  /** One entry for each handler that has lists. */
  readonly lists: Set<() => readonly RevocationListFigures[]>
}

/**
 * What the broker counts, as plain numbers: counting costs an addition, and the rest is paid for when
 * somebody asks (GET /metrics, `$SYS`). All of them only grow, except those that say what is now.
 */
export interface BrokerCounters {
  readonly listeners: readonly ListenerCounters[]
  /** The counters of a listener, made at first use: keep the object, do not look it up for each message. */
  listener(listener: string, transport: TransportKind): ListenerCounters
  readonly http: readonly HttpCounters[]
  /** As {@link listener}. */
  httpListener(listener: string): HttpCounters
  readonly refused: Record<Refusal, number>
  /** Whose CONNECT was accepted. */
  readonly accepted: Record<MqttVersion, number>
  readonly disconnects: Record<DisconnectReason['kind'], number>
  /** PUBLISH received and sent, by QoS 0, 1, 2. */
  readonly messagesIn: [number, number, number]
  readonly messagesOut: [number, number, number]
  readonly dropped: Record<DropReason, number>
  /** Of clients, by the reason code of MQTT 5; what 3.1.1 has no words for is counted as well. */
  readonly refusedPublishes: Record<number, number>
  /** Sent again with DUP. */
  redelivered: number
  unhandledErrors: number
  /** From the asking to the answer of a write that is waited for. */
  readonly storeCommit: LatencyHistogram
  readonly revocation: RevocationCounters
  readonly handlers: readonly HandlerCounters[]
  /** As {@link listener}. */
  handler(handler: string, method: string): HandlerCounters
  readonly webhooks: readonly WebhookCounters[]
  /** As {@link listener}. */
  webhook(handler: string): WebhookCounters
  readonly webhookEndpoints: readonly WebhookEndpointCounters[]
  webhookEndpoint(handler: string, endpoint: string): WebhookEndpointCounters
  readonly keySets: readonly KeySetCounters[]
  keySet(handler: string): KeySetCounters
}

/** Counters at zero. */
export function createBrokerCounters(): BrokerCounters {
  const listeners = new Map<string, ListenerCounters>()
  const handlers = new Map<string, HandlerCounters>()
  const webhooks = new Map<string, WebhookCounters>()
  const webhookEndpoints = new Map<string, WebhookEndpointCounters>()
  const keySets = new Map<string, KeySetCounters>()
  const http = new Map<string, HttpCounters>()
  return {
    get listeners() {
      return [...listeners.values()]
    },
    listener: (listener, transport) =>
      obtain(listeners, `${listener} ${transport}`, () => ({
        listener,
        transport,
        open: 0,
        accepted: 0,
        packetsIn: 0,
        packetsOut: 0,
        bytesIn: 0,
        bytesOut: 0,
      })),
    get http() {
      return [...http.values()]
    },
    httpListener: (listener) => obtain(http, listener, () => createHttpCounters(listener)),
    refused: zeros(refusals),
    accepted: zeros(mqttVersions),
    disconnects: zeros(disconnectKinds),
    messagesIn: [0, 0, 0],
    messagesOut: [0, 0, 0],
    dropped: zeros(dropReasons),
    refusedPublishes: {},
    redelivered: 0,
    unhandledErrors: 0,
    storeCommit: createLatencyHistogram(),
    revocation: {
      refused: zeros(revocationRefusals),
      crlFetches: 0,
      crlFetchFailures: 0,
      ocspRequests: 0,
      ocspFailures: 0,
      ocspCacheHits: 0,
      lists: new Set(),
    },
    get handlers() {
      return [...handlers.values()]
    },
    handler: (handler, method) =>
      obtain(handlers, `${handler} ${method}`, () => ({
        handler,
        method,
        latency: createLatencyHistogram(),
        refused: 0,
        failed: 0,
        timedOut: 0,
      })),
    get webhooks() {
      return [...webhooks.values()]
    },
    webhook: (handler) =>
      obtain(webhooks, handler, () => ({
        handler,
        cacheHits: 0,
        cacheMisses: 0,
        cacheEntries: 0,
        queued: 0,
        dropped: 0,
      })),
    get webhookEndpoints() {
      return [...webhookEndpoints.values()]
    },
    webhookEndpoint: (handler, endpoint) =>
      obtain(webhookEndpoints, `${handler} ${endpoint}`, () => ({
        handler,
        endpoint,
        requests: 0,
        failures: zeros(webhookFaults),
        leftOut: 0,
      })),
    get keySets() {
      return [...keySets.values()]
    },
    keySet: (handler) => obtain(keySets, handler, () => ({ handler, fetched: 0, failed: 0 })),
  }
}

function createHttpCounters(listener: string): HttpCounters {
  const answers = new Map<number, number>()
  return {
    listener,
    answers,
    answered: (status) => void answers.set(status, (answers.get(status) ?? 0) + 1),
    eventStreams: 0,
  }
}

function zeros<K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>
}

function obtain<V>(map: Map<string, V>, key: string, create: () => V): V {
  const existing = map.get(key)
  if (existing !== undefined) return existing
  const created = create()
  map.set(key, created)
  return created
}
