import type { Faults, Topology } from './ledger.ts'
import type { Qos, Version } from './packets.ts'

/** What the generator is told to do, and what it answers: JSON on its command line and on its standard output. */

export interface Target {
  readonly port: number
  /** Where subscribers go, and every other one of many idle clients, when that is another broker of the same cluster. */
  readonly otherPort?: number
  /** Whose CPU time and memory are read from /proc. */
  readonly brokerPid: number
  /** What clients speak. */
  readonly version: Version
  readonly username: string
  readonly password: string
}

/** Time that is thrown away, then time that counts. */
export interface Timing {
  readonly warmupMs: number
  readonly measureMs: number
}

/** As many messages as the window lets through. */
export interface ThroughputPlan {
  readonly kind: 'throughput'
  readonly topology: Topology
  readonly publisherCount: number
  readonly subscriberCount: number
  readonly qos: Qos
  readonly payloadBytes: number
  readonly clean: boolean
  readonly windowCount: number
}

/** A calm, even load, timed message by message. */
export interface LatencyPlan {
  readonly kind: 'latency'
  readonly pairCount: number
  readonly qos: Qos
  readonly payloadBytes: number
  readonly messagesPerSecond: number
}

/** Idle clients, as many as asked, as fast as they are let in. */
export interface ConnectsPlan {
  readonly kind: 'connects'
  readonly connectionCount: number
  /** TCP connections that await their CONNACK at once. */
  readonly concurrentCount: number
  /** Default true. */
  readonly clean?: boolean
}

/** Retained messages, then one subscription that matches them all. */
export interface RetainedPlan {
  readonly kind: 'retained'
  readonly messageCount: number
  readonly payloadBytes: number
}

export type Plan = ThroughputPlan | LatencyPlan | ConnectsPlan | RetainedPlan

export interface LoadOrder {
  readonly plan: Plan
  readonly target: Target
  readonly timing: Timing
}

/** Everything measured, each with its unit in its name. Not every scenario has every figure. */
export interface Figures {
  readonly messagesPerSecond?: number
  readonly brokerCpuUsPerMessage?: number
  readonly latencyP50Us?: number
  readonly latencyP99Us?: number
  readonly connectsPerSecond?: number
  readonly brokerCpuUsPerConnect?: number
  readonly idleConnectionKib?: number
  readonly retainedAllMs?: number
  readonly retainedFirstMs?: number
  readonly retainedPublishedPerSecond?: number
  /** Share of one core, 0 to 1. */
  readonly brokerBusy?: number
  /** Share of one core; near 1 the generator, not the broker, was the limit. */
  readonly generatorBusy?: number
  readonly brokerPeakMib?: number
}
export type FigureName = keyof Figures

export interface LoadResult {
  readonly figures: Figures
  readonly faults: Faults
  /** Why the broker closed connections, the first few. */
  readonly disconnectReasons: readonly string[]
}
