import type { InterceptedSubscribe } from '../../hooks/interceptor.ts'
import type { QoS, SubscriptionOptions } from '../../hooks/types.ts'

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
