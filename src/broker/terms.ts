import type { ConnectPacket } from './packets/connect.ts'
import type { Properties } from './packets/properties.ts'

/** What a client of MQTT 5 has asked for at CONNECT, and what the CONNACK has told it. Undefined before MQTT 5. */
export interface Terms {
  /** Packets at QoS 1 and 2 that the client takes at once. */
  readonly receiveMaximum: number
  /** Bytes; larger ones are never sent. */
  readonly maximumPacketSize: number
  /** Aliases that the client understands, and we give; 0: none. */
  readonly topicAliasMaximum: number
  /** Reason strings and user properties may be in any packet. */
  readonly wantsProblems: boolean
  /** Aliases that the client may use. */
  readonly incomingTopicAliases: number
  /** Seconds; set anew by DISCONNECT. 0xffffffff: never. As the configuration allows it. */
  sessionExpirySeconds: number
  /** What the CONNACK that accepts says beside its code. */
  connack: Properties
}

/** What a client of MQTT 5 asks for (3.1.2.11), before anything is agreed. */
export function askedTerms({ properties }: ConnectPacket): Terms {
  return {
    receiveMaximum: properties.receiveMaximum ?? 65_535,
    maximumPacketSize: properties.maximumPacketSize ?? Number.POSITIVE_INFINITY,
    topicAliasMaximum: properties.topicAliasMaximum ?? 0,
    wantsProblems: properties.requestProblemInformation !== 0,
    incomingTopicAliases: 0,
    sessionExpirySeconds: properties.sessionExpiryInterval ?? 0,
    connack: {},
  }
}
