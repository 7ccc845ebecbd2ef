import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { QoS } from '../../../src/hooks/types.ts'
import type { StoredMessage } from '../../../src/store/contract.ts'
import {
  decodeEntry,
  decodeMessage,
  decodeSession,
  decodeSubscription,
  encodeEntry,
  encodeMessage,
  encodeSession,
  encodeSubscription,
  releasedEntry,
} from '../../../src/store/codec.ts'
import { SessionHandle } from '../../../src/store/session-index.ts'
import { message } from '../../support/store-fixtures.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 30 })
const anyMessage: fc.Arbitrary<StoredMessage> = fc.record(
  {
    topic: text,
    payload: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    qos: fc.constantFrom<QoS>(0, 1, 2),
    retain: fc.boolean(),
    publisher: text,
    publishedAtMs: fc.nat(),
    expiresAtMs: fc.double({ min: 0, max: 1e15, noNaN: true }),
    properties: fc.dictionary(
      text.filter((key) => key !== '__proto__'),
      fc.oneof(text, fc.integer(), fc.array(text)),
    ),
  },
  { requiredKeys: ['topic', 'payload', 'qos', 'retain', 'publisher', 'publishedAtMs', 'expiresAtMs'] },
)

it('gives back every message as it was', () => {
  fc.assert(
    fc.property(anyMessage, (original) => {
      const decoded = decodeMessage(encodeMessage(original))
      expect(JSON.parse(JSON.stringify(decoded))).toEqual(JSON.parse(JSON.stringify(original)))
    }),
  )
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
