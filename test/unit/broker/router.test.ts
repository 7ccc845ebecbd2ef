import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Router } from '../../../src/broker/router.ts'
import { topicMatches } from '../../../src/broker/topics.ts'

/** The router's obvious twin: a list that is gone through. */
class LinearRouter {
  readonly list: { filter: string; subscription: number }[] = []

  add(filter: string, subscription: number): void {
    this.list.push({ filter, subscription })
  }

  remove(filter: string, subscription: number): boolean {
    const index = this.list.findIndex((one) => one.filter === filter && one.subscription === subscription)
    if (index >= 0) this.list.splice(index, 1)
    return index >= 0
  }

  match(topic: string): number[] {
    return this.list
      .filter(({ filter }) => topicMatches(filter, topic))
      .map(({ subscription }) => subscription)
  }
}

const name = fc.constantFrom('', 'a', 'b', '$x', 'constructor', '__proto__')
const topic = fc.array(name, { minLength: 1, maxLength: 3, size: 'max' }).map((levels) => levels.join('/'))
const filter = fc
  .tuple(fc.array(fc.oneof(name, fc.constant('+')), { maxLength: 3, size: 'max' }), fc.boolean())
  .map(([levels, below]) => (below || levels.length === 0 ? [...levels, '#'] : levels).join('/'))
const anyStep = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('add' as const), filter, subscription: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('remove' as const), filter, subscription: fc.nat(3) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('removeKnown' as const), index: fc.nat() }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('match' as const), topic }) },
)

const nowhere = { filter: 'nowhere', subscription: 0 }

type Step =
  | { kind: 'add' | 'remove'; filter: string; subscription: number }
  | { kind: 'match'; topic: string }

function answer(router: Router<number> | LinearRouter, step: Step): unknown {
  if (step.kind === 'match') return [...router.match(step.topic)].sort((a, b) => a - b)
  return step.kind === 'add'
    ? router.add(step.filter, step.subscription)
    : router.remove(step.filter, step.subscription)
}

describe('the router', () => {
  it('finds what its linear twin finds, after any adds, removes and matches', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 60, size: 'max' }), (steps) => {
        const router = new Router<number>()
        const twin = new LinearRouter()
        for (const one of steps) {
          const made =
            one.kind === 'removeKnown'
              ? { kind: 'remove' as const, ...(twin.list[one.index % twin.list.length] ?? nowhere) }
              : one
          expect(answer(router, made)).toEqual(answer(twin, made))
          expect(router.size).toBe(twin.list.length)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('forgets what it has remembered of a topic when a subscription comes or goes', () => {
    const router = new Router<string>()
    router.add('a/+', 'first')
    expect(router.match('a/b')).toEqual(['first'])
    router.add('a/b', 'second')
    expect(router.match('a/b')).toEqual(['second', 'first'])
    router.add('#', 'third')
    expect(router.match('a/b').toSorted()).toEqual(['first', 'second', 'third'])
    router.remove('a/b', 'second')
    router.remove('a/+', 'first')
    expect(router.match('a/b')).toEqual(['third'])
    router.remove('#', 'third')
    expect(router.match('a/b')).toEqual([])
  })

  it('finds new topics when it has seen more of them than it remembers', () => {
    const router = new Router<number>()
    router.add('a/+', 1)
    for (let i = 0; i < 10_050; i++) expect(router.match(`a/${i}`)).toHaveLength(1)
    router.add('a/3', 2)
    expect(router.match('a/3')).toHaveLength(2)
  })

  it('remembers topics of many subscribers only as long as that does not take much memory', () => {
    const router = new Router<number>()
    for (let i = 0; i < 120_000; i++) router.add('#', i)
    const first = router.match('a')
    expect(router.match('a')).toBe(first)
    router.match('b')
    expect(router.match('a')).not.toBe(first)
  })

  it('does not give $ topics to a leading wildcard [MQTT-4.7.2-1]', () => {
    const router = new Router<string>()
    for (const one of ['#', '+/#', '+/x', '$SYS/#', '$SYS/+']) router.add(one, one)
    expect(router.match('$SYS/x').toSorted()).toEqual(['$SYS/#', '$SYS/+'])
    expect(router.match('a/x').toSorted()).toEqual(['#', '+/#', '+/x'])
  })

  it('gives all of very many subscriptions of one filter', () => {
    const router = new Router<number>()
    router.add('#', -1)
    for (let i = 0; i < 150_000; i++) router.add('a', i)
    expect(router.match('a')).toHaveLength(150_001)
  })
})
