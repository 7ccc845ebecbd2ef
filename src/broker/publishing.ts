import { isUtf8 } from 'node:buffer'
import type { BrokerCounters } from '../counters.ts'
import type { Decision } from '../hooks/decision.ts'
import type { InterceptedPublish } from '../hooks/interceptor.ts'
import type { PublishRequest, QoS } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import { parseStatusTopic } from '../tunnel/protocol/names.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import { publishAttributes, refusalAttributes } from '../tracing/attributes.ts'
import type { Span, Tracing } from '../tracing/contract.ts'
import { type Accepting, DROPPED, lowered, type ReceivedPublish, type RefusedPublish } from './accepting.ts'
import type { Connection } from './connection.ts'
import { messageProperties, payloadFault, rewrittenFault } from './message-properties.ts'
import { Dropped, Ended, type Interceptors, type Outcome } from './interceptors/interceptors.ts'
import { endConnection } from './interceptors/ending.ts'
import { shownFacts } from './interceptors/shown.ts'
import { malformed, PacketFault } from './packets/fault.ts'
import { NO_PROPERTIES } from './packets/properties.ts'
import type { PublishInput } from './packets/publish.ts'
import { ReasonCode } from './packets/reason.ts'
import { PacketType } from './packets/types.ts'
import { TokenBucket } from './rate.ts'
import { refusalCode } from './reason-of.ts'
import { reservedNamespace, topicNameFault, TUNNEL_ROOT, type TopicLimits } from './topics.ts'
import { ConnectionEnd } from './tunnel-end.ts'

export interface PublishingOptions {
  readonly topics: TopicLimits
  /** QoS 1 and 2 messages of one client that are being stored or await PUBREL. */
  readonly maxInflightIncoming: number
  readonly messagesPerSecond: number
  readonly bytesPerSecond: number
  /** Of a message that says it is UTF-8. */
  readonly checkPayloadFormat: boolean
}

/** From a PUBLISH packet to what is decided about it: checks, rates, authPublish; {@link Accepting} goes on. */
export class Publishing {
  readonly #accepting: Accepting
  readonly #tunnels: TunnelRouter | undefined
  readonly #counters: BrokerCounters
  readonly #tracing: Tracing | undefined
  readonly #options: PublishingOptions
  readonly #log: Log

  constructor(
    context: {
      accepting: Accepting
      /** Undefined: `$tunnel/` is refused. */
      tunnels: TunnelRouter | undefined
      counters: BrokerCounters
      tracing: Tracing | undefined
      log: Log
    },
    options: PublishingOptions,
  ) {
    this.#accepting = context.accepting
    this.#tunnels = context.tunnels
    this.#counters = context.counters
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
        this.#accepting.acknowledge(connection, PacketType.pubrec, messageId)
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
      this.#accepting.refuse(connection, request, messageId, NOT_UTF8)
      return
    }
    if (statusOf !== undefined) {
      this.#status(connection, request, messageId, statusOf)
      return
    }
    if (topic.charCodeAt(0) === DOLLAR && reservedNamespace(topic) !== undefined) {
      // Before any handler: nobody publishes to `$SYS/`, ever.
      this.#accepting.refuse(connection, request, messageId, RESERVED_TOPIC)
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
    if (qos > 0)
      this.#accepting.acknowledge(connection, qos === 1 ? PacketType.puback : PacketType.pubrec, messageId)
    else connection.sideChannel?.published(0, undefined)
  }

  /** A message as others, but its agent's alone, and always the retained one. */
  #status(connection: Connection, request: ReceivedPublish, messageId: number, agent: string): void {
    const end = (connection.tunnelEnd ??= new ConnectionEnd(connection))
    const refusal = this.#tunnels!.takeStatus(end, agent, request.payload)
    if (refusal === undefined) this.#accepting.accept(connection, { ...request, retain: true }, messageId)
    else
      this.#accepting.refuse(connection, request, messageId, {
        reason: refusal,
        code: ReasonCode.notAuthorized,
      })
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
      this.#accepting.refuse(connection, request, messageId, { reason, code, text, by: decision })
      if (span !== undefined) endRefused(span, reason, decision.handler)
      return
    }
    const fault = this.#rewrittenFault(connection, request, decision)
    if (fault !== undefined) {
      this.#accepting.refuse(connection, request, messageId, {
        reason: fault,
        code: ReasonCode.unspecifiedError,
        by: decision,
      })
      if (span !== undefined) endRefused(span, fault, decision.handler)
      return
    }
    const { interceptors } = connection.profile
    if (interceptors === undefined) this.#accepting.accept(connection, request, messageId, span)
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
        this.#accepting.drop(connection, { topic, qos: packetQos, messageId }, made.by)
        if (span !== undefined) endRefused(span, DROPPED, made.by)
      } else {
        request.topic = made.topic
        request.payload = made.payload
        request.retain = made.retain
        request.properties = made.properties
        request.messageExpirySeconds = made.messageExpirySeconds
        this.#accepting.accept(connection, request, messageId, span)
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
      this.#accepting.acknowledge(connection, PacketType.pubrec, messageId)
      return
    }
    this.#accepting.drop(connection, packet, by)
  }

  /** Why what the handlers have made of it goes nowhere. */
  #rewrittenFault(connection: Connection, request: ReceivedPublish, decision: Decision): string | undefined {
    const isSame = request.topic === connection.checkedTopic
    if (!isSame && !this.#rewrittenTopicIsLegal(connection, request, decision)) {
      if (typeof request.topic !== 'string') request.topic = ''
      return 'the handler rewrote the topic to one that is not allowed'
    }
    return this.#rewrittenPropertiesAreLegal(connection, request, decision)
      ? undefined
      : 'the handler rewrote the payload or the properties to what they cannot be'
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

const DOLLAR = 0x24
