import type { Cluster } from '../cluster/contract.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Decision } from '../hooks/decision.ts'
import type { InterceptedSubscribe } from '../hooks/interceptor.ts'
import { RefuseReason, type QoS, type SubscribeRequest } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store, StoredSubscription } from '../store/contract.ts'
import { parseStatusTopic, statusTopic } from '../tunnel/protocol/names.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import { refusalAttributes, subscribeAttributes } from '../tracing/attributes.ts'
import type { Span, Tracing } from '../tracing/contract.ts'
import type { TunnelRole } from '../tunnel/router/seats.ts'
import { addMountpoint, type ClientSession } from './client-session.ts'
import type { Connection } from './connection.ts'
import { isOwn, type Dispatcher } from './dispatch.ts'
import { Message } from './message.ts'
import { Dropped, Ended } from './interceptors/interceptors.ts'
import { endConnection } from './interceptors/ending.ts'
import { malformed } from './packets/fault.ts'
import type { SubscribePacket, UnsubscribePacket } from './packets/subscribe.ts'
import { isFailure, ReasonCode } from './packets/reason.ts'
import { reasonCodeOf } from './reason-of.ts'
import { whoOf, type Refusals } from './refusals.ts'
import type { Subscriptions } from './subscriptions.ts'
import { hasWildcard, parseShare, reservedNamespace, topicFilterFault, type TopicLimits } from './topics.ts'
import { ConnectionEnd } from './tunnel-end.ts'

export interface SubscribingOptions {
  readonly topics: TopicLimits
  readonly maxSubscriptionsPerClient: number
}

/** A retained message, none, or why it is not given. */
export type RetainedRead = Message | undefined | { readonly refused: RefuseReason }

/** One filter of a SUBSCRIBE on its way. */
interface Asked {
  readonly filter: string
  readonly request: SubscribeRequest
  /**
   * `refused`: a rule of ours says no, before any handler is asked. `serve`, `answers`: frames of tunnels, which
   * the router of tunnels takes, for as long as the connection lasts.
   */
  readonly kind: 'messages' | 'refused' | TunnelRole
}

/** SUBSCRIBE and UNSUBSCRIBE, from the packet to its acknowledgement. */
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
    const asked = packet.subscriptions.map(({ filter, qos }) => this.#parse(connection, filter, qos))
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
        this.#failed(connection, error)
      })
      .finally(() => {
        span?.end(connection.phase === 'open' ? undefined : 'the connection is gone')
        connection.release()
      })
  }

  #parse(connection: Connection, filter: string, qos: QoS): Asked {
    const shared = parseShare(filter)
    if (typeof shared === 'string') throw malformed(shared)
    const topic = shared === undefined ? filter : shared.filter
    const fault = topicFilterFault(topic, this.#options.topics)
    if (fault !== undefined) throw malformed(fault)
    return {
      filter,
      request: shared === undefined ? { topic, qos } : { topic, qos, shareGroup: shared.group },
      kind: reservedNamespace(topic) === 'tunnel' ? this.#tunnelKind(connection, filter) : 'messages',
    }
  }

  /** docs/tunnel-protocol.md 9.2 */
  #tunnelKind(connection: Connection, filter: string): Asked['kind'] {
    const tunnels = this.#tunnels
    if (tunnels === undefined || tunnels.isReserved(connection.profile.mountpoint, connection.clientId))
      return 'refused'
    if (filter === statusTopic('+') || parseStatusTopic(filter) !== undefined) return 'messages'
    return tunnels.roleOf(connection.clientId, filter) ?? 'refused'
  }

  async #subscribe(
    connection: Connection,
    messageId: number,
    asked: readonly Asked[],
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
    const allowed = made !== false && made.allowed
    const refuse = (one: Asked, reason: string, by?: Decision | false): void => {
      codes.push(by === false || by === undefined ? ReasonCode.notAuthorized : reasonCodeOf(by.refuse))
      this.#noteRefused(connection, one, reason, by || undefined)
    }
    const codes: number[] = []
    const granted: StoredSubscription[] = []
    const session = connection.clientSession!
    let count = session.subscriptions.size
    for (const one of asked) {
      const isNew = !session.subscriptions.has(one.filter)
      const full = isNew && count >= this.#options.maxSubscriptionsPerClient
      if (one.kind === 'refused') {
        refuse(one, RESERVED)
        continue
      }
      if (one.request.refused) {
        refuse(one, reasonOf(one.request), one.kind === 'serve' ? served : made)
        continue
      }
      if (one.kind !== 'messages') {
        codes.push(0)
        continue
      }
      if (!allowed) {
        refuse(one, reasonOf(one.request), made)
        continue
      }
      if (full) {
        refuse(one, TOO_MANY)
        continue
      }
      if (!this.#rewriteIsLegal(one)) {
        refuse(one, 'the handler rewrote the filter to one that is not allowed', made)
        continue
      }
      if (isNew) count++
      const subscription = toStored(one, connection)
      granted.push(subscription)
      codes.push(subscription.qos)
    }
    const storing = span?.child('store')
    if (granted.length > 0 && !(await this.#take(connection, granted))) return
    storing?.end()
    connection.sendSuback(messageId, codes)
    if (span !== undefined) endSpan(span, codes, made || served)
    this.#attachTunnels(connection, asked)
    for (const { filter, matchFilter, qos, shareGroup } of granted) {
      if (shareGroup !== undefined) continue
      session.replayRetained(filter, () =>
        this.#dispatcher.replayRetained(
          session,
          filter,
          this.#retainedFor(session, filter, matchFilter),
          qos,
        ),
      )
    }
    const accepted = asked.filter((_, index) => !isFailure(codes[index]!)).map(({ request }) => request)
    if (accepted.length > 0) connection.profile.guard.subscribe(connection.session!, accepted)
  }

  /**
   * What a SUBSCRIBE to this one topic would be sent as retained: the same rules and questions, without a subscription.
   * The topic is legal, and names no wildcard.
   */
  async readRetained(connection: Connection, topic: string): Promise<RetainedRead> {
    const refused = (one: Asked, reason: string, by?: Decision): RetainedRead => {
      this.#noteRefused(connection, one, reason, by)
      return { refused: by?.refuse ?? RefuseReason.notAuthorized }
    }
    const { interceptors } = connection.profile
    if (interceptors !== undefined) {
      const shown = subscribeOf(0, [{ topic, qos: 0 }])
      const made = await interceptors.ask('before', connection.session!, shown, 'up')
      if (made instanceof Ended) {
        endConnection(connection, made)
        return undefined
      }
      if (made instanceof Dropped) {
        const asked: Asked = { filter: topic, request: { topic, qos: 0 }, kind: 'refused' }
        return refused(asked, `dropped by interceptor ${made.by}`)
      }
      topic = made.subscriptions[0]!.topic
    }
    const isShared = reservedNamespace(topic) === 'share'
    const kind = reservedNamespace(topic) === 'tunnel' ? this.#tunnelKind(connection, topic) : 'messages'
    const asked: Asked = { filter: topic, request: { topic, qos: 0 }, kind: isShared ? 'refused' : kind }
    if (asked.kind !== 'messages') return refused(asked, RESERVED)
    const decision = await connection.profile.guard.authSubscribe(connection.session!, [asked.request])
    if (decision.allowed && interceptors !== undefined) await this.#intercept(connection, 0, [asked.request])
    if (connection.phase !== 'open') return undefined
    if (!decision.allowed || asked.request.refused) return refused(asked, reasonOf(asked.request), decision)
    if (!this.#rewriteIsLegal(asked) || hasWildcard(asked.request.topic)) {
      return refused(asked, 'the handler rewrote the filter to one that is not allowed', decision)
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
    const shown = subscribeOf(messageId, granted)
    const made = await connection.profile.interceptors!.ask('after', connection.session!, shown, 'up')
    if (made instanceof Ended) endConnection(connection, made)
    else if (made instanceof Dropped) {
      for (const request of granted) request.refused = `dropped by interceptor ${made.by}`
    } else {
      for (const [index, request] of granted.entries()) Object.assign(request, made.subscriptions[index])
    }
  }

  #retainedFor(session: ClientSession, filter: string, matchFilter: string): readonly Message[] {
    const found = this.#retained(matchFilter)
    const subscription = session.subscriptions.get(filter)
    if (subscription?.noLocal !== true) return found
    return found.filter((message) => !isOwn(subscription, message))
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

  #noteRefused(connection: Connection, { filter, kind }: Asked, reason: string, decision?: Decision): void {
    this.#refusals.note({
      point: kind === 'serve' ? 'serve' : 'subscribe',
      ...whoOf(connection),
      topic: filter,
      handler: decision?.handler,
      reason: (decision?.allowed === false && decision.reason) || reason,
    })
  }

  #attachTunnels(connection: Connection, asked: readonly Asked[]): void {
    for (const { kind, request } of asked) {
      if (kind !== 'serve' && kind !== 'answers') continue
      if (!request.refused)
        this.#tunnels?.attach((connection.tunnelEnd ??= new ConnectionEnd(connection)), kind)
    }
  }

  #rewriteIsLegal({ filter, request }: Asked): boolean {
    const fault = topicFilterFault(request.topic, this.#options.topics)
    const wanders = request.topic !== filter && reservedNamespace(request.topic) === 'tunnel'
    if (fault === undefined && !wanders) return true
    this.#log.error({ filter, rewritten: request.topic, fault }, 'handler rewrote a filter to an illegal one')
    return false
  }

  unsubscribe(connection: Connection, packet: UnsubscribePacket): void {
    for (const filter of packet.filters) {
      const shared = parseShare(filter)
      if (typeof shared === 'string') throw malformed(shared)
      const fault = topicFilterFault(shared?.filter ?? filter, this.#options.topics)
      if (fault !== undefined) throw malformed(fault)
    }
    connection.hold()
    void this.#unsubscribe(connection, packet)
      .catch((error: unknown) => this.#failed(connection, error))
      .finally(() => connection.release())
  }

  async #unsubscribe(connection: Connection, packet: UnsubscribePacket): Promise<void> {
    const session = connection.clientSession!
    const { stored } = session
    const codes: number[] = []
    if (stored !== undefined) {
      const known = packet.filters.filter((filter) => stored.subscriptions.has(filter))
      await this.#store.removeSubscriptions(stored, known)
    }
    for (const filter of packet.filters) {
      const existed = this.#subscriptions.remove(session, filter)
      const role =
        existed || connection.tunnelEnd === undefined
          ? undefined
          : this.#tunnels?.roleOf(connection.clientId, filter)
      if (role !== undefined) this.#tunnels?.detach(connection.tunnelEnd!, role)
      codes.push(existed || role !== undefined ? ReasonCode.success : ReasonCode.noSubscriptionExisted)
    }
    connection.sendUnsuback(packet.messageId, codes) // [MQTT-3.10.4-4]
    connection.profile.guard.unsubscribe(connection.session!, packet.filters)
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
    const requests = subscriptions.map(({ filter, qos, shareGroup }): SubscribeRequest => {
      const shared = parseShare(filter)
      const topic = typeof shared === 'object' ? shared.filter : filter
      return shareGroup === undefined ? { topic, qos } : { topic, qos, shareGroup }
    })
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

  #failed(connection: Connection, error: unknown): void {
    const detail = error instanceof Error ? error.message : String(error)
    connection.close({ kind: 'error', detail })
  }
}

/** As interceptors see it. */
function subscribeOf(messageId: number, subscriptions: readonly SubscribeRequest[]): InterceptedSubscribe {
  const shown = subscriptions.map(({ topic, qos }) => Object.freeze({ topic, qos }))
  return Object.freeze({ cmd: 'subscribe', messageId, subscriptions: Object.freeze(shown) })
}

/** It may have ended meanwhile, which the compiler does not see. */
function isOpen({ phase }: Connection): boolean {
  return phase === 'open'
}

const RESERVED = 'reserved topic'
const TOO_MANY = 'too many subscriptions of this client (limits.maxSubscriptionsPerClient)'

/** Why a handler refuses this filter. */
function reasonOf({ refused }: SubscribeRequest): string {
  return typeof refused === 'string' ? refused : 'refused'
}

function toStored({ filter, request }: Asked, { profile, isBridge }: Connection): StoredSubscription {
  const { topic, qos, shareGroup } = request
  const matchFilter = addMountpoint(topic, profile.mountpoint)
  if (shareGroup === undefined) {
    return { filter, matchFilter, qos, ...(isBridge && { noLocal: true, retainAsPublished: true }) }
  }
  // QoS 2 is not offered to shared subscriptions (share-group.ts).
  return { filter, matchFilter, shareGroup, qos: qos === 0 ? 0 : 1 }
}

/** The SUBACK is written. */
function endSpan(span: Span, codes: readonly number[], by: Decision | false): void {
  span.set({ 'tunnelmq.return_codes': codes, ...(by !== false && { 'tunnelmq.handler': by.handler }) })
  const isRefused = codes.every(isFailure)
  if (isRefused) span.set(refusalAttributes('refused', by === false ? undefined : by.handler))
  span.end(isRefused ? 'refused' : undefined)
}
