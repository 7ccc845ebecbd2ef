import type { Properties } from '../../src/broker/packets/properties.ts'
import {
  ackPacket,
  authPacket,
  connectPacket,
  disconnect,
  disconnectPacket,
  Packet,
  pingreq,
  publishPacket,
  subscribePacket,
  unsubscribePacket,
} from './wire.ts'
import { propertiesBytes } from './wire-properties.ts'

/** A small generator of numbers that are the same in each run (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** An integer from 0 to `limit - 1`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((((mixed ^ (mixed >>> 14)) >>> 0) * limit) / 2 ** 32) | 0
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!
  }
}

const topics = ['a', 'a/b', 'a/b/c', '$SYS/x', '$share/g/a', '$tunnel/x', 'ä/ö', '+', '#', 'a/+/c', '/', '']
const names = ['one', 'two', 'three', '__proto__', 'ü', '']

/** A conversation as a client may begin it, legal but for some of its topics. */
function conversation(random: Random): Buffer[] {
  const clientId = random.pick(names)
  const hello = connectPacket({
    clientId,
    clean: random.below(3) > 0,
    keepaliveSeconds: random.below(100),
    ...(random.below(3) === 0 && { username: random.pick(names), password: 'p' }),
    ...(random.below(3) === 0 && {
      will: { topic: random.pick(topics), payload: 'w', qos: random.below(3) },
    }),
  })
  return [hello, ...Array.from({ length: 1 + random.below(5) }, () => anyPacket(random))]
}

function anyPacket(random: Random): Buffer {
  const messageId = 1 + random.below(3)
  const topic = random.pick(topics)
  switch (random.below(8)) {
    case 0:
      return subscribePacket(messageId, [
        [topic, random.below(3)],
        [random.pick(topics), random.below(3)],
      ])
    case 1:
      return unsubscribePacket(messageId, [topic])
    case 2:
      return ackPacket(random.pick([Packet.puback, Packet.pubrec, Packet.pubrel, Packet.pubcomp]), messageId)
    case 3:
      return random.pick([pingreq, disconnect])
    default:
      return publishPacket({
        topic,
        payload: 'x'.repeat(random.pick([0, 1, 30, 300])),
        qos: random.below(3),
        retain: random.below(4) === 0,
        messageId,
      })
  }
}

/** The same in MQTT 5, with properties in every packet. */
function conversation5(random: Random): Buffer[] {
  const hello = connectPacket({
    clientId: random.pick(names),
    version: 5,
    clean: random.below(3) > 0,
    keepaliveSeconds: random.below(100),
    properties: anyProperties(random, connectProperties),
    ...(random.below(3) === 0 && { username: random.pick(names), password: 'p' }),
    ...(random.below(3) === 0 && {
      will: {
        topic: random.pick(topics),
        payload: 'w',
        qos: random.below(3),
        properties: anyProperties(random, messageProperties),
      },
    }),
  })
  return [hello, ...Array.from({ length: 1 + random.below(5) }, () => anyPacket5(random))]
}

const connectProperties = pairsOf([
  { sessionExpiryInterval: 100 },
  { receiveMaximum: 2, maximumPacketSize: 300 },
  { topicAliasMaximum: 3, requestProblemInformation: 0 },
  { userProperties: [['a', 'b']], requestResponseInformation: 1 },
])
const messageProperties = pairsOf([
  { contentType: 'text/plain', payloadFormatIndicator: 1 },
  { messageExpiryInterval: 1, correlationData: Buffer.of(1, 2) },
  { responseTopic: 'a/b' },
  {
    userProperties: [
      ['__proto__', 'ü'],
      ['a', ''],
    ],
  },
])
const aliasProperties = pairsOf([1, 1, 2, 3, 65_535].map((topicAlias) => ({ topicAlias })))
const reasonProperties = pairsOf([{ reasonString: 'because' }, { userProperties: [['why', 'so']] }])

/** Any two of them, one, or none, encoded once: a hundred thousand streams have them. */
function pairsOf(properties: readonly Properties[]): readonly (readonly Buffer[])[] {
  const choices = [{}, ...properties]
  return choices.map((one) => choices.map((other) => propertiesBytes({ ...one, ...other })))
}

function anyProperties(random: Random, pairs: readonly (readonly Buffer[])[]): Buffer {
  const choose = (): number => (random.below(2) === 0 ? 1 + random.below(pairs.length - 1) : 0)
  return pairs[choose()]![choose()]!
}

function anyPacket5(random: Random): Buffer {
  const messageId = 1 + random.below(3)
  const topic = random.pick(topics)
  const options = (): object => ({ noLocal: random.below(4) === 0, retainHandling: random.below(3) })
  switch (random.below(9)) {
    case 0:
      return subscribePacket(
        messageId,
        [
          [topic, random.below(3), options()],
          [random.pick(topics), random.below(3), options()],
        ],
        random.below(2) === 0 ? { subscriptionIdentifiers: [1 + random.below(300)] } : {},
      )
    case 1:
      return unsubscribePacket(messageId, [topic], { userProperties: [['a', 'b']] })
    case 2:
      return ackPacket(
        random.pick([Packet.puback, Packet.pubrec, Packet.pubrel, Packet.pubcomp]),
        messageId,
        {
          reasonCode: random.pick([0, 0x10, 0x92, 0x97]),
          properties: anyProperties(random, reasonProperties),
        },
      )
    case 3: {
      const reason = {
        reasonCode: random.pick([0, 4, 0x18]),
        properties: anyProperties(random, reasonProperties),
      }
      return random.pick([pingreq, disconnectPacket(reason), authPacket(reason)])
    }
    default: {
      const from = random.below(2) === 0 ? messageProperties : aliasProperties
      return publishPacket({
        topic: from === aliasProperties && random.below(3) === 0 ? '' : topic,
        payload: 'x'.repeat(random.pick([0, 1, 30, 300])),
        qos: random.below(3),
        retain: random.below(4) === 0,
        messageId,
        properties: anyProperties(random, from),
      })
    }
  }
}

/** Bytes changed, taken out, put in, doubled, or the end cut off; from `from` on. */
function mutate(bytes: Buffer, from: number, random: Random): Buffer {
  if (from >= bytes.length) return bytes
  const at = from + random.below(bytes.length - from)
  const length = 1 + random.below(8)
  switch (random.below(6)) {
    case 0:
      return bytes.subarray(0, at)
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])
    case 2:
      return Buffer.concat([bytes.subarray(0, at), noise(length, random), bytes.subarray(at)])
    case 3:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)])
    default: {
      const changed = Buffer.from(bytes)
      changed[at] = random.pick([
        0,
        0xff,
        0x7f,
        0x80,
        random.below(256),
        changed[at]! ^ (1 << random.below(8)),
      ])
      return changed
    }
  }
}

function noise(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)))
}

/** What one broken client sends, in pieces. Two of three say CONNECT rightly, so that the rest is looked at. */
export function mutatedStream(random: Random, version: 4 | 5 = 4): Buffer[] {
  const packets = version === 5 ? conversation5(random) : conversation(random)
  let bytes: Buffer = Buffer.concat(packets)
  const from = random.below(3) === 0 ? 0 : packets[0]!.length
  const count = 1 + random.below(3)
  for (let i = 0; i < count; i++) bytes = mutate(bytes, from, random)
  const pieces: Buffer[] = []
  while (bytes.length > 0 && pieces.length < 3) {
    const length = 1 + random.below(bytes.length)
    pieces.push(bytes.subarray(0, length))
    bytes = bytes.subarray(length)
  }
  return [...pieces, bytes]
}
