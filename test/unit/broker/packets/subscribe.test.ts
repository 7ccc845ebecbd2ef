import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { PeerError } from '../../../../src/errors.ts'
import { decodeSubscribe, decodeUnsubscribe } from '../../../../src/broker/packets/subscribe.ts'
import { subscribePacket, unsubscribePacket } from '../../../support/wire.ts'

const filter = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 6 })
  .filter((value) => !value.includes('\0') && Buffer.byteLength(value) < 60)
const messageId = fc.integer({ min: 1, max: 65_535 })

/** Where the body can be cut without becoming malformed; behind the cut comes something else. */
function harmlessCuts(
  whole: Buffer,
  decode: (bytes: Buffer, start: number, end: number) => unknown,
): number[] {
  const bytes = Buffer.concat([whole, Buffer.alloc(20, 1)])
  return Array.from({ length: whole.length - 2 }, (_, cut) => cut).filter((cut) => {
    try {
      decode(bytes, 2, 2 + cut)
      return true
    } catch (error) {
      if (error instanceof PeerError) return false
      throw error
    }
  })
}

describe('SUBSCRIBE', () => {
  it('is decoded to what mqtt-packet has encoded', () => {
    const subscription = fc.record({ filter, qos: fc.constantFrom(0 as const, 1 as const, 2 as const) })
    fc.assert(
      fc.property(messageId, fc.array(subscription, { minLength: 1, maxLength: 3 }), (id, subscriptions) => {
        const whole = mqttPacket.generate({
          cmd: 'subscribe',
          messageId: id,
          subscriptions: subscriptions.map(({ filter: topic, qos }) => ({ topic, qos })),
        })
        fc.pre(whole[1]! < 128)
        expect(decodeSubscribe(whole, 2, whole.length)).toEqual({
          messageId: id,
          subscriptions,
          properties: {},
        })
      }),
    )
  })

  it('is malformed when it is cut anywhere but between two filters', () => {
    const whole = subscribePacket(7, [
      ['ab', 1],
      ['c', 2],
    ])
    expect(harmlessCuts(whole, decodeSubscribe)).toEqual([7])
    expect(decodeSubscribe(whole, 2, 9)).toMatchObject({ subscriptions: [{ filter: 'ab', qos: 1 }] })
  })

  it.each([
    ['without a filter [MQTT-3.8.3-3]', subscribePacket(1, []), 'without a topic filter'],
    ['with identifier 0 [MQTT-2.3.1-1]', subscribePacket(0, [['a', 0]]), 'packet identifier 0'],
    ['with QoS 3 [MQTT-3.8.3-4]', subscribePacket(1, [['a', 3]]), 'requested QoS'],
    [
      'with a reserved bit of the QoS byte [MQTT-3.8.3-4]',
      subscribePacket(1, [['a', 0x80]]),
      'requested QoS',
    ],
    ['with a filter that is not UTF-8', subscribePacket(1, [[Buffer.of(0xff), 0]]), 'UTF-8'],
  ])('is malformed %s', (_what, whole, reason) => {
    expect(() => decodeSubscribe(whole, 2, whole.length)).toThrow(reason)
  })
})

describe('UNSUBSCRIBE', () => {
  it('is decoded to what mqtt-packet has encoded', () => {
    fc.assert(
      fc.property(messageId, fc.array(filter, { minLength: 1, maxLength: 3 }), (id, filters) => {
        const whole = mqttPacket.generate({ cmd: 'unsubscribe', messageId: id, unsubscriptions: filters })
        fc.pre(whole[1]! < 128)
        expect(decodeUnsubscribe(whole, 2, whole.length)).toEqual({
          messageId: id,
          filters,
          properties: {},
        })
      }),
    )
  })

  it('is malformed when it is cut anywhere but between two filters', () => {
    const whole = unsubscribePacket(7, ['ab', 'c'])
    expect(harmlessCuts(whole, decodeUnsubscribe)).toEqual([6])
    expect(decodeUnsubscribe(whole, 2, 8)).toMatchObject({ filters: ['ab'] })
  })

  it.each([
    ['without a filter [MQTT-3.10.3-2]', unsubscribePacket(1, []), 'without a topic filter'],
    ['with identifier 0 [MQTT-2.3.1-1]', unsubscribePacket(0, ['a']), 'packet identifier 0'],
    ['with U+0000 in a filter [MQTT-1.5.3-2]', unsubscribePacket(1, ['a\0']), 'U+0000'],
  ])('is malformed %s', (_what, whole, reason) => {
    expect(() => decodeUnsubscribe(whole, 2, whole.length)).toThrow(reason)
  })
})
