import { boundedExpirySeconds } from '../store/session-expiry.ts'
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
  readonly wantsResponseInformation: boolean
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
    receiveMaximum: properties.receiveMaximum ?? DEFAULT_RECEIVE_MAXIMUM,
    maximumPacketSize: properties.maximumPacketSize ?? Number.POSITIVE_INFINITY,
    topicAliasMaximum: properties.topicAliasMaximum ?? 0,
    wantsProblems: properties.requestProblemInformation !== 0,
    wantsResponseInformation: properties.requestResponseInformation === 1,
    incomingTopicAliases: 0,
    sessionExpirySeconds: properties.sessionExpiryInterval ?? 0,
    connack: {},
  }
}

/** What is allowed here to each. */
export interface TermLimits {
  readonly maxInflightIncoming: number
  readonly maxPacketBytes: number
  readonly maxIncomingTopicAliases: number
  readonly maxOutgoingTopicAliases: number
  /** 0: whatever is asked for. */
  readonly sessionExpiryMs: number
}

/** What was asked for, within what is allowed here; `told`: what the CONNACK says of this client beside. */
export function agreedTerms(asked: Terms, limits: TermLimits, told: Properties): Terms {
  const { maxInflightIncoming, maxPacketBytes, maxIncomingTopicAliases, maxOutgoingTopicAliases } = limits
  const sessionExpirySeconds = boundedExpirySeconds(asked.sessionExpirySeconds, limits.sessionExpiryMs)
  return {
    ...asked,
    sessionExpirySeconds,
    topicAliasMaximum: Math.min(asked.topicAliasMaximum, maxOutgoingTopicAliases),
    incomingTopicAliases: maxIncomingTopicAliases,
    // Nothing that goes without saying.
    connack: {
      ...told,
      // 3.2.2.3.2
      ...(sessionExpirySeconds !== asked.sessionExpirySeconds && {
        sessionExpiryInterval: sessionExpirySeconds,
      }),
      ...(maxInflightIncoming < DEFAULT_RECEIVE_MAXIMUM && { receiveMaximum: maxInflightIncoming }),
      ...(maxPacketBytes < LARGEST_PACKET_BYTES && { maximumPacketSize: maxPacketBytes }),
      ...(maxIncomingTopicAliases > 0 && { topicAliasMaximum: maxIncomingTopicAliases }),
    },
  }
}

/** What the topics for responses begin with (3.2.2.3.15), from `mqtt5.responseInformation`; undefined: nothing is told. */
export function responseInformation(
  template: string,
  client: { readonly id: string; readonly username: string | undefined },
  maxTopicBytes: number,
): string | undefined {
  let isComplete = template !== ''
  const topic = template.replaceAll(/\{(clientId|username)\}/g, (_, field) => {
    const value = field === 'clientId' ? client.id : client.username
    // It could not be published to, or is nobody's.
    if (value === undefined || value === '' || /[+#]/.test(value)) isComplete = false
    return value ?? ''
  })
  return isComplete && Buffer.byteLength(topic) <= maxTopicBytes ? topic : undefined
}

/** MQTT 5, 3.1.2.11.3 */
const DEFAULT_RECEIVE_MAXIMUM = 65_535
/** What the remaining length can say, and its own bytes (MQTT 5, 2.1.4). */
const LARGEST_PACKET_BYTES = 268_435_460
