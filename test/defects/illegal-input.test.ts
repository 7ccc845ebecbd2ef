import { describe, expect } from 'vitest'
import { BareAedes } from '../support/bare-aedes.ts'
import {
  connectPacket,
  type ConnectFields,
  publishPacket,
  subscribePacket,
  unsubscribePacket,
} from '../support/wire.ts'
import { startOurs } from './ours.ts'
import { defect, type Scenario } from './stage.ts'

const NUL = 'a\0b'
/** A byte that begins no character; half of one; a surrogate, which UTF-8 must not encode. [MQTT-1.5.3-1] */
const ILL_FORMED = {
  'a stray byte': Buffer.from([0x61, 0xff]),
  'a cut character': Buffer.from([0x61, 0xe2, 0x82]),
  'a surrogate': Buffer.from([0xed, 0xa0, 0x80]),
}

/** A packet of a connected client: the connection ends, and nothing is said in answer. [MQTT-4.8.0-1] */
function endsTheConnection(packet: Buffer): Scenario {
  return async (stage) => {
    const client = await stage.connect()
    client.send(packet)
    expect(await client.pingOrClose(), 'after an illegal packet').toBe('closed')
    expect(client.received.map(({ type }) => type)).toEqual(['connack'])
  }
}

/** A CONNECT: refused with this code [MQTT-3.1.3-9], or without an answer [MQTT-3.1.4-1]. */
function refusesConnect(fields: ConnectFields, code?: number): Scenario {
  return async (stage) => {
    const client = await stage.open()
    client.send(connectPacket(fields))
    expect(await client.pingOrClose(), 'after an illegal CONNECT').toBe('closed')
    const answer = code === undefined ? [] : [{ type: 'connack', sessionPresent: false, code }]
    expect(client.received).toEqual(answer)
  }
}

function refused(title: string, scenario: Scenario): void {
  defect(title, {
    scenario,
    // It is refused before any store is asked.
    ours: { 'memory store': () => startOurs({ store: 'memory' }) },
    bare: () => BareAedes.start(),
    fails: /after an illegal (packet|CONNECT): expected 'answered' to be 'closed'/,
  })
}

describe('illegal input that Aedes accepts', () => {
  const strings = Object.entries({ 'U+0000': NUL, ...ILL_FORMED })

  describe('topics [MQTT-1.5.3-1] [MQTT-4.7.3-2]', () => {
    for (const [what, topic] of strings) {
      refused(`refuses ${what} in the topic of a PUBLISH`, endsTheConnection(publishPacket({ topic })))
    }
  })

  describe('filters [MQTT-1.5.3-1] [MQTT-4.7.3-2] [MQTT-4.7.1-3]', () => {
    for (const [what, filter] of strings) {
      refused(
        `refuses ${what} in the filter of a SUBSCRIBE`,
        endsTheConnection(subscribePacket(1, [[filter, 0]])),
      )
      refused(
        `refuses ${what} in the filter of an UNSUBSCRIBE`,
        endsTheConnection(unsubscribePacket(1, [filter])),
      )
    }
    refused('refuses the filter a+', endsTheConnection(subscribePacket(1, [['a+', 0]])))
  })

  describe('packet identifier 0 [MQTT-2.3.1-1]', () => {
    for (const qos of [1, 2]) {
      refused(
        `refuses it in a PUBLISH at QoS ${qos}`,
        endsTheConnection(publishPacket({ topic: 'a', qos, messageId: 0 })),
      )
    }
    refused('refuses it in a SUBSCRIBE', endsTheConnection(subscribePacket(0, [['a', 0]])))
    refused('refuses it in an UNSUBSCRIBE', endsTheConnection(unsubscribePacket(0, ['a'])))
  })

  describe('client ids [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-3.1.3-8]', () => {
    for (const [what, clientId] of strings) refused(`refuses ${what}`, refusesConnect({ clientId }))
    refused('refuses an empty one with clean session 0', refusesConnect({ clientId: '', clean: false }, 2))
  })

  describe('will topics', () => {
    for (const [what, topic] of strings) {
      refused(`refuses ${what}`, refusesConnect({ clientId: 'c', will: { topic } }))
    }
    for (const topic of ['will/#', 'will/+/x']) {
      // The packet is well-formed; what it asks for is not allowed. [MQTT-3.1.4-2]
      refused(`refuses the wildcard of ${topic}`, refusesConnect({ clientId: 'c', will: { topic } }, 5))
    }
  })
})
