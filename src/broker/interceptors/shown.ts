import type { InterceptedPublish, InterceptedSubscribe } from '../../hooks/interceptor.ts'
import type { MessageProperties, QoS, SubscriptionOptions } from '../../hooks/types.ts'

/** What MQTT 5 says of a PUBLISH beside its flags; nothing where there is nothing to say. */
export function shownFacts(
  properties: MessageProperties | undefined,
  messageExpirySeconds: number | undefined,
): Pick<InterceptedPublish, 'properties' | 'messageExpirySeconds'> {
  const shown = properties === undefined ? undefined : ofPublisher(properties)
  return {
    ...(shown !== undefined && { properties: shown }),
    ...(messageExpirySeconds !== undefined && { messageExpirySeconds }),
  }
}

/** Stored messages know more. */
function ofPublisher(properties: MessageProperties): MessageProperties | undefined {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = properties
  const shown: MessageProperties = {
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(userProperties !== undefined && { userProperties }),
  }
  return Object.keys(shown).length === 0 ? undefined : Object.freeze(shown)
}

type Shown = { readonly topic: string; readonly qos: QoS } & SubscriptionOptions

/** A SUBSCRIBE as interceptors see it: nothing of it can be changed in place. */
export function shownSubscribe(messageId: number, subscriptions: readonly Shown[]): InterceptedSubscribe {
  const shown = subscriptions.map((one) => Object.freeze(shownOf(one)))
  return Object.freeze({ cmd: 'subscribe', messageId, subscriptions: Object.freeze(shown) })
}

function shownOf(one: Shown): Shown {
  const { topic, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier, userProperties } =
    one
  // All three come with each filter of MQTT 5.
  if (noLocal === undefined) return { topic, qos }
  return {
    topic,
    qos,
    noLocal,
    ...(retainAsPublished !== undefined && { retainAsPublished }),
    ...(retainHandling !== undefined && { retainHandling }),
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
    ...(userProperties !== undefined && { userProperties }),
  }
}
