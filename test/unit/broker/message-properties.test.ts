import { describe, expect, it } from 'vitest'
import { expiresAt, messageProperties, rewrittenFault } from '../../../src/broker/message-properties.ts'
import { NO_PROPERTIES } from '../../../src/broker/packets/properties.ts'
import type { MessageProperties } from '../../../src/hooks/types.ts'

describe('what travels with a message', () => {
  it('is all but its expiry interval, and nothing if there is nothing', () => {
    expect(messageProperties(NO_PROPERTIES)).toBeUndefined()
    expect(messageProperties({ messageExpiryInterval: 5 })).toBeUndefined()
    expect(messageProperties({ messageExpiryInterval: 5, contentType: 'a' })).toEqual({ contentType: 'a' })
  })
})

describe('when a message expires', () => {
  it.each([
    ['never', undefined, 0, 0],
    ['as its publisher says', 2, 0, 3_000],
    ['as the configuration says, if that is sooner', 2, 500, 1_500],
    ['as the configuration says, if nobody says anything', undefined, 500, 1_500],
    ['not before those who are there have it', 0, 0, 1_001],
  ])('%s', (_what, seconds, mostMs, expected) => {
    expect(expiresAt(1_000, seconds, mostMs)).toBe(expected)
  })
})

describe('properties that a handler has made', () => {
  const pairs = (...list: unknown[]): MessageProperties => ({ userProperties: list as [string, string][] })
  it.each<[fault: string | undefined, properties: unknown, seconds?: number]>([
    [undefined, undefined],
    [
      undefined,
      { payloadFormatIndicator: 1, contentType: 'a', responseTopic: 'a/b', correlationData: Buffer.alloc(9) },
    ],
    [undefined, pairs(['a', ''], ['a', 'b']), 0],
    ['messageExpirySeconds', {}, -1],
    ['messageExpirySeconds', undefined, 1.5],
    ['messageExpirySeconds', {}, 2 ** 32],
    ['properties', 'text'],
    ['messageExpiryInterval', { contentType: 'a', messageExpiryInterval: 5 }],
    ['subscriptionIdentifiers', { subscriptionIdentifiers: [1] }],
    ['retain', { retain: true }],
    ['payloadFormatIndicator', { payloadFormatIndicator: 2 }],
    ['contentType', { contentType: 'a\0' }],
    ['contentType', { contentType: '\ud800' }],
    ['contentType', { contentType: 'ä'.repeat(33_000) }],
    ['responseTopic', { responseTopic: 'a/+' }],
    ['responseTopic', { responseTopic: '' }],
    ['correlationData', { correlationData: 'text' }],
    ['correlationData', { correlationData: Buffer.alloc(65_536) }],
    ['userProperties', pairs(['a'])],
    ['userProperties', pairs(['a', 1])],
    ['userProperties', { userProperties: { a: 'b' } }],
  ])('are found wrong in %s', (fault, properties, seconds) => {
    expect(rewrittenFault(properties as MessageProperties | undefined, seconds)).toBe(fault)
  })
})
