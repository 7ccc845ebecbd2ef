import type {
  ConnectProperties,
  MessageProperties,
  PublishRequest,
  SubscribeRequest,
  UserProperties,
} from '../types.ts'
import { isRecord, optional, type Allowed } from './format.ts'

// What VerneMQ's hooks of MQTT 5 (`..._m5`) say beside those of 3.1.1: `properties`, named as vmq_types_mqtt5 names them.
// User properties are base64 whatever is said about payloads; correlation data is text there.

type Shown = Readonly<Record<string, unknown>>

export function connectProperties({
  sessionExpiryInterval,
  receiveMaximum,
  maximumPacketSize,
  topicAliasMaximum,
  requestResponseInformation,
  requestProblemInformation,
  userProperties,
}: ConnectProperties = {}): Shown {
  return {
    p_session_expiry_interval: sessionExpiryInterval,
    p_receive_max: receiveMaximum,
    p_max_packet_size: maximumPacketSize,
    p_topic_alias_max: topicAliasMaximum,
    p_request_response_info: isSet(requestResponseInformation),
    p_request_problem_info: isSet(requestProblemInformation),
    p_user_property: pairsOf(userProperties),
  }
}

export function messageProperties({ properties, messageExpirySeconds }: Readonly<PublishRequest>): Shown {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } =
    properties ?? {}
  return {
    p_payload_format_indicator: formatNameOf(payloadFormatIndicator),
    p_message_expiry_interval: messageExpirySeconds,
    p_content_type: contentType,
    p_response_topic: responseTopic,
    p_correlation_data: textOf(correlationData),
    p_user_property: pairsOf(userProperties),
  }
}

/** Of the SUBSCRIBE; of stored subscriptions, each may have an identifier. */
export function subscribeProperties(subscriptions: readonly Readonly<SubscribeRequest>[]): Shown {
  const identifiers = new Set(
    subscriptions.flatMap(({ subscriptionIdentifier: identifier }) => identifier ?? []),
  )
  return {
    p_subscription_id: identifiers.size === 0 ? undefined : [...identifiers],
    p_user_property: pairsOf(subscriptions[0]?.userProperties),
  }
}

const RETAIN_HANDLING = ['send_retain', 'send_if_new_sub', 'dont_send'] as const

export function subscriptionOptions(subscription: Readonly<SubscribeRequest>): Shown {
  const { noLocal = false, retainAsPublished = false, retainHandling = 0 } = subscription
  return { no_local: noLocal, rap: retainAsPublished, retain_handling: RETAIN_HANDLING[retainHandling] }
}

/**
 * The modifier `properties` of a PUBLISH, which takes the place of all that were shown. The expiry stays if it has none.
 * Throws: it is not what it should be.
 */
export function readMessageProperties(
  modifier: unknown,
  { properties: before }: Readonly<PublishRequest>,
  onIgnored: (what: string) => void,
): Pick<Allowed, 'properties' | 'messageExpirySeconds'> {
  if (!isRecord(modifier)) throw new Error('properties is not an object')
  for (const name of Object.keys(modifier)) if (!KNOWN.has(name)) onIgnored(`properties.${name}`)
  const format = optional(modifier, 'p_payload_format_indicator', 'string')
  const contentType = optional(modifier, 'p_content_type', 'string')
  const responseTopic = optional(modifier, 'p_response_topic', 'string')
  const said = optional(modifier, 'p_correlation_data', 'string')
  // What it could not be shown it cannot have meant to take away.
  const correlationData = said === undefined ? unshown(before?.correlationData) : Buffer.from(said)
  const userProperties = readPairs(modifier['p_user_property'])
  const messageExpirySeconds = optional(modifier, 'p_message_expiry_interval', 'number')
  const properties: MessageProperties = {
    ...(format === 'utf8' && { payloadFormatIndicator: 1 }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(userProperties.length > 0 && { userProperties }),
  }
  return { properties, ...(messageExpirySeconds !== undefined && { messageExpirySeconds }) }
}

const KNOWN: ReadonlySet<string> = new Set([
  'p_payload_format_indicator',
  'p_message_expiry_interval',
  'p_content_type',
  'p_response_topic',
  'p_correlation_data',
  'p_user_property',
])

function isSet(flag: 0 | 1 | undefined): boolean | undefined {
  return flag === undefined ? undefined : flag === 1
}

function formatNameOf(indicator: 0 | 1 | undefined): string | undefined {
  if (indicator === undefined) return undefined
  return indicator === 1 ? 'utf8' : 'unspecified'
}

/** JSON has texts alone. */
function textOf(bytes: Buffer | undefined): string | undefined {
  if (bytes === undefined) return undefined
  const text = bytes.toString()
  return Buffer.from(text).equals(bytes) ? text : undefined
}

function unshown(bytes: Buffer | undefined): Buffer | undefined {
  return textOf(bytes) === undefined ? bytes : undefined
}

function pairsOf(pairs: UserProperties | undefined): object[] | undefined {
  return pairs?.map(([name, value]) => ({ key: base64Of(name), val: base64Of(value) }))
}

function base64Of(text: string): string {
  return Buffer.from(text).toString('base64')
}

function readPairs(pairs: unknown = []): UserProperties {
  if (!Array.isArray(pairs)) throw new Error('p_user_property is not a list')
  return pairs.map((pair: unknown) => {
    const { key, val } = isRecord(pair) ? pair : {}
    if (typeof key !== 'string' || typeof val !== 'string')
      throw new Error('p_user_property has an entry without key and val')
    return [Buffer.from(key, 'base64').toString(), Buffer.from(val, 'base64').toString()] as const
  })
}
