import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createStreams } from '../../../../src/tunnel/protocol/create-streams.ts'
import { FrameType, type FrameHeader } from '../../../../src/tunnel/protocol/frame.ts'
import type { StreamEvent, Streams } from '../../../../src/tunnel/protocol/streams.ts'
import type { MakeStreams, Scenario } from '../../../support/tunnel-simulation.ts'
import { play, realScenarios, tinyScenarios } from '../../../support/tunnel-simulation-scenarios.ts'

/** More is better; these take about half a minute on a slow core. */
const TINY_RUNS = 5000
const REAL_RUNS = 2000
/** Scenarios within which each broken machine must be found out. */
const MUTANT_RUNS = 300
const TIMEOUT_MS = 120_000

const numbered = (numRuns: number): fc.Parameters<[Scenario]> => ({
  numRuns,
  // The same scenarios in each run of the suite, unless asked otherwise: FC_SEED=random number.
  seed: Number(process.env['FC_SEED'] ?? 48),
})

describe('two ends with a bad network between them', () => {
  it(
    'deliver every byte once and in order, with windows of a few hundred bytes',
    { timeout: TIMEOUT_MS },
    () => {
      fc.assert(
        fc.property(tinyScenarios, (scenario) => void play(scenario, createStreams)),
        numbered(TINY_RUNS),
      )
    },
  )

  it(
    'deliver every byte once and in order, with windows and chunks of real size',
    { timeout: TIMEOUT_MS },
    () => {
      fc.assert(
        fc.property(realScenarios, (scenario) => void play(scenario, createStreams)),
        numbered(REAL_RUNS),
      )
    },
  )
})

/** A machine, with some of its methods replaced. */
function broken(change: (streams: Streams, role: 'client' | 'agent') => Partial<Streams>): MakeStreams {
  return (options) => {
    const streams = createStreams(options)
    const changes = change(streams, options.role)
    return new Proxy(streams, {
      get(target, name) {
        const value = Reflect.get(
          name in changes ? changes : target,
          name,
          name in changes ? changes : target,
        )
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }
}

/** A machine whose frames are changed on their way to the link; undefined: swallowed. */
function sends(
  change: (header: FrameHeader, payload: Buffer | undefined) => [FrameHeader, Buffer | undefined] | undefined,
): MakeStreams {
  return broken((streams) => ({
    transmit: (nowMs, send) =>
      streams.transmit(nowMs, (route, header, payload) => {
        const changed = change(header, payload)
        return changed === undefined || send(route, ...changed)
      }),
  }))
}

const dataEvents = (change: (bytes: Buffer) => Buffer[]): MakeStreams =>
  broken((streams) => ({
    takeEvents: () =>
      streams
        .takeEvents()
        .flatMap((event): StreamEvent[] =>
          event.kind === 'data' ? change(event.bytes).map((bytes) => ({ ...event, bytes })) : [event],
        ),
  }))

/** Machines with one defect each. */
const mutants: Record<string, MakeStreams> = {
  'loses the last byte of what it hands on': dataEvents((bytes) => [bytes.subarray(0, -1)]),
  'hands bytes on twice': dataEvents((bytes) => [bytes, bytes]),
  'hands on nothing': dataEvents(() => []),
  'swallows its ACKs': sends((header, payload) =>
    header.type === FrameType.ack ? undefined : [header, payload],
  ),
  'gives more credit than its window': sends((header, payload) =>
    header.type === FrameType.reset ? [header, payload] : [{ ...header, limit: header.limit + 1e9 }, payload],
  ),
  'acknowledges what it has not received': sends((header, payload) =>
    header.type === FrameType.ack ? [{ ...header, acked: header.acked + 1 }, payload] : [header, payload],
  ),
  'never sends a FIN': sends((header, payload) => [{ ...header, flags: header.flags & 2 }, payload]),
  'sends bytes from another place': sends((header, payload) =>
    header.type === FrameType.data && header.offset > 0
      ? [{ ...header, offset: header.offset - 1 }, payload]
      : [header, payload],
  ),
  'sends nothing again': broken(() => ({ advance: () => {} })),
  'does not resume': broken((streams) => {
    let upCount = 0
    return {
      linkUp: (nowMs) => {
        if (upCount++ === 0) streams.linkUp(nowMs)
      },
    }
  }),
  'keeps the end to itself': broken((streams) => ({
    takeEvents: () => streams.takeEvents().filter(({ kind }) => kind !== 'closed'),
  })),
  'does not tell of room': broken((streams) => ({
    takeEvents: () => streams.takeEvents().filter(({ kind }) => kind !== 'room'),
  })),
}

describe('the simulation', () => {
  it.each(Object.keys(mutants))('finds out a machine that %s', { timeout: TIMEOUT_MS }, (name) => {
    const result = fc.check(
      fc.property(tinyScenarios, (scenario) => void play(scenario, mutants[name]!)),
      { ...numbered(MUTANT_RUNS), endOnFailure: true },
    )
    expect(result.failed).toBe(true)
  })
})
