import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { blockOption, cutBlock, parseBlock } from '../../../../src/gateway/coap/block.ts'
import {
  encodeEmpty,
  encodeMessage,
  MessageType,
  parseMessage,
  type CoapMessage,
} from '../../../../src/gateway/coap/message.ts'
import { OptionNumber, readUint, sortOptions, uintOption } from '../../../../src/gateway/coap/options.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

describe('parseMessage', () => {
  it('reads the examples of RFC 7252, appendix A', () => {
    // Figure 16: GET /temperature, and its piggybacked answer.
    const request = parseMessage(Buffer.concat([hex('40 01 7d 34 bb'), Buffer.from('temperature')]))
    expect(request).toMatchObject({ type: MessageType.confirmable, code: 1, messageId: 0x7d34 })
    expect((request as CoapMessage).options).toEqual([{ number: 11, value: Buffer.from('temperature') }])
    const answer = parseMessage(Buffer.concat([hex('60 45 7d 34 ff'), Buffer.from('22.3 C')]))
    expect(answer).toMatchObject({
      type: MessageType.acknowledgement,
      code: 0x45,
      payload: Buffer.from('22.3 C'),
    })
  })

  it.each([
    ['40 01 00', 'shorter than a header'],
    ['80 01 00 01', 'unknown version'],
    ['49 01 00 01 00 00 00 00 00 00 00 00 00', 'token of a reserved length'],
    ['42 01 00 01 aa', 'token is cut off'],
    ['40 00 00 01 ff 00', 'an empty message with more than a header'],
    ['40 01 00 01 ff', 'payload marker without payload'],
    ['40 01 00 01 b5 61 62', 'option is cut off'],
    ['40 01 00 01 d1', 'option delta'],
    ['40 01 00 01 f1 00', 'option delta'],
    ['40 01 00 01 1f 00', 'option length'],
    ['40 01 00 01 1e 00', 'option length'],
    ['40 01 00 01 e0 ff ff', 'option number'],
    ['40 01 00 01'.concat(' 00'.repeat(257)), 'more than 256 options'],
  ])('finds %s malformed: %s', (datagram, fault) => {
    expect(parseMessage(hex(datagram))).toMatchObject({ fault })
  })

  it('reads what encodeMessage writes', () => {
    const option = fc.record({
      number: fc.integer({ min: 0, max: 65_535 }),
      value: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    })
    const bytes = (max: number): fc.Arbitrary<Buffer> =>
      fc.uint8Array({ maxLength: max }).map((found) => Buffer.from(found))
    const message = fc.record({
      type: fc.constantFrom(...Object.values(MessageType)),
      code: fc.integer({ min: 1, max: 255 }),
      messageId: fc.integer({ min: 0, max: 65_535 }),
      token: bytes(8),
      options: fc.array(option, { maxLength: 8 }),
      payload: bytes(40),
    })
    fc.assert(
      fc.property(message, (one) => {
        const sorted = one.options.toSorted((a, b) => a.number - b.number)
        expect(parseMessage(encodeMessage(one))).toEqual({ ...one, options: sorted })
      }),
      { numRuns: 200 },
    )
    expect(parseMessage(encodeEmpty(MessageType.reset, 7))).toMatchObject({ code: 0, messageId: 7 })
  })
})

describe('options', () => {
  it('have integers of as few bytes as they need', () => {
    for (const [value, bytes] of [
      [0, ''],
      [1, '01'],
      [255, 'ff'],
      [256, '0100'],
      [0x123456, '123456'],
    ] as const) {
      const option = uintOption(OptionNumber.size1, value)
      expect(option.value).toEqual(hex(bytes))
      expect(readUint(option.value)).toBe(value)
    }
  })

  it('are left out when they are elective and wrong, and named when they are critical', () => {
    const path = { number: OptionNumber.uriPath, value: Buffer.from('a') }
    const observe = { number: OptionNumber.observe, value: Buffer.alloc(0) }
    const known = sortOptions([path, path, observe, observe, { number: 2_050, value: path.value }])
    expect(known).toEqual(
      new Map([
        [OptionNumber.uriPath, [path.value, path.value]],
        [OptionNumber.observe, [observe.value]],
      ]),
    )
    expect(sortOptions([path, { number: 9, value: path.value }])).toEqual({ bad: 9 })
    expect(sortOptions([{ number: OptionNumber.block1, value: Buffer.alloc(4) }])).toEqual({ bad: 27 })
  })
})

describe('blocks', () => {
  it('are read as RFC 7959, 2.2 has them', () => {
    expect(parseBlock(Buffer.alloc(0))).toEqual({ num: 0, hasMore: false, sizeBytes: 16 })
    expect(parseBlock(hex('0e'))).toEqual({ num: 0, hasMore: true, sizeBytes: 1_024 })
    expect(parseBlock(hex('ff ff f6'))).toEqual({ num: 1_048_575, hasMore: false, sizeBytes: 1_024 })
    expect(parseBlock(hex('07'))).toBeUndefined()
  })

  it('put together are the body', () => {
    const body = Buffer.from(Array.from({ length: 1_000 }, (_, index) => index % 251))
    const parts: Buffer[] = []
    for (let num = 0; ; num++) {
      const cut = cutBlock(body, { num, hasMore: false, sizeBytes: 64 })!
      parts.push(cut.payload)
      const hasMore = parts.length * 64 < body.length
      expect(cut.option).toEqual(blockOption(OptionNumber.block2, { num, hasMore, sizeBytes: 64 }))
      if (!hasMore) break
    }
    expect(Buffer.concat(parts)).toEqual(body)
    expect(cutBlock(body, { num: 16, hasMore: false, sizeBytes: 64 })).toBeUndefined()
    expect(cutBlock(Buffer.alloc(0), { num: 0, hasMore: false, sizeBytes: 64 })?.payload.length).toBe(0)
  })
})
