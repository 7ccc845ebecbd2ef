import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { QoS } from '../../../src/hooks/types.ts'
import type { StoredMessage, StoredProperties } from '../../../src/store/contract.ts'
import {
  decodeEntry,
  decodeMessage,
  decodeSession,
  decodeSubscription,
  encodeEntry,
  encodeMessage,
  encodeSession,
  encodeSubscription,
  messageCountedBytes,
  releasedEntry,
} from '../../../src/store/codec.ts'
import { countedBytes } from '../../../src/store/counted-bytes.ts'
import { SessionHandle } from '../../../src/store/session-index.ts'
import { decodeWill, encodeWill } from '../../../src/store/will-codec.ts'
import { message } from '../../support/store-fixtures.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 30 })
const anyProperties: fc.Arbitrary<StoredProperties> = fc.record(
  {
    payloadFormatIndicator: fc.constantFrom<0 | 1>(0, 1),
    contentType: text.filter((value) => !value.includes('\0')),
    responseTopic: fc.constantFrom('a', 'answers/ü'),
    correlationData: fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
    userProperties: fc.array(fc.tuple(fc.constantFrom('a', '__proto__', ''), fc.constantFrom('', 'ü'))),
    retain: fc.constant<true>(true),
    subscriptionIdentifiers: fc.array(fc.integer({ min: 1, max: 268_435_455 })),
    packet: fc.dictionary(
      text.filter((key) => key !== '__proto__'),
      fc.oneof(text, fc.integer(), fc.array(text)),
    ),
    text: fc.constant<true>(true),
  },
  { requiredKeys: [] },
)
const anyMessage: fc.Arbitrary<StoredMessage> = fc.record(
  {
    topic: text,
    payload: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    qos: fc.constantFrom<QoS>(0, 1, 2),
    retain: fc.boolean(),
    publisher: text,
    publishedAtMs: fc.nat(),
    expiresAtMs: fc.double({ min: 0, max: 1e15, noNaN: true }),
    properties: anyProperties,
  },
  { requiredKeys: ['topic', 'payload', 'qos', 'retain', 'publisher', 'publishedAtMs', 'expiresAtMs'] },
)

it('gives back every will as it was, reads those of before MQTT 5, and nothing that was cut short', () => {
  const seconds = fc.integer({ min: 0, max: 0xffff_ffff })
  const anyWill = fc.record(
    {
      delaySeconds: fc.integer({ min: 1, max: 0xffff_ffff }),
      messageExpirySeconds: seconds,
      dueAtMs: fc.integer({ min: 1 }),
    },
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(anyMessage, anyWill, (original, facts) => {
      const will = { clientId: 'c', message: original, ...facts }
      const value = encodeWill(will)
      expect(JSON.parse(JSON.stringify(decodeWill('c', value)))).toEqual(JSON.parse(JSON.stringify(will)))
      expect(decodeWill('c', value.subarray(0, 17))).toBeUndefined()
    }),
  )
  const before = encodeMessage(message('w', 'bye'))
  expect(decodeWill('c', before)).toEqual({ clientId: 'c', message: message('w', 'bye') })
  expect(encodeWill({ clientId: 'c', message: message('w', 'bye') })).toEqual(before)
})

it('gives back every message as it was', () => {
  fc.assert(
    fc.property(anyMessage, (original) => {
      const decoded = decodeMessage(encodeMessage(original))
      expect(JSON.parse(JSON.stringify(decoded))).toEqual(JSON.parse(JSON.stringify(original)))
    }),
  )
})

it('counts a message as it lies at rest, and one without properties by its payload', () => {
  fc.assert(
    fc.property(anyMessage, (any) => {
      expect(messageCountedBytes(encodeMessage(any))).toBe(countedBytes(any))
      expect(countedBytes({ payload: any.payload })).toBe(any.payload.length)
    }),
  )
})

describe('properties of a message', () => {
  const withProperties = (json: string): Buffer => {
    const value = encodeMessage(message('a', 'payload', { properties: { contentType: '@'.repeat(200) } }))
    const written = JSON.stringify({ contentType: '@'.repeat(200) })
    const at = value.indexOf(written)
    const head = Buffer.from(value.subarray(0, at))
    head.writeUInt32BE(Buffer.byteLength(json), at - 4)
    return Buffer.concat([head, Buffer.from(json), value.subarray(at + written.length)])
  }

  it.each([
    ['{"retain":true}', { retain: true }],
    [
      '{"packet":{"cmd":"publish","dup":false},"text":true}',
      { packet: { cmd: 'publish', dup: false }, text: true },
    ],
  ])('are read as releases before MQTT 5 wrote them: %s', (json, properties) => {
    expect(decodeMessage(withProperties(json))).toMatchObject({ properties, payload: Buffer.from('payload') })
  })

  it.each([
    '[]',
    '{"unknown":1}',
    '{"__proto__":1}',
    '{"payloadFormatIndicator":2}',
    '{"payloadFormatIndicator":"1"}',
    '{"contentType":1}',
    '{"contentType":"\\u0000"}',
    '{"contentType":"\\ud800"}',
    `{"contentType":"${'x'.repeat(65_536)}"}`,
    '{"responseTopic":""}',
    '{"responseTopic":"a/+"}',
    '{"correlationData":"AP"}',
    '{"correlationData":{"type":"Buffer","data":[1]}}',
    '{"userProperties":{"a":"b"}}',
    '{"userProperties":[["a"]]}',
    '{"userProperties":[["a",1]]}',
    '{"subscriptionIdentifiers":[0]}',
    '{"subscriptionIdentifiers":[268435456]}',
    '{"subscriptionIdentifiers":1}',
    '{"retain":false}',
    '{"packet":[]}',
    '{"text":1}',
  ])('that are none make it none: %.60s', (json) => {
    expect(decodeMessage(withProperties(json))).toBeUndefined()
  })
})

it('gives back entries, sessions and subscriptions', () => {
  const entry = { seq: 9, qos: 2, state: 'publish', message: message('a', 'x') }
  expect(decodeEntry(9, encodeEntry(entry.message, 2))).toEqual(entry)
  expect(decodeEntry(9, releasedEntry)).toEqual({ seq: 9, qos: 2, state: 'pubrel', message: undefined })
  const session = new SessionHandle('client', 'id', 2 ** 40, 5)
  Object.assign(session, { connected: true, seqMark: 2 ** 47, sentUpToSeq: 3, expiresAtMs: 1.5e12 })
  expect(decodeSession(encodeSession(session))).toEqual({
    number: 2 ** 40,
    connected: true,
    seqMark: 2 ** 47,
    sentUpToSeq: 3,
    createdAtMs: 5,
    expiresAtMs: 1.5e12,
  })
  const subscription = { filter: 'a', matchFilter: 'm/a', qos: 1 as const, retainHandling: 2 as const }
  expect(decodeSubscription('a', encodeSubscription(subscription))).toEqual(subscription)
  expect(decodeSubscription('b', encodeSubscription(subscription))).toBeUndefined()
})

it('takes garbage and damaged values without throwing, and cut heads for what they are', () => {
  fc.assert(
    fc.property(
      anyMessage,
      fc.uint8Array({ maxLength: 60 }),
      fc.nat(),
      fc.nat(255),
      (original, garbage, at, byte) => {
        const value = encodeEntry(original, 1)
        value[at % value.length] = byte
        for (const bytes of [value, Buffer.from(garbage)]) {
          decodeEntry(1, bytes)
          decodeMessage(bytes)
          decodeSession(bytes)
          decodeSubscription('a', bytes)
        }
        const head = encodeMessage({ ...original, payload: Buffer.alloc(0) })
        expect(decodeMessage(head.subarray(0, at % head.length))).toBeUndefined()
      },
    ),
  )
})

it.each([
  ['an unknown version', 0, 9],
  ['QoS 3', 1, 3],
  ['an unknown flag', 1, 0x41],
  ['a length beyond the end', 18, 0xff],
  ['text that is not UTF-8', 22, 0xff],
])('refuses %s', (_, at, byte) => {
  const value = encodeMessage(message('a', 'x'))
  value[at] = byte
  expect(decodeMessage(value)).toBeUndefined()
})

describe('a subscription at rest', () => {
  const plain = { filter: 'a', matchFilter: 'm/a', qos: 1 as const }
  const full = {
    ...plain,
    shareGroup: 'g',
    noLocal: true,
    retainAsPublished: false,
    retainHandling: 2 as const,
    subscriptionIdentifier: 268_435_455,
  }

  it('has all of its options again', () => {
    for (const one of [plain, full]) expect(decodeSubscription('a', encodeSubscription(one))).toEqual(one)
  })

  it.each([
    ['a retain handling of MQTT that is none', { retainHandling: 3 }],
    ['identifier 0', { subscriptionIdentifier: 0 }],
    ['an identifier that no packet can hold', { subscriptionIdentifier: 268_435_456 }],
    ['an identifier that is no whole number', { subscriptionIdentifier: 1.5 }],
    ['a flag that is a number', { noLocal: 1 }],
    ['a flag that is text', { retainAsPublished: 'true' }],
  ])('is not taken with %s', (_what, wrong) => {
    expect(decodeSubscription('a', encodeSubscription({ ...full, ...wrong } as typeof full))).toBeUndefined()
  })
})
