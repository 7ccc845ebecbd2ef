import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { PublishFields } from '../../../../src/broker/packets/publish.ts'
import { field, publishPacket, uint16 } from '../../../support/wire.ts'

function decode(fields: PublishFields, whole: Buffer): PublishFields {
  let bodyStart = 2
  while (whole[bodyStart - 1]! & 0x80) bodyStart++
  // Between other packets.
  const bytes = Buffer.concat([Buffer.alloc(3, 0x61), whole, Buffer.alloc(3, 0x62)])
  fields.decode(bytes, 3, 3 + bodyStart, 3 + whole.length)
  return fields
}

// Few characters, so that topics resemble each other: same length, same beginning, one the start of another.
const topic = fc.string({ unit: fc.constantFrom('a', 'b', '/', 'ä', '€'), minLength: 1, maxLength: 4 })
const anyPublish = fc.record({
  topic,
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
  retain: fc.boolean(),
  dup: fc.boolean(),
  messageId: fc.integer({ min: 1, max: 65_535 }),
})

describe('PUBLISH', () => {
  it('is decoded to what mqtt-packet has encoded, one after the other with the same object', () => {
    fc.assert(
      fc.property(fc.array(anyPublish, { minLength: 1, maxLength: 20, size: 'max' }), (sent) => {
        const fields = new PublishFields()
        for (const { dup, ...one } of sent) {
          const packet = { cmd: 'publish' as const, ...one, dup: dup && one.qos > 0 }
          decode(fields, mqttPacket.generate(packet))
          expect(fields).toMatchObject({
            topic: one.topic,
            payload: one.payload,
            qos: one.qos,
            retain: one.retain,
            dup: packet.dup,
            messageId: one.qos === 0 ? 0 : one.messageId,
          })
        }
      }),
    )
  })

  it('does not remember a topic by bytes that are overwritten later', () => {
    const fields = new PublishFields()
    const chunk = Buffer.concat([Buffer.of(0x30, 5), field('abc')])
    fields.decode(chunk, 0, 2, 7)
    chunk.write('xyz', 4)
    fields.decode(chunk, 0, 2, 7)
    expect(fields.topic).toBe('xyz')
  })

  it('does not take a topic for the last one after one that was malformed', () => {
    const fields = new PublishFields()
    decode(fields, publishPacket({ topic: 'ab' }))
    expect(() => decode(fields, publishPacket({ topic: Buffer.of(0x61, 0xff) }))).toThrow('UTF-8')
    expect(() => decode(fields, publishPacket({ topic: Buffer.of(0x61, 0xff) }))).toThrow('UTF-8')
    expect(decode(fields, publishPacket({ topic: 'ab' })).topic).toBe('ab')
  })

  it('has an empty topic when it says so: topics.ts judges that', () => {
    const fields = new PublishFields()
    decode(fields, publishPacket({ topic: 'ab' }))
    expect(decode(fields, publishPacket({ topic: '' })).topic).toBe('')
  })

  it.each([0, 1, 2])('at QoS %i is malformed when it is cut in its topic or identifier', (qos) => {
    const head = Buffer.concat([field('topic'), ...(qos > 0 ? [uint16(7)] : [])])
    for (let cut = 0; cut < head.length; cut++) {
      const bytes = Buffer.concat([Buffer.of(0x30 | (qos << 1), cut), head])
      expect(() => new PublishFields().decode(bytes, 0, 2, 2 + cut), `cut at ${cut}`).toThrow(
        expect.objectContaining({ code: 'TMQ_PROTOCOL' }),
      )
    }
    const bytes = Buffer.concat([Buffer.of(0x30 | (qos << 1), head.length), head])
    const fields = new PublishFields()
    fields.decode(bytes, 0, 2, bytes.length)
    expect(fields).toMatchObject({ topic: 'topic', payload: Buffer.alloc(0), messageId: qos === 0 ? 0 : 7 })
  })

  it.each([1, 2])('at QoS %i is malformed with the identifier 0 [MQTT-2.3.1-1]', (qos) => {
    expect(() => decode(new PublishFields(), publishPacket({ topic: 'a', qos, messageId: 0 }))).toThrow(
      'packet identifier 0',
    )
  })
})
