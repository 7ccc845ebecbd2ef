import mqttPacket, { type Packet } from 'mqtt-packet'
import type { ListenerProfile } from '../broker/listener-profile.ts'
import type { QoS } from '../hooks/types.ts'
import type { Transport, TransportReceiver } from '../listeners/transport.ts'
import type { Peer } from '../peer.ts'

/** A message from this broker, to be acknowledged when the other one has it. */
export interface LocalMessage {
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
  readonly accept: (transport: Transport, profile: ListenerProfile) => void
  readonly profile: ListenerProfile
}

/**
 * The bridge as a client of this broker, over a transport that is no socket: MQTT 3.1.1 with the bridge bit and clean
 * session 0. So what waits for the other broker is a stored queue as any other, with its bounds, its owner among the
 * pods, its place in the list of clients. What comes from the broker is handed over at the end of the turn, because
 * the broker is in the middle of its own work when it writes.
 */
export class LocalEnd implements Transport {
  readonly peer: Peer
  readonly #options: LocalEndOptions
  readonly #events: LocalEndEvents
  readonly #parser = mqttPacket.parser({ protocolVersion: 4 })
  readonly #asked = new Map<number, readonly string[]>()
  #receiver: TransportReceiver | undefined
  #arrived: Buffer[] = []
  #phase: 'created' | 'connecting' | 'open' | 'closed' = 'created'
  #isEnding = false
  #isHeld = false
  #nextId = 0
  #refusal: string | undefined

  constructor(options: LocalEndOptions, events: LocalEndEvents) {
    this.#options = options
    this.#events = events
    const listener = options.profile.name
    const address = 'bridge'
    this.peer = {
      address,
      port: 0,
      addressSource: 'socket',
      socketAddress: address,
      listener,
      transport: 'internal',
    }
    this.#parser.on('packet', (packet) => this.#packet(packet))
  }

  get isOpen(): boolean {
    return this.#phase === 'open'
  }

  connect(): void {
    this.#phase = 'connecting'
    this.#options.accept(this, this.#options.profile)
    const { clientId } = this.#options
    const connect = {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId,
      clean: false,
      keepalive: 0,
    } as const
    // Its types do not know the bridge bit.
    this.#send(Object.assign(connect, { bridgeMode: true }))
  }

  subscribe(filters: readonly { readonly filter: string; readonly qos: QoS }[]): void {
    if (this.#phase !== 'open' || filters.length === 0) return
    const messageId = this.#takeId()
    this.#asked.set(
      messageId,
      filters.map(({ filter }) => filter),
    )
    const subscriptions = filters.map(({ filter, qos }) => ({ topic: filter, qos }))
    this.#send({ cmd: 'subscribe', messageId, subscriptions })
  }

  /** The other broker has it. */
  acknowledge({ qos, messageId }: LocalMessage): void {
    if (this.#phase !== 'open' || qos === 0) return
    this.#send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId })
  }

  /** The way to the other broker is full: this broker holds back what it has, as for any slow reader. */
  hold(): void {
    this.#isHeld = true
  }

  flow(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#receiver?.drained()
  }

  /** In order: the session stays, and what was not acknowledged in its queue. */
  close(): void {
    if (this.#phase === 'open') this.#send({ cmd: 'disconnect' })
    this.destroy()
  }

  // --- the transport, as the broker sees it

  get pendingBytes(): number {
    return this.#isHeld ? 1 : 0
  }

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver
  }

  write(bytes: Buffer): void {
    if (this.#isEnding) return
    if (this.#arrived.push(bytes) === 1) setImmediate(this.#handOver)
  }

  writev(buffers: readonly Buffer[]): void {
    for (const bytes of buffers) this.write(bytes)
  }

  // What comes from here is bounded by what the broker has sent, and waits in its framer.
  pause(): void {}
  resume(): void {}

  end(): void {
    this.destroy()
  }

  destroy(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    if (this.#phase === 'open') this.#phase = 'closed'
    setImmediate(() => {
      // What the broker has said last, the CONNACK that refuses for one.
      this.#handOver()
      this.#phase = 'closed'
      this.#receiver?.closed()
      this.#events.closed(this.#refusal ?? 'closed by the broker')
    })
  }

  // --- packets

  readonly #handOver = (): void => {
    const arrived = this.#arrived
    this.#arrived = []
    for (const bytes of arrived) this.#parser.parse(bytes)
  }

  #packet(packet: Packet): void {
    if (this.#phase === 'closed') return
    switch (packet.cmd) {
      case 'connack':
        if (packet.returnCode === 0) {
          if (this.#isEnding) return
          this.#phase = 'open'
          this.#events.opened()
        } else this.#refusal = `refused with CONNACK code ${packet.returnCode}`
        return
      case 'publish': {
        const { topic, qos, retain, dup, messageId = 0 } = packet
        const payload = packet.payload as Buffer
        this.#events.message({ topic, payload, qos, retain, dup, messageId })
        return
      }
      case 'pubrel':
        this.#send({ cmd: 'pubcomp', messageId: packet.messageId! })
        return
      case 'suback': {
        const filters = this.#asked.get(packet.messageId!) ?? []
        this.#asked.delete(packet.messageId!)
        const refused = filters.filter((_, index) => packet.granted[index] === 0x80)
        if (refused.length > 0) this.#events.subscriptionsRefused(refused)
        return
      }
      default:
    }
  }

  #send(packet: Packet): void {
    this.#receiver?.data(mqttPacket.generate(packet))
  }

  #takeId(): number {
    this.#nextId = (this.#nextId % 65_535) + 1
    return this.#nextId
  }
}
