import mqttPacket from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import {
  encodeAck,
  encodeConnect,
  encodeFrameHead,
  encodeRetained,
  encodeSubscribe,
  field,
  followsItsHead,
  PacketType,
} from '../../../../src/tunnel/link/packets.ts'
import { encodeFrame } from '../../../../src/tunnel/protocol/frame.ts'

/** Read by the parser of mqtt-packet, which is not ours. */
function parse(bytes: Buffer): mqttPacket.Packet {
  const packets: mqttPacket.Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion: 4 })
  parser.on('packet', (packet) => packets.push(packet))
  parser.on('error', (error) => {
    throw error
  })
  expect(parser.parse(bytes)).toBe(0)
  expect(packets).toHaveLength(1)
  return packets[0]!
}

const bare = {
  clientId: 'pi7',
  keepaliveSeconds: 300,
  username: undefined,
  password: undefined,
  will: undefined,
}

describe('packets of ours, as others read them', () => {
  it('CONNECT without anything', () => {
    const packet = parse(encodeConnect(bare))
    expect(packet).toMatchObject({
      cmd: 'connect',
      protocolVersion: 4,
      clean: true,
      clientId: 'pi7',
      keepalive: 300,
    })
    expect(packet).not.toHaveProperty('will')
    expect(packet).not.toHaveProperty('username')
    expect(packet).not.toHaveProperty('password')
  })

  it('CONNECT with everything', () => {
    const will = { topic: '$tunnel/pi7/status', payload: '{"online":false}' }
    const fields = { ...bare, username: 'ü', password: Buffer.of(0, 255), will }
    expect(parse(encodeConnect(fields))).toMatchObject({
      username: 'ü',
      password: Buffer.of(0, 255),
      will: { topic: will.topic, payload: Buffer.from(will.payload), retain: true, qos: 0 },
    })
  })

  it('CONNECT with a user name alone', () => {
    const packet = parse(encodeConnect({ ...bare, username: 'u' }))
    expect(packet).toMatchObject({ username: 'u' })
    expect(packet).not.toHaveProperty('password')
  })

  it('SUBSCRIBE, a retained PUBLISH, and acknowledgements', () => {
    expect(parse(encodeSubscribe(0x1234, 'a/+'))).toMatchObject({
      cmd: 'subscribe',
      messageId: 0x1234,
      subscriptions: [{ topic: 'a/+', qos: 0 }],
    })
    expect(parse(encodeRetained('a', '{}'))).toMatchObject({
      cmd: 'publish',
      topic: 'a',
      retain: true,
      qos: 0,
      payload: Buffer.from('{}'),
    })
    expect(parse(encodeAck(PacketType.puback, 0xfffe))).toMatchObject({ cmd: 'puback', messageId: 0xfffe })
    expect(parse(encodeAck(PacketType.pubrec, 1))).toMatchObject({ cmd: 'pubrec', messageId: 1 })
    expect(parse(encodeAck(PacketType.pubcomp, 1))).toMatchObject({ cmd: 'pubcomp', messageId: 1 })
  })

  it.each([undefined, 0, 1, 70, 71, 2_048, 2_049, 16_000, 16_400, 65_536])(
    'a frame with a payload of %s',
    (size) => {
      const header = {
        type: 3,
        flags: 1,
        stream: 0xffff_fffe,
        offset: 2 ** 47,
        acked: 5,
        limit: 2 ** 48 - 1,
      } as const
      const payload = size === undefined ? undefined : Buffer.alloc(size, 7)
      const head = encodeFrameHead(field('$tunnel/a/b/c/up'), header, payload)
      const rest = payload !== undefined && followsItsHead(payload) ? [payload] : []
      const packet = parse(Buffer.concat([head, ...rest]))
      expect(packet).toMatchObject({ cmd: 'publish', topic: '$tunnel/a/b/c/up', qos: 0, retain: false })
      expect(
        encodeFrame(header, payload).equals((packet as mqttPacket.IPublishPacket).payload as Buffer),
      ).toBe(true)
    },
  )
})
