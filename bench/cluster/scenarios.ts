import type { FigureName, Plan, ThroughputPlan } from '../load/plan.ts'
import type { SetupName } from './setups.ts'

/** What the cluster bench measures, and what is asked for (issue 4). */

export interface Goal {
  /** Another setup in a scenario, or nothing: an absolute figure. */
  readonly against: { readonly setup: SetupName; readonly scenario: string } | 'nothing'
  /** At least this ratio or figure. */
  readonly value: number
  readonly setup: SetupName
}

export interface Scenario {
  readonly name: string
  readonly title: string
  /** `crossing`: publishers at one broker, subscribers at the other. */
  readonly place: 'local' | 'crossing' | 'both'
  readonly plan: Plan
  readonly figure: FigureName
  readonly setups: readonly SetupName[]
  readonly goals: readonly Goal[]
}

const pairs = (plan: Partial<ThroughputPlan>): ThroughputPlan => ({
  kind: 'throughput',
  topology: 'pairs',
  publisherCount: 50,
  subscriberCount: 50,
  qos: 0,
  payloadBytes: 100,
  clean: true,
  windowCount: 20,
  ...plan,
})

const one: readonly SetupName[] = ['embedded', 'pod', 'pods', 'aedes', 'aedes-2']
const two: readonly SetupName[] = ['pods', 'aedes-2']
const messages = (
  name: string,
  title: string,
  place: 'local' | 'crossing',
  plan: Partial<ThroughputPlan>,
  goals: readonly Goal[] = [],
): Scenario => ({
  name,
  title: `${title}, msg/s`,
  place,
  plan: pairs(plan),
  figure: 'messagesPerSecond',
  setups: place === 'local' ? one : two,
  goals,
})
const connects = (name: string, title: string, clean: boolean): Scenario => ({
  name,
  title: `${title}, connects/s`,
  place: 'both',
  plan: { kind: 'connects', connectionCount: 5_000, concurrentCount: 64, clean },
  figure: 'connectsPerSecond',
  setups: one,
  goals: [{ setup: 'pods', against: 'nothing', value: 5_000 }],
})
const ofSingle = (scenario: string): Goal[] =>
  (['pod', 'pods'] as const).map((setup) => ({
    setup,
    against: { setup: 'embedded', scenario },
    value: 0.9,
  }))

export const scenarios: readonly Scenario[] = [
  messages('local-qos0', '50 pairs at one broker, QoS 0', 'local', {}, ofSingle('local-qos0')),
  messages('local-qos1', '50 pairs at one broker, QoS 1', 'local', { qos: 1 }),
  messages('local-persistent', '50 pairs at one broker, QoS 1, clean session 0', 'local', {
    qos: 1,
    clean: false,
  }),
  messages('crossing-qos0', '50 pairs across two, QoS 0', 'crossing', {}, [
    { setup: 'pods', against: 'nothing', value: 60_000 },
  ]),
  messages('crossing-qos1', '50 pairs across two, QoS 1', 'crossing', { qos: 1 }),
  messages('crossing-qos2', '50 pairs across two, QoS 2', 'crossing', { qos: 2 }),
  messages(
    'crossing-persistent',
    '50 pairs across two, QoS 1, clean session 0',
    'crossing',
    { qos: 1, clean: false },
    [{ setup: 'pods', against: 'nothing', value: 15_000 }],
  ),
  connects('connects-clean', 'clean sessions', true),
  connects('connects-persistent', 'sessions that are stored', false),
]
