import { randomBytes } from 'node:crypto'
import { RefuseReason, type DisconnectReason } from '../../hooks/types.ts'
import type { SideChannel } from '../../listeners/transport.ts'
import { parseStatusTopic, statusTopic } from '../../tunnel/protocol/names.ts'
import type { EndIdentity, TunnelEnd } from '../../tunnel/router/end.ts'
import type { Broker } from '../broker.ts'
import { stripMountpoint } from '../client-session.ts'
import type { Connection } from '../connection.ts'
import { ConnectionEnd } from '../tunnel-end.ts'
import { parseShare, topicFilterFault, topicNameFault, TUNNEL_ROOT, type TopicLimits } from '../topics.ts'
import {
  DoorError,
  type DoorClient,
  type DoorClientOptions,
  type DoorEvents,
  type DoorMessage,
  type DoorPublish,
  type DoorSubscription,
  type OpenDoorClient,
} from './contract.ts'
import { connectFailure, endFailure, requestFailure } from './failure.ts'
import { descriptionOf, packetPropertiesOf, propertyBytes } from './packet-properties.ts'
import { InternalTransport, type Packet } from './transport.ts'

export interface DoorContext {
  readonly broker: Pick<Broker, 'accept' | 'readRetained'>
  readonly topics: TopicLimits
  readonly maxPacketBytes: number
  /** `mqtt5.maxPropertyBytes` */
  readonly maxPropertyBytes: number
}

/** Fixed header, length of the topic, packet identifier: MQTT 5, 2.1 and 3.3. */
const PUBLISH_OVERHEAD_BYTES = 9
const MAX_PACKET_ID = 65_535
/** Of a string or of binary data: MQTT 5, 1.5.4. */
const MAX_FIELD_BYTES = 65_535

/** The way into the broker for doors that do not speak MQTT (docs/decisions/0011). */
export function createDoor(context: DoorContext): OpenDoorClient {
  return (options, events) => {
    const { clientId = '', username = '', password = '' } = options
    if ([clientId, username, password].some((field) => Buffer.byteLength(field) > MAX_FIELD_BYTES)) {
      return Promise.reject(new DoorError('too-large', 'the credentials are too long'))
    }
    return new Promise(
      (resolve, reject) => new ConnectedDoorClient(context, options, events, { resolve, reject }),
    )
  }
}

interface Waiting<T = void> {
  resolve(value: T): void
  reject(error: DoorError): void
}

interface AskedSubscriptions {
  readonly waiting: Waiting
  readonly filters: readonly string[]
}

/**
 * A client of the broker over a transport that is no socket: MQTT 5 with a session that ends with the connection, and
 * beside it what packets cannot say.
 *
 *   connecting ──CONNACK 0──▶ open ──▶ closed   (closed from any phase)
 */
class ConnectedDoorClient implements DoorClient, SideChannel {
  readonly mayBeForged: boolean
  readonly #context: DoorContext
  readonly #events: DoorEvents
  readonly #transport: InternalTransport
  readonly #connection: Connection
  readonly #opening: Waiting<DoorClient>
  #phase: 'connecting' | 'open' | 'closed' = 'connecting'
  #failure: DoorError | undefined
  /** At QoS 0, in their order. */
  readonly #handingOn: Waiting[] = []
  readonly #publishing = new Map<number, Waiting>()
  /** Beyond what the broker takes at once. */
  readonly #held: { readonly waiting: Waiting; readonly send: () => void }[] = []
  #receiveMaximum = MAX_PACKET_ID
  readonly #subscribing = new Map<number, AskedSubscriptions>()
  readonly #unsubscribing = new Map<number, Waiting>()
  #nextId = 0

  constructor(
    context: DoorContext,
    options: DoorClientOptions,
    events: DoorEvents,
    opening: Waiting<DoorClient>,
  ) {
    this.#context = context
    this.#events = events
    this.#opening = opening
    this.mayBeForged = options.mayBeForged ?? false
    this.#transport = new InternalTransport(
      options.peer,
      { packet: (packet) => this.#packet(packet), closed: () => this.#closed() },
      this,
    )
    this.#connection = context.broker.accept(this.#transport, options.profile)
    const { clientId = `${options.door}-${randomBytes(12).toString('base64url')}`, password } = options
    const username = options.username ?? (password === undefined ? undefined : '')
    this.#transport.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 5,
      clientId,
      clean: true,
      keepalive: 0,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
    })
  }

  get clientId(): string {
    return this.#connection.clientId
  }

  get isOpen(): boolean {
    return this.#phase === 'open' && !this.#transport.isEnding
  }

  publish(message: DoorPublish): Promise<void> {
    const { topic, payload, qos, retain } = message
    const { responseTopic = topic } = message.properties ?? {}
    const { topics } = this.#context
    const fault = topicNameFault(topic, topics) ?? topicNameFault(responseTopic, topics)
    if (fault !== undefined) return Promise.reject(new DoorError('malformed', fault))
    if (topic.startsWith(TUNNEL_ROOT))
      return Promise.reject(requestFailure(RefuseReason.notAuthorized, 'publish to this topic'))
    const { maxPacketBytes, maxPropertyBytes } = this.#context
    const ofProperties = propertyBytes(message)
    // It would end the connection, with all else that is under way on it.
    if (ofProperties > maxPropertyBytes) {
      const text = `properties longer than ${maxPropertyBytes} bytes as MQTT has them`
      return Promise.reject(new DoorError('too-large', text))
    }
    const headBytes = PUBLISH_OVERHEAD_BYTES + Buffer.byteLength(topic) + ofProperties
    if (headBytes + payload.length > maxPacketBytes) {
      const text = `longer than ${maxPacketBytes} bytes as an MQTT packet`
      return Promise.reject(new DoorError('too-large', text))
    }
    const properties = packetPropertiesOf(message)
    const packet = {
      cmd: 'publish',
      topic,
      payload,
      retain,
      dup: false,
      ...(properties !== undefined && { properties }),
    } as const
    if (qos === 0) {
      return this.#ask((waiting) => {
        this.#handingOn.push(waiting)
        this.#transport.send({ ...packet, qos })
      })
    }
    return this.#ask((waiting) => {
      const send = (): void => {
        const messageId = this.#takeId()
        this.#publishing.set(messageId, waiting)
        this.#transport.send({ ...packet, qos, messageId })
      }
      // [MQTT-3.3.4-7]
      if (this.#publishing.size < this.#receiveMaximum) send()
      else this.#held.push({ waiting, send })
    })
  }

  async read(topic: string): Promise<DoorMessage | undefined> {
    const fault = topicNameFault(topic, this.#context.topics)
    if (fault !== undefined) throw new DoorError('malformed', fault)
    if (!this.isOpen) throw this.#whyClosed()
    const found = await this.#context.broker.readRetained(this.#connection, topic)
    if (!this.isOpen) throw this.#whyClosed()
    if (found === undefined) return undefined
    if ('refused' in found) throw requestFailure(found.refused, 'read this topic')
    const { payload, qos, retain, expiresAtMs, properties } = found
    return {
      topic: stripMountpoint(found.topic, this.#connection.profile.mountpoint),
      payload,
      qos,
      retain,
      ...(properties !== undefined && { properties }),
      ...(expiresAtMs > 0 && { expirySeconds: Math.max(0, Math.ceil((expiresAtMs - Date.now()) / 1_000)) }),
    }
  }

  subscribe(subscriptions: readonly DoorSubscription[]): Promise<void> {
    const fault = this.#filterFault(subscriptions.map(({ filter }) => filter))
    if (fault !== undefined) return Promise.reject(new DoorError('malformed', fault))
    if (subscriptions.some(({ filter }) => isOfFrames(filter)))
      return Promise.reject(requestFailure(RefuseReason.notAuthorized, 'subscribe to this topic'))
    return this.#ask((waiting) => {
      const messageId = this.#takeId()
      const filters = subscriptions.map(({ filter }) => filter)
      this.#subscribing.set(messageId, { waiting, filters })
      const wanted = subscriptions.map(({ filter, qos }) => ({ topic: filter, qos }))
      this.#transport.send({ cmd: 'subscribe', messageId, subscriptions: wanted })
    })
  }

  unsubscribe(filters: readonly string[]): Promise<void> {
    const fault = this.#filterFault(filters)
    if (fault !== undefined) return Promise.reject(new DoorError('malformed', fault))
    return this.#ask((waiting) => {
      const messageId = this.#takeId()
      this.#unsubscribing.set(messageId, waiting)
      this.#transport.send({ cmd: 'unsubscribe', messageId, unsubscriptions: [...filters] })
    })
  }

  joinTunnels<E extends TunnelEnd & { drained(): void }>(make: (identity: EndIdentity) => E): E {
    const end = make(new ConnectionEnd(this.#connection))
    this.#connection.tunnelEnd = end
    return end
  }

  hold(): void {
    this.#transport.hold()
  }

  flow(): void {
    this.#transport.flow()
  }

  close(): void {
    if (this.isOpen) this.#transport.send({ cmd: 'disconnect' })
    this.#transport.destroy()
  }

  // --- beside the packets, in the middle of the broker's work

  connectRefused(reason: string): void {
    this.#failure ??= connectFailure(reason)
  }

  published(messageId: number, refused: RefuseReason | undefined): void {
    const waiting = messageId === 0 ? this.#handingOn.shift() : this.#publishing.get(messageId)
    if (refused === undefined) waiting?.resolve()
    // Its identifier is free when it is acknowledged.
    else waiting?.reject(requestFailure(refused, 'publish to this topic'))
  }

  revoked(filters: readonly string[]): void {
    // We are in the middle of the broker's work.
    setImmediate(() => this.isOpen && this.#events.revoked(filters, endFailure({ kind: 'revoked' })))
  }

  ended(reason: DisconnectReason): void {
    this.#failure ??= endFailure(reason)
  }

  // --- packets

  #packet(packet: Packet): void {
    switch (packet.cmd) {
      case 'connack':
        // A refusal is known already, and why; the end follows.
        if (packet.reasonCode !== 0 || this.#transport.isEnding) return
        this.#receiveMaximum = packet.properties?.receiveMaximum ?? MAX_PACKET_ID
        this.#phase = 'open'
        this.#opening.resolve(this)
        return
      case 'puback':
      case 'pubcomp':
        this.#settlePublish(packet.messageId!)
        return
      case 'pubrec':
        // Refused, and said so beside the packets. [MQTT-4.3.3-4]
        if ((packet.reasonCode ?? 0) >= REFUSED) this.#settlePublish(packet.messageId!)
        else this.#transport.send({ cmd: 'pubrel', messageId: packet.messageId! })
        return
      case 'suback':
        this.#granted(packet.messageId!, packet.granted as readonly number[])
        return
      case 'unsuback':
        this.#settle(this.#unsubscribing, packet.messageId!)
        return
      case 'publish': {
        const { topic, qos, retain, messageId = 0 } = packet
        const payload = packet.payload as Buffer
        const message = { topic, payload, qos, retain, ...descriptionOf(packet.properties) }
        this.#events.message(message, () => this.#taken(qos, messageId))
        return
      }
      case 'pubrel':
        this.#transport.send({ cmd: 'pubcomp', messageId: packet.messageId! })
        return
      default:
    }
  }

  #taken(qos: number, messageId: number): void {
    if (qos === 0 || !this.isOpen) return
    this.#transport.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId })
  }

  #settlePublish(messageId: number): void {
    this.#settle(this.#publishing, messageId)
    if (this.isOpen && this.#publishing.size < this.#receiveMaximum) this.#held.shift()?.send()
  }

  #settle(asked: Map<number, Waiting>, messageId: number): void {
    asked.get(messageId)?.resolve()
    asked.delete(messageId)
  }

  #granted(messageId: number, codes: readonly number[]): void {
    const asked = this.#subscribing.get(messageId)
    if (asked === undefined) return
    this.#subscribing.delete(messageId)
    const granted = asked.filters.filter((_, index) => (codes[index] ?? REFUSED) < REFUSED)
    if (granted.length === asked.filters.length) {
      asked.waiting.resolve()
      return
    }
    const refused = requestFailure(RefuseReason.notAuthorized, 'subscribe to this topic')
    const undone = granted.length === 0 ? Promise.resolve() : this.unsubscribe(granted)
    const reject = (): void => asked.waiting.reject(refused)
    void undone.then(reject, reject)
  }

  // ---

  #filterFault(filters: readonly string[]): string | undefined {
    if (filters.length === 0) return 'no topic filter'
    for (const filter of filters) {
      const shared = parseShare(filter)
      if (typeof shared === 'string') return shared
      const fault = topicFilterFault(shared?.filter ?? filter, this.#context.topics)
      if (fault !== undefined) return fault
    }
    return undefined
  }

  #ask(send: (waiting: Waiting) => void): Promise<void> {
    if (!this.isOpen) return Promise.reject(this.#whyClosed())
    const publishing = this.#publishing.size + this.#held.length
    const underWay = publishing + this.#subscribing.size + this.#unsubscribing.size
    if (underWay >= MAX_PACKET_ID)
      return Promise.reject(new DoorError('limited', 'too many requests at once'))
    return new Promise((resolve, reject) => send({ resolve, reject }))
  }

  #takeId(): number {
    do this.#nextId = (this.#nextId % MAX_PACKET_ID) + 1
    while (
      this.#publishing.has(this.#nextId) ||
      this.#subscribing.has(this.#nextId) ||
      this.#unsubscribing.has(this.#nextId)
    )
    return this.#nextId
  }

  #whyClosed(): DoorError {
    return this.#failure ?? endFailure({ kind: 'client' })
  }

  #closed(): void {
    const wasOpen = this.#phase === 'open'
    this.#phase = 'closed'
    const why = this.#whyClosed()
    const subscribing = [...this.#subscribing.values()].map(({ waiting }) => waiting)
    const held = this.#held.map(({ waiting }) => waiting)
    const others = [...this.#publishing.values(), ...held, ...this.#unsubscribing.values()]
    for (const waiting of [...this.#handingOn, ...subscribing, ...others]) waiting.reject(why)
    if (wasOpen) this.#events.closed(why)
    else this.#opening.reject(why)
  }
}

/** Below `$tunnel/` there are messages too: the statuses of agents. */
function isOfFrames(filter: string): boolean {
  return (
    filter.startsWith(TUNNEL_ROOT) && filter !== statusTopic('+') && parseStatusTopic(filter) === undefined
  )
}

/** Reason codes from here on are failures (MQTT 5, 2.4). */
const REFUSED = 0x80
