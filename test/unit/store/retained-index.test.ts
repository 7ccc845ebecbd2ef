import fc from 'fast-check'
import { expect, it } from 'vitest'
import { topicMatches } from '../../../src/broker/topics.ts'
import { RetainedIndex } from '../../../src/store/retained-index.ts'
import { message } from '../../support/store-fixtures.ts'

const roomy = { retainedMaxMessages: 100_000, retainedMaxBytes: 1e9 }
const level = fc.constantFrom('a', 'b', '', '$c', '__proto__')
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
const filter = fc
  .tuple(
    fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }),
    fc.constantFrom('', '/#', 'only #'),
  )
  .map(([levels, end]) => (end === 'only #' ? '#' : levels.join('/') + end))

const found = (index: RetainedIndex, wanted: string): string[] =>
  index
    .matching(wanted, 0)
    .map((one) => one.topic)
    .sort()

it('finds what matching every topic by itself finds, also after deletions', () => {
  fc.assert(
    fc.property(
      fc.array(topic, { maxLength: 30 }),
      fc.array(topic, { maxLength: 10 }),
      filter,
      (topics, gone, wanted) => {
        const index = new RetainedIndex(roomy)
        for (const one of topics) index.set(message(one, 'x'))
        for (const one of gone) index.delete(one)
        const left = [...new Set(topics)].filter((one) => !gone.includes(one))
        expect(found(index, wanted)).toEqual(left.filter((one) => topicMatches(wanted, one)).sort())
        expect(index).toMatchObject({ size: left.length, bytes: left.length })
      },
    ),
    { numRuns: 1_000 },
  )
})

it('does not show `$` topics to a wildcard in the first level [MQTT-4.7.2-1]', () => {
  const index = new RetainedIndex(roomy)
  for (const one of ['$SYS/x', 'a/x', 'a/$x']) index.set(message(one, '1'))
  expect(found(index, '#')).toEqual(['a/$x', 'a/x'])
  expect(found(index, '+/x')).toEqual(['a/x'])
  expect(found(index, '$SYS/#')).toEqual(['$SYS/x'])
  expect(found(index, 'a/+')).toEqual(['a/$x', 'a/x'])
})

it('walks only where the filter leads, among 20,000 messages and at any depth', () => {
  const index = new RetainedIndex(roomy)
  for (let i = 0; i < 20_000; i++) index.set(message(`site/${i % 100}/device/${i}/state`, 'x'))
  expect(found(index, 'site/7/device/+/state')).toHaveLength(200)
  expect(index.matching('#', 0)).toHaveLength(20_000)
  const deep = Array(20_000).fill('d').join('/')
  index.set(message(deep, 'x'))
  expect(found(index, 'd/#')).toEqual([deep])
  expect(found(index, Array(20_000).fill('+').join('/'))).toEqual([deep])
  index.delete(deep)
  expect(found(index, 'd/#')).toEqual([])
})
