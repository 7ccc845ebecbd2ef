import { describe, expect, it } from 'vitest'
import { createStreams } from '../../../../src/tunnel/protocol/create-streams.ts'
import { TunnelSimulation, type Scenario } from '../../../support/tunnel-simulation.ts'
import type { StreamPlan, TalkPlan } from '../../../support/tunnel-simulation-talker.ts'

const HOUR_MS = 3_600_000
const silent: TalkPlan = {
  writes: [],
  finishesLast: false,
  portionBytes: 1_000_000,
  pauseMs: 0,
  stallMs: 0,
  resetAfterMs: undefined,
}
/** Says nothing for an hour, and then one byte. */
const late: TalkPlan = { ...silent, writes: [{ waitMs: HOUR_MS, bytes: 1 }] }
const writes = (count: number): TalkPlan['writes'] =>
  Array.from({ length: count }, () => ({ waitMs: 0, bytes: 250_000 }))

const stream = (client: TalkPlan, agent: TalkPlan): StreamPlan => ({
  openAtMs: 0,
  dialMs: 0,
  isRefused: false,
  client,
  agent,
})

function simulate(streams: StreamPlan[], way: Partial<Scenario['way']> = {}): TunnelSimulation {
  return new TunnelSimulation(
    {
      seed: 1,
      broker: 'foreign',
      way: {
        lossRate: 0,
        doubleRate: 0,
        delayMs: 20,
        jitterMs: 0,
        bytesPerMs: 10_000,
        socketBytes: 262_144,
        ...way,
      },
      streams,
      faults: [],
      limits: {},
    },
    createStreams,
  )
}

describe('a stream that rests', () => {
  it('costs a PING and a PONG of each end every 30 s, and lives', () => {
    const simulation = simulate([stream(late, late)])
    simulation.run(HOUR_MS - 1, () => false)
    expect(simulation.frameCount).toBeLessThan((4 * HOUR_MS) / 30_000 + 20)
    expect(simulation.timerCount).toBeLessThan((10 * HOUR_MS) / 30_000)
    simulation.run(HOUR_MS + 10_000)
    expect(simulation.conversations[0]!.client.outcome).toEqual({ kind: 'closed' })
    expect(simulation.conversations[0]!.agent.outcome).toEqual({ kind: 'closed' })
  })

  it('waits an hour for a reader who does not read, with a frame every few seconds and no more than the window', () => {
    const stalled = { ...silent, stallMs: HOUR_MS }
    const simulation = simulate([stream({ ...silent, writes: writes(40) }, stalled)])
    simulation.run(60_000, () => false)
    const { frameCount, wireBytes } = simulation
    expect(wireBytes).toBeLessThan(1_200_000)
    simulation.run(HOUR_MS - 60_000, () => false)
    expect(simulation.frameCount - frameCount).toBeLessThan((2 * HOUR_MS) / 8_000 + 500)
    expect(simulation.wireBytes - wireBytes).toBeLessThan(100_000)
    simulation.run(HOUR_MS + 60_000)
    expect(simulation.conversations[0]!.agent.received).toBe(10_000_000)
    expect(simulation.conversations[0]!.agent.outcome).toEqual({ kind: 'closed' })
  })
})

describe('a network without faults', () => {
  it('is given no byte twice, and is kept busy', () => {
    const plan = { ...silent, writes: writes(40) }
    const simulation = simulate([stream(plan, plan)])
    simulation.run(60_000)
    expect(simulation.isOver).toBe(true)
    for (const { streams } of Object.values(simulation.ends)) expect(streams.counters.resentBytes).toBe(0)
    // 10 MB each way at 10 MB/s, and 40 ms for each round trip.
    expect(simulation.elapsedMs).toBeLessThan(3_000)
  })

  it('divides between streams: a short one is not kept waiting by long ones', () => {
    const long = { ...silent, writes: writes(40) }
    const simulation = simulate(
      [
        stream(long, silent),
        stream(long, silent),
        { ...stream({ ...silent, writes: [{ waitMs: 0, bytes: 100 }] }, silent), openAtMs: 500 },
      ],
      { socketBytes: 65_536 },
    )
    const short = simulation.conversations[2]!
    simulation.run(60_000, () => short.isOver)
    expect(short.agent.outcome).toEqual({ kind: 'closed' })
    expect(simulation.elapsedMs).toBeLessThan(900)
    expect(simulation.isOver).toBe(false)
  })
})
