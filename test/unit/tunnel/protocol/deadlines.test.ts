import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Deadlines, type Timed } from '../../../../src/tunnel/protocol/deadlines.ts'
import { LinkClock } from '../../../../src/tunnel/protocol/link-clock.ts'
import { Tombstones } from '../../../../src/tunnel/protocol/tombstones.ts'
import { Turn, Turns } from '../../../../src/tunnel/protocol/turns.ts'

describe('deadlines', () => {
  it('come in order, like those of a list that is sorted each time', () => {
    const step = fc.record({
      item: fc.nat(9),
      atMs: fc.nat(100),
      isRemoved: fc.boolean(),
      nowMs: fc.nat(100),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const deadlines = new Deadlines<Timed>()
        const items = Array.from({ length: 10 }, (): Timed => ({ wakeMs: Infinity, heapIndex: -1 }))
        const twin = new Map<Timed, number>()
        for (const { item, atMs, isRemoved, nowMs } of steps) {
          const timed = items[item]!
          if (isRemoved) {
            deadlines.remove(timed)
            twin.delete(timed)
          } else {
            deadlines.wake(timed, atMs)
            twin.set(timed, Math.min(atMs, twin.get(timed) ?? Infinity))
          }
          expect(deadlines.nextMs).toBe(Math.min(Infinity, ...twin.values()))
          const due = deadlines.takeDue(nowMs)
          const earliest = Math.min(Infinity, ...twin.values())
          expect(due && twin.get(due)).toBe(earliest <= nowMs ? earliest : undefined)
          if (due !== undefined) twin.delete(due)
        }
      }),
    )
  })
})

describe('turns', () => {
  it('are taken in the order of coming, and can be left', () => {
    const line = new Turns<string>()
    const other = new Turns<string>()
    const [a, b, c] = [new Turn('a'), new Turn('b'), new Turn('c')]
    for (const turn of [a, b, c, a]) line.join(turn)
    other.join(b)
    expect([line.first, other.first]).toEqual(['a', undefined])
    Turns.leave(b)
    Turns.leave(a)
    expect(line.first).toBe('c')
    line.join(a)
    Turns.leave(c)
    expect(line.first).toBe('a')
    Turns.leave(a)
    Turns.leave(a)
    expect(line.first).toBeUndefined()
  })
})

describe('the clock of the link (7.3)', () => {
  it('stands while the link takes nothing', () => {
    const clock = new LinkClock()
    clock.start(1_000)
    const start = clock.at(1_000)
    clock.stop(1_100)
    clock.stop(1_200)
    expect(clock.at(5_000) - start).toBe(100)
    clock.start(5_000)
    clock.start(5_500)
    expect(clock.at(6_000) - start).toBe(1_100)
  })
})

describe('tombstones (8.4)', () => {
  const stone = { kind: 'closed', token: 't', offset: 1, acked: 2, limit: 3 } as const

  it('stand for the time, and are told apart by topic and id', () => {
    const stones = new Tombstones(1_000)
    stones.add('a/up', 1, stone, 0)
    expect(stones.get('a/up', 1, 999)).toBe(stone)
    expect(stones.get('a/up', 1, 1_000)).toBeUndefined()
    expect(stones.get('a/up', 2, 0)).toBeUndefined()
    expect(stones.get('b/up', 1, 0)).toBeUndefined()
  })

  it('are at most 65,536: the oldest goes', () => {
    const stones = new Tombstones(1_000)
    for (let id = 0; id <= 65_536; id++) stones.add('a/up', id, stone, 0)
    expect([stones.get('a/up', 0, 1), stones.get('a/up', 1, 1)]).toEqual([undefined, stone])
  })
})
