import { describe, expect, it, vi } from 'vitest'
import { PATIENCE } from '../../support/eventually.ts'
import { dataHeader, openLink, payloadOf } from '../../support/link-end.ts'
import { granting, startScriptedBroker } from '../../support/scripted-broker.ts'
import { Packet, publishPacket, ackPacket } from '../../support/wire.ts'

const client = { role: 'client', name: 'laptop' } as const
const agent = { role: 'agent', name: 'pi7' } as const

describe('the connection of a link', () => {
  it('says PINGREQ when it has nothing else to say', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url, keepaliveSeconds: 1 })
    const connection = await broker.connection()
    await connection.until(Packet.pingreq, 3)
    expect(end.told).toEqual(['up'])
  })

  it('says PINGREQ also while it sends, when nothing comes, and takes a silent broker for dead', async () => {
    const broker = await startScriptedBroker({ ...granting, answersPings: false })
    const end = openLink({ ...client, url: broker.url, keepaliveSeconds: 1 })
    await end.until('up')
    const route = end.link.route('pi7', 'ssh', 'laptop')
    const sending = setInterval(() => end.link.send(route, dataHeader(0), Buffer.of(1)), 50)
    await end.until('down nothing came from the broker for 1.5 s')
    clearInterval(sending)
    const connection = await broker.connection()
    expect(connection.count(Packet.pingreq)).toBe(1)
    expect(connection.count(Packet.publish)).toBeGreaterThan(3)
    await connection.untilClosed()
    await end.until('up', 2)
  })

  it('acknowledges what comes at QoS 1 and 2 though it has asked for 0, and takes it', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url })
    await end.until('up')
    const connection = await broker.connection()
    const { socket } = connection
    const topic = '$tunnel/pi7/ssh/laptop/down'
    const frame = Buffer.alloc(24, 8)
    socket.write(publishPacket({ topic, payload: frame, qos: 1, messageId: 0x101 }))
    socket.write(publishPacket({ topic, payload: frame, qos: 2, messageId: 0x102 }))
    socket.write(ackPacket(Packet.pubrel, 0x102))
    expect(await connection.until(Packet.puback)).toEqual([Buffer.of(1, 1)])
    expect(await connection.until(Packet.pubrec)).toEqual([Buffer.of(1, 2)])
    expect(await connection.until(Packet.pubcomp)).toEqual([Buffer.of(1, 2)])
    expect(end.frames.map((got) => got.frame)).toEqual([frame, frame])
  })

  it('hears only what is for it', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url })
    await end.until('up')
    const { socket } = await broker.connection()
    const topics = [
      '$tunnel/pi7/ssh/other/down',
      '$tunnel/pi7/ssh/laptop/up',
      'x',
      '$tunnel/pi7/ssh/laptop/down',
    ]
    for (const topic of topics) socket.write(publishPacket({ topic, payload: topic }))
    await end.untilFrames(1)
    expect(end.frames.map(({ frame }) => frame.toString())).toEqual([topics.at(-1)])
  })

  it.each([
    ['a second CONNACK', Buffer.of(0x20, 2, 0, 0), /CONNACK at the wrong time/],
    ['a packet that is none', Buffer.of(0xf0, 0), /packet type 15/],
    ['a packet that is too large', Buffer.of(0x30, 0xff, 0xff, 0xff, 0x7f), /packet of \d+ bytes/],
  ])('ends with %s, and the next one follows', async (_what, bytes, reason) => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url })
    await end.until('up')
    const { socket } = await broker.connection()
    socket.write(bytes)
    await end.until(/^down /)
    expect(end.told[1]).toMatch(reason)
    await end.until('up', 2)
  })

  it('takes no more than its cap while the broker reads nothing, and tells when there is room', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url, maxPendingBytes: 100_000 })
    await end.until('up')
    const connection = await broker.connection()
    connection.socket.pause()
    const route = end.link.route('pi7', 'ssh', 'laptop')
    // Until the system takes nothing any more: it holds some megabytes itself.
    let sentCount = 0
    await vi.waitFor(() => {
      let inThisTurn = 0
      while (end.link.send(route, dataHeader(sentCount), Buffer.alloc(20_000, sentCount % 251))) {
        sentCount++
        inThisTurn++
      }
      expect(inThisTurn).toBeLessThanOrEqual(6)
      if (inThisTurn > 0) throw new Error('it is taken still')
    }, PATIENCE)
    const rooms = end.told.filter((line) => line === 'room').length
    connection.socket.resume()
    await end.until('room', rooms + 1)
    expect(end.link.send(route, dataHeader(sentCount), Buffer.alloc(20_000, sentCount % 251))).toBe(true)
    sentCount++
    const got = await connection.until(Packet.publish, sentCount)
    const topicBytes = 2 + route.upTopic.length
    expect(got.every((body, i) => body.length === topicBytes + 24 + 20_000 && body.at(-1) === i % 251)).toBe(
      true,
    )
  })

  it('takes no frames before it is up, and none when it is down', async () => {
    const broker = await startScriptedBroker({ connack: 0 })
    const end = openLink({ ...client, url: broker.url })
    const route = end.link.route('pi7', 'ssh', 'laptop')
    expect(end.link.send(route, dataHeader(0), undefined)).toBe(false)
    const connection = await broker.connection()
    await connection.until(Packet.subscribe)
    expect(end.link.send(route, dataHeader(0), undefined)).toBe(false)
    connection.socket.write(Buffer.of(0x90, 3, 0, 1, 0))
    await end.until('up')
    expect(end.link.send(route, dataHeader(0), undefined)).toBe(true)
    await end.link.close()
    expect(end.link.send(route, dataHeader(0), undefined)).toBe(false)
    expect(connection.count(Packet.publish)).toBe(1)
  })

  it('hands over what comes before the SUBACK', async () => {
    const broker = await startScriptedBroker({ connack: 0 })
    const end = openLink({ ...client, url: broker.url })
    const connection = await broker.connection()
    await connection.until(Packet.subscribe)
    connection.socket.write(
      publishPacket({ topic: '$tunnel/pi7/ssh/laptop/down', payload: Buffer.alloc(30, 5) }),
    )
    await end.untilFrames(1)
    expect(payloadOf(end.frames[0]!.frame)).toEqual(Buffer.alloc(6, 5))
    expect(end.told).toEqual([])
  })
})

describe('closing a link', () => {
  it('sends all that waits, the status, and DISCONNECT', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...agent, url: broker.url, maxPendingBytes: 20_000_000 })
    end.link.publishStatus('{"online":true}')
    await end.until('up')
    const connection = await broker.connection()
    const route = end.link.route('pi7', 'ssh', 'laptop')
    for (let i = 0; i < 150; i++) end.link.send(route, dataHeader(i), Buffer.alloc(65_536))
    await end.link.close(20_000)
    await connection.untilClosed()
    expect(connection.count(Packet.publish)).toBe(152)
    const [beforeLast, last] = connection.packets.slice(-2)
    expect(last).toEqual({ first: 0xe0, body: Buffer.alloc(0) })
    expect(beforeLast!.first).toBe(0x31)
    expect(beforeLast!.body.subarray(2).toString()).toBe('$tunnel/pi7/status{"online":false}')
    expect(end.told.filter((line) => line !== 'room')).toEqual(['up'])
    expect(broker.connections).toHaveLength(1)
  })

  it('waits no longer than the grace for a broker that reads nothing', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url, maxPendingBytes: 20_000_000 })
    await end.until('up')
    const connection = await broker.connection()
    connection.socket.pause()
    const route = end.link.route('pi7', 'ssh', 'laptop')
    for (let i = 0; i < 150; i++) end.link.send(route, dataHeader(i), Buffer.alloc(65_536))
    await end.link.close(50)
    connection.socket.resume()
    await connection.untilClosed()
    expect(connection.count(Packet.disconnect)).toBe(0)
  })

  it('while it connects, or waits for the next attempt, ends that', async () => {
    const broker = await startScriptedBroker({})
    const end = openLink({ ...client, url: broker.url })
    const connection = await broker.connection()
    await connection.until(Packet.connect)
    await end.link.close()
    await connection.untilClosed()
    expect(connection.count(Packet.disconnect)).toBe(0)

    const refusing = await startScriptedBroker({ connack: 3 })
    const waiting = openLink({ ...client, url: refusing.url })
    await waiting.untilFailures(1)
    await waiting.link.close()
    await waiting.link.close()
    expect(waiting.failures).toHaveLength(1)
    expect(refusing.connections).toHaveLength(1)
  })

  it('may be asked for twice', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...client, url: broker.url })
    await end.until('up')
    await Promise.all([end.link.close(), end.link.close()])
    expect((await broker.connection()).count(Packet.disconnect)).toBe(1)
  })
})

describe('the status of an agent', () => {
  it('has bounds', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...agent, url: broker.url })
    expect(() => end.link.publishStatus('x'.repeat(4_097))).toThrow('at most 4096 bytes')
    const other = openLink({ ...client, url: broker.url })
    expect(() => other.link.publishStatus('{}')).toThrow('only agents have a status')
  })

  it('waits for room, and only the last one is sent', async () => {
    const broker = await startScriptedBroker(granting)
    const end = openLink({ ...agent, url: broker.url, maxPendingBytes: 1_000 })
    await end.until('up')
    const connection = await broker.connection()
    const route = end.link.route('pi7', 'ssh', 'laptop')
    expect(end.link.send(route, dataHeader(0), Buffer.alloc(2_000))).toBe(true)
    for (let i = 0; i < 100; i++) end.link.publishStatus(`{"streams":${i}}`)
    const got = await connection.until(Packet.publish, 2)
    expect(got[1]!.subarray(2).toString()).toBe('$tunnel/pi7/status{"streams":99}')
    expect(got).toHaveLength(2)
  })
})
