import type { FigureName, Plan, ThroughputPlan } from './load/plan.ts'

/** What is measured, and what TunnelMQ has to reach: issue 2 (required) and shared/peers.md (aimed at). */

export interface Goal {
  /** What TunnelMQ's figure is held against: another broker's figure, or nothing (an absolute figure). */
  readonly against: 'aedes' | 'mosquitto' | 'nothing'
  /** At least this ratio or figure; where less is better, at most. */
  readonly value: number
}

/** One line of the report: a figure of the scenario, and its goals. */
export interface Line {
  readonly title: string
  readonly figure: FigureName
  readonly better: 'higher' | 'lower'
  /** From the issue that the broker was built for. */
  readonly required?: Goal
  /** From the table of peers; harder. */
  readonly aim?: Goal
}

export interface Scenario {
  readonly name: string
  readonly plan: Plan
  readonly lines: readonly Line[]
}

/** Messages of one publisher under way at once, counted end to end. */
const WINDOW_COUNT = 20
const PAYLOAD_BYTES = 100

const throughput = (plan: Partial<ThroughputPlan>): ThroughputPlan => ({
  kind: 'throughput',
  topology: 'pairs',
  publisherCount: 50,
  subscriberCount: 50,
  qos: 0,
  payloadBytes: PAYLOAD_BYTES,
  clean: true,
  windowCount: WINDOW_COUNT,
  ...plan,
})
const fanIn = { topology: 'fan-in', publisherCount: 99, subscriberCount: 1 } as const
const fanOut = { topology: 'fan-out', publisherCount: 1, subscriberCount: 200 } as const
const latency = {
  kind: 'latency',
  pairCount: 50,
  payloadBytes: PAYLOAD_BYTES,
  messagesPerSecond: 1000,
} as const

const rate = (title: string, goals: Pick<Line, 'required' | 'aim'>): readonly Line[] => [
  { title: `${title}, msg/s`, figure: 'messagesPerSecond', better: 'higher', ...goals },
]
const percentiles = (qos: number): readonly Line[] => [
  { title: `latency at 1,000 msg/s, QoS ${qos}, p50 us`, figure: 'latencyP50Us', better: 'lower' },
  { title: `latency at 1,000 msg/s, QoS ${qos}, p99 us`, figure: 'latencyP99Us', better: 'lower' },
]
const overAedes = (value: number): Goal => ({ against: 'aedes', value })
const overMosquitto = (value: number): Goal => ({ against: 'mosquitto', value })
const absolute = (value: number): Goal => ({ against: 'nothing', value })

export const scenarios: readonly Scenario[] = [
  {
    name: 'pairs-qos0',
    plan: throughput({}),
    lines: rate('50 pairs, QoS 0', { required: overAedes(2.5), aim: overMosquitto(3) }),
  },
  {
    name: 'pairs-qos1',
    plan: throughput({ qos: 1 }),
    lines: rate('50 pairs, QoS 1', { required: overAedes(2), aim: overMosquitto(2.5) }),
  },
  {
    name: 'pairs-qos2',
    plan: throughput({ qos: 2 }),
    lines: rate('50 pairs, QoS 2', { aim: overMosquitto(2) }),
  },
  {
    name: 'pairs-qos0-4k',
    plan: throughput({ payloadBytes: 4096 }),
    lines: rate('50 pairs, QoS 0, 4 KB', { aim: overMosquitto(1.3) }),
  },
  {
    name: 'fan-in-qos0',
    plan: throughput({ ...fanIn }),
    lines: rate('99 to 1, QoS 0', { required: overAedes(2.5) }),
  },
  {
    name: 'fan-in-qos1',
    plan: throughput({ ...fanIn, qos: 1 }),
    lines: rate('99 to 1, QoS 1', { required: overAedes(2), aim: overMosquitto(2.5) }),
  },
  {
    name: 'fan-out-qos0',
    plan: throughput({ ...fanOut }),
    lines: rate('1 to 200, QoS 0', { required: overAedes(6), aim: overMosquitto(8) }),
  },
  {
    name: 'fan-out-qos1',
    plan: throughput({ ...fanOut, qos: 1 }),
    lines: rate('1 to 200, QoS 1', { aim: overMosquitto(3) }),
  },
  {
    name: 'persistent-qos1',
    plan: throughput({ qos: 1, clean: false }),
    lines: rate('50 pairs, QoS 1, clean session 0', { required: absolute(20_000), aim: absolute(30_000) }),
  },
  {
    name: 'connects',
    plan: { kind: 'connects', connectionCount: 5_000, concurrentCount: 64 },
    lines: [
      { title: 'connects a second', figure: 'connectsPerSecond', better: 'higher' },
      // The aim is 0.3 of mosquitto's rate. Its rate is beyond the generator, so the cost of each is compared.
      {
        title: 'broker CPU a connect, us',
        figure: 'brokerCpuUsPerConnect',
        better: 'lower',
        aim: overMosquitto(1 / 0.3),
      },
      {
        title: 'idle connection of 5,000, KiB',
        figure: 'idleConnectionKib',
        better: 'lower',
        aim: absolute(12),
      },
    ],
  },
  {
    name: 'retained',
    plan: { kind: 'retained', messageCount: 20_000, payloadBytes: PAYLOAD_BYTES },
    lines: [
      {
        title: '20,000 retained to one `#`, ms',
        figure: 'retainedAllMs',
        better: 'lower',
        aim: overMosquitto(1),
      },
    ],
  },
  { name: 'latency-qos0', plan: { ...latency, qos: 0 }, lines: percentiles(0) },
  { name: 'latency-qos1', plan: { ...latency, qos: 1 }, lines: percentiles(1) },
]
