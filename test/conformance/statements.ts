/** Which normative statements there are, and why some have no test. docs/conformance.md is made of this. */
export interface Standard {
  readonly version: string
  /** Tests that prove its statements; folder of test/conformance. */
  readonly folder: string
  /** Appendix B: `section: how many`, numbered from 1; or `[first, last]`. */
  readonly sections: Readonly<Record<string, number | readonly [first: number, last: number]>>
  /** Proven by a test elsewhere, whose title has the id too. */
  readonly elsewhere: Readonly<Record<string, string>>
  readonly notApplicable: Readonly<Record<string, string>>
  /** Of those that concern a broker: what it does instead. */
  readonly notMet: Readonly<Record<string, string>>
}

const CLIENT = 'client only: '
const NEVER_SENT = 'the broker never sends '
const TRANSPORT = 'transport, not testable by packets: '

export const mqtt5: Standard = {
  version: '5.0',
  folder: 'mqtt5',
  sections: {
    '1.5.4': 3,
    '1.5.5': 1,
    '1.5.7': 1,
    '2.1.3': 1,
    '2.2.1': [2, 6],
    '2.2.2': 1,
    '3.1.0': 2,
    '3.1.2': 30,
    '3.1.3': 12,
    '3.1.4': 6,
    '3.2.0': 2,
    '3.2.2': 22,
    '3.3.1': 13,
    '3.3.2': 20,
    '3.3.4': 10,
    '3.4.2': 3,
    '3.5.2': 3,
    '3.6.1': 1,
    '3.6.2': 3,
    '3.7.2': 3,
    '3.8.1': 1,
    '3.8.3': 5,
    '3.8.4': 8,
    '3.9.2': 2,
    '3.9.3': 2,
    '3.10.1': 1,
    '3.10.3': 2,
    '3.10.4': 6,
    '3.11.2': 2,
    '3.11.3': 2,
    '3.12.4': 1,
    '3.14.0': 1,
    '3.14.1': 1,
    '3.14.2': 4,
    '3.14.4': 3,
    '3.15.1': 1,
    '3.15.2': 3,
    '4.1.0': 2,
    '4.2.0': 1,
    '4.3.1': 1,
    '4.3.2': 5,
    '4.3.3': 13,
    '4.4.0': 2,
    '4.5.0': 2,
    '4.6.0': 6,
    '4.7.0': 1,
    '4.7.1': 2,
    '4.7.2': 1,
    '4.7.3': 4,
    '4.8.2': 6,
    '4.9.0': 3,
    '4.12.0': 7,
    '4.12.1': 2,
    '4.13.1': 1,
    '4.13.2': 1,
    '6.0.0': 4,
  },
  elsewhere: {},
  notApplicable: {
    'MQTT-3.1.2-20': CLIENT + 'sends PINGREQ within its keep alive',
    'MQTT-3.1.2-21': CLIENT + 'uses the server keep alive',
    'MQTT-3.1.2-30':
      CLIENT + 'sends nothing but AUTH and DISCONNECT between its CONNECT with a method and CONNACK',
    'MQTT-3.2.2-4': CLIENT + 'closes when a session is present that it does not know',
    'MQTT-3.2.2-5': CLIENT + 'drops its session when none is present',
    'MQTT-3.2.2-9': 'of brokers without QoS 1 or 2; this one has both',
    'MQTT-3.2.2-10': 'of brokers without QoS 1 or 2; this one has both',
    'MQTT-3.2.2-11': CLIENT + 'and of brokers without QoS 1 or 2; this one has both',
    'MQTT-3.2.2-12': 'of brokers without QoS 1 or 2; this one has both',
    'MQTT-3.2.2-13': 'of brokers without retained messages; this one has them',
    'MQTT-3.2.2-14': CLIENT + 'and of brokers without retained messages; this one has them',
    'MQTT-3.2.2-21': CLIENT + 'uses the server keep alive',
    'MQTT-3.3.2-10': CLIENT + 'takes all aliases up to the maximum that it has announced',
    'MQTT-3.3.4-5':
      'of brokers that send a message once for each subscription; this one sends it once (3.3.4-4)',
    'MQTT-3.3.4-8': CLIENT + 'holds nothing back but PUBLISH',
    'MQTT-3.4.2-3': NEVER_SENT + 'user properties in PUBACK',
    'MQTT-3.5.2-3': NEVER_SENT + 'user properties in PUBREC',
    'MQTT-3.6.2-2': NEVER_SENT + 'reason strings in PUBREL',
    'MQTT-3.6.2-3': NEVER_SENT + 'user properties in PUBREL',
    'MQTT-3.7.2-2': NEVER_SENT + 'reason strings in PUBCOMP',
    'MQTT-3.7.2-3': NEVER_SENT + 'user properties in PUBCOMP',
    'MQTT-3.9.2-2': NEVER_SENT + 'user properties in SUBACK',
    'MQTT-3.11.2-1': NEVER_SENT + 'reason strings in UNSUBACK',
    'MQTT-3.11.2-2': NEVER_SENT + 'user properties in UNSUBACK',
    'MQTT-3.15.2-2': NEVER_SENT + 'reason strings in AUTH',
    'MQTT-3.15.2-3': NEVER_SENT + 'user properties in AUTH',
    'MQTT-4.2.0-1':
      TRANSPORT + 'TCP, TLS and WebSocket are ordered and lossless; all tests here run over TCP',
    'MQTT-4.5.0-2': CLIENT + 'acknowledges what it receives',
    'MQTT-4.7.3-3': 'not testable by packets: a length of two bytes cannot say more',
    'MQTT-4.6.0-1': CLIENT + 'sends again in the order in which it sent',
    'MQTT-4.6.0-2': CLIENT + 'order of its PUBACK',
    'MQTT-4.6.0-3': CLIENT + 'order of its PUBREC',
    'MQTT-4.6.0-4': CLIENT + 'order of its PUBREL',
    'MQTT-4.8.2-4':
      'of QoS 2, which the broker does not grant to shared subscriptions: they get QoS 1 at most',
    'MQTT-4.8.2-5':
      'of QoS 2, which the broker does not grant to shared subscriptions: they get QoS 1 at most',
    'MQTT-6.0.0-3': CLIENT + 'offers the subprotocol `mqtt`',
  },
  notMet: {},
}

export const mqtt3: Standard = {
  version: '3.1.1',
  folder: 'mqtt3',
  sections: {
    '1.5.3': 3,
    '2.2.2': 2,
    '2.3.1': 7,
    '3.1.0': 2,
    '3.1.2': 24,
    '3.1.3': 11,
    '3.1.4': 5,
    '3.2.0': 1,
    '3.2.2': 6,
    '3.3.1': 12,
    '3.3.2': 3,
    '3.3.4': 1,
    '3.3.5': 2,
    '3.6.1': 1,
    '3.8.1': 1,
    '3.8.3': 4,
    '3.8.4': 6,
    '3.9.3': 2,
    '3.10.1': 1,
    '3.10.3': 2,
    '3.10.4': 6,
    '3.12.4': 1,
    '3.14.1': 1,
    '3.14.4': 3,
    '4.1.0': 2,
    '4.2.0': 1,
    '4.3.1': 1,
    '4.3.2': 2,
    '4.3.3': 2,
    '4.4.0': 1,
    '4.5.0': 2,
    '4.6.0': 6,
    '4.7.1': 3,
    '4.7.2': 1,
    '4.7.3': 4,
    '4.8.0': 2,
    '6.0.0': 4,
    '7.0.0': 2,
    '7.1.1': 1,
    '7.1.2': 1,
  },
  elsewhere: {},
  notApplicable: {
    'MQTT-2.3.1-2': CLIENT + 'uses identifiers that are free',
    'MQTT-2.3.1-3': CLIENT + 'sends again with the same identifier',
    'MQTT-3.1.2-23': CLIENT + 'sends PINGREQ within its keep alive',
    'MQTT-3.2.2-6': 'the broker has a return code for each of its refusals',
    'MQTT-3.8.3-2': 'of brokers without wildcards; this one has them',
    'MQTT-3.14.4-1': CLIENT + 'closes after DISCONNECT',
    'MQTT-3.14.4-2': CLIENT + 'sends nothing after DISCONNECT',
    'MQTT-4.2.0-1':
      TRANSPORT + 'TCP, TLS and WebSocket are ordered and lossless; all tests here run over TCP',
    'MQTT-4.5.0-2': CLIENT + 'acknowledges what it receives',
    'MQTT-4.6.0-2': CLIENT + 'order of its PUBACK',
    'MQTT-4.6.0-3': CLIENT + 'order of its PUBREC',
    'MQTT-4.6.0-4': CLIENT + 'order of its PUBREL',
    'MQTT-4.7.3-3': 'not testable by packets: a length of two bytes cannot say more',
    'MQTT-6.0.0-3': CLIENT + 'offers the subprotocol `mqtt`',
    'MQTT-7.0.0-1': 'not testable by packets: the client end of a bridge is MQTT.js (docs/bridge.md)',
    'MQTT-7.0.0-2': 'not testable by packets: all tests here use no extension',
    'MQTT-7.1.1-1': TRANSPORT + 'TCP, TLS and WebSocket are served; all tests here run over TCP',
    'MQTT-7.1.2-1': CLIENT + 'its transports',
  },
  notMet: {},
}

export function idsOf({ sections }: Standard): string[] {
  return Object.entries(sections).flatMap(([section, numbers]) => {
    const [first, last] = typeof numbers === 'number' ? [1, numbers] : numbers
    return Array.from({ length: last - first + 1 }, (_, index) => `MQTT-${section}-${first + index}`)
  })
}
