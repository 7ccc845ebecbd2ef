import type {
  InterceptedConnect,
  InterceptedControl,
  InterceptedPacket,
  InterceptedPublish,
} from '../../hooks/interceptor.ts'
import type { DisconnectReason, QoS } from '../../hooks/types.ts'
import { ConnectionSession } from '../connection-session.ts'
import type { Connection } from '../connection.ts'
import type { PacketHandler } from '../packet-handler.ts'
import type { ConnectPacket } from '../packets/connect.ts'
import type { ReasonPacket } from '../packets/ending.ts'
import { optionsOf } from '../filter-request.ts'
import { NO_PROPERTIES, type Properties } from '../packets/properties.ts'
import type { PublishInput } from '../packets/publish.ts'
import { ReasonCode } from '../packets/reason.ts'
import type { RequestedSubscription, SubscribePacket, UnsubscribePacket } from '../packets/subscribe.ts'
import { PacketType } from '../packets/types.ts'
import { reasonCodeOf, refusalCode } from '../reason-of.ts'
import { whoOf, type Refusals } from '../refusals.ts'
import { reservedNamespace, TUNNEL_ROOT } from '../topics.ts'
import { ACKS } from './control-facts.ts'
import { endConnection } from './ending.ts'
import { shownFacts, shownSubscribe } from './shown.ts'
import { Dropped, Ended, type Interceptors, type Outcome } from './interceptors.ts'

/** The broker, and what becomes of a PUBLISH that goes no further. */
export interface InterceptedBroker extends PacketHandler {
  publishDropped(connection: Connection, packet: PublishInput, by: string): void
}

/**
 * Between the packets of a listener's clients and the broker: what comes from a client is shown first, and the broker
 * takes what becomes of it as if the client had sent that. Listeners without interceptors have nothing of this.
 */
export class InterceptedPackets implements PacketHandler {
  readonly #broker: InterceptedBroker
  readonly #interceptors: Interceptors
  readonly #refusals: Refusals

  constructor(broker: InterceptedBroker, interceptors: Interceptors, refusals: Refusals) {
    this.#broker = broker
    this.#interceptors = interceptors
    this.#refusals = refusals
  }

  connect(connection: Connection, packet: ConnectPacket): void {
    const { peer } = connection.transport
    connection.session = new ConnectionSession(packet.clientId, packet, peer, connection.acceptedAtMs)
    const { clientId, username, password, will, clean, protocolVersion, keepaliveSeconds: keepalive } = packet
    const { properties } = connection.session
    const shown: InterceptedConnect = Object.freeze({
      ...{ cmd: 'connect' as const, clientId, username, password, will, clean, keepalive, protocolVersion },
      ...(properties !== undefined && { properties }),
    })
    this.#ask(connection, this.#interceptors.ask('before', connection.session, shown, 'up'), {
      go: (made) => {
        if (made === shown) this.#broker.connect(connection, packet)
        else this.#broker.connect(connection, rewritten(packet, made))
      },
      dropped: (by) => this.#refuse(connection, `dropped by interceptor ${by}`),
    })
  }

  publish(connection: Connection, fields: PublishInput): void {
    const { topic, payload, qos, retain, dup, messageId, properties, propertyBytes } = fields
    // Frames of tunnels, which have a router and rules of their own.
    if (topic.startsWith(TUNNEL_ROOT)) {
      this.#broker.publish(connection, fields)
      return
    }
    const shown: InterceptedPublish = Object.freeze({
      ...{ cmd: 'publish' as const, topic, payload, qos, retain, dup, messageId },
      ...shownFacts(properties, properties.messageExpiryInterval),
    })
    this.#ask(connection, this.#before(connection, shown), {
      go: (made) => {
        const isSame = made === shown
        this.#broker.publish(connection, {
          ...made,
          properties: isSame ? properties : publishProperties(made),
          propertyBytes,
          packet: NO_FRAME,
        })
      },
      dropped: (by) =>
        this.#broker.publishDropped(
          connection,
          { ...shown, properties, propertyBytes, packet: NO_FRAME },
          by,
        ),
    })
  }

  subscribe(connection: Connection, packet: SubscribePacket): void {
    const { messageId, subscriptions, properties } = packet
    const asked = subscriptions.map((one) => ({
      topic: one.filter,
      qos: one.qos,
      ...(connection.version === 5 && optionsOf(one, properties)),
    }))
    this.#ask(connection, this.#before(connection, shownSubscribe(messageId, asked)), {
      go: (made) =>
        this.#broker.subscribe(connection, {
          ...packet,
          // As many as there were, in their order (replacement.ts): each keeps its options.
          subscriptions: made.subscriptions.map(({ topic, qos }, index) =>
            rewrittenFilter(subscriptions[index]!, topic, qos),
          ),
        }),
      dropped: (by) => {
        for (const { topic } of asked) this.#note(connection, 'subscribe', topic, by)
        connection.sendSuback(
          messageId,
          asked.map(() => ReasonCode.notAuthorized),
          DROPPED,
        )
      },
    })
  }

  unsubscribe(connection: Connection, packet: UnsubscribePacket): void {
    const { messageId, filters } = packet
    const unsubscriptions = Object.freeze([...filters])
    const shown = Object.freeze({ cmd: 'unsubscribe' as const, messageId, unsubscriptions })
    this.#ask(connection, this.#both(connection, shown), {
      go: (made) => {
        if (made === shown) this.#broker.unsubscribe(connection, packet)
        else {
          const other = { ...packet, filters: [...made.unsubscriptions], named: filters }
          this.#broker.unsubscribe(connection, other)
        }
      },
      // [MQTT-3.10.4-4] Nothing has ended, which clients before MQTT 5 are not told.
      dropped: () =>
        connection.sendUnsuback(
          messageId,
          filters.map(() => ReasonCode.notAuthorized),
        ),
    })
  }

  acknowledge(connection: Connection, type: PacketType, messageId: number, reasonCode: number): void {
    const shown = { cmd: ACKS[type as keyof typeof ACKS], messageId }
    this.#show(connection, connection.version < 5 ? shown : { ...shown, reasonCode }, () =>
      this.#broker.acknowledge(connection, type, messageId, reasonCode),
    )
  }

  release(connection: Connection, messageId: number): void {
    this.#show(connection, { cmd: 'pubrel', messageId }, () => this.#broker.release(connection, messageId))
  }

  authenticate(connection: Connection, packet: ReasonPacket): void {
    const { reasonCode, properties } = packet
    const method = properties.authenticationMethod ?? ''
    this.#show(connection, { cmd: 'auth', reasonCode, method }, () =>
      this.#broker.authenticate(connection, packet),
    )
  }

  disconnecting(connection: Connection, packet: ReasonPacket): void {
    this.#broker.disconnecting(connection, packet)
  }

  control(
    connection: Connection,
    cmd: 'pingreq' | 'disconnect',
    go: () => void,
    reasonCode: number | undefined,
  ): void {
    this.#show(connection, { cmd, ...(reasonCode !== undefined && { reasonCode }) }, go)
  }

  refused(connection: Connection, reason: string, detail: string): void {
    this.#broker.refused(connection, reason, detail)
  }

  gone(connection: Connection, reason: DisconnectReason): void {
    this.#broker.gone(connection, reason)
  }

  failed(connection: Connection, error: unknown): void {
    this.#broker.failed(connection, error)
  }

  #show(connection: Connection, packet: InterceptedControl, go: () => void): void {
    this.#ask(connection, this.#both(connection, Object.freeze(packet)), { go, dropped: go })
  }

  #before<P extends InterceptedPacket>(connection: Connection, packet: P): Outcome<P> | Promise<Outcome<P>> {
    return this.#interceptors.ask('before', connection.session!, packet, 'up')
  }

  #both<P extends InterceptedPacket>(connection: Connection, packet: P): Outcome<P> | Promise<Outcome<P>> {
    return this.#interceptors.askBoth(connection.session!, packet, 'up')
  }

  /** While the answer is not there, what the client has sent behind it waits. */
  #ask<P extends InterceptedPacket>(
    connection: Connection,
    outcome: Outcome<P> | Promise<Outcome<P>>,
    ways: { go(packet: P): void; dropped(by: string): void },
  ): void {
    const take = (settled: Outcome<P>): void => {
      if (connection.phase === 'closed') return
      if (settled instanceof Ended) this.#end(connection, settled)
      else if (settled instanceof Dropped) ways.dropped(settled.by)
      else ways.go(settled)
    }
    if (!(outcome instanceof Promise)) {
      take(outcome)
      return
    }
    connection.hold()
    void outcome
      .then(take)
      // What the broker finds malformed behind it: the client's fault, as ever.
      .catch((error: unknown) => connection.fault(error))
      .finally(() => connection.release())
  }

  #end(connection: Connection, ended: Ended): void {
    if (connection.phase !== 'connecting') {
      endConnection(connection, ended)
      return
    }
    const { decision } = ended
    const { refuse, reason = '', handler } = decision
    const code = connection.version < 5 ? reasonCodeOf(refuse) : refusalCode('connack', decision)
    connection.refuse(code, refuse!, `${reason} (interceptor ${handler})`, decision)
  }

  #refuse(connection: Connection, detail: string): void {
    connection.refuse(ReasonCode.notAuthorized, 'not-authorized', detail)
  }

  #note(connection: Connection, point: 'subscribe', topic: string, handler: string): void {
    this.#refusals.note({ point, ...whoOf(connection), topic, handler, reason: DROPPED })
  }
}

const DROPPED = 'dropped by an interceptor'

/** A filter of the client's that was made into a shared one has no use for No Local, which is its fault then. */
function rewrittenFilter(asked: RequestedSubscription, filter: string, qos: QoS): RequestedSubscription {
  const becomesShared = filter !== asked.filter && reservedNamespace(filter) === 'share'
  return { ...asked, filter, qos, ...(becomesShared && asked.noLocal === true && { noLocal: false }) }
}

const NO_FRAME = Buffer.alloc(0)

function publishProperties({ properties, messageExpirySeconds }: InterceptedPublish): Readonly<Properties> {
  if (properties === undefined && messageExpirySeconds === undefined) return NO_PROPERTIES
  return {
    ...properties,
    ...(messageExpirySeconds !== undefined && { messageExpiryInterval: messageExpirySeconds }),
  }
}

function rewritten(
  packet: ConnectPacket,
  { clientId, username, password, will }: InterceptedConnect,
): ConnectPacket {
  const isNew = password !== packet.password
  const own = isNew && password !== undefined ? Buffer.from(password) : password
  // It is wiped where it is used, and is used no more here.
  if (isNew) packet.password?.fill(0)
  return { ...packet, clientId, username, password: own, will: will && { ...will } }
}
