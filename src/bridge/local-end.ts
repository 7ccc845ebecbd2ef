import { descriptionOf, type MessageDescription } from '../broker/door/packet-properties.ts'
import { InternalTransport, type Packet } from '../broker/door/transport.ts'
import type { ListenerProfile } from '../broker/listener-profile.ts'
import { reasonText } from '../broker/packets/reason.ts'
import { NEVER_EXPIRES } from '../store/session-expiry.ts'
import type { QoS } from '../hooks/types.ts'
import type { Transport } from '../listeners/transport.ts'

/** A message from this broker, to be acknowledged when the other one has it. */
export interface LocalMessage extends MessageDescription {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** 0 at QoS 0; else that of its place in the queue, also after a restart. */
  readonly messageId: number
  readonly dup: boolean
}

export interface LocalEndEvents {
  /** CONNACK 0: its session is here. */
  opened(): void
  message(message: LocalMessage): void
  subscriptionsRefused(filters: readonly string[]): void
  /** Nothing follows. Not within a call of ours. */
  closed(why: string): void
}

export interface LocalEndOptions {
  readonly clientId: string
  readonly accept: (transport: Transport, profile: ListenerProfile) => unknown
  readonly profile: ListenerProfile
}

/**
 * The bridge as a client of this broker, over a transport that is no socket: MQTT 5 with a session that stays as long as
 * the configuration allows. So what waits for the other broker is a stored queue as any other, with its bounds, its owner
 * among the pods, its place in the list of clients.
 */
export class LocalEnd {
  readonly #options: LocalEndOptions
  readonly #events: LocalEndEvents
  readonly #transport: InternalTransport
  readonly #asked = new Map<number, readonly string[]>()
  #phase: 'created' | 'connecting' | 'open' | 'closed' = 'created'
  #nextId = 0
  #refusal: string | undefined

  constructor(options: LocalEndOptions, events: LocalEndEvents) {
    this.#options = options
    this.#events = events
    const listener = options.profile.name
    const address = 'bridge'
    this.#transport = new InternalTransport(
      { address, port: 0, addressSource: 'socket', socketAddress: address, listener, transport: 'internal' },
      {
        packet: (packet) => this.#packet(packet),
        closed: () => {
          this.#phase = 'closed'
          this.#events.closed(this.#refusal ?? 'closed by the broker')
        },
      },
    )
  }

  get isOpen(): boolean {
    return this.#phase === 'open' && !this.#transport.isEnding
  }

  connect(): void {
    this.#phase = 'connecting'
    this.#options.accept(this.#transport, this.#options.profile)
    const { clientId } = this.#options
    this.#send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 5,
      clientId,
      clean: false,
      keepalive: 0,
      properties: { sessionExpiryInterval: NEVER_EXPIRES },
    })
  }

  subscribe(filters: readonly { readonly filter: string; readonly qos: QoS }[]): void {
    if (!this.isOpen || filters.length === 0) return
    const messageId = this.#takeId()
    this.#asked.set(
      messageId,
      filters.map(({ filter }) => filter),
    )
    // What the bridge has brought is not sent back, and RETAIN goes over as it was published.
    const options = { nl: true, rap: true, rh: 0 } as const
    const subscriptions = filters.map(({ filter, qos }) => ({ topic: filter, qos, ...options }))
    this.#send({ cmd: 'subscribe', messageId, subscriptions })
  }

  /** The other broker has it. */
  acknowledge({ qos, messageId }: LocalMessage): void {
    if (!this.isOpen || qos === 0) return
    this.#send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId })
  }

  /** The way to the other broker is full: this broker holds back what it has, as for any slow reader. */
  hold(): void {
    this.#transport.hold()
  }

  flow(): void {
    this.#transport.flow()
  }

  /** In order: the session stays, and what was not acknowledged in its queue. */
  close(): void {
    if (this.isOpen) this.#send({ cmd: 'disconnect' })
    this.#transport.destroy()
  }

  // --- packets

  #packet(packet: Packet): void {
    // Of what came last only a CONNACK counts: messages come again, since nobody has acknowledged them.
    if (this.#phase === 'closed' || (this.#phase === 'open' && !this.isOpen)) return
    switch (packet.cmd) {
      case 'connack':
        if (packet.reasonCode === 0) {
          if (this.#transport.isEnding) return
          this.#phase = 'open'
          this.#events.opened()
        } else this.#refusal = `refused: ${reasonText(packet.reasonCode ?? 0)}`
        return
      case 'publish': {
        const { topic, qos, retain, dup, messageId = 0 } = packet
        const payload = packet.payload as Buffer
        const described = descriptionOf(packet.properties)
        this.#events.message({ topic, payload, qos, retain, dup, messageId, ...described })
        return
      }
      case 'pubrel':
        this.#send({ cmd: 'pubcomp', messageId: packet.messageId! })
        return
      case 'suback': {
        const filters = this.#asked.get(packet.messageId!) ?? []
        this.#asked.delete(packet.messageId!)
        const refused = filters.filter((_, index) => Number(packet.granted[index]) >= 0x80)
        if (refused.length > 0) this.#events.subscriptionsRefused(refused)
        return
      }
      default:
    }
  }

  #send(packet: Packet): void {
    this.#transport.send(packet)
  }

  #takeId(): number {
    this.#nextId = (this.#nextId % 65_535) + 1
    return this.#nextId
  }
}
