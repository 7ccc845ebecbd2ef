import type { ContenderName, ReferenceName } from './contender.ts'
import type { Direction, FigureName, Plan } from './plan.ts'

/** What is measured, and the aims of the tunnel's design (docs/tunnel-protocol.md says what it is). */

export interface Scenario {
  readonly name: string
  readonly title: string
  readonly plan: Plan
  /** Beside it another stream of the same contender goes this way at full speed. */
  readonly loadDirection?: Direction
  /** With processes that have done nothing yet: how much they grow is of interest. */
  readonly isFresh?: true
  readonly contenders: readonly ContenderName[]
  readonly lines: readonly Line[]
}

/** One line of the report. */
export interface Line {
  readonly title: string
  readonly figure: FigureName
  readonly better: 'higher' | 'lower'
  readonly goals?: readonly Goal[]
}

export interface Goal {
  /** A reference in the same scenario; or another scenario of the contender itself; or nothing: an absolute figure. */
  readonly against: ReferenceName | { readonly scenario: string } | 'nothing'
  /** At least this ratio or figure; where less is better, at most. */
  readonly value: number
  /** Beyond what is required. */
  readonly aim?: number
}

export interface Sizes {
  readonly warmupBytes: number
  readonly timedBytes: number
  readonly pingCount: number
  readonly openCount: number
}

const MIB = 2 ** 20
export const DEFAULT_SIZES: Sizes = {
  // Node compiles what is hot while it runs: with 64 MiB before and 256 MiB timed a relay of 30 lines had long been
  // compiled, and the tunnel not.
  warmupBytes: 256 * MIB,
  timedBytes: 768 * MIB,
  pingCount: 2_000,
  openCount: 1_000,
}
export const QUICK_SIZES: Sizes = {
  warmupBytes: 32 * MIB,
  timedBytes: 96 * MIB,
  pingCount: 500,
  openCount: 100,
}

const MOST_PING_MS = 2_500
const PING_WARMUP_COUNT = 1_000
const OPEN_WARMUP_COUNT = 300
const MANY_STREAMS = 1_000
const ACTIVE_STREAMS = 100

const all: readonly ContenderName[] = [
  'relay-2',
  'relay-3',
  'ssh',
  'mqtt-forward',
  'tcp',
  'tls',
  'ws',
  'mosquitto',
  'listen',
]
/** mqtt-forward never takes back what a connection has used, and is at its end after 100 of them. */
const allButMqttForward = all.filter((name) => name !== 'mqtt-forward')
const mostTelling: readonly ContenderName[] = ['relay-3', 'ssh', 'tcp', 'mosquitto', 'listen']

export function scenariosOf({ warmupBytes, timedBytes, pingCount, openCount }: Sizes): readonly Scenario[] {
  const ping = {
    kind: 'ping',
    warmupCount: PING_WARMUP_COUNT,
    count: pingCount,
    mostMs: MOST_PING_MS,
  } as const
  const one = { kind: 'bulk', streamCount: 1, idleStreamCount: 0, warmupBytes, timedBytes } as const
  const bulk = (direction: Direction): Scenario => ({
    name: `bulk-${direction}`,
    title: `one stream, ${direction}`,
    plan: { ...one, direction },
    contenders: all,
    lines: [
      {
        title: `one stream ${direction}, MB/s`,
        figure: 'megabytesPerSecond',
        better: 'higher',
        goals: [
          { against: 'relay-2', value: 0.9, aim: 1 },
          { against: 'ssh', value: 1.5 },
          { against: 'mqtt-forward', value: 250 },
        ],
      },
    ],
  })
  const pingBeside = (loadDirection: Direction): Scenario => ({
    name: `ping-beside-${loadDirection}`,
    title: `64-byte ping beside a stream ${loadDirection}`,
    plan: ping,
    loadDirection,
    contenders: mostTelling,
    lines: [
      { title: `ping p50 beside bulk ${loadDirection}, us`, figure: 'pingP50Us', better: 'lower' },
      {
        title: `ping p99 beside bulk ${loadDirection}, us`,
        figure: 'pingP99Us',
        better: 'lower',
        goals: [{ against: { scenario: 'ping' }, value: 5 }],
      },
      { title: `that bulk ${loadDirection}, MB/s`, figure: 'loadMegabytesPerSecond', better: 'higher' },
    ],
  })
  const many = (direction: Direction): Scenario => ({
    name: `many-${direction}`,
    title: `${MANY_STREAMS} streams open, ${ACTIVE_STREAMS} of them ${direction} at full speed`,
    plan: {
      ...one,
      direction,
      streamCount: ACTIVE_STREAMS,
      idleStreamCount: MANY_STREAMS - ACTIVE_STREAMS,
    },
    isFresh: true,
    contenders: ['relay-2', 'tcp', 'mosquitto', 'listen'],
    lines: [
      {
        title: `1,000 streams, 100 active ${direction}, MB/s`,
        figure: 'megabytesPerSecond',
        better: 'higher',
        goals: [{ against: { scenario: `bulk-${direction}` }, value: 0.7 }],
      },
      ...(['client', 'broker', 'agent'] as const).map((role): Line => ({
        title: `memory of the ${role} for it, MB above idle`,
        figure: `${role}GrowthMb`,
        better: 'lower',
        goals: [{ against: 'nothing', value: 100 }],
      })),
    ],
  })
  return [
    bulk('up'),
    bulk('down'),
    {
      name: 'ping',
      title: '64-byte ping',
      plan: ping,
      contenders: all,
      lines: [
        {
          title: 'ping p50, us',
          figure: 'pingP50Us',
          better: 'lower',
          goals: [{ against: 'relay-3', value: 1.5 }],
        },
        { title: 'ping p99, us', figure: 'pingP99Us', better: 'lower' },
      ],
    },
    pingBeside('up'),
    pingBeside('down'),
    {
      name: 'open',
      title: 'open a stream, first byte echoed',
      plan: { kind: 'open', warmupCount: OPEN_WARMUP_COUNT, count: openCount },
      contenders: allButMqttForward,
      lines: [
        {
          title: 'open p50, us',
          figure: 'openP50Us',
          better: 'lower',
          goals: [{ against: 'relay-3', value: 1.5 }],
        },
        { title: 'open p99, us', figure: 'openP99Us', better: 'lower' },
      ],
    },
    many('up'),
    many('down'),
  ]
}

/** What a timer binds to 2 MB/s gets less to do. */
const SLOW_SHARE = 64

export function planFor(plan: Plan, contender: ContenderName): Plan {
  if (contender !== 'mqtt-forward' || plan.kind !== 'bulk') return plan
  return {
    ...plan,
    warmupBytes: plan.warmupBytes / SLOW_SHARE,
    timedBytes: plan.timedBytes / SLOW_SHARE,
  }
}
