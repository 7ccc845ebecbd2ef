import { describe, expect, it } from 'vitest'
import { GroupMeter, StreamCheck } from '../../../bench/tunnel/bulk.ts'
import { isRight, PIECE_BYTES, pieceAt } from '../../../bench/tunnel/known-stream.ts'
import type { ContenderName } from '../../../bench/tunnel/contender.ts'
import type { Figures } from '../../../bench/tunnel/plan.ts'
import { hasFailed, judge, type Results } from '../../../bench/tunnel/results.ts'

const bytesAt = (from: number, to: number): Buffer => {
  const pieces: Buffer[] = []
  for (let position = from; position < to; position += PIECE_BYTES) pieces.push(pieceAt(position))
  return Buffer.concat(pieces).subarray(0, to - from)
}

describe('the known stream of the tunnel bench', () => {
  it('is the same however it is cut', () => {
    for (const position of [0, 1, 65_535, 1_048_500, 1_048_583, 5_000_000])
      for (const size of [1, 100, 65_536, 200_000])
        expect(isRight(position, bytesAt(position, position + size))).toBe(true)
  })

  it('shows a changed byte, wherever it is in a read', () => {
    for (const at of [0, 65_535, 65_536, 199_999]) {
      const bytes = bytesAt(7, 200_007)
      bytes[at]! ^= 1
      expect(isRight(7, bytes)).toBe(false)
    }
  })

  it('shows pieces that were lost, doubled or swapped', () => {
    const piece = 32_768
    for (const elsewhere of [-piece, piece, 32 * piece, 1024 * piece])
      expect(isRight(40 * piece, bytesAt(40 * piece + elsewhere, 41 * piece + elsewhere))).toBe(false)
  })

  it('is followed from read to read', () => {
    const check = new StreamCheck()
    check.take(bytesAt(0, 1_000))
    check.take(bytesAt(1_000, 70_000))
    expect(() => check.take(bytesAt(70_001, 70_100))).toThrow('wrong bytes between 70000 and 70099')
  })
})

describe('the meter of a group of streams', () => {
  it('leaves the warm-up out, and tells its figures once', () => {
    const meter = new GroupMeter({ group: 'a', warmupBytes: 100, timedBytes: 50, processes: [] })
    expect(meter.add(60)).toBeUndefined()
    expect(meter.add(60)).toBeUndefined()
    expect(meter.add(49)).toBeUndefined()
    expect(meter.add(1)?.megabytesPerSecond).toBeGreaterThan(0)
    expect(meter.add(500)).toBeUndefined()
  })
})

describe('the verdicts of the tunnel bench', () => {
  const line = { title: 'bulk', figure: 'megabytesPerSecond', better: 'higher' } as const
  const cell = { scenario: 'bulk-up', contender: 'tcp' } as const

  it('compare medians with a reference, and tell the aim from what is required', () => {
    const rounds = { tcp: [90, 300, 95], 'relay-2': [100, 10, 100] }
    expect(judge(resultsOf(rounds), cell, line, { against: 'relay-2', value: 0.9, aim: 1 })).toEqual({
      verdict: 'reached',
      value: 0.95,
    })
    expect(judge(resultsOf(rounds), cell, line, { against: 'relay-2', value: 0.9, aim: 0.95 }).verdict).toBe(
      'aim reached',
    )
    expect(judge(resultsOf(rounds), cell, line, { against: 'relay-2', value: 0.96 }).verdict).toBe('missed')
  })

  it('claim nothing about a reference that was not there', () => {
    expect(judge(resultsOf({ tcp: [100] }), cell, line, { against: 'mqtt-forward', value: 250 })).toEqual({
      verdict: 'not measured',
      value: undefined,
    })
  })

  it('hold a contender against itself in another scenario', () => {
    const results = resultsOf({ tcp: [100] })
    const many = {
      ...results.runs[0]!,
      scenario: 'many-up',
      outcome: { figures: { megabytesPerSecond: 75 } },
    }
    const goal = { against: { scenario: 'bulk-up' }, value: 0.7 } as const
    const all = { ...results, runs: [...results.runs, many] }
    expect(judge(all, { ...cell, scenario: 'many-up' }, line, goal)).toEqual({
      verdict: 'reached',
      value: 0.75,
    })
  })

  it('fail the bench for an error of ours, not for one of a reference', () => {
    const failing = (contender: ContenderName): Results => ({
      ...resultsOf({}),
      runs: [{ round: 1, scenario: 'bulk-up', contender, outcome: { error: 'hangs' } }],
    })
    expect(hasFailed(failing('listen'))).toBe(true)
    expect(hasFailed(failing('mqtt-forward'))).toBe(false)
  })
})

function resultsOf(rates: Partial<Record<ContenderName, readonly number[]>>): Results {
  const runs = Object.entries(rates).flatMap(([contender, values]) =>
    values.map((megabytesPerSecond, index) => ({
      round: index + 1,
      scenario: 'bulk-up',
      contender: contender as ContenderName,
      outcome: { figures: { megabytesPerSecond } satisfies Figures },
    })),
  )
  return {
    date: '2026-11-21T00:00:00.000Z',
    command: '',
    machine: {
      cpu: '',
      coreCount: 2,
      memoryGib: 1,
      kernel: '',
      node: '',
      loadAverage: 0,
      diskSyncUs: 1,
    },
    source: { commit: '', isChanged: false },
    roundCount: 3,
    isQuick: false,
    contenders: [],
    missing: [],
    runs,
  }
}
