import type { MqttVersion } from '../../counters.ts'

/** Protocol levels (MQTT 3.1.1 and MQTT 5, 3.1.2.2): 3 is MQTT 3.1, 4 is 3.1.1. */
export type ProtocolVersion = 3 | 4 | 5

/** As people know them. */
export const VERSION_NAMES: Readonly<Record<number, MqttVersion>> = { 3: '3.1', 4: '3.1.1', 5: '5' }

/** Control packet types: the high nibble of the first byte (MQTT 3.1.1, 2.2.1). */
export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  /** MQTT 5. */
  auth: 15,
} as const
export type PacketType = (typeof PacketType)[keyof typeof PacketType]

/** CONNACK return codes (MQTT 3.1.1, 3.2.2.3). */
export const ConnackCode = {
  accepted: 0,
  unacceptableProtocol: 1,
  identifierRejected: 2,
  unavailable: 3,
  badCredentials: 4,
  notAuthorized: 5,
} as const
export type ConnackCode = (typeof ConnackCode)[keyof typeof ConnackCode]

/** SUBACK: this filter was refused (MQTT 3.1.1, 3.9.3). */
export const SUBACK_FAILURE = 0x80
