import type { SubscribeRequest, SubscriptionOptions } from '../hooks/types.ts'
import type { StoredSubscription } from '../store/contract.ts'
import type { TunnelRole } from '../tunnel/router/seats.ts'
import { addMountpoint } from './client-session.ts'
import type { Connection } from './connection.ts'
import { malformed, protocolError } from './packets/fault.ts'
import type { Properties } from './packets/properties.ts'
import type { RequestedSubscription } from './packets/subscribe.ts'
import { parseShare, topicFilterFault, type TopicLimits } from './topics.ts'

/** One filter of a SUBSCRIBE on its way. */
export interface FilterRequest {
  /** As the client has named it. */
  readonly filter: string
  readonly options: SubscriptionOptions
  /** As handlers see it, with the same options; only what they may rewrite is read back. */
  readonly request: SubscribeRequest
  /**
   * `refused`: a rule of ours says no, before any handler is asked. `too-large`: as `refused`, by
   * `limits.maxTopicBytes` or `maxTopicLevels`; `too-many`: it is behind more than a client may have. `serve`, `answers`:
   * frames of tunnels, which the router of tunnels takes, for as long as the connection lasts.
   */
  readonly kind: 'messages' | 'refused' | 'too-large' | 'too-many' | TunnelRole
}

/** Filters without bounds of ours: what is wrong with them then, is wrong by the specification. */
const UNBOUNDED: TopicLimits = { maxBytes: Infinity, maxLevels: Infinity }

/**
 * The topic filter behind `$share/<group>/`, the group, and what of our own bounds it exceeds. Clients before MQTT 5
 * cannot be told that; for them it is malformed, as ever.
 * @throws PeerError: it is no topic filter [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.8.2-1], [MQTT-4.8.2-2]
 */
export function parseFilter(
  filter: string,
  limits: TopicLimits,
  version: number,
): { readonly topic: string; readonly shareGroup?: string; readonly excess: string | undefined } {
  const shared = parseShare(filter)
  if (typeof shared === 'string') throw malformed(shared)
  const topic = shared === undefined ? filter : shared.filter
  const excess = topicFilterFault(topic, limits)
  if (excess !== undefined && (version < 5 || topicFilterFault(topic, UNBOUNDED) !== undefined))
    throw malformed(excess)
  return shared === undefined ? { topic, excess } : { topic, shareGroup: shared.group, excess }
}

/** What MQTT 5 says beside filter and QoS (3.8.2.1, 3.8.3.1); nothing before it. */
export function optionsOf(
  { noLocal, retainAsPublished, retainHandling }: RequestedSubscription,
  { subscriptionIdentifiers, userProperties }: Readonly<Properties>,
): SubscriptionOptions {
  return {
    ...(noLocal !== undefined && { noLocal }),
    ...(retainAsPublished !== undefined && { retainAsPublished }),
    ...(retainHandling !== undefined && { retainHandling }),
    ...(subscriptionIdentifiers !== undefined && { subscriptionIdentifier: subscriptionIdentifiers[0]! }),
    ...(userProperties !== undefined && { userProperties }),
  }
}

/** Handlers are asked about it again: as it was asked for, but for user properties, which are not kept. */
export function requestAgain(stored: StoredSubscription): SubscribeRequest {
  const { filter, qos, shareGroup, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier } =
    stored
  const shared = parseShare(filter)
  return {
    topic: typeof shared === 'object' ? shared.filter : filter,
    qos,
    ...(shareGroup !== undefined && { shareGroup }),
    ...(noLocal !== undefined && { noLocal }),
    ...(retainAsPublished !== undefined && { retainAsPublished }),
    ...(retainHandling !== undefined && { retainHandling }),
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
  }
}

/** @throws PeerError [MQTT-3.8.3-4] */
export function assertOptionsFit(shareGroup: string | undefined, { noLocal }: SubscriptionOptions): void {
  if (shareGroup !== undefined && noLocal === true) throw protocolError('No Local on a shared subscription')
}

/** As it is granted. Options that change nothing are left out, so that those of MQTT 3.1.1 stay as small as ever. */
export function toStored(
  { filter, request, options }: FilterRequest,
  { profile, isBridge }: Connection,
): StoredSubscription {
  const { topic, qos, shareGroup } = request
  const { noLocal, retainAsPublished, retainHandling, subscriptionIdentifier } = options
  return {
    filter,
    matchFilter: addMountpoint(topic, profile.mountpoint),
    // QoS 2 is not offered to shared subscriptions (share-group.ts).
    qos: shareGroup === undefined || qos === 0 ? qos : 1,
    ...(shareGroup !== undefined && { shareGroup }),
    ...((noLocal === true || (isBridge && shareGroup === undefined)) && { noLocal: true }),
    ...((retainAsPublished === true || (isBridge && shareGroup === undefined)) && {
      retainAsPublished: true,
    }),
    ...(retainHandling !== undefined && retainHandling > 0 && { retainHandling }),
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
  }
}

/** Are retained messages owed to it? [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]; none to shared ones (4.8.2). */
export function wantsRetained({ shareGroup, retainHandling }: StoredSubscription, isNew: boolean): boolean {
  return shareGroup === undefined && (retainHandling === undefined || (retainHandling === 1 && isNew))
}
