import { expect, it } from 'vitest'
import { connect5, publishPacket, type ConnectInput, type Mqtt5Client } from '../../support/mqtt5-client.ts'
import { packet, uint16 } from '../../support/wire.ts'
import { brokerOfFile } from '../broker-of-file.ts'

const world = brokerOfFile()
const connect = (fields?: ConnectInput): Promise<Mqtt5Client> => connect5(world.port, fields)

/** 3.4.2.1 and 3.5.2.1. */
const CODES = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])

it.each([
  ['[MQTT-3.4.2-1] PUBACK has a reason code of its table', 1],
  ['[MQTT-3.5.2-1] PUBREC has a reason code of its table', 2],
] as const)('%s', async (_, qos) => {
  const client = await connect()
  await client.subscribe('ack/some')
  for (const topic of ['ack/nobody', 'ack/some']) {
    const code = await client.publish({ topic, qos })
    expect(code).toBeLessThan(0x80)
    expect(CODES).toContain(code)
  }
  expect(await client.publish({ topic: 'no/topic', qos })).toBe(0x87)
  // One that there is not, from a client.
  client.send(packet(qos === 1 ? 0x40 : 0x50, uint16(1), Buffer.of(0x42, 0)))
  expect([0x81, 0x82]).toContain(await client.untilClosed())
})

it.each([
  ['[MQTT-3.4.2-2] PUBACK has no reason string that makes it larger than the client takes', 1, 'puback'],
  ['[MQTT-3.5.2-2] PUBREC has no reason string that makes it larger than the client takes', 2, 'pubrec'],
] as const)('%s', async (_, qos, cmd) => {
  for (const [maximumPacketSize, isTold] of [
    [60, false],
    [1_000, true],
  ] as const) {
    const client = await connect({ clientId: cmd, properties: { maximumPacketSize } })
    client.send(publishPacket({ topic: 'no/topic', qos, messageId: 3 }))
    const { bytes, reasonCode, properties } = await client.next(cmd)
    expect(reasonCode).toBe(0x87)
    expect(bytes.length).toBeLessThanOrEqual(maximumPacketSize)
    expect(properties?.reasonString !== undefined).toBe(isTold)
  }
})

it('[MQTT-3.6.1-1] the flags of PUBREL must be 0010', async () => {
  const client = await connect()
  client.send(publishPacket({ topic: 'ack/rel', qos: 2, messageId: 1 }))
  await client.next('pubrec')
  client.send(packet(0x60, uint16(1)))
  expect(await client.untilClosed()).toBe(0x81)
})

it('[MQTT-3.6.2-1] PUBREL has a reason code of its table', async () => {
  const client = await connect()
  await client.subscribe('ack/out')
  await client.publish({ topic: 'ack/out', qos: 2 })
  const { messageId = 0 } = await client.next('publish')
  client.send({ cmd: 'pubrec', messageId, reasonCode: 0 })
  expect(await client.next('pubrel')).toMatchObject({ messageId, reasonCode: 0 })
  client.send({ cmd: 'pubcomp', messageId, reasonCode: 0 })
  // A PUBREC for what is not there.
  client.send({ cmd: 'pubrec', messageId: 999, reasonCode: 0 })
  expect([0x00, 0x92]).toContain((await client.next('pubrel')).reasonCode)
  client.send(packet(0x62, uint16(1), Buffer.of(0x80, 0)))
  expect([0x81, 0x82]).toContain(await client.untilClosed())
})

it('[MQTT-3.7.2-1] PUBCOMP has a reason code of its table', async () => {
  const client = await connect()
  client.send(publishPacket({ topic: 'ack/comp', qos: 2, messageId: 1 }))
  await client.next('pubrec')
  client.send({ cmd: 'pubrel', messageId: 1 })
  expect(await client.next('pubcomp')).toMatchObject({ messageId: 1, reasonCode: 0 })
  // For what is not there: not found, or done before.
  client.send({ cmd: 'pubrel', messageId: 999 })
  expect([0x00, 0x92]).toContain((await client.next('pubcomp')).reasonCode)
  client.send(packet(0x70, uint16(1), Buffer.of(0x80, 0)))
  expect([0x81, 0x82]).toContain(await client.untilClosed())
})
