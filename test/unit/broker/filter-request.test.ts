import { describe, expect, it } from 'vitest'
import { PeerError } from '../../../src/errors.ts'
import {
  assertOptionsFit,
  optionsOf,
  parseFilter,
  requestAgain,
  wantsRetained,
} from '../../../src/broker/filter-request.ts'

const limits = { maxBytes: 20, maxLevels: 3 }

describe('a topic filter', () => {
  it('is taken apart from its group', () => {
    expect(parseFilter('a/+', limits, 5)).toEqual({ topic: 'a/+', excess: undefined })
    expect(parseFilter('$share/g/a/#', limits, 5)).toEqual({
      topic: 'a/#',
      shareGroup: 'g',
      excess: undefined,
    })
  })

  it.each(['a/b/c/d', 'x'.repeat(21), '$share/g/a/b/c/d'])(
    'that is more than the broker allows is refused in MQTT 5, and ends the connection before it (%s)',
    (filter) => {
      expect(parseFilter(filter, limits, 5).excess).toMatch(/levels|bytes/)
      expect(() => parseFilter(filter, limits, 4)).toThrow(/levels|bytes/)
    },
  )

  it.each([
    '',
    'a/b#',
    'a+/b',
    '#/a/b/c/d',
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    '$share',
    '$share/',
    '$share//a',
    '$share/g',
    '$share/g/',
    '$share/+/a',
    '$share/g#/a',
    '$share/g/a#',
  ])('that is none is malformed in every version (%j)', (filter) => {
    for (const version of [4, 5]) expect(() => parseFilter(filter, limits, version)).toThrow(PeerError)
  })
})

describe('the options of a subscription', () => {
  const requested = {
    filter: 'a',
    qos: 1,
    noLocal: true,
    retainAsPublished: false,
    retainHandling: 2,
  } as const

  it('are shown to handlers with the identifier and the user properties of the packet', () => {
    const userProperties = [['a', 'b']] as const
    expect(optionsOf(requested, { subscriptionIdentifiers: [9], userProperties })).toEqual({
      noLocal: true,
      retainAsPublished: false,
      retainHandling: 2,
      subscriptionIdentifier: 9,
      userProperties,
    })
    expect(optionsOf({ filter: 'a', qos: 1 }, {})).toEqual({})
  })

  it('are shown again when rights have changed', () => {
    const stored = { filter: '$share/g/a', matchFilter: 'm/a', shareGroup: 'g', qos: 1 } as const
    expect(requestAgain({ ...stored, subscriptionIdentifier: 9, retainHandling: 1 })).toEqual({
      topic: 'a',
      qos: 1,
      shareGroup: 'g',
      subscriptionIdentifier: 9,
      retainHandling: 1,
    })
  })

  it('have no No Local for a shared subscription [MQTT-3.8.3-4]', () => {
    expect(() => assertOptionsFit('g', { noLocal: true })).toThrow('No Local on a shared subscription')
    expect(() => assertOptionsFit('g', { noLocal: false })).not.toThrow()
    expect(() => assertOptionsFit(undefined, { noLocal: true })).not.toThrow()
  })

  it('say when retained messages are owed [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]', () => {
    const owed = (retainHandling: 0 | 1 | 2, isNew: boolean): boolean =>
      // 0 is not stored.
      wantsRetained(
        { filter: 'a', matchFilter: 'a', qos: 0, ...(retainHandling > 0 && { retainHandling }) },
        isNew,
      )
    expect([0, 1, 2].map((handling) => owed(handling as 0 | 1 | 2, true))).toEqual([true, true, false])
    expect([0, 1, 2].map((handling) => owed(handling as 0 | 1 | 2, false))).toEqual([true, false, false])
    expect(wantsRetained({ filter: '$share/g/a', matchFilter: 'a', shareGroup: 'g', qos: 0 }, true)).toBe(
      false,
    )
  })
})
