import type { ClientDetail, MessageProperties as ShownProperties } from '../../admin/api/resources.ts'
import type { MessageProperties, UserProperties } from '../../hooks/types.ts'
import type { Connection } from '../connection.ts'
import { NEVER_EXPIRES } from '../../store/session-expiry.ts'

/** What is shown of texts, bytes and pairs that clients choose: a page of messages has a bound. */
const MAX_TEXT_CHARACTERS = 256
const MAX_BYTES = 256
const MAX_PAIRS = 32

/** What MQTT 5 says about a message, for people; null: nothing. */
export function shownProperties(properties: MessageProperties | undefined): ShownProperties | null {
  if (properties === undefined) return null
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = properties
  const said = [payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties]
  if (said.every((one) => one === undefined)) return null
  return {
    payloadIsText: payloadFormatIndicator === 1,
    contentType: clipped(contentType),
    responseTopic: clipped(responseTopic),
    correlationData:
      correlationData?.toString('base64', 0, Math.min(correlationData.length, MAX_BYTES)) ?? null,
    userProperties: pairsOf(userProperties),
  }
}

/** What a client has asked for at CONNECT, and what holds; null: it speaks an older version. */
export function connectFacts(connection: Connection | undefined): ClientDetail['mqtt5'] {
  const terms = connection?.terms
  if (connection === undefined || terms === undefined) return null
  const { receiveMaximum, maximumPacketSize, topicAliasMaximum, sessionExpirySeconds } = terms
  const { properties } = connection.session!
  return {
    sessionExpirySeconds: sessionExpirySeconds === NEVER_EXPIRES ? null : sessionExpirySeconds,
    receiveMaximum,
    maximumPacketBytes: Number.isFinite(maximumPacketSize) ? maximumPacketSize : null,
    topicAliasMaximum,
    authenticationMethod: clipped(properties?.authenticationMethod),
    userProperties: pairsOf(properties?.userProperties),
  }
}

function pairsOf(pairs: UserProperties = []): ShownProperties['userProperties'] {
  return pairs
    .slice(0, MAX_PAIRS)
    .map(([name, value]) => ({ name: clipped(name) ?? '', value: clipped(value) ?? '' }))
}

function clipped(text: string | undefined): string | null {
  if (text === undefined) return null
  return text.length <= MAX_TEXT_CHARACTERS ? text : `${text.slice(0, MAX_TEXT_CHARACTERS - 1)}…`
}
