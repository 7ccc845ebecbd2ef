import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { AuthError, RefuseReason, type Handler, type PublishRequest } from '../../../src/hooks/types.ts'
import { eventOf } from '../../support/broker-world.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { RawClient } from '../../support/raw-client.ts'
import { ackPacket, type ConnectFields, Packet, publishPacket } from '../../support/wire.ts'

/** Answers by topic. */
const handler: Handler = {
  name: 'by-topic',
  authConnect: () => {},
  authSubscribe: () => {},
  authPublish: (_session, message) => {
    const answer = ANSWERS[message.topic]
    if (answer !== undefined) answer(message)
  },
}
const ANSWERS: Record<string, (message: PublishRequest) => void> = {
  'not/allowed': () => {
    throw new AuthError('for the log')
  },
  'over/quota': () => {
    throw new AuthError('for the log', RefuseReason.notAuthorized, {
      reasonCode: 0x97,
      reasonString: 'come again tomorrow',
    })
  },
  'handler/breaks': () => {
    throw new Error('a bug')
  },
  'nobody/knows': () => {
    throw new AuthError('the database is away', RefuseReason.unavailable)
  },
  'made/up': (message) => {
    message.properties = { contentType: 'a\0b' }
  },
  'given/properties': (message) => {
    message.properties = { ...message.properties, contentType: 'text/plain' }
    message.messageExpirySeconds = 60
  },
}

let broker: TestBroker
let count = 0

beforeAll(async () => {
  broker = await startTestBroker(
    {
      limits: { maxInflightIncoming: 5, maxTopicLevels: 8 },
      mqtt5: { maxIncomingTopicAliases: 3, maxUserProperties: 4 },
    },
    { handlers: [handler] },
  )
  return () => broker.stop()
})

async function client(fields: Partial<ConnectFields> = {}): Promise<RawClient> {
  const raw = await RawClient.open({ port: broker.port, version: 5 })
  onTestFinished(() => raw.destroy())
  const { code } = await raw.connect({ clientId: `p${++count}`, version: 5, ...fields })
  expect(code).toBe(0)
  return raw
}

/** The reason code and reason string of its PUBACK or PUBREC. */
async function answerTo(
  publisher: RawClient,
  fields: Parameters<typeof publishPacket>[0],
): Promise<readonly [code: number | undefined, text: string | undefined]> {
  const { qos = 1, messageId = 1 } = fields
  publisher.send(publishPacket({ properties: {}, ...fields, qos, messageId }))
  const { reasonCode, properties } = await publisher.nextAck(qos === 1 ? 'puback' : 'pubrec', messageId)
  return [reasonCode, properties?.reasonString]
}

describe('what a publisher of MQTT 5 is told', () => {
  it('that nobody has subscribed, or that somebody has', async () => {
    const publisher = await client()
    expect(await answerTo(publisher, { topic: 'heard/by/none' })).toEqual([0x10, undefined])
    expect(await answerTo(publisher, { topic: 'heard/by/none', qos: 2, messageId: 9 })).toEqual([
      0x10,
      undefined,
    ])
    await publisher.subscribe(['heard', 0])
    expect(await answerTo(publisher, { topic: 'heard' })).toEqual([0, undefined])
  })

  it.each([
    ['not/allowed', 0x87, undefined],
    ['over/quota', 0x97, 'come again tomorrow'],
    ['handler/breaks', 0x80, undefined],
    ['made/up', 0x80, undefined],
    ['$SYS/broker/uptime', 0x90, 'reserved topic'],
  ])('%s is refused with %i', async (topic, code, text) => {
    const publisher = await client()
    expect(await answerTo(publisher, { topic })).toEqual([code, text])
    expect(await answerTo(publisher, { topic, qos: 2, messageId: 2 })).toEqual([code, text])
    // Such an identifier is free again at once [MQTT-4.3.3-9].
    publisher.send(ackPacket(Packet.pubrel, 2))
    expect(await publisher.nextAck('pubcomp', 2)).toMatchObject({ reasonCode: 0x92 })
  })

  it('no reason string where it wants none, or where its packets are too small for one [MQTT-3.1.2-29]', async () => {
    const wantsNone = await client({ properties: { requestProblemInformation: 0 } })
    expect(await answerTo(wantsNone, { topic: 'over/quota' })).toEqual([0x97, undefined])
    const small = await client({ properties: { maximumPacketSize: 20 } })
    expect(await answerTo(small, { topic: 'over/quota' })).toEqual([0x97, undefined])
  })

  it('nothing while nobody can say whether it may: the connection ends, and the message comes again', async () => {
    const publisher = await client()
    publisher.send(publishPacket({ topic: 'nobody/knows', qos: 1, properties: {} }))
    expect(await publisher.next('disconnect')).toMatchObject({ reasonCode: 0x89, properties: {} })
    await publisher.untilClosed()
    expect(publisher.received.some(({ type }) => type === 'puback')).toBe(false)
  })

  it('that its text is none, before anybody gets it; what does not say that it is text is not looked at', async () => {
    const receiver = await client()
    await receiver.subscribe(['text', 0])
    const publisher = await client()
    const payload = Buffer.from('ff', 'hex')
    const properties = { payloadFormatIndicator: 1 } as const
    expect(await answerTo(publisher, { topic: 'text', payload, properties })).toEqual([
      0x99,
      expect.any(String),
    ])
    expect(
      await answerTo(publisher, { topic: 'text', payload, properties: { payloadFormatIndicator: 0 } }),
    ).toEqual([0, undefined])
    expect(await answerTo(publisher, { topic: 'text', payload: 'ü', properties })).toEqual([0, undefined])
    const got = await receiver.nextMessages(2)
    expect(got.map((message) => message.payload.toString('hex'))).toEqual(['ff', 'c3bc'])
  })
})

describe('messages at QoS 1 and 2 without an answer', () => {
  it('are at most as many as the CONNACK has said; with one more the connection ends [MQTT-3.3.4-7]', async () => {
    const publisher = await client()
    const send = (messageId: number): void =>
      publisher.send(publishPacket({ topic: 'q2', qos: 2, messageId, properties: {} }))
    for (let id = 1; id <= 5; id++) send(id)
    for (let id = 1; id <= 5; id++) await publisher.nextAck('pubrec', id)
    // Completed ones and those at QoS 1 that are acknowledged do not count, and neither do refused ones.
    publisher.send(ackPacket(Packet.pubrel, 1))
    await publisher.nextAck('pubcomp', 1)
    for (let i = 0; i < 3; i++)
      expect(await answerTo(publisher, { topic: 'q1', messageId: 10 })).toEqual([0x10, undefined])
    for (let i = 0; i < 3; i++)
      expect(await answerTo(publisher, { topic: 'not/allowed', qos: 2, messageId: 10 })).toEqual([
        0x87,
        undefined,
      ])
    send(6)
    await publisher.nextAck('pubrec', 6)
    // Nor does it make room to complete what was never begun.
    publisher.send(ackPacket(Packet.pubrel, 99))
    expect(await publisher.nextAck('pubcomp', 99)).toMatchObject({ reasonCode: 0x92 })
    send(7)
    expect(await publisher.next('disconnect')).toMatchObject({
      reasonCode: 0x93,
      properties: { reasonString: 'more than 5 messages without an acknowledgement' },
    })
    await publisher.untilClosed()
  })

  it('are counted anew with each connection', async () => {
    const fields = { clientId: 'resumes', clean: false, properties: { sessionExpiryInterval: 60 } } as const
    const first = await client(fields)
    for (let id = 1; id <= 5; id++)
      expect((await answerTo(first, { topic: 'q2', qos: 2, messageId: id }))[0]).toBe(0x10)
    await first.destroy()
    const second = await client(fields)
    for (let id = 1; id <= 5; id++) second.send(ackPacket(Packet.pubrel, id))
    for (let id = 1; id <= 5; id++)
      expect(await second.nextAck('pubcomp', id)).toMatchObject({ reasonCode: 0 })
    for (let id = 1; id <= 5; id++)
      expect((await answerTo(second, { topic: 'q2', qos: 2, messageId: id }))[0]).toBe(0x10)
    await second.ping()
  })
})

describe('a PUBREC for nothing', () => {
  it('is answered with a PUBREL that says so', async () => {
    const receiver = await client()
    receiver.send(ackPacket(Packet.pubrec, 4))
    expect(await receiver.nextAck('pubrel', 4)).toMatchObject({ reasonCode: 0x92 })
  })
})

describe('a PUBREL for nothing', () => {
  it('is answered with "packet identifier not found", once the identifier was known with success', async () => {
    const publisher = await client()
    expect((await answerTo(publisher, { topic: 'q2', qos: 2, messageId: 3 }))[0]).toBe(0x10)
    for (const reasonCode of [0, 0x92]) {
      publisher.send(ackPacket(Packet.pubrel, 3))
      expect(await publisher.nextAck('pubcomp', 3)).toMatchObject({ reasonCode })
    }
  })
})

describe('what a message says of itself', () => {
  it('comes with it, as the handlers have left it', async () => {
    const receiver = await client()
    await receiver.subscribe(['given/properties', 1])
    const publisher = await client()
    const properties = {
      payloadFormatIndicator: 1,
      responseTopic: 'answers/1',
      correlationData: Buffer.from([1, 2]),
      userProperties: [
        ['a', '1'],
        ['a', '2'],
      ],
    } as const
    publisher.send(publishPacket({ topic: 'given/properties', payload: 'x', qos: 1, properties }))
    const [message] = await receiver.nextMessages(1)
    const { messageExpiryInterval, ...others } = message!.properties!
    expect(others).toEqual({ ...properties, contentType: 'text/plain' })
    expect(messageExpiryInterval).toBeGreaterThan(0)
    expect(messageExpiryInterval).toBeLessThanOrEqual(60)
  })

  it.each([
    [
      'a wildcard in its response topic [MQTT-3.3.2-14]',
      { topic: 'a', properties: { responseTopic: 'a/#' } },
      0x82,
    ],
    [
      'an alias above what the CONNACK has said [MQTT-3.3.2-9]',
      { topic: 'a', properties: { topicAlias: 4 } },
      0x94,
    ],
    ['an alias that was given no topic', { topic: '', properties: { topicAlias: 1 } }, 0x82],
    [
      'more user properties than are taken',
      { topic: 'a', properties: { userProperties: Array.from({ length: 5 }, () => ['a', 'b'] as const) } },
      0x97,
    ],
    ['a topic of more levels than are taken', { topic: 'a/b/c/d/e/f/g/h/i', properties: {} }, 0x90],
    ['a wildcard in its topic', { topic: 'a/+', properties: {} }, 0x81],
  ] as const)('ends the connection where it has %s', async (_what, fields, reasonCode) => {
    const publisher = await client()
    publisher.send(publishPacket(fields))
    const { reasonCode: said, properties } = await publisher.next('disconnect')
    expect(said).toBe(reasonCode)
    expect(properties.reasonString).toEqual(expect.any(String))
    await publisher.untilClosed()
  })

  it('has its topic by an alias, and can give the alias another one', async () => {
    const receiver = await client()
    await receiver.subscribe(['by/alias/+', 0])
    const publisher = await client()
    const send = (topic: string, topicAlias?: number): void =>
      publisher.send(publishPacket({ topic, properties: topicAlias === undefined ? {} : { topicAlias } }))
    send('by/alias/1', 3)
    send('', 3)
    send('by/alias/2', 3)
    send('', 3)
    const got = await receiver.nextMessages(4)
    expect(got.map(({ topic }) => topic.at(-1))).toEqual(['1', '1', '2', '2'])
  })
})

describe('a client of MQTT 5 that says why it goes', () => {
  it('is in the log with its code and its words', async () => {
    const leaving = await client({ clientId: 'leaving' })
    await leaving.disconnect({ reasonCode: 0x80, properties: { reasonString: 'battery' } })
    expect(await eventOf(broker, 'client disconnected', { client: 'leaving' })).toMatchObject({
      reason: 'client',
      detail: 'battery',
      reasonCode: 0x80,
    })
  })
})
