import type { MessageProperties } from '../hooks/types.ts'

/**
 * Of a message of the other broker, what may be in a packet of ours; the rest is left out. A client library does not check
 * what it is sent.
 */
export function legalProperties(properties: MessageProperties): MessageProperties | undefined {
  return takenOver(properties, isText)
}

/**
 * Of a message of ours, what any broker takes: control characters are legal, and yet a reason to close the connection
 * (MQTT 5, 1.5.4), as mosquitto does. A client must not be able to do that to a bridge.
 */
export function harmlessProperties(properties: MessageProperties): MessageProperties | undefined {
  return takenOver(properties, isPlainText)
}

function takenOver(
  properties: MessageProperties,
  isGood: (text: string) => boolean,
): MessageProperties | undefined {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = properties
  const pairs = userProperties?.filter((pair) => pair.every(isGood))
  const legal: MessageProperties = {
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(contentType !== undefined && isGood(contentType) && { contentType }),
    ...(responseTopic !== undefined &&
      isTopicName(responseTopic) &&
      isGood(responseTopic) && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(pairs !== undefined && pairs.length > 0 && { userProperties: pairs }),
  }
  return Object.keys(legal).length === 0 ? undefined : legal
}

/** [MQTT-1.5.4-2]. What was no UTF-8 has become U+FFFD. */
function isText(text: string): boolean {
  return !text.includes('\0')
}

/** Neither control characters nor non-characters. */
export function isPlainText(text: string): boolean {
  return !/[\p{Cc}\p{Noncharacter_Code_Point}]/u.test(text)
}

/** [MQTT-3.3.2-14] */
function isTopicName(topic: string): boolean {
  return topic !== '' && isText(topic) && !topic.includes('+') && !topic.includes('#')
}
