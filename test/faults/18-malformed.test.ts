import { connect as openSocket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { illegalFilters, illegalStrings, illegalTopics, strangeTopics } from '../support/illegal-strings.ts'
import { LoadClient } from '../support/load-client.ts'
import {
  ackPacket,
  connectPacket,
  disconnect,
  field,
  Packet,
  packet,
  pingreq,
  publishPacket,
  subscribePacket,
  uint16,
  unsubscribePacket,
} from '../support/wire.ts'

type Case = readonly [what: string, bytes: Buffer]

let broker: TestBroker

beforeAll(async () => {
  // No ban: every case comes from the same address.
  broker = await startTestBroker({ limits: { banFailures: 0 } })
})

afterAll(() => broker.stop())

/** Everything that the broker sends until it closes, which it must do by itself: we close only behind it. */
function answerTo(...bytes: readonly Buffer[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = openSocket({ port: broker.port, host: '127.0.0.1' })
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.once('error', reject)
    socket.once('close', () => resolve(Buffer.concat(chunks)))
    for (const part of bytes) socket.write(part)
  })
}

/** Its own client id for each connection, so that none takes another over. */
let connections = 0
const hello = (): Buffer => connectPacket({ clientId: `case-${++connections}` })
const accepted = Buffer.from([0x20, 2, 0, 0])
const refused = (code: number): Buffer => Buffer.from([0x20, 2, 0, code])
const pingresp = Buffer.from([0xd0, 0])

async function isWell(): Promise<void> {
  const client = new LoadClient({ port: broker.port, clientId: 'good' })
  await client.connect()
  await client.subscribe(['well', 1])
  await client.publish({ topic: 'well', payload: 'p 1', qos: 1 })
  await client.ping()
  expect(client.received).toHaveLength(1)
  await client.disconnect()
  expect(broker.events.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([])
}

const connect = { clientId: 'x' }
const will = { topic: 'w' }
const wholeConnect = connectPacket({
  ...connect,
  username: 'u',
  password: 'p',
  will: { ...will, payload: 'y' },
})

const badConnects: readonly Case[] = [
  ...illegalStrings.flatMap(([name, bytes]): Case[] => [
    [`client id: ${name}`, connectPacket({ clientId: bytes })],
    [`username: ${name}`, connectPacket({ ...connect, username: bytes })],
    [`will topic: ${name}`, connectPacket({ ...connect, will: { topic: bytes } })],
    [`protocol name: ${name}`, connectPacket({ ...connect, protocol: bytes })],
  ]),
  ['unknown protocol name', connectPacket({ ...connect, protocol: 'MQTX' })],
  ['reserved flag', connectPacket({ ...connect, flags: 0x03 })],
  ['will QoS 3', connectPacket({ ...connect, will: { ...will, qos: 3 } })],
  ['will QoS without a will', connectPacket({ ...connect, flags: 0x0a })],
  ['will retain without a will', connectPacket({ ...connect, flags: 0x22 })],
  ['password without a username', connectPacket({ ...connect, password: 'p' })],
  ['flags promise a username that is not there', connectPacket({ ...connect, flags: 0x82 })],
  ['flags promise a will that is not there', connectPacket({ ...connect, flags: 0x06 })],
  ['bytes behind the last field', packet(0x10, connectPacket(connect).subarray(2), Buffer.of(0))],
  ['flags in the fixed header', packet(0x11, connectPacket(connect).subarray(2))],
  ['no body', packet(0x10)],
  ...Array.from({ length: wholeConnect.length - 3 }, (_, length): Case => [
    `cut after ${length} bytes`,
    packet(0x10, wholeConnect.subarray(2, 2 + length)),
  ]),
  ['a length of five bytes', Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0x01])],
  ['256 MB claimed', Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f])],
  ...Array.from({ length: 16 }, (_, type): Case => [
    `packet type ${type} first`,
    packet(type << 4, uint16(1)),
  ]).filter(([what]) => what !== 'packet type 1 first'),
]

const refusedConnects: readonly (readonly [what: string, bytes: Buffer, code: number])[] = [
  ['MQTT with level 3', connectPacket({ ...connect, level: 3 }), 1],
  ['protocol level 0', connectPacket({ ...connect, level: 0 }), 1],
  ['MQIsdp with level 4', connectPacket({ ...connect, protocol: 'MQIsdp', level: 4 }), 1],
  ['empty client id with clean session 0', connectPacket({ clientId: '', clean: false }), 2],
  ['client id longer than allowed', connectPacket({ clientId: 'x'.repeat(257) }), 2],
  ['wildcard in the will topic', connectPacket({ ...connect, will: { topic: 'a/+' } }), 5],
  ['empty will topic', connectPacket({ ...connect, will: { topic: '' } }), 5],
  ['will to $SYS', connectPacket({ ...connect, will: { topic: '$SYS/x' } }), 5],
]

const acks = Object.entries({
  puback: Packet.puback,
  pubrec: Packet.pubrec,
  pubrel: Packet.pubrel,
  pubcomp: Packet.pubcomp,
})

const badPackets: readonly Case[] = [
  ...[...illegalStrings, ...illegalTopics].map(([name, topic]): Case => [
    `PUBLISH to ${name}`,
    publishPacket({ topic }),
  ]),
  ...[...illegalStrings, ...illegalFilters].flatMap(([name, filter]): Case[] => [
    [`SUBSCRIBE to ${name}`, subscribePacket(1, [[filter, 0]])],
    [
      `SUBSCRIBE to ${name}, behind a good one`,
      subscribePacket(1, [
        ['a', 0],
        [filter, 0],
      ]),
    ],
    [`UNSUBSCRIBE from ${name}`, unsubscribePacket(1, [filter])],
  ]),
  ['PUBLISH at QoS 3', packet(0x36, field('a'), uint16(1))],
  ['PUBLISH with DUP at QoS 0', packet(0x38, field('a'))],
  ['PUBLISH at QoS 1 with message id 0', publishPacket({ topic: 'a', qos: 1, messageId: 0 })],
  ['PUBLISH at QoS 2 with message id 0', publishPacket({ topic: 'a', qos: 2, messageId: 0 })],
  ['PUBLISH at QoS 1 without a message id', packet(0x32, field('a'))],
  ['PUBLISH without a topic', packet(0x30)],
  ['PUBLISH with a topic longer than the packet', packet(0x30, uint16(9), Buffer.from('a'))],
  ['SUBSCRIBE without filters', subscribePacket(1, [])],
  ['SUBSCRIBE with message id 0', subscribePacket(0, [['a', 0]])],
  ['SUBSCRIBE at QoS 3', subscribePacket(1, [['a', 3]])],
  ['SUBSCRIBE with reserved bits beside the QoS', subscribePacket(1, [['a', 0x81]])],
  ['SUBSCRIBE without a QoS', packet(0x82, uint16(1), field('a'))],
  ['SUBSCRIBE with a filter longer than the packet', packet(0x82, uint16(1), uint16(9), Buffer.from('a'))],
  ['SUBSCRIBE without flags', packet(0x80, uint16(1), field('a'), Buffer.of(0))],
  ['SUBSCRIBE of one byte', packet(0x82, Buffer.of(1))],
  ['UNSUBSCRIBE without filters', unsubscribePacket(1, [])],
  ['UNSUBSCRIBE with message id 0', unsubscribePacket(0, ['a'])],
  ['UNSUBSCRIBE without flags', packet(0xa0, uint16(1), field('a'))],
  ['UNSUBSCRIBE with a filter longer than the packet', packet(0xa2, uint16(1), uint16(9))],
  ...acks.flatMap(([name, type]): Case[] => [
    [`${name} with message id 0`, ackPacket(type, 0)],
    [`${name} without a message id`, packet(ackPacket(type, 1)[0]!)],
    [`${name} of one byte`, packet(ackPacket(type, 1)[0]!, Buffer.of(1))],
    [`${name} of three bytes`, packet(ackPacket(type, 1)[0]!, Buffer.of(0, 1, 0))],
    [`${name} with wrong flags`, packet(ackPacket(type, 1)[0]! ^ 2, uint16(1))],
  ]),
  ['PINGREQ with a body', packet(0xc0, Buffer.of(0))],
  ['PINGREQ with flags', packet(0xc1)],
  ['DISCONNECT with a body', packet(0xe0, Buffer.of(0))],
  ['DISCONNECT with flags', packet(0xe2)],
  ['a second CONNECT', connectPacket(connect)],
  ...[0, Packet.connack, Packet.suback, Packet.unsuback, Packet.pingresp, 15].map((type): Case => [
    `packet type ${type}, which no client sends`,
    packet(type << 4, uint16(1)),
  ]),
  ['a length of five bytes', Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01])],
  ['256 MB claimed', Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f])],
]

describe('malformed packets', () => {
  it.each(badConnects)('before CONNECT is done, %s: closed without an answer', async (_, bytes) => {
    expect(await answerTo(bytes)).toEqual(Buffer.alloc(0))
  })

  it.each(refusedConnects)('%s: refused with its CONNACK', async (_, bytes, code) => {
    expect(await answerTo(bytes)).toEqual(refused(code))
  })

  it.each(badPackets)('%s: closed, and what is behind it is not answered', async (_, bytes) => {
    expect(await answerTo(hello(), bytes, pingreq)).toEqual(accepted)
  })

  it.each<readonly [string, Buffer, Buffer]>([
    ['PUBACK for nothing', ackPacket(Packet.puback, 9), Buffer.alloc(0)],
    ['PUBREC for nothing', ackPacket(Packet.pubrec, 9), ackPacket(Packet.pubrel, 9)],
    ['PUBREL for nothing', ackPacket(Packet.pubrel, 9), ackPacket(Packet.pubcomp, 9)],
    ['PUBCOMP for nothing', ackPacket(Packet.pubcomp, 9), Buffer.alloc(0)],
    ['UNSUBSCRIBE from nothing', unsubscribePacket(9, ['a']), ackPacket(Packet.unsuback, 9)],
    ['an empty payload', publishPacket({ topic: 'a', qos: 1, messageId: 9 }), ackPacket(Packet.puback, 9)],
    [
      'DUP on something new',
      publishPacket({ topic: 'a', qos: 1, dup: true, messageId: 9 }),
      ackPacket(Packet.puback, 9),
    ],
    ...strangeTopics.map(([name, topic]): readonly [string, Buffer, Buffer] => [
      `PUBLISH to ${name}`,
      publishPacket({ topic, qos: 1, messageId: 9 }),
      ackPacket(Packet.puback, 9),
    ]),
  ])('%s is legal, and the connection goes on', async (_, bytes, answer) => {
    expect(await answerTo(hello(), bytes, pingreq, disconnect)).toEqual(
      Buffer.concat([accepted, answer, pingresp]),
    )
  })

  it('leaves the broker well, and nothing behind', async () => {
    await isWell()
    expect(broker.events.filter(({ msg }) => msg === 'client connected')).toHaveLength(connections + 1)
    console.log(
      `fault 18: ${badConnects.length + refusedConnects.length + badPackets.length} malformed cases`,
    )
  })
})
