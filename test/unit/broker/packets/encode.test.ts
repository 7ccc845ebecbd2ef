import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { encodeAck, encodeConnack, encodeSuback, writeHeader } from '../../../../src/broker/packets/encode.ts'
import { ConnackCode, PacketType } from '../../../../src/broker/packets/types.ts'
import { varintBytes } from '../../../../src/broker/packets/varint.ts'
import { remainingLength } from '../../../support/wire.ts'

const acks = {
  puback: PacketType.puback,
  pubrec: PacketType.pubrec,
  pubrel: PacketType.pubrel,
  pubcomp: PacketType.pubcomp,
  unsuback: PacketType.unsuback,
} as const

describe('packets that the broker writes', () => {
  it.each(Object.entries(ConnackCode))('CONNACK %s is that of mqtt-packet', (_name, returnCode) => {
    const twin = mqttPacket.generate({ cmd: 'connack', returnCode, sessionPresent: false })
    expect(encodeConnack(returnCode)).toEqual(twin)
  })

  it('acknowledgements are those of mqtt-packet, for every identifier', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.entries(acks)),
        fc.integer({ min: 1, max: 65_535 }),
        ([cmd, type], messageId) => {
          const twin = mqttPacket.generate({ cmd: cmd as 'puback', messageId })
          expect(encodeAck(type, messageId)).toEqual(twin)
        },
      ),
    )
  })

  it('SUBACK is that of mqtt-packet, also with more codes than one byte of length can say', () => {
    const codes = fc.array(fc.constantFrom(0, 1, 2, 0x80), { minLength: 1, maxLength: 300, size: 'max' })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 65_535 }), codes, (messageId, granted) => {
        const twin = mqttPacket.generate({ cmd: 'suback', messageId, granted })
        expect(encodeSuback(messageId, granted)).toEqual(twin)
      }),
    )
  })

  it('remaining lengths are written in the fewest bytes, at every border (MQTT 3.1.1, table 2.4)', () => {
    const borders = [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...borders), fc.nat(268_435_455)), (length) => {
        const target = Buffer.alloc(8, 0xee)
        const end = writeHeader(target, 1, 0x30, length)
        expect(target.subarray(0, end)).toEqual(
          Buffer.concat([Buffer.of(0xee, 0x30), remainingLength(length)]),
        )
        expect(varintBytes(length)).toBe(end - 2)
      }),
    )
  })
})
