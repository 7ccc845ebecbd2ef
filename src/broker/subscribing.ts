import type { Cluster } from '../cluster/contract.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Decision } from '../hooks/decision.ts'
import { RefuseReason, type SubscribeRequest, type SubscriptionOptions } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store, StoredSubscription } from '../store/contract.ts'
import { parseStatusTopic, statusTopic } from '../tunnel/protocol/names.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import { refusalAttributes, subscribeAttributes } from '../tracing/attributes.ts'
import type { Span, Tracing } from '../tracing/contract.ts'
import { addMountpoint, type ClientSession, type Subscription } from './client-session.ts'
import type { Connection } from './connection.ts'
import { isOwn, type Dispatcher } from './dispatch.ts'
import {
  assertOptionsFit,
  optionsOf,
  parseFilter,
  requestAgain,
  toStored,
  wantsRetained,
  type FilterRequest,
} from './filter-request.ts'
import { shownSubscribe } from './interceptors/shown.ts'
import type { Message } from './message.ts'
import { Dropped, Ended } from './interceptors/interceptors.ts'
import { endConnection } from './interceptors/ending.ts'
import type { Properties } from './packets/properties.ts'
import type { RequestedSubscription, SubscribePacket } from './packets/subscribe.ts'
import { isFailure, ReasonCode } from './packets/reason.ts'
import { refusalCode } from './reason-of.ts'
import { whoOf, type Refusals } from './refusals.ts'
import type { Subscriptions } from './subscriptions.ts'
import { failed } from './unsubscribing.ts'
import { hasWildcard, reservedNamespace, topicFilterFault, type TopicLimits } from './topics.ts'
import { ConnectionEnd } from './tunnel-end.ts'

export interface SubscribingOptions {
  readonly topics: TopicLimits
  readonly maxSubscriptionsPerClient: number
}

/** A retained message, none, or why it is not given. */
export type RetainedRead = Message | undefined | { readonly refused: RefuseReason }

/** Why a filter is not granted: for people who ask. `by` undefined: a rule of ours, of which the client may know. */
interface FilterRefusal {
  readonly code: ReasonCode
  readonly reason: string
  readonly by?: Decision | undefined
}

/** SUBSCRIBE, from the packet to its acknowledgement. */
export class Subscribing {
  readonly #store: Store
  readonly #cluster: Cluster
  readonly #subscriptions: Subscriptions
  readonly #dispatcher: Dispatcher
  readonly #tunnels: TunnelRouter | undefined
  readonly #retained: (filter: string) => readonly Message[]
  readonly #refusals: Refusals
  readonly #tracing: Tracing | undefined
  readonly #options: SubscribingOptions
  readonly #log: Log

  constructor(
    context: {
      store: Store
      cluster: Cluster
      subscriptions: Subscriptions
      dispatcher: Dispatcher
      tunnels: TunnelRouter | undefined
      /** Retained messages that match, `$SYS` included, with RETAIN set. */
      retained: (filter: string) => readonly Message[]
      refusals: Refusals
      tracing: Tracing | undefined
      log: Log
    },
    options: SubscribingOptions,
  ) {
    this.#store = context.store
    this.#cluster = context.cluster
    this.#subscriptions = context.subscriptions
    this.#dispatcher = context.dispatcher
    this.#tunnels = context.tunnels
    this.#retained = context.retained
    this.#refusals = context.refusals
    this.#tracing = context.tracing
    this.#log = context.log
    this.#options = options
  }

  subscribe(connection: Connection, packet: SubscribePacket): void {
    const most = Math.max(this.#options.maxSubscriptionsPerClient, MOST_IN_PACKET)
    const asked = packet.subscriptions.map((one, index) =>
      this.#parse(connection, one, packet.properties, index >= most),
    )
    const span = this.#tracing?.begin({
      name: 'SUBSCRIBE',
      attributes: subscribeAttributes(
        connection.clientId,
        connection.profile.name,
        asked.map(({ filter }) => filter),
      ),
    })
    connection.hold()
    void this.#subscribe(connection, packet.messageId, asked, span)
      .catch((error: unknown) => {
        span?.end(error instanceof Error ? error.message : String(error))
        failed(connection, error)
      })
      .finally(() => {
        span?.end(connection.phase === 'open' ? undefined : 'the connection is gone')
        connection.release()
      })
  }

  #parse(
    connection: Connection,
    asked: RequestedSubscription,
    properties: Readonly<Properties>,
    isTooMany: boolean,
  ): FilterRequest {
    const { filter, qos } = asked
    const { topic, shareGroup, excess } = parseFilter(filter, this.#options.topics, connection.version)
    assertOptionsFit(shareGroup, asked)
    if (isTooMany) return plainRequest(filter, 'too-many')
    const options = connection.version < 5 ? NO_OPTIONS : optionsOf(asked, properties)
    const request =
      shareGroup === undefined ? { topic, qos, ...options } : { topic, qos, shareGroup, ...options }
    if (excess !== undefined) return { filter, options, request, kind: 'too-large' }
    const isTunnel = reservedNamespace(topic) === 'tunnel'
    return { filter, options, request, kind: isTunnel ? this.#tunnelKind(connection, filter) : 'messages' }
  }

  /** docs/tunnel-protocol.md 9.2 */
  #tunnelKind(connection: Connection, filter: string): FilterRequest['kind'] {
    const tunnels = this.#tunnels
    if (tunnels === undefined || tunnels.isReserved(connection.profile.mountpoint, connection.clientId))
      return 'refused'
    if (filter === statusTopic('+') || parseStatusTopic(filter) !== undefined) return 'messages'
    return tunnels.roleOf(connection.clientId, filter) ?? 'refused'
  }

  async #subscribe(
    connection: Connection,
    messageId: number,
    asked: readonly FilterRequest[],
    span: Span | undefined,
  ): Promise<void> {
    const asking = span?.child('authSubscribe')
    const requests = asked.filter(({ kind }) => kind === 'messages').map(({ request }) => request)
    const decision =
      requests.length > 0 && connection.profile.guard.authSubscribe(connection.session!, requests)
    const made = decision instanceof Promise ? await decision : decision
    const serving = asked.filter(({ kind }) => kind === 'serve')
    // There is one such filter, however often the packet names it.
    const served = serving.length > 0 && (await this.#mayServe(connection, serving[0]!.request.topic))
    for (const { request } of serving) request.refused = !(served !== false && served.allowed)
    asking?.end()
    if (connection.phase !== 'open') return
    if (made !== false && made.allowed && connection.profile.interceptors !== undefined) {
      await this.#intercept(connection, messageId, requests)
      if (!isOpen(connection)) return
    }
    const session = connection.clientSession!
    const codes: number[] = []
    /** By filter, of which there may be the same twice: the last one is the subscription. */
    const granted = new Map<string, StoredSubscription>()
    /** Filters of this packet that the session has not had before it. */
    const added = new Set<string>()
    /** Those of which retained messages are owed. */
    const replayed: string[] = []
    let told: string | undefined
    // As if each had come in a packet of its own, one after the other. [MQTT-3.8.4-5]
    for (const one of asked) {
      const { filter, kind } = one
      const isNew = !session.subscriptions.has(filter) && !added.has(filter)
      const isFull =
        isNew && session.subscriptions.size + added.size >= this.#options.maxSubscriptionsPerClient
      const by = kind === 'serve' ? served : kind === 'messages' && made
      const refusal = this.#refusalOf(one, by, isFull)
      if (refusal !== undefined) {
        codes.push(refusal.code)
        told ??= refusal.by === undefined ? refusal.reason : refusal.by.clientText
        this.#noteRefused(connection, one, refusal.reason, refusal.by)
      } else if (kind === 'messages') {
        if (isNew) added.add(filter)
        const subscription = toStored(one, connection)
        granted.set(filter, subscription)
        codes.push(subscription.qos)
        if (wantsRetained(subscription, isNew)) replayed.push(filter)
      } else codes.push(0)
    }
    const storing = span?.child('store')
    if (granted.size > 0 && !(await this.#take(connection, [...granted.values()]))) return
    storing?.end()
    connection.sendSuback(messageId, codes, told)
    if (span !== undefined) endSpan(span, codes, made || served)
    this.#attachTunnels(connection, asked)
    for (const filter of replayed) session.replayRetained(filter, () => this.#replay(session, filter))
    const accepted = asked.filter((_, index) => !isFailure(codes[index]!)).map(({ request }) => request)
    if (accepted.length > 0) connection.profile.guard.subscribe(connection.session!, accepted)
  }

  /**
   * What a SUBSCRIBE to this one topic would be sent as retained: the same rules and questions, without a subscription.
   * The topic is legal, and names no wildcard.
   */
  async readRetained(connection: Connection, topic: string): Promise<RetainedRead> {
    const refused = (one: FilterRequest, reason: string, by?: Decision): RetainedRead => {
      this.#noteRefused(connection, one, reason, by)
      return { refused: by?.refuse ?? RefuseReason.notAuthorized }
    }
    const { interceptors } = connection.profile
    if (interceptors !== undefined) {
      const shown = shownSubscribe(0, [{ topic, qos: 0 }])
      const made = await interceptors.ask('before', connection.session!, shown, 'up')
      if (made instanceof Ended) {
        endConnection(connection, made)
        return undefined
      }
      if (made instanceof Dropped) {
        return refused(plainRequest(topic, 'refused'), `dropped by interceptor ${made.by}`)
      }
      topic = made.subscriptions[0]!.topic
    }
    const isShared = reservedNamespace(topic) === 'share'
    const kind = reservedNamespace(topic) === 'tunnel' ? this.#tunnelKind(connection, topic) : 'messages'
    const asked = plainRequest(topic, isShared ? 'refused' : kind)
    if (asked.kind !== 'messages') return refused(asked, RESERVED)
    const decision = await connection.profile.guard.authSubscribe(connection.session!, [asked.request])
    if (decision.allowed && interceptors !== undefined) await this.#intercept(connection, 0, [asked.request])
    if (connection.phase !== 'open') return undefined
    if (!decision.allowed || asked.request.refused) return refused(asked, reasonOf(asked.request), decision)
    if (!this.#rewriteIsLegal(asked) || hasWildcard(asked.request.topic)) {
      return refused(asked, ILLEGAL_REWRITE, decision)
    }
    const matchFilter = addMountpoint(asked.request.topic, connection.profile.mountpoint)
    const [found] = this.#retained(matchFilter)
    if (found === undefined) return undefined
    if (connection.downward !== undefined) return await connection.downward.read(found)
    return connection.clientSession!.mayReceive(found, 0) ? found : undefined
  }

  /** What the handlers have granted is shown once more, and may be rewritten, lowered or dropped. */
  async #intercept(
    connection: Connection,
    messageId: number,
    requests: readonly SubscribeRequest[],
  ): Promise<void> {
    const granted = requests.filter(({ refused }) => !refused)
    if (granted.length === 0) return
    const shown = shownSubscribe(messageId, granted)
    const made = await connection.profile.interceptors!.ask('after', connection.session!, shown, 'up')
    if (made instanceof Ended) endConnection(connection, made)
    else if (made instanceof Dropped) {
      for (const request of granted) request.refused = `dropped by interceptor ${made.by}`
    } else {
      for (const [index, request] of granted.entries()) {
        const { topic, qos } = made.subscriptions[index]!
        Object.assign(request, { topic, qos })
      }
    }
  }

  /** Undefined: it is granted. `made`: what the handlers say of it; false: none was asked. */
  #refusalOf(one: FilterRequest, made: Decision | false, isFull: boolean): FilterRefusal | undefined {
    const { kind, request } = one
    if (kind === 'refused') return { code: ReasonCode.notAuthorized, reason: RESERVED }
    if (kind === 'too-large') return { code: ReasonCode.topicFilterInvalid, reason: TOO_LARGE }
    if (kind === 'too-many') return { code: ReasonCode.quotaExceeded, reason: TOO_MANY }
    const by = made || undefined
    if (by !== undefined && !by.allowed)
      return { code: refusalCode('suback', by), reason: reasonOf(request), by }
    if (request.refused) {
      const { refusedCode } = request
      const code = refusalCode('suback', refusedCode === undefined ? {} : { reasonCode: refusedCode })
      return { code, reason: reasonOf(request), by }
    }
    if (kind !== 'messages') return undefined
    if (isFull) return { code: ReasonCode.quotaExceeded, reason: TOO_MANY }
    if (this.#rewriteIsLegal(one)) return undefined
    return { code: ReasonCode.implementationSpecificError, reason: ILLEGAL_REWRITE, by }
  }

  /** Retained messages, for the subscription as it is when their turn comes. */
  #replay(session: ClientSession, filter: string): void {
    const subscription = session.subscriptions.get(filter)
    if (subscription === undefined) return
    this.#dispatcher.replayRetained(subscription, this.#retainedFor(subscription))
  }

  #retainedFor(subscription: Subscription): readonly Message[] {
    const { matchFilter, noLocal, subscriptionIdentifier } = subscription
    const all = this.#retained(matchFilter)
    const found = noLocal === true ? all.filter((message) => !isOwn(subscription, message)) : all
    if (subscriptionIdentifier === undefined) return found
    return found.map((message) => message.identified(subscriptionIdentifier))
  }

  /** Stores and adds them; true: everybody who may publish acts on them, and the connection is still there. */
  async #take(connection: Connection, granted: readonly StoredSubscription[]): Promise<boolean> {
    const session = connection.clientSession!
    if (session.stored !== undefined) {
      for (const subscription of granted) await this.#subscriptions.prepare(subscription)
      await this.#store.putSubscriptions(session.stored, granted)
      // Again: the last other member may have left meanwhile, and the queue of the group with it.
      for (const subscription of granted) await this.#subscriptions.prepare(subscription)
      if (this.#store.sessions.get(session.id) !== session.stored) return false
    }
    // Also when the connection is gone: what is stored must be what is done.
    for (const subscription of granted) this.#subscriptions.add(session, subscription)
    if (this.#cluster.isShared) await this.#cluster.settled()
    return connection.phase === 'open'
  }

  async #mayServe(connection: Connection, topic: string): Promise<Decision> {
    const agent = connection.clientId
    const request = { action: 'serve', agent, service: '+', topic } as const
    return await connection.profile.guard.authTunnel(connection.session!, request)
  }

  #noteRefused(
    connection: Connection,
    { filter, kind }: FilterRequest,
    reason: string,
    decision?: Decision,
  ): void {
    this.#refusals.note({
      point: kind === 'serve' ? 'serve' : 'subscribe',
      ...whoOf(connection),
      topic: filter,
      handler: decision?.handler,
      reason: (decision?.allowed === false && decision.reason) || reason,
    })
  }

  #attachTunnels(connection: Connection, asked: readonly FilterRequest[]): void {
    for (const { kind, request } of asked) {
      if (kind !== 'serve' && kind !== 'answers') continue
      if (!request.refused)
        this.#tunnels?.attach((connection.tunnelEnd ??= new ConnectionEnd(connection)), kind)
    }
  }

  #rewriteIsLegal({ filter, request }: FilterRequest): boolean {
    const fault = topicFilterFault(request.topic, this.#options.topics)
    const wanders = request.topic !== filter && reservedNamespace(request.topic) === 'tunnel'
    if (fault === undefined && !wanders) return true
    this.#log.error({ filter, rewritten: request.topic, fault }, 'handler rewrote a filter to an illegal one')
    return false
  }

  /**
   * Asks the handlers again, at session restore or when rights have changed; resolves to what they refuse. Rejects when
   * nobody could say: what is stored must not be lost because a service is away.
   */
  async recheck(
    connection: Connection,
    subscriptions: readonly StoredSubscription[],
  ): Promise<readonly string[]> {
    if (!connection.profile.guard.chain.decidesSubscribe || subscriptions.length === 0) return []
    const requests = subscriptions.map(requestAgain)
    const decision = await connection.profile.guard.authSubscribe(connection.session!, requests)
    if (decision.refuse === RefuseReason.unavailable)
      throw new TunnelMQError(
        ErrorCode.handler,
        `subscriptions cannot be checked: ${decision.handler}: ${decision.reason}`,
      )
    return subscriptions
      .filter((_, index) => !decision.allowed || requests[index]!.refused)
      .map(({ filter }) => filter)
  }
}

/** It may have ended meanwhile, which the compiler does not see. */
function isOpen({ phase }: Connection): boolean {
  return phase === 'open'
}

const RESERVED = 'reserved topic'
const TOO_LARGE = 'longer than this broker allows, or more levels'
const ILLEGAL_REWRITE = 'the handler rewrote the filter to one that is not allowed'
const TOO_MANY = 'too many subscriptions of this client (limits.maxSubscriptionsPerClient)'

/** Handlers are not asked about more in one packet, unless a client may have more: a packet has room for 260,000. */
const MOST_IN_PACKET = 1_000

/** Why a handler refuses this filter. */
function reasonOf({ refused }: SubscribeRequest): string {
  return typeof refused === 'string' ? refused : 'refused'
}

/** Of a client before MQTT 5. */
const NO_OPTIONS: SubscriptionOptions = Object.freeze({})

function plainRequest(topic: string, kind: FilterRequest['kind']): FilterRequest {
  return { filter: topic, options: NO_OPTIONS, request: { topic, qos: 0 }, kind }
}

/** The SUBACK is written. */
function endSpan(span: Span, codes: readonly number[], by: Decision | false): void {
  span.set({ 'tunnelmq.return_codes': codes, ...(by !== false && { 'tunnelmq.handler': by.handler }) })
  const isRefused = codes.every(isFailure)
  if (isRefused) span.set(refusalAttributes('refused', by === false ? undefined : by.handler))
  span.end(isRefused ? 'refused' : undefined)
}
