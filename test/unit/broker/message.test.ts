import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { Message } from '../../../src/broker/message.ts'
import { encodePublish, LARGE_PAYLOAD_BYTES } from '../../../src/broker/publish-wire.ts'

function createMessage(topic: string, payload: Buffer): Message {
  return new Message(topic, payload, 1, false, 'me', 1, 2)
}

/** The packet as it goes out. */
function complete(
  { bytes, idAt, payload }: ReturnType<typeof encodePublish>,
  qos: number,
  messageId: number,
): Buffer {
  const head = Buffer.from(bytes)
  head[0] = 0x30 | (qos << 1)
  if (qos > 0) head.writeUInt16BE(messageId, idAt)
  return payload === undefined ? head : Buffer.concat([head, payload])
}

const topic = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .filter((text) => !/[+#\0]/.test(text))
// With the head, each border of the remaining length, and of what is copied.
const size = fc.oneof(
  fc.nat(300),
  fc.constantFrom(100, 110, 120, LARGE_PAYLOAD_BYTES - 1, LARGE_PAYLOAD_BYTES, LARGE_PAYLOAD_BYTES + 1),
  fc.integer({ min: 16_300, max: 16_400 }),
)

describe('a message on the wire', () => {
  it('is the PUBLISH of mqtt-packet, for every topic and size', () => {
    fc.assert(
      fc.property(
        topic,
        size,
        fc.constantFrom(0 as const, 1 as const, 2 as const),
        fc.integer({ min: 1, max: 65_535 }),
        (name, length, qos, messageId) => {
          const payload = Buffer.alloc(length, 0xa5)
          const twin = mqttPacket.generate({
            cmd: 'publish',
            topic: name,
            payload,
            qos,
            messageId,
            retain: false,
            dup: false,
          })
          expect(complete(encodePublish(name, payload, qos > 0), qos, messageId).equals(twin)).toBe(true)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('contains its payload up to 8 KiB, and has it beside it above', () => {
    const small = encodePublish('a', Buffer.alloc(LARGE_PAYLOAD_BYTES), false)
    expect(small.payload).toBeUndefined()
    expect(small.bytes.length).toBeGreaterThan(LARGE_PAYLOAD_BYTES)
    const payload = Buffer.alloc(LARGE_PAYLOAD_BYTES + 1)
    const large = encodePublish('a', payload, false)
    expect(large.payload).toBe(payload)
    expect(large.bytes).toHaveLength(1 + 2 + 2 + 1)
  })

  it('is made once for all receivers with an identifier, and once for all without', () => {
    const message = createMessage('a', Buffer.from('x'))
    expect(message.wire(true)).toBe(message.wire(true))
    expect(message.wire(false)).toBe(message.wire(false))
    expect(message.wire(true)).not.toBe(message.wire(false))
  })
})

describe('a message that waits', () => {
  it('lets go of the network chunk that its payload is a piece of', () => {
    const chunk = Buffer.alloc(10_000, 'x')
    const message = createMessage('a', chunk.subarray(3, 8))
    message.detach()
    chunk.fill('y')
    expect(message.payload.toString()).toBe('xxxxx')
    expect(message.payload.buffer).not.toBe(chunk.buffer)
  })

  it('keeps a payload that is all of its chunk', () => {
    const payload = Buffer.from(new ArrayBuffer(100_000))
    const message = createMessage('a', payload)
    message.detach()
    expect(message.payload).toBe(payload)
  })
})

describe('a message from the store', () => {
  it('has all the fields of the stored one, and a message stays the same', () => {
    const stored = {
      topic: 'a',
      payload: Buffer.from('x'),
      qos: 2 as const,
      retain: true,
      publisher: 'p',
      publishedAtMs: 5,
      expiresAtMs: 6,
    }
    const message = Message.from(stored)
    expect(message).toMatchObject(stored)
    expect(Message.from(message)).toBe(message)
  })
})
