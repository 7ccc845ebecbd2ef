import type { BrokerCounters } from '../counters.ts'
import type { Decision } from '../hooks/decision.ts'
import { RefuseReason, type MessageProperties, type PublishRequest, type QoS } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import type { Store } from '../store/contract.ts'
import { countedBytes } from '../store/counted-bytes.ts'
import type { Span } from '../tracing/contract.ts'
import { addMountpoint } from './client-session.ts'
import type { Connection } from './connection.ts'
import { ending, type Dispatcher, type DispatchDone } from './dispatch.ts'
import { keptProperties, Message } from './message.ts'
import { expiresAt } from './message-properties.ts'
import type { PublishInput } from './packets/publish.ts'
import { ReasonCode } from './packets/reason.ts'
import { PacketType } from './packets/types.ts'
import type { PendingAck } from './pending-acks.ts'
import { whoOf, type Refusals } from './refusals.ts'

export interface AcceptingOptions {
  readonly onRefusedPublish: 'drop' | 'disconnect'
  /** QoS 1 and 2 messages of one client that are being stored or await PUBREL. */
  readonly maxInflightIncoming: number
  /** 0: never. */
  readonly messageExpiryMs: number
}

/** As handlers see it, and may have changed it. */
export interface ReceivedPublish extends PublishRequest {
  /** What the client has asked for, and is acknowledged by. */
  readonly packetQos: QoS
  readonly packetProperties: MessageProperties | undefined
}

/** Why a message goes nowhere: for the log, and for a client of MQTT 5. */
export interface RefusedPublish {
  readonly reason: string
  readonly code: ReasonCode
  readonly text?: string | undefined
  /** Undefined: a rule of ours. */
  readonly by?: Decision
}

/** What a handler has made of it; nothing that is no QoS, and never more than the client's. */
export function lowered(qos: QoS, packetQos: QoS): QoS {
  return qos === 0 || (qos === 1 && packetQos === 2) ? qos : packetQos
}

/**
 * What becomes of a PUBLISH that is decided about: it is dispatched, and acknowledged when, and only when, it is
 * safe; or it is refused, and its client told so as its version can.
 */
export class Accepting {
  readonly #store: Store
  readonly #dispatcher: Dispatcher
  readonly #counters: BrokerCounters
  readonly #refusals: Refusals
  readonly #options: AcceptingOptions
  readonly #log: Log

  constructor(
    context: {
      store: Store
      dispatcher: Dispatcher
      counters: BrokerCounters
      refusals: Refusals
      log: Log
    },
    options: AcceptingOptions,
  ) {
    this.#store = context.store
    this.#dispatcher = context.dispatcher
    this.#counters = context.counters
    this.#refusals = context.refusals
    this.#log = context.log
    this.#options = options
  }

  accept(connection: Connection, request: ReceivedPublish, messageId: number, span?: Span): void {
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
      this.acknowledge(connection, ackType, messageId, code)
      span?.end()
      connection.profile.guard.publish(connection.session!, request)
      return
    }
    // `dispatch` never calls back before it has returned, so this is in its place.
    pending = connection.acks.later(ackType, messageId, countedBytes(message), code)
    this.#holdIfMany(connection)
  }

  refuse(
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

  drop(
    connection: Connection,
    { topic, qos, messageId }: Pick<PublishInput, 'topic' | 'qos' | 'messageId'>,
    handler: string,
  ): void {
    this.#countRefused(ReasonCode.notAuthorized)
    this.#refusals.note({ point: 'publish', ...whoOf(connection), topic, handler, reason: DROPPED })
    connection.sideChannel?.published(messageId, RefuseReason.notAuthorized)
    this.#acknowledgeRefused(connection, qos, messageId, ReasonCode.notAuthorized)
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

  /** Nothing of the message has to be stored; but acknowledgements before this one may wait for the store. */
  acknowledge(
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
    this.acknowledge(connection, qos === 1 ? PacketType.puback : PacketType.pubrec, messageId, code, text)
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

  #countRefused(code: ReasonCode): void {
    const { dropped, refusedPublishes } = this.#counters
    dropped.refused++
    refusedPublishes[code] = (refusedPublishes[code] ?? 0) + 1
  }
}

/** A handler says that who would know does not answer; one that fails itself refuses. */
function isAnswerless(decision: Decision | undefined): boolean {
  return decision?.refuse === RefuseReason.unavailable && decision.cause === undefined
}

/** Payloads and properties of one client that wait for the store; with more its connection is not read. */
const MAX_UNACKNOWLEDGED_BYTES = 1_048_576

export const DROPPED = 'dropped by an interceptor'
