import fc from 'fast-check'
import { ResetCode } from '../../src/tunnel/protocol/reset-code.ts'
import type { StreamsLimits } from '../../src/tunnel/protocol/streams.ts'
import {
  TunnelSimulation,
  type Fault,
  type MakeStreams,
  type Scenario,
  type WayPlan,
} from './tunnel-simulation.ts'
import { fail, type StreamPlan, type TalkPlan } from './tunnel-simulation-talker.ts'

/** How large everything is: small sizes meet more edges, large ones more of the scheduler and of congestion. */
interface Scale {
  readonly mostBytes: number
  readonly limits: fc.Arbitrary<Partial<StreamsLimits>>
  readonly socketBytes: fc.Arbitrary<number>
}

const tiny: Scale = {
  mostBytes: 4000,
  limits: fc.record({
    chunkBytes: fc.integer({ min: 1, max: 64 }).map((bytes) => bytes * 8),
    windowBytes: fc.integer({ min: 200, max: 2000 }),
    maxWindowBytes: fc.integer({ min: 2000, max: 4000 }),
    sendBufferBytes: fc.integer({ min: 1, max: 2000 }),
  }),
  socketBytes: fc.integer({ min: 1, max: 3000 }),
}

const real: Scale = {
  mostBytes: 250_000,
  limits: fc.record({
    chunkBytes: fc.constantFrom(4096, 32_768, 65_536),
    windowBytes: fc.constantFrom(16_384, 65_536, 1_048_576),
    maxWindowBytes: fc.constantFrom(1_048_576, 8_388_608),
    sendBufferBytes: fc.constantFrom(1, 65_536, 1_048_576),
  }),
  // What waits there delays everything behind it: some seconds, and not openTimeout.
  socketBytes: fc.constantFrom(1, 65_536, 262_144),
}

const talk = (mostBytes: number, mayFinishLast: boolean): fc.Arbitrary<TalkPlan> =>
  fc.record({
    writes: fc.array(
      fc.record({
        waitMs: fc.oneof(fc.constant(0), fc.nat(50), fc.nat(5000)),
        bytes: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: mostBytes })),
      }),
      { maxLength: 5 },
    ),
    finishesLast: mayFinishLast ? fc.boolean() : fc.constant(false),
    portionBytes: fc.integer({ min: 1, max: mostBytes }).map((bytes) => bytes + mostBytes / 20),
    pauseMs: fc.oneof(fc.constant(0), fc.nat(300)),
    stallMs: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(20_000)),
    resetAfterMs: fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, fc.nat(10_000)),
  })

const stream = (mostBytes: number): fc.Arbitrary<StreamPlan> =>
  fc.record({
    openAtMs: fc.oneof(fc.constant(0), fc.nat(10_000)),
    dialMs: fc.oneof(fc.constant(0), fc.nat(9000)),
    isRefused: fc.integer({ min: 0, max: 15 }).map((number) => number === 15),
    client: talk(mostBytes, false),
    agent: talk(mostBytes, true),
  })

const fault: fc.Arbitrary<Fault> = fc.record({
  atMs: fc.nat(20_000),
  kind: fc.constantFrom('cutClient', 'cutAgent', 'cutBoth', 'brokerRestart', 'restartClient', 'restartAgent'),
  silentMs: fc.oneof(fc.constant(0), fc.nat(4000)),
  // Longer than a frame is on its way: of what a program has sent before its restart nothing comes after it.
  awayMs: fc.integer({ min: 700, max: 10_000 }),
})

const way = (socketBytes: fc.Arbitrary<number>): fc.Arbitrary<WayPlan> =>
  fc.record({
    lossRate: fc.constantFrom(0, 0, 0.01, 0.1, 0.3),
    doubleRate: fc.constantFrom(0, 0.05, 0.3),
    delayMs: fc.constantFrom(0.1, 5, 100, 300),
    jitterMs: fc.constantFrom(0, 0, 1, 30, 300),
    bytesPerMs: fc.constantFrom(50, 1000, 100_000),
    socketBytes,
  })

const scenarios = (
  { mostBytes, limits, socketBytes }: Scale,
  broker: fc.Arbitrary<Scenario['broker']> = fc.constantFrom('foreign', 'tunnelmq'),
): fc.Arbitrary<Scenario> =>
  fc.record({
    seed: fc.nat(),
    broker,
    way: way(socketBytes),
    streams: fc.array(stream(mostBytes), { minLength: 1, maxLength: 4 }),
    faults: fc.array(fault, { maxLength: 4 }),
    limits,
  })

export const tinyScenarios = scenarios(tiny)
export const realScenarios = scenarios(real)
export const tinyPodScenarios = scenarios(tiny, fc.constant('pods'))
export const realPodScenarios = scenarios(real, fc.constant('pods'))

/** Longer than all that a talker may wait for, at the rates above. */
const ENOUGH_MS = 1_500_000
/** So long the network goes on to lose frames after the last fault. */
const LOSSY_MS = 600_000
const HOUR_MS = 3_600_000
/** resumeTimeout, and what comes before it. */
const LAST_WORDS_MS = 180_000

/** Plays a scenario to its end, and an hour more. @throws AssertionError for whatever is not as it must be. */
export function play(scenario: Scenario, make: MakeStreams): TunnelSimulation {
  const simulation = new TunnelSimulation(scenario, make)
  const healthyAtMs = Math.max(
    0,
    ...scenario.faults.map(({ atMs, silentMs, awayMs }) => atMs + silentMs + awayMs),
  )
  simulation.run(healthyAtMs, () => false)
  simulation.run(healthyAtMs + LOSSY_MS)
  simulation.isHealed = true
  simulation.run(healthyAtMs + LOSSY_MS + ENOUGH_MS)
  if (!simulation.isOver) fail(`no end:\n${simulation.describe()}`)
  const openExcuses = new Set<ResetCode>()
  if (scenario.way.lossRate > 0 || scenario.faults.length > 0) openExcuses.add(ResetCode.timeout)
  if (scenario.broker !== 'foreign' && scenario.faults.length > 0) openExcuses.add(ResetCode.agentOffline)
  for (const conversation of simulation.conversations) {
    const wrong = conversation.verdict(simulation.excuses, openExcuses)
    if (wrong !== undefined) fail(wrong)
  }
  expectSilence(simulation, scenario.streams.length)
  return simulation
}

function expectSilence(simulation: TunnelSimulation, streamCount: number): void {
  // An OPEN may have come to the agent after its client had given up, and it has to find that out.
  simulation.run(simulation.elapsedMs + LAST_WORDS_MS, () => false)
  const { frameCount, timerCount } = simulation
  simulation.run(simulation.elapsedMs + HOUR_MS, () => false)
  const frames = simulation.frameCount - frameCount
  const timers = simulation.timerCount - timerCount
  if (frames > 0) fail(`${frames} frames in an hour without streams`)
  if (timers > 4 * streamCount + 10) fail(`${timers} timers in an hour without streams`)
  for (const { role, streams } of Object.values(simulation.ends)) {
    const { opened, closed, reset } = streams.counters
    const left = [...streams.all()].length
    if (streams.count !== 0 || left !== 0) fail(`${role}: ${streams.count} streams are left`)
    if (opened !== closed + reset) fail(`${role}: opened ${opened}, closed ${closed}, reset ${reset}`)
  }
}
