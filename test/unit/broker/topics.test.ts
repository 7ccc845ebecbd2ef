import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  filterCovered,
  filtersOverlap,
  hasWildcard,
  parseShare,
  reservedNamespace,
  topicFilterFault,
  topicMatches,
  topicNameFault,
} from '../../../src/broker/topics.ts'

const limits = { maxBytes: 20, maxLevels: 4 }

// 'z' is in no filter: it stands for every other name. One level more than filters have stands for every depth.
const names = ['', 'a', 'b', '$x', 'z']
const filterDepth = 3

function* topicsOf(levels: number): Generator<string[]> {
  for (const name of names) {
    yield [name]
    if (levels > 1) for (const rest of topicsOf(levels - 1)) yield [name, ...rest]
  }
}
// The empty topic is in no PUBLISH, but wildcards match it: '/#' has it as its parent.
const allTopics = [...topicsOf(filterDepth + 1)].map((levels) => levels.join('/'))

const level = fc.constantFrom('', 'a', 'b', '$x', '+')
const filter = fc
  .tuple(fc.array(level, { maxLength: filterDepth }), fc.boolean())
  .map(([levels, below]) => (below ? [...levels.slice(0, filterDepth - 1), '#'] : levels).join('/'))
  .filter((one) => one !== '')

/** MQTT 3.1.1, 4.7, word for word and as slow as it likes. */
function matchesSlowly(one: readonly string[], topic: readonly string[], isFirst = true): boolean {
  const [wanted, ...wantedRest] = one
  const [name, ...nameRest] = topic
  // "matches ... the parent and any number of child levels"
  if (wanted === '#') return !(isFirst && name?.startsWith('$'))
  if (wanted === undefined || name === undefined) return wanted === name
  if (wanted === '+' ? isFirst && name.startsWith('$') : wanted !== name) return false
  return matchesSlowly(wantedRest, nameRest, false)
}

function matching(one: string): Set<string> {
  return new Set(allTopics.filter((topic) => matchesSlowly(one.split('/'), topic.split('/'))))
}

describe('matching a topic', () => {
  it('is as the specification says, for every topic of a small world', () => {
    fc.assert(
      fc.property(filter, (one) => {
        expect(new Set(allTopics.filter((topic) => topicMatches(one, topic)))).toEqual(matching(one))
      }),
    )
  })

  it.each([
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/#', 'sport', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['#', '$SYS/broker', false],
    ['+/monitor/Clients', '$SYS/monitor/Clients', false],
    ['$SYS/#', '$SYS/', true],
    ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
    ['a/+/#', 'a', false],
  ])('%s and %s: %s (examples of MQTT 3.1.1, 4.7)', (one, topic, matches) => {
    expect(topicMatches(one, topic)).toBe(matches)
  })
})

describe('two filters', () => {
  it('cover each other when every topic of the one is one of the other', () => {
    fc.assert(
      fc.property(filter, filter, (one, by) => {
        const all = matching(by)
        const covered = [...matching(one)].every((topic) => all.has(topic))
        expect(filterCovered(one, by)).toBe(covered)
      }),
      { numRuns: 3_000 },
    )
  })

  it('overlap when some topic is one of both', () => {
    fc.assert(
      fc.property(filter, filter, (a, b) => {
        const other = matching(b)
        expect(filtersOverlap(a, b)).toBe([...matching(a)].some((topic) => other.has(topic)))
      }),
      { numRuns: 3_000 },
    )
  })
})

const anyText = fc.string({ unit: fc.constantFrom('a', 'ä', '€', '/', '+', '#', '\0', '$'), maxLength: 12 })

function sizeFault(text: string): boolean {
  return Buffer.byteLength(text) > limits.maxBytes || text.split('/').length > limits.maxLevels
}

describe('faults', () => {
  it('of topic names are wildcards, U+0000, nothing at all, and too much', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const fault = text === '' || /[+#\0]/.test(text) || sizeFault(text)
        expect(topicNameFault(text, limits) !== undefined).toBe(fault)
      }),
      { numRuns: 2_000 },
    )
  })

  it('of filters are wildcards that are not alone in their level, or a # that is not last', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const wrong = text
          .split('/')
          .some(
            (one, index, all) =>
              /[+#]/.test(one) && one !== '+' && !(one === '#' && index === all.length - 1),
          )
        const fault = text === '' || text.includes('\0') || wrong || sizeFault(text)
        expect(topicFilterFault(text, limits) !== undefined).toBe(fault)
      }),
      { numRuns: 2_000 },
    )
  })

  it.each([
    ['x'.repeat(21), 'longer than 20 bytes'],
    ['€'.repeat(7), 'longer than 20 bytes'],
    ['a/b/c/d/e', 'more than 4 levels'],
  ])('of %s say the limit', (text, fault) => {
    expect(topicNameFault(text, limits)).toBe(fault)
    expect(topicFilterFault(text, limits)).toBe(fault)
  })

  it('are not found at the limits themselves', () => {
    for (const text of ['x'.repeat(20), `${'€'.repeat(6)}ab`, 'a/b/c/d']) {
      expect(topicNameFault(text, limits)).toBeUndefined()
      expect(topicFilterFault(text, limits)).toBeUndefined()
    }
  })
})

describe('names', () => {
  it.each([
    ['a/b', false],
    ['+/b', true],
    ['a/#', true],
  ])('%s has a wildcard: %s', (text, expected) => {
    expect(hasWildcard(text)).toBe(expected)
  })

  it.each([
    ['$SYS', 'sys'],
    ['$SYS/x', 'sys'],
    ['$SYSTEM', undefined],
    ['$sys/x', undefined],
    ['$share/g/t', 'share'],
    ['$shared', undefined],
    ['$tunnel', 'tunnel'],
    ['$tunnel/a', 'tunnel'],
    ['a/$SYS', undefined],
    ['', undefined],
  ])('%j is in the namespace %s', (text, namespace) => {
    expect(reservedNamespace(text)).toBe(namespace)
  })

  it.each([
    ['a/b', undefined],
    ['$shared/a/b', undefined],
    ['$share/g/t', { group: 'g', filter: 't' }],
    ['$share/g/+/#', { group: 'g', filter: '+/#' }],
    ['$share/g//', { group: 'g', filter: '/' }],
    ['$share/ä b/t', { group: 'ä b', filter: 't' }],
    ['$share', 'shared subscription without a group or a filter'],
    ['$share/g', 'shared subscription without a group or a filter'],
    ['$share//t', 'shared subscription without a group or a filter'],
    ['$share/g/', 'shared subscription without a filter'],
    ['$share/+/t', 'wildcard in the name of a shared subscription'],
    ['$share/g#/t', 'wildcard in the name of a shared subscription'],
  ])('%s as a shared subscription is %j (MQTT 5, 4.8.2)', (text, shared) => {
    expect(parseShare(text)).toEqual(shared)
  })
})
