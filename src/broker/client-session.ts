import type { QoS } from '../hooks/types.ts'
import type { StoredSession, StoredSubscription } from '../store/contract.ts'
import type { Connection } from './connection.ts'
import { fits, writePublish5 } from './delivery5.ts'
import { shownFacts } from './interceptors/shown.ts'
import { OptionsOfSubscriptions, type MatchedOptions } from './matched-options.ts'
import type { Message } from './message.ts'
import { Outbox, type OutboxContext } from './outbox.ts'
import { PacketType } from './packets/types.ts'
import { RetainedReplays } from './retained-replays.ts'
import type { ShareGroup } from './share-group.ts'
import { reservedNamespace, topicMatches, withoutTunnelMountpoint, withTunnelMountpoint } from './topics.ts'

/** With so many messages waiting, retained messages of a further subscription are not added yet. */
const MAX_WAITING_FOR_REPLAY_COUNT = 1_000
/** Retained messages are put into a stored queue in portions of so many payload bytes. */
const REPLAY_PORTION_BYTES = 8_388_608

/** A subscription in the router. */
export interface Subscription extends StoredSubscription {
  readonly kind: 'session'
  readonly session: ClientSession
  /** Set for members of a shared subscription, which are not in the router themselves. */
  readonly group: ShareGroup | undefined
  /** Other pods are told of it: it has a connection. */
  isWanted: boolean
}

/**
 * The state that belongs to a client id (MQTT 3.1.1, 3.1.2.4): subscriptions, what is in flight and what waits.
 * With clean session 0 it outlives its connection and is stored.
 */
export class ClientSession {
  readonly id: string
  /** Undefined for clean session 1. */
  readonly stored: StoredSession | undefined
  /** The one live connection, if there is one. */
  connection: Connection | undefined
  /** By filter, as the client named it. */
  readonly subscriptions = new Map<string, Subscription>()
  readonly outbox: Outbox
  /** Incoming QoS 2 identifiers that await PUBREL, for a clean session. */
  readonly incomingIds = new Set<number>()
  /** Made at the first subscription. */
  #replays: RetainedReplays | undefined
  /** For merging several matching subscriptions: the publish that last met this session, and its QoS there. */
  mark = 0
  markedQos: QoS = 0
  /** Rights were taken away while messages waited: entries up to here are checked against what is left. */
  #recheckUpToSeq = 0
  #recheckedTopic: { readonly topic: string; readonly allowed: boolean } | undefined
  /** With MQTT 5, from the first delivery on. */
  #options: OptionsOfSubscriptions | undefined
  readonly #context: OutboxContext

  constructor(id: string, stored: StoredSession | undefined, context: OutboxContext) {
    this.id = id
    this.stored = stored
    this.#context = context
    this.outbox = new Outbox(this, context)
    // What an earlier run had taken away is not written down; what waits may be from before.
    if (stored !== undefined && stored.queuedCount > 0) this.recheckQueue()
  }

  get online(): boolean {
    return this.connection !== undefined && this.connection.phase === 'open'
  }

  hasIncoming(messageId: number): boolean {
    return this.stored !== undefined
      ? this.stored.incomingIds.has(messageId)
      : this.incomingIds.has(messageId)
  }

  /** Filters were refused that had been granted: what they have queued must not be delivered. */
  recheckQueue(): void {
    this.#recheckUpToSeq = Math.max(1, this.outbox.lastSeq)
    this.#recheckedTopic = undefined
  }

  /** As `recheckQueue`, with what is still to come: other pods may queue more before they hear of it. */
  recheckFromNowOn(): void {
    this.#recheckUpToSeq = Infinity
    this.#recheckedTopic = undefined
  }

  /** It has one more filter, or one with other options. */
  subscribed(): void {
    this.#recheckedTopic = undefined
    this.#options?.changed()
  }

  /**
   * Asked for each delivery: expiry, rights that were taken away, authDeliver. Counts what it refuses.
   * `isAgain`: it may have been sent before, and what was sent does not expire [MQTT-4.3.3-7].
   */
  mayReceive(message: Message, seq: number, isAgain = false): boolean {
    const dropped = this.#context.counters.dropped
    if (message.expiresAtMs > 0 && !isAgain && message.expiresAtMs <= Date.now()) {
      dropped.expired++
      return false
    }
    if (seq > 0 && seq <= this.#recheckUpToSeq && !this.#stillSubscribed(message.subscribedTopic)) {
      dropped['not-delivered']++
      return false
    }
    const connection = this.connection!
    const { guard, mountpoint } = connection.profile
    if (!guard.chain.decidesDeliver) return true
    const allowed = guard.authDeliver(connection.session!, {
      topic: stripMountpoint(message.topic, mountpoint),
      payload: message.payload,
      qos: message.qos,
      retain: message.retain,
      dup: false,
      isWill: false,
      ...(message.properties !== undefined && shownFacts(message.properties, undefined)),
    })
    if (!allowed) dropped['not-delivered']++
    return allowed
  }

  /** Whole queues are asked about, and topics repeat. */
  #stillSubscribed(topic: string): boolean {
    if (this.#recheckedTopic?.topic === topic) return this.#recheckedTopic.allowed
    const filters = [...this.subscriptions.values()]
    const allowed = filters.some(({ matchFilter }) => topicMatches(matchFilter, topic))
    this.#recheckedTopic = { topic, allowed }
    return allowed
  }

  /** QoS 0: to a peer that reads too slowly it is dropped, and counted. `via`: a shared subscription. */
  deliver0(message: Message, via?: Subscription): void {
    const connection = this.connection
    if (connection === undefined || connection.phase !== 'open') return
    if (!connection.hasRoom) {
      this.#context.counters.dropped['slow-reader']++
      return
    }
    if (connection.downward !== undefined) {
      const how = { qos: 0, messageId: 0, dup: false, seq: 0, via } as const
      connection.downward.deliver({ message, ...how, withheld: ignore })
    } else if (this.mayReceive(message, 0) && this.fits(message, 0, via))
      this.transmit(message, 0, 0, false, via)
  }

  /** An interceptor has dropped what was for this client. */
  countWithheld(): void {
    this.#context.counters.dropped['not-delivered']++
  }

  /** Asked before each delivery: a packet that is larger than the client takes is not sent, and counted [MQTT-3.1.2-25]. */
  fits(message: Message, qos: QoS, via?: Subscription): boolean {
    if (this.connection!.terms === undefined || this.takes(message, qos, via)) return true
    this.#context.counters.dropped['too-large']++
    return false
  }

  /** Its client takes packets of this size. */
  takes(message: Message, qos: QoS, via?: Subscription): boolean {
    const { terms, profile } = this.connection!
    if (terms === undefined || terms.maximumPacketSize === Infinity) return true
    const topic = stripMountpoint(message.topic, profile.mountpoint)
    const { identifiers } = this.#optionsFor(message, via)
    return fits(terms.maximumPacketSize, { message, topic, withId: qos > 0, identifiers })
  }

  #optionsFor(message: Message, via: Subscription | undefined): MatchedOptions {
    return (this.#options ??= new OptionsOfSubscriptions(this.id, this.subscriptions)).of(message, via)
  }

  /** Writes one PUBLISH. */
  transmit(message: Message, qos: QoS, messageId: number, dup: boolean, via?: Subscription): void {
    const connection = this.connection!
    if (connection.version === 5) {
      this.#transmit5(connection, message, qos, messageId, dup, via)
      return
    }
    const retain = message.retain || (connection.isBridge && message.wasRetained)
    const first = firstByte(qos, dup, retain)
    const bytes =
      message.wasSent && connection.profile.mountpoint === ''
        ? connection.outbound.writePublish(message.wire(qos > 0), first, messageId)
        : writeAlone(connection, message, first, messageId)
    this.#countSent(connection, qos, bytes)
    if (connection.tap !== undefined)
      connection.tap.delivered(connection, message, { qos, messageId, dup, retain, bytes })
  }

  #transmit5(
    connection: Connection,
    message: Message,
    qos: QoS,
    messageId: number,
    dup: boolean,
    via: Subscription | undefined,
  ): void {
    const { identifiers, retainAsPublished } = this.#optionsFor(message, via)
    const retain = message.retain || (retainAsPublished && message.wasRetained)
    const first = firstByte(qos, dup, retain)
    const { mountpoint } = connection.profile
    // Nothing of its own, as in a fan-out most have.
    const isPlain = identifiers.length === 0 && connection.aliases === undefined && mountpoint === ''
    const bytes =
      isPlain && message.wasSent
        ? connection.outbound.writePublish(message.wire5(qos > 0, false), first, messageId)
        : writePublish5(
            connection,
            { message, topic: stripMountpoint(message.topic, mountpoint), withId: qos > 0, identifiers },
            first,
            messageId,
          )
    this.#countSent(connection, qos, bytes)
    if (connection.tap !== undefined)
      connection.tap.delivered(connection, message, { qos, messageId, dup, retain, bytes, identifiers })
  }

  #countSent(connection: Connection, qos: QoS, bytes: number): void {
    this.#context.counters.messagesOut[qos]++
    connection.messagesOut++
    connection.countSent(bytes)
  }

  /** The window has room and nothing waits: shared subscriptions may lend more. */
  windowOpened(): void {
    this.#replays?.proceed()
    if (this.groups === undefined) return
    for (const group of this.groups) group.pump()
  }

  /** A portion on top of what may wait already stays well below the bound of the queue. */
  get replayPortionBytes(): number {
    return Math.min(REPLAY_PORTION_BYTES, this.#context.limits.queueMaxBytes / 4)
  }

  /** Retained messages for a new subscription: `replay` queues them when there is room for them. */
  replayRetained(filter: string, replay: () => void): void {
    this.#replays ??= new RetainedReplays(
      () =>
        this.online &&
        Math.max(this.outbox.waitingCount, this.stored?.queuedCount ?? 0) < MAX_WAITING_FOR_REPLAY_COUNT &&
        (this.stored?.queuedBytes ?? 0) < this.replayPortionBytes,
    )
    this.#replays.add(filter, replay)
  }

  /** The subscription has ended. */
  unsubscribed(filter: string): void {
    this.#replays?.remove(filter)
    this.#options?.changed()
  }

  /** Shared subscriptions that this session is a member of. */
  groups: Set<ShareGroup> | undefined
}

/** `$` topics are exempt from mountpoints, but agents of tunnels are names within them. */
export function addMountpoint(topic: string, mountpoint: string): string {
  if (mountpoint === '') return topic
  if (!topic.startsWith('$')) return mountpoint + topic
  return reservedNamespace(topic) === 'tunnel' ? withTunnelMountpoint(topic, mountpoint) : topic
}

export function stripMountpoint(topic: string, mountpoint: string): string {
  if (mountpoint === '') return topic
  if (topic.startsWith(mountpoint)) return topic.slice(mountpoint.length)
  return reservedNamespace(topic) === 'tunnel' ? withoutTunnelMountpoint(topic, mountpoint) : topic
}

/** To one receiver, of what may be the only one: an encoding to share would be made for nobody. */
function writeAlone(connection: Connection, message: Message, first: number, messageId: number): number {
  message.wasSent = true
  const topic = stripMountpoint(message.topic, connection.profile.mountpoint)
  const parts = {
    topic,
    payload: message.payload,
    withId: messageId !== 0,
    shared: undefined,
    own: undefined,
  }
  return connection.outbound.encodePublish(parts, first, messageId)
}

function firstByte(qos: QoS, dup: boolean, retain: boolean): number {
  return (PacketType.publish << 4) | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
}

function ignore(): void {}
