import type { MessageProperties, Will } from '../../hooks/types.ts'
import { protocolError } from './fault.ts'
import type { Properties } from './properties.ts'

/** What the properties of a will say (MQTT 5, 3.1.3.2): of the message, and of when it is sent. @throws PacketFault */
export function willFactsOf(all: Readonly<Properties>): Partial<Will> {
  const { willDelayInterval, messageExpiryInterval, ...properties } = all
  if (properties.responseTopic !== undefined && !isTopicName(properties.responseTopic))
    throw protocolError('the response topic of the will is none') // [MQTT-3.3.2-14]
  return {
    ...(Object.keys(properties).length > 0 && { properties: properties as MessageProperties }),
    ...(messageExpiryInterval !== undefined && { messageExpirySeconds: messageExpiryInterval }),
    ...(willDelayInterval !== undefined && { delaySeconds: willDelayInterval }),
  }
}

function isTopicName(text: string): boolean {
  return text !== '' && !text.includes('+') && !text.includes('#')
}
