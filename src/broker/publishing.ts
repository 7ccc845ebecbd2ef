import { isUtf8 } from 'node:buffer'
import type { BrokerCounters } from '../counters.ts'
import type { Decision } from '../hooks/decision.ts'
import type { InterceptedPublish } from '../hooks/interceptor.ts'
import { RefuseReason, type MessageProperties, type PublishRequest, type QoS } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store } from '../store/contract.ts'
import { countedBytes } from '../store/counted-bytes.ts'
import { parseStatusTopic } from '../tunnel/protocol/names.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import { publishAttributes, refusalAttributes } from '../tracing/attributes.ts'
import type { Span, Tracing } from '../tracing/contract.ts'
import { addMountpoint } from './client-session.ts'
import type { Connection } from './connection.ts'
import { ending, type Dispatcher, type DispatchDone } from './dispatch.ts'
import { keptProperties, Message } from './message.ts'
import { expiresAt, messageProperties, payloadFault, rewrittenFault } from './message-properties.ts'
import { Dropped, Ended, type Interceptors, type Outcome } from './interceptors/interceptors.ts'
import { endConnection } from './interceptors/ending.ts'
import { shownFacts } from './interceptors/shown.ts'
import { malformed, PacketFault } from './packets/fault.ts'
import { NO_PROPERTIES } from './packets/properties.ts'
import type { PublishInput } from './packets/publish.ts'
import { ReasonCode } from './packets/reason.ts'
import { PacketType } from './packets/types.ts'
import type { PendingAck } from './pending-acks.ts'
import { TokenBucket } from './rate.ts'
import { refusalCode } from './reason-of.ts'
import { whoOf, type Refusals } from './refusals.ts'
import { reservedNamespace, topicNameFault, TUNNEL_ROOT, type TopicLimits } from './topics.ts'
import { ConnectionEnd } from './tunnel-end.ts'

export interface PublishingOptions {
  readonly topics: TopicLimits
  readonly onRefusedPublish: 'drop' | 'disconnect'
  /** QoS 1 and 2 messages of one client that are being stored or await PUBREL. */
  readonly maxInflightIncoming: number
  readonly messagesPerSecond: number
  readonly bytesPerSecond: number
  /** 0: never. */
  readonly messageExpiryMs: number
  /** Of a message that says it is UTF-8. */
  readonly checkPayloadFormat: boolean
}

/** As handlers see it, and may have changed it. */
interface ReceivedPublish extends PublishRequest {
  /** What the client has asked for, and is acknowledged by. */
  readonly packetQos: QoS
  readonly packetProperties: MessageProperties | undefined
}

/** Why a message goes nowhere: for the log, and for a client of MQTT 5. */
interface RefusedPublish {
  readonly reason: string
  readonly code: ReasonCode
  readonly text?: string | undefined
  /** Undefined: a rule of ours. */
  readonly by?: Decision
}

/** What a handler has made of it; nothing that is no QoS, and never more than the client's. */
function lowered(qos: QoS, packetQos: QoS): QoS {
  return qos === 0 || (qos === 1 && packetQos === 2) ? qos : packetQos
}

/**
 * From a PUBLISH packet to its acknowledgement: checks, authPublish, dispatch, and PUBACK or PUBREC when,
 * and only when, the message is safe.
 */
export class Publishing {
  readonly #store: Store
  readonly #dispatcher: Dispatcher
  readonly #tunnels: TunnelRouter | undefined
  readonly #counters: BrokerCounters
  readonly #refusals: Refusals
  readonly #tracing: Tracing | undefined
  readonly #options: PublishingOptions
  readonly #log: Log

  constructor(
    context: {
      store: Store
      dispatcher: Dispatcher
      /** Undefined: `$tunnel/` is refused. */
      tunnels: TunnelRouter | undefined
      counters: BrokerCounters
      refusals: Refusals
      tracing: Tracing | undefined
      log: Log
    },
    options: PublishingOptions,
  ) {
    this.#store = context.store
    this.#dispatcher = context.dispatcher
    this.#tunnels = context.tunnels
    this.#counters = context.counters
    this.#refusals = context.refusals
    this.#tracing = context.tracing
    this.#log = context.log
    this.#options = options
  }

  receive(connection: Connection, fields: PublishInput): void {
    const { topic, qos, messageId } = fields
    this.#counters.messagesIn[qos]++
    connection.messagesIn++
    if (connection.terms !== undefined && qos > 0 && !this.#countUnsettled(connection, qos, messageId)) return
    const isTunnel = topic.startsWith(TUNNEL_ROOT) && this.#tunnels !== undefined
    const statusOf = isTunnel ? parseStatusTopic(topic) : undefined
    if (isTunnel && statusOf === undefined) {
      this.#frame(connection, fields, this.#tunnels)
      return
    }
    this.#throttle(connection, topic.length + fields.propertyBytes + fields.payload.length)
    if (qos === 2) {
      const session = connection.clientSession!
      if (session.hasIncoming(messageId)) {
        // Sent again because PUBREC was lost, or is on its way. [MQTT-4.3.3-2]
        this.#acknowledge(connection, PacketType.pubrec, messageId)
        return
      }
      const open = session.stored !== undefined ? session.stored.incomingIds.size : session.incomingIds.size
      if (open >= this.#mostOpen(connection)) {
        const reasonCode = ReasonCode.receiveMaximumExceeded
        connection.close({ kind: 'limit', detail: `${open} messages at QoS 2 await PUBREL`, reasonCode })
        return
      }
    }
    if (topic !== connection.checkedTopic) {
      this.#checkTopic(connection, topic)
      connection.checkedTopic = topic
    }
    // Before MQTT 5 an interceptor may have given it some.
    const given = fields.properties === NO_PROPERTIES ? undefined : fields.properties
    const properties = given && messageProperties(given)
    const request: ReceivedPublish = {
      topic,
      payload: fields.payload,
      retain: fields.retain,
      qos,
      packetQos: qos,
      dup: fields.dup,
      isWill: false,
      properties,
      packetProperties: properties,
      messageExpirySeconds: given?.messageExpiryInterval,
    }
    if (
      properties?.payloadFormatIndicator === 1 &&
      this.#options.checkPayloadFormat &&
      !isUtf8(fields.payload)
    ) {
      this.#refuse(connection, request, messageId, NOT_UTF8)
      return
    }
    if (statusOf !== undefined) {
      this.#status(connection, request, messageId, statusOf)
      return
    }
    if (topic.charCodeAt(0) === DOLLAR && reservedNamespace(topic) !== undefined) {
      // Before any handler: nobody publishes to `$SYS/`, ever.
      this.#refuse(connection, request, messageId, RESERVED_TOPIC)
      return
    }
    const span = this.#tracing?.samples() === true ? beginSpan(this.#tracing, connection, request) : undefined
    const asking = span?.child('authPublish')
    const decision = connection.profile.guard.authPublish(connection.session!, request)
    if (!(decision instanceof Promise)) {
      asking?.end()
      this.#decided(connection, request, messageId, decision, span)
      return
    }
    this.#decideLater(connection, request, messageId, decision, span, asking)
  }

  #decideLater(
    connection: Connection,
    request: ReceivedPublish,
    messageId: number,
    decision: Promise<Decision>,
    span: Span | undefined,
    asking: Span | undefined,
  ): void {
    // Packets of one client are handled in their order.
    connection.hold()
    void decision.then((made) => {
      asking?.end(made.cause === undefined ? undefined : made.reason)
      try {
        if (connection.phase === 'open') this.#decided(connection, request, messageId, made, span)
        else span?.end('the connection is gone')
      } catch (error) {
        // A handler has put into the request what it cannot be.
        connection.fault(error)
      }
      connection.release()
    })
  }

  /** False: these are more than the CONNACK has said. [MQTT-3.3.4-7] */
  #countUnsettled(connection: Connection, qos: QoS, messageId: number): boolean {
    if (qos === 2 && connection.clientSession!.hasIncoming(messageId)) return true
    const { maxInflightIncoming: most } = this.#options
    if (connection.unsettled < most) {
      connection.unsettled++
      return true
    }
    const detail = `more than ${most} messages without an acknowledgement`
    connection.close({ kind: 'limit', detail, reasonCode: ReasonCode.receiveMaximumExceeded })
    return false
  }

  /** Identifiers at QoS 2. Those of its connections before are not in a count of MQTT 5: they may be on their way out. */
  #mostOpen({ terms }: Connection): number {
    const { maxInflightIncoming: most } = this.#options
    return terms === undefined ? most : 2 * most
  }

  /** Past the store, the handlers for topics and their rates: the router has rules of its own, and asks once a stream. */
  #frame(connection: Connection, fields: PublishInput, tunnels: TunnelRouter): void {
    const { topic, qos, retain, messageId, payload } = fields
    if (topic !== connection.checkedTopic) {
      this.#checkTopic(connection, topic)
      connection.checkedTopic = topic
    }
    const end = (connection.tunnelEnd ??= new ConnectionEnd(connection))
    tunnels.receive(end, topic, payload, qos === 0 && !retain ? fields.packet : undefined)
    // Its PUBREL is expected to be for something.
    if (qos === 2 && connection.terms !== undefined) connection.clientSession!.incomingIds.add(messageId)
    // Whatever its QoS: the protocol above it does not rely on that (docs/tunnel-protocol.md 9.9).
    if (qos > 0) this.#acknowledge(connection, qos === 1 ? PacketType.puback : PacketType.pubrec, messageId)
    else connection.sideChannel?.published(0, undefined)
  }

  /** A message as others, but its agent's alone, and always the retained one. */
  #status(connection: Connection, request: ReceivedPublish, messageId: number, agent: string): void {
    const end = (connection.tunnelEnd ??= new ConnectionEnd(connection))
    const refusal = this.#tunnels!.takeStatus(end, agent, request.payload)
    if (refusal === undefined) this.#accept(connection, { ...request, retain: true }, messageId)
    else this.#refuse(connection, request, messageId, { reason: refusal, code: ReasonCode.notAuthorized })
  }

  /** @throws PacketFault */
  #checkTopic(connection: Connection, topic: string): void {
    const fault = topicNameFault(topic, this.#options.topics)
    if (fault === undefined) return
    // Too long, or of too many levels: legal, and yet not for us.
    const isOurLimit = connection.terms !== undefined && topicNameFault(topic, NO_LIMITS) === undefined
    throw isOurLimit ? new PacketFault(ReasonCode.topicNameInvalid, fault) : malformed(fault)
  }

  #decided(
    connection: Connection,
    request: ReceivedPublish,
    messageId: number,
    decision: Decision,
    span: Span | undefined,
  ): void {
    span?.set({ 'tunnelmq.handler': decision.handler })
    if (!decision.allowed) {
      const reason = decision.reason ?? 'refused'
      const { clientText: text } = decision
      const code = refusalCode('puback', decision)
      this.#refuse(connection, request, messageId, { reason, code, text, by: decision })
      if (span !== undefined) endRefused(span, reason, decision.handler)
      return
    }
    if (
      request.topic !== connection.checkedTopic &&
      !this.#rewrittenTopicIsLegal(connection, request, decision)
    ) {
      const reason = 'the handler rewrote the topic to one that is not allowed'
      if (typeof request.topic !== 'string') request.topic = ''
      this.#refuse(connection, request, messageId, {
        reason,
        code: ReasonCode.unspecifiedError,
        by: decision,
      })
      if (span !== undefined) endRefused(span, reason, decision.handler)
      return
    }
    if (!this.#rewrittenPropertiesAreLegal(connection, request, decision)) {
      const reason = 'the handler rewrote the payload or the properties to what they cannot be'
      this.#refuse(connection, request, messageId, {
        reason,
        code: ReasonCode.unspecifiedError,
        by: decision,
      })
      if (span !== undefined) endRefused(span, reason, decision.handler)
      return
    }
    const { interceptors } = connection.profile
    if (interceptors === undefined) this.#accept(connection, request, messageId, span)
    else this.#intercept(interceptors, connection, request, messageId, span)
  }

  /** What the handlers have allowed is shown once more, before it is stored and goes to anybody. */
  #intercept(
    interceptors: Interceptors,
    connection: Connection,
    request: ReceivedPublish,
    messageId: number,
    span: Span | undefined,
  ): void {
    const { topic, payload, packetQos, retain, dup } = request
    const qos = lowered(request.qos, packetQos)
    const shown: InterceptedPublish = {
      ...{ cmd: 'publish', topic, payload, qos, retain, dup, messageId },
      ...shownFacts(request.properties, request.messageExpirySeconds),
    }
    const take = (made: Outcome<InterceptedPublish>): void => {
      if (connection.phase !== 'open' || made instanceof Ended) {
        span?.end('the connection has ended')
        if (made instanceof Ended) endConnection(connection, made)
      } else if (made instanceof Dropped) {
        this.#drop(connection, { topic, qos: packetQos, messageId }, made.by)
        if (span !== undefined) endRefused(span, DROPPED, made.by)
      } else {
        request.topic = made.topic
        request.payload = made.payload
        request.retain = made.retain
        request.properties = made.properties
        request.messageExpirySeconds = made.messageExpirySeconds
        this.#accept(connection, request, messageId, span)
      }
    }
    const made = interceptors.ask('after', connection.session!, Object.freeze(shown), 'up')
    if (!(made instanceof Promise)) {
      take(made)
      return
    }
    connection.hold()
    void made
      .then(take)
      .catch((error: unknown) => connection.fault(error))
      .finally(() => connection.release())
  }

  /** An interceptor has dropped it before anybody else has seen it. */
  dropped(connection: Connection, packet: PublishInput, by: string): void {
    const { qos, messageId } = packet
    this.#counters.messagesIn[qos]++
    connection.messagesIn++
    if (connection.terms !== undefined && qos > 0 && !this.#countUnsettled(connection, qos, messageId)) return
    this.#throttle(connection, packet.topic.length + packet.propertyBytes + packet.payload.length)
    if (qos === 2 && connection.clientSession!.hasIncoming(messageId)) {
      // What was accepted stays so: else its next message with this identifier would be taken for the same.
      this.#acknowledge(connection, PacketType.pubrec, messageId)
      return
    }
    this.#drop(connection, packet, by)
  }

  #drop(
    connection: Connection,
    { topic, qos, messageId }: Pick<PublishInput, 'topic' | 'qos' | 'messageId'>,
    handler: string,
  ): void {
    this.#countRefused(ReasonCode.notAuthorized)
    this.#refusals.note({ point: 'publish', ...whoOf(connection), topic, handler, reason: DROPPED })
    connection.sideChannel?.published(messageId, RefuseReason.notAuthorized)
    this.#acknowledgeRefused(connection, qos, messageId, ReasonCode.notAuthorized)
  }

  #rewrittenTopicIsLegal(connection: Connection, request: PublishRequest, decision: Decision): boolean {
    const fault =
      topicNameFault(request.topic, this.#options.topics) ??
      (reservedNamespace(request.topic) === undefined ? undefined : 'reserved topic')
    if (fault === undefined) return true
    this.#log.error(
      { handler: decision.handler, client: connection.clientId, topic: request.topic, fault },
      'handler rewrote a topic to an illegal one',
    )
    return false
  }

  #rewrittenPropertiesAreLegal(
    connection: Connection,
    { payload, properties, packetProperties, messageExpirySeconds }: ReceivedPublish,
    decision: Decision,
  ): boolean {
    const isNew = properties !== packetProperties
    const fault =
      payloadFault(payload) ?? rewrittenFault(isNew ? properties : undefined, messageExpirySeconds)
    if (fault === undefined) return true
    this.#log.error(
      { handler: decision.handler, client: connection.clientId, fault },
      'handler rewrote payload or properties to illegal ones',
    )
    return false
  }

  #accept(connection: Connection, request: ReceivedPublish, messageId: number, span?: Span): void {
    const { packetQos: qos } = request
    const session = connection.clientSession!
    const nowMs = Date.now()
    const message = new Message(
      addMountpoint(request.topic, connection.profile.mountpoint),
      request.payload,
      lowered(request.qos, qos),
      false,
      session.id,
      nowMs,
      expiresAt(nowMs, request.messageExpirySeconds, this.#options.messageExpiryMs),
      keptProperties(request.retain && this.#dispatcher.keepsRetain, request.properties),
    )
    if (qos === 0) {
      const stored: DispatchDone = (error) => {
        if (error !== undefined) this.#counters.dropped['store-failed']++
      }
      const plain = { retain: request.retain }
      if (span === undefined) this.#dispatcher.dispatch(message, plain, stored)
      else if (this.#dispatcher.dispatch(message, { ...plain, span }, ending(span, stored))) span.end()
      connection.sideChannel?.published(0, undefined)
      connection.profile.guard.publish(connection.session!, request)
      return
    }
    const ackType = qos === 1 ? PacketType.puback : PacketType.pubrec
    const incoming =
      qos === 2 && session.stored !== undefined ? { session: session.stored, messageId } : undefined
    if (qos === 2 && incoming === undefined) session.incomingIds.add(messageId)
    const options = incoming === undefined ? { retain: request.retain } : { retain: request.retain, incoming }
    let pending: PendingAck | undefined = undefined as PendingAck | undefined
    const stored: DispatchDone = (error) => {
      if (error === undefined) {
        connection.acks.settle(pending!)
        connection.profile.guard.publish(connection.session!, request)
      } else this.#notStored(connection, error)
      this.#easeUp(connection)
    }
    const safe =
      span === undefined
        ? this.#dispatcher.dispatch(message, options, stored)
        : this.#dispatcher.dispatch(message, { ...options, span }, ending(span, stored))
    const code = this.#dispatcher.matchedNobody ? ReasonCode.noMatchingSubscribers : ReasonCode.success
    if (safe) {
      this.#acknowledge(connection, ackType, messageId, code)
      span?.end()
      connection.profile.guard.publish(connection.session!, request)
      return
    }
    // `dispatch` never calls back before it has returned, so this is in its place.
    pending = connection.acks.later(ackType, messageId, countedBytes(message), code)
    this.#holdIfMany(connection)
  }

  /** Nothing of the message has to be stored; but acknowledgements before this one may wait for the store. */
  #acknowledge(
    connection: Connection,
    type: PacketType,
    messageId: number,
    code?: ReasonCode,
    text?: string,
  ): void {
    connection.acks.now(type, messageId, code, text)
    this.#holdIfMany(connection)
  }

  #acknowledgeRefused(
    connection: Connection,
    qos: QoS,
    messageId: number,
    code: ReasonCode,
    text?: string,
  ): void {
    if (qos === 0) return
    this.#acknowledge(connection, qos === 1 ? PacketType.puback : PacketType.pubrec, messageId, code, text)
  }

  #holdIfMany(connection: Connection): void {
    const { acks } = connection
    const { maxInflightIncoming: most } = this.#options
    // With MQTT 5 more messages than that are refused, and not left unread; more answers than that are to repetitions.
    const isMany = connection.terms === undefined ? acks.size >= most : acks.size > most
    const isFull = isMany || acks.bytes >= MAX_UNACKNOWLEDGED_BYTES
    if (!isFull || connection.heldForStore) return
    connection.heldForStore = true
    connection.hold()
  }

  #easeUp(connection: Connection): void {
    if (!connection.heldForStore) return
    const { acks } = connection
    if (acks.size > this.#options.maxInflightIncoming / 2 || acks.bytes > MAX_UNACKNOWLEDGED_BYTES / 2) return
    connection.heldForStore = false
    connection.release()
  }

  /** Never an acknowledgement that is not true: the client will come again with what it has not been thanked for. */
  #notStored(connection: Connection, error: Error): void {
    this.#counters.dropped['store-failed']++
    connection.close({ kind: 'error', detail: error.message })
  }

  #refuse(
    connection: Connection,
    request: ReceivedPublish,
    messageId: number,
    { reason, code, text, by }: RefusedPublish,
  ): void {
    const handler = by?.handler
    connection.sideChannel?.published(messageId, by?.refuse ?? RefuseReason.notAuthorized)
    this.#countRefused(code)
    this.#refusals.note({ point: 'publish', ...whoOf(connection), topic: request.topic, handler, reason })
    if (this.#log.isLevelEnabled('trace')) {
      this.#log.trace({ client: connection.clientId, topic: request.topic, reason }, 'publish refused')
    }
    const { packetQos: qos } = request
    if (qos > 0 && isAnswerless(by) && connection.sideChannel === undefined) {
      // Whether it may is not known: it comes again with what it has not been thanked for. Doors have been told.
      const detail = `nobody could say whether it may publish: ${reason}`
      connection.close({ kind: 'error', detail })
    } else if (this.#options.onRefusedPublish === 'disconnect') {
      const detail = `publish refused: ${reason}`
      const told = text === undefined ? {} : { clientText: text }
      connection.close({ kind: 'kicked', detail, reasonCode: code, ...told })
    } else this.#acknowledgeRefused(connection, qos, messageId, code, text)
  }

  #countRefused(code: ReasonCode): void {
    const { dropped, refusedPublishes } = this.#counters
    dropped.refused++
    refusedPublishes[code] = (refusedPublishes[code] ?? 0) + 1
  }

  /** PUBREL: the identifier may be used again when that is safe. [MQTT-4.3.3-2] */
  release(connection: Connection, messageId: number): void {
    const session = connection.clientSession!
    if (session.stored === undefined || !session.stored.incomingIds.has(messageId)) {
      const isKnown = session.incomingIds.delete(messageId)
      // Not an error where it was sent again because PUBCOMP was lost (MQTT 5, 4.3.3).
      const code = isKnown ? ReasonCode.success : ReasonCode.packetIdentifierNotFound
      connection.sendAck(PacketType.pubcomp, messageId, code)
      return
    }
    this.#store.releaseIncoming(session.stored, messageId, (error) => {
      if (error === undefined) connection.sendAck(PacketType.pubcomp, messageId)
      else this.#notStored(connection, error)
    })
  }

  #throttle(connection: Connection, bytes: number): void {
    const { messagesPerSecond, bytesPerSecond } = this.#options
    if (messagesPerSecond === 0 && bytesPerSecond === 0) return
    const nowMs = Date.now()
    let delayMs = 0
    if (messagesPerSecond > 0) {
      connection.messageRate ??= new TokenBucket(messagesPerSecond, nowMs)
      delayMs = connection.messageRate.take(1, nowMs)
    }
    if (bytesPerSecond > 0) {
      connection.byteRate ??= new TokenBucket(bytesPerSecond, nowMs)
      delayMs = Math.max(delayMs, connection.byteRate.take(bytes, nowMs))
    }
    if (delayMs > 0) connection.throttle(delayMs)
  }
}

function beginSpan(tracing: Tracing, connection: Connection, request: PublishRequest): Span {
  return tracing.begin({
    name: 'PUBLISH',
    attributes: publishAttributes({
      clientId: connection.clientId,
      listener: connection.profile.name,
      payloadBytes: request.payload.length,
      topic: request.topic,
      qos: request.qos,
      retain: request.retain,
      dup: request.dup,
    }),
  })
}

function endRefused(span: Span, reason: string, handler: string): void {
  span.set(refusalAttributes('refused', handler))
  span.end(reason)
}

const RESERVED_TOPIC: RefusedPublish = {
  reason: 'reserved topic',
  code: ReasonCode.topicNameInvalid,
  text: 'reserved topic',
}
const NOT_UTF8: RefusedPublish = {
  reason: 'not the UTF-8 that it says it is',
  code: ReasonCode.payloadFormatInvalid,
  text: 'not the UTF-8 that it says it is',
}
const NO_LIMITS: TopicLimits = { maxBytes: Infinity, maxLevels: Infinity }

const DROPPED = 'dropped by an interceptor'

/** A handler says that who would know does not answer; one that fails itself refuses. */
function isAnswerless(decision: Decision | undefined): boolean {
  return decision?.refuse === RefuseReason.unavailable && decision.cause === undefined
}

/** Payloads and properties of one client that wait for the store; with more its connection is not read. */
const MAX_UNACKNOWLEDGED_BYTES = 1_048_576

const DOLLAR = 0x24
