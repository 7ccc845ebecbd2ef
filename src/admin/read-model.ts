import type { BridgeCounters } from '../bridge/counters.ts'
import type { CoapFigures } from '../gateway/coap/counts.ts'
import type { ClusterStats } from '../cluster/contract.ts'
import type { StoreStats } from '../store/contract.ts'
import type { BrokerCounters } from '../counters.ts'
import type { TracingFigures } from '../tracing/contract.ts'
import type { TunnelCounters } from '../tunnel/router/counters.ts'

export interface SessionCounts {
  /** Sessions with a connection, clean or not. */
  readonly connected: number
  /** Sessions that outlive their connection, connected or not. */
  readonly stored: number
}

/** Tunnels, now and since the start. */
export interface TunnelFigures {
  readonly counters: TunnelCounters
  /** Open and opening ones. */
  readonly streams: number
  /** Agents that serve; connections that may open streams. */
  readonly agents: number
  readonly clients: number
  /** Directions of streams that wait for their rate. */
  readonly shaped: number
}

export interface CoapListenerFigures extends CoapFigures {
  readonly listener: string
}

/** A bridge to another broker. */
export interface BridgeFigures {
  readonly name: string
  /** At this pod. */
  readonly isRunning: boolean
  /** Connected to the other broker, from this pod. */
  readonly isUp: boolean
  readonly counters: BridgeCounters
  /** Of its session: what waits for the other broker. */
  readonly queuedCount: number
  readonly queuedBytes: number
}

/** Of a broker among several on one Redis. */
export interface ClusterFigures {
  readonly stats: ClusterStats
  /** Of the other pod that has been silent for longest; 0: there is none. */
  readonly silentMs: number
  /** QoS 0 and frames to other pods that wait here. */
  readonly pendingBytes: number
}

/** Of the dynamic handler, now and since the start. */
export interface IdentityFigures {
  readonly identities: number
  readonly groups: number
  readonly roles: number
  /** Writes, of all pods. */
  readonly changes: number
  readonly unreadable: number
  /** CONNECTs that were refused, by why. */
  readonly refused: Readonly<Record<string, number>>
}

/** What the configuration allows; counters and gauges are looked at beside it. */
export interface LimitFigures {
  readonly maxConnections: number
  readonly retainedMaxMessages: number
  readonly retainedMaxBytes: number
}

export interface CertificateFigures {
  readonly listener: string
  /** Unix time in ms at which the certificate ends that clients are shown now. */
  readonly endsAtMs: number
}

/** All that health and metrics need to know of the broker; read when somebody asks, so it may cost a little. */
export interface BrokerReadModel {
  readonly version: string
  /** `Date.now()` of the start. */
  readonly startedAtMs: number
  /** Why no client should be sent here now; empty: ready. */
  notReadyReasons(): readonly string[]
  readonly counters: BrokerCounters
  sessions(): SessionCounts
  /** Clients that are connected, by version of MQTT. Looks at each. */
  clientsByVersion(): Readonly<Record<string, number>>
  /** Filters of all connected and stored sessions. */
  subscriptionCount(): number
  /** QoS 1 and 2 messages that are on their way to clients. */
  inflightCount(): number
  storeStats(): StoreStats
  readonly limits: LimitFigures
  /** How full the fullest stored queue is, 1 being its bound by count or bytes. Looks at each session. */
  fullestQueueRatio(): number
  /** Of each listener with TLS. */
  certificates(): readonly CertificateFigures[]
  /** Addresses that are banned now. */
  bannedCount(): number
  /** Undefined: nothing is traced. */
  tracing(): TracingFigures | undefined
  /** Undefined: `$tunnel/` is not routed. */
  tunnels(): TunnelFigures | undefined
  bridges(): readonly BridgeFigures[]
  /** Of each listener for CoAP. */
  coap(): readonly CoapListenerFigures[]
  /** Undefined: there are none that could be known. */
  identities(): IdentityFigures | undefined
  /** Undefined: it is alone. */
  cluster(): ClusterFigures | undefined
}
