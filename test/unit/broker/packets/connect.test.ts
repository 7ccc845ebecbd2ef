import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { PeerError } from '../../../../src/errors.ts'
import { decodeConnect } from '../../../../src/broker/packets/connect.ts'
import { connectPacket, field, uint16, type ConnectFields } from '../../../support/wire.ts'

/** Decodes the body of a packet that stands between other bytes. */
function decode(whole: Buffer, cutTo?: number) {
  let bodyStart = 2
  while (whole[bodyStart - 1]! & 0x80) bodyStart++
  const end = cutTo === undefined ? whole.length : bodyStart + cutTo
  return decodeConnect(Buffer.concat([whole, Buffer.alloc(20, 1)]), bodyStart, end)
}

function outcome(whole: Buffer, cutTo?: number): unknown {
  try {
    return decode(whole, cutTo)
  } catch (error) {
    if (error instanceof PeerError && error.code === 'TMQ_PROTOCOL') return 'malformed'
    throw error
  }
}

function decodeFields(fields: Partial<ConnectFields>) {
  return decode(connectPacket({ clientId: 'c', ...fields }))
}

const text = fc.string({ unit: 'grapheme', maxLength: 9 }).filter((value) => !value.includes('\0'))
const bytes = fc.uint8Array({ maxLength: 9 }).map((value) => Buffer.from(value))
const anyConnect = fc.record({
  clientId: text,
  clean: fc.boolean(),
  keepalive: fc.nat(65_535),
  version: fc.constantFrom(3 as const, 4 as const),
  will: fc.option(
    fc.record({
      topic: text,
      payload: bytes,
      qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      retain: fc.boolean(),
    }),
    { nil: undefined },
  ),
  username: fc.option(text, { nil: undefined }),
  password: fc.option(bytes, { nil: undefined }),
})

describe('CONNECT', () => {
  it('is decoded to what mqtt-packet has encoded', () => {
    fc.assert(
      fc.property(anyConnect, ({ clientId, clean, keepalive, version, will, username, password }) => {
        // mqtt-packet writes neither an empty client id with clean 0 nor an empty will topic or username.
        fc.pre(clientId !== '' && will?.topic !== '' && username !== '')
        const secret = username === undefined ? undefined : password
        const whole = mqttPacket.generate({
          cmd: 'connect',
          protocolId: version === 4 ? 'MQTT' : 'MQIsdp',
          protocolVersion: version,
          clientId,
          clean,
          keepalive,
          ...(will && { will }),
          ...(username !== undefined && { username }),
          ...(secret !== undefined && { password: secret }),
        })
        expect(decode(whole)).toEqual({
          protocolVersion: version,
          isBridge: false,
          properties: {},
          willProperties: {},
          clean,
          keepaliveSeconds: keepalive,
          clientId,
          will,
          username,
          password: secret,
        })
      }),
    )
  })

  it('takes empty strings where the specification has them', () => {
    expect(
      decodeFields({ clientId: '', username: '', password: '', will: { topic: '', payload: '' } }),
    ).toEqual({
      protocolVersion: 4,
      isBridge: false,
      properties: {},
      willProperties: {},
      clean: true,
      keepaliveSeconds: 0,
      clientId: '',
      will: { topic: '', payload: Buffer.alloc(0), qos: 0, retain: false },
      username: '',
      password: Buffer.alloc(0),
    })
  })

  it('does not keep the chunk that it came in: will and password are copies', () => {
    const whole = connectPacket({
      clientId: 'c',
      username: 'u',
      password: 'secret',
      will: { topic: 't', payload: 'bye' },
    })
    const decoded = decodeConnect(whole, 2, whole.length)
    whole.fill(0)
    expect(decoded).toMatchObject({ password: Buffer.from('secret'), will: { payload: Buffer.from('bye') } })
  })

  it('accepts exactly the flags that the specification allows', () => {
    for (let flags = 0; flags < 256; flags++) {
      const reserved = (flags & 0x01) !== 0 // [MQTT-3.1.2-3]
      const hasWill = (flags & 0x04) !== 0
      const willQos = (flags >> 3) & 3
      const willRetain = (flags & 0x20) !== 0
      const password = (flags & 0x40) !== 0
      const username = (flags & 0x80) !== 0
      const legal =
        !reserved &&
        (hasWill ? willQos < 3 : willQos === 0 && !willRetain) && // [MQTT-3.1.2-11] to [MQTT-3.1.2-15]
        (username || !password) // [MQTT-3.1.2-22]
      const asked = {
        clientId: 'c',
        flags,
        ...(hasWill && { will: { topic: 't', payload: 'p' } }),
        ...(username && { username: 'u' }),
        ...(password && { password: 'w' }),
      }
      const decoded = {
        protocolVersion: 4,
        isBridge: false,
        properties: {},
        willProperties: {},
        keepaliveSeconds: 0,
        clientId: 'c',
        clean: (flags & 0x02) !== 0,
        will: hasWill
          ? { topic: 't', payload: Buffer.from('p'), qos: willQos, retain: willRetain }
          : undefined,
        username: username ? 'u' : undefined,
        password: password ? Buffer.from('w') : undefined,
      }
      expect(outcome(connectPacket(asked))).toEqual(legal ? decoded : 'malformed')
    }
  })

  it('is malformed when it is cut anywhere, and with a byte too many', () => {
    const whole = connectPacket({
      clientId: 'client',
      username: 'user',
      password: 'word',
      will: { topic: 'topic', payload: 'payload' },
    })
    const length = whole.length - 2
    for (let cut = 0; cut < length; cut++) expect(outcome(whole, cut), `cut at ${cut}`).toBe('malformed')
    expect(decode(whole, length)).toMatchObject({ clientId: 'client' })
    expect(() => decode(whole, length + 1)).toThrow('bytes after the last field')
  })

  it.each([
    ['MQTT', 6, 6],
    ['MQIsdp', 5, 5],
    ['MQTT', 3, 3],
    ['MQIsdp', 4, 4],
    ['MQTT', 0x83, 0x83],
    ['MQTT', 0x85, 0x85],
    ['MQIsdp', 0x84, 0x84],
    ['MQTT', 0, 0],
  ])(
    'of protocol %s with level %i is of an unsupported version [MQTT-3.1.2-2]',
    (protocol, level, version) => {
      expect(decodeFields({ protocol, level })).toEqual({ unsupportedVersion: version })
    },
  )

  it.each([
    ['MQTT', 0x84, 4],
    ['MQIsdp', 0x83, 3],
  ])('of protocol %s with level %i is of a bridge', (protocol, level, protocolVersion) => {
    expect(decodeFields({ protocol, level })).toMatchObject({ protocolVersion, isBridge: true })
    expect(decodeFields({ protocol, level: protocolVersion })).toMatchObject({ isBridge: false })
  })

  it('of a later version is recognised, and nothing behind that is read', () => {
    const body = Buffer.concat([field('MQTT'), Buffer.of(6, 0x03), uint16(0), Buffer.of(0xff)])
    expect(decodeConnect(body, 0, body.length)).toEqual({ unsupportedVersion: 6 })
  })

  it.each(['', 'mqtt', 'MQTTT', 'MQT', 'AMQP'])('of protocol %j is malformed [MQTT-3.1.2-1]', (protocol) => {
    expect(() => decodeFields({ protocol })).toThrow('unknown protocol name')
  })

  it.each([
    ['client id', { clientId: Buffer.of(0xff) }],
    ['will topic', { will: { topic: Buffer.of(0x61, 0) } }],
    ['username', { username: Buffer.of(0xed, 0xa0, 0x80) }],
  ])('is malformed when its %s is not UTF-8 without U+0000 [MQTT-1.5.3-1]', (what, fields) => {
    expect(() => decodeFields(fields)).toThrow(what)
  })
})
