import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { firstOf } from '../../../../src/broker/operations/portions.ts'

const ascending = (a: number, b: number): number => a - b

describe('the first of many', () => {
  it('are those of a sorted copy, each once', async () => {
    const property = fc.asyncProperty(
      fc.array(fc.integer()),
      fc.integer({ min: 1, max: 20 }),
      async (all, count) => {
        const even = all.filter((one) => one % 2 === 0)
        const found = await firstOf(all, count, ascending, (one) => (one % 2 === 0 ? one : undefined))
        expect(found).toEqual([...new Set(even)].toSorted(ascending).slice(0, count))
      },
    )
    await fc.assert(property)
  })

  it('are found in turns, between which others have theirs', async () => {
    let turns = 0
    const timer = setInterval(() => {}, 0)
    const count = (): void => {
      turns++
      next = setImmediate(count)
    }
    let next = setImmediate(count)
    const all = Array.from({ length: 50_000 }, (_, index) => (index * 7_919) % 50_000)
    const found = await firstOf(all, 5, ascending, (one) => one)
    clearImmediate(next)
    clearInterval(timer)
    expect(found).toEqual([0, 1, 2, 3, 4])
    expect(turns).toBeGreaterThan(20)
  })

  it('may come and go meanwhile', async () => {
    const all = new Map(Array.from({ length: 5_000 }, (_, index) => [index, index]))
    const found = firstOf(all.values(), 3, ascending, (one) => one)
    all.set(-1, -1)
    all.delete(4_999)
    // A client that has reconnected: its session is another, at the end.
    all.delete(0)
    all.set(0, 0)
    expect(await found).toEqual([-1, 0, 1])
  })
})
