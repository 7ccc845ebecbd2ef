import type { MessageProperties } from '../hooks/types.ts'

/**
 * Of a message of the other broker, what may be in a packet of ours; the rest is left out. A client library does not check
 * what it is sent.
 */
export function legalProperties(properties: MessageProperties): MessageProperties | undefined {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = properties
  const pairs = userProperties?.filter((pair) => pair.every(isText))
  const legal: MessageProperties = {
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(contentType !== undefined && isText(contentType) && { contentType }),
    ...(responseTopic !== undefined && isTopicName(responseTopic) && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(pairs !== undefined && pairs.length > 0 && { userProperties: pairs }),
  }
  return Object.keys(legal).length === 0 ? undefined : legal
}

/** [MQTT-1.5.4-2]. What was no UTF-8 has become U+FFFD. */
function isText(text: string): boolean {
  return !text.includes('\0')
}

/** [MQTT-3.3.2-14] */
function isTopicName(topic: string): boolean {
  return topic !== '' && isText(topic) && !topic.includes('+') && !topic.includes('#')
}
