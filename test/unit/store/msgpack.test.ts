import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { decodeMsgpack } from '../../../src/store/migration/msgpack.ts'

/** As aedes-persistence-redis encodes: its own dependency. */
const own = createRequire(createRequire(import.meta.url).resolve('aedes-persistence-redis'))
const { encode } = own('msgpack-lite') as { readonly encode: (value: unknown) => Buffer }

describe('decodeMsgpack', () => {
  it('reads what the package of Aedes writes', () => {
    const packet = {
      cmd: 'publish',
      brokerId: 'b',
      brokerCounter: 4_294_967_296,
      topic: 'ü'.repeat(200),
      payload: Buffer.alloc(70_000, 7),
      qos: 2,
      retain: false,
      dup: true,
      messageId: undefined,
      properties: { a: [-1, -200, -70_000, 1.5, null, 'x'.repeat(70_000)] },
    }
    expect(decodeMsgpack(encode(packet))).toEqual({ ...packet, messageId: null })
  })

  it('reads every value that it writes', () => {
    const value = fc.letrec((tie) => ({
      leaf: fc.oneof(
        fc.integer(),
        fc.double({ noNaN: true }).map((one) => one + 0),
        fc.boolean(),
        fc.constant(null),
        fc.string(),
      ),
      tree: fc.oneof(
        { maxDepth: 4 },
        tie('leaf'),
        fc.array(tie('tree')),
        fc.dictionary(fc.string(), tie('tree')),
      ),
    })).tree
    fc.assert(
      fc.property(value, (tree) => {
        expect(decodeMsgpack(encode(tree))).toEqual(tree)
      }),
    )
  })

  it('gives undefined for anything else, and never throws', () => {
    for (const bytes of [
      '',
      'c1',
      '82a161',
      'dc',
      'd40000',
      '8101c0',
      'a1ff',
      'c0c0',
      'dfffffffff',
      'cf01',
    ]) {
      expect(decodeMsgpack(Buffer.from(bytes, 'hex'))).toBeUndefined()
    }
    expect(decodeMsgpack(Buffer.alloc(100, 0x91))).toBeUndefined()
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void decodeMsgpack(Buffer.from(bytes))))
  })
})
