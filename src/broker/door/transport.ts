import mqttPacket, { type Packet } from 'mqtt-packet'
import type { SideChannel, Transport, TransportReceiver } from '../../listeners/transport.ts'
import type { Peer } from '../../peer.ts'

export type { Packet } from 'mqtt-packet'

export interface InternalTransportEvents {
  /** From the broker, at the end of the turn: the broker is in the middle of its own work when it writes. */
  packet(packet: Packet): void
  /** Nothing follows. Not within a call of ours. */
  closed(): void
}

/**
 * A transport that is no socket: the other end is a client in this process, which speaks MQTT 5 in packets.
 *
 *   open ──end, destroy──▶ ending ──what the broker has said last is handed over──▶ closed
 */
export class InternalTransport implements Transport {
  readonly peer: Peer
  readonly sideChannel?: SideChannel
  readonly #events: InternalTransportEvents
  readonly #parser = mqttPacket.parser({ protocolVersion: 5 })
  #receiver: TransportReceiver | undefined
  #arrived: Buffer[] = []
  #isEnding = false
  #isHeld = false

  constructor(peer: Peer, events: InternalTransportEvents, sideChannel?: SideChannel) {
    this.peer = peer
    if (sideChannel !== undefined) this.sideChannel = sideChannel
    this.#events = events
    this.#parser.on('packet', (packet) => events.packet(packet))
  }

  /** Nothing that is sent has an effect any more. */
  get isEnding(): boolean {
    return this.#isEnding
  }

  /** To the broker, which may handle it within this call. */
  send(packet: Packet): void {
    if (!this.#isEnding) this.#receiver?.data(mqttPacket.generate(packet, { protocolVersion: 5 }))
  }

  /** The client can take no more: the broker holds back what it has, as for any slow reader. */
  hold(): void {
    this.#isHeld = true
  }

  flow(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#receiver?.drained()
  }

  // --- as the broker sees it

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

  // What comes from here is bounded by the client's own questions, and waits in the broker's framer.
  pause(): void {}
  resume(): void {}

  end(): void {
    this.destroy()
  }

  destroy(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    setImmediate(() => {
      // What the broker has said last, the CONNACK that refuses for one.
      this.#handOver()
      this.#receiver?.closed()
      this.#events.closed()
    })
  }

  readonly #handOver = (): void => {
    const arrived = this.#arrived
    this.#arrived = []
    for (const bytes of arrived) this.#parser.parse(bytes)
  }
}
