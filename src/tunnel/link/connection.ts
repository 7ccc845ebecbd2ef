import { PeerError } from '../../errors.ts'
import { withinTimer } from '../../timer.ts'
import type { FrameHeader } from '../protocol/frame.ts'
import {
  connackFailure,
  deadlineFailure,
  type Failure,
  type Phase,
  protocolFailure,
  silenceFailure,
  stuckFailure,
  subscriptionFailure,
  wireFailure,
} from './failure.ts'
import { Outbound } from './outbound.ts'
import { PacketReader, type PacketSink } from './packet-reader.ts'
import {
  ConnackCode,
  type ConnectFields,
  DISCONNECT,
  encodeAck,
  encodeConnect,
  encodeFrameHead,
  encodeRetained,
  encodeSubscribe,
  followsItsHead,
  PacketType,
  PINGREQ,
  SUBACK_FAILURE,
} from './packets.ts'
import { openSocket, type WireTls } from './socket.ts'
import type { BrokerAddress } from './url.ts'
import { openWebSocket } from './websocket.ts'
import type { Wire, WireEvents } from './wire.ts'

/** Looks a keep-alive is cut into; see {@link Connection.tick}. */
const TICKS_PER_KEEPALIVE = 4
/** A PINGREQ goes when nothing was sent, or nothing received, for so many ticks: early enough for the broker. */
const PING_AFTER_TICKS = 3
/** The connection is dead when nothing was received for so many: 1.5 times the keep-alive. */
const DEAD_AFTER_TICKS = 6

/** Answers that may wait beyond the cap for frames, for a broker that asks and takes nothing. */
const MAX_PENDING_ANSWER_BYTES = 1_048_576

/** The packet identifier of the first SUBSCRIBE: of the filter without which the connection is of no use. */
const OWN_FILTER_ID = 1

export interface ConnectionOptions {
  readonly address: BrokerAddress
  readonly tls: WireTls | undefined
  readonly connect: ConnectFields
  readonly filter: string
  /** Until SUBACK. */
  readonly connectTimeoutMs: number
  readonly maxPendingBytes: number
}

/** What a connection tells; nothing behind `closed`. */
export interface ConnectionEvents {
  /** Connected, and subscribed to the filter. */
  up(): void
  publish(
    bytes: Buffer,
    topicStart: number,
    topicEnd: number,
    payloadStart: number,
    end: number,
    isRetained: boolean,
  ): void
  /** Of another filter. */
  suback(packetId: number, code: number): void
  /** How many PINGRESP have come. */
  pingresp(count: number): void
  /** `send` takes frames again, after it has returned false. */
  room(): void
  /** Undefined: closed by us. */
  closed(failure: Failure | undefined): void
}

/**
 * One connection to a broker, from the socket to its end.
 *
 *   opening ──wire opened──▶ connack ──CONNACK 0──▶ subscribing ──SUBACK──▶ up ──close()──▶ closing ──▶ closed
 *      any ──error, deadline, closed by the broker──▶ closed
 */
export class Connection implements PacketSink, WireEvents {
  readonly #options: ConnectionOptions
  readonly #events: ConnectionEvents
  readonly #wire: Wire
  readonly #outbound: Outbound
  readonly #reader: PacketReader
  #phase: Phase = 'opening'
  /** Of the attempt to connect, then of closing. */
  #deadline: NodeJS.Timeout | undefined
  #ticker: NodeJS.Timeout | undefined
  #failure: Failure | undefined
  #roomIsAwaited = false
  #nextPacketId = OWN_FILTER_ID
  #pingsSent = 0
  #pingsAnswered = 0
  // Ticks are counted instead of reading the clock for each packet; and a process that was frozen counts one.
  #hasSent = false
  #hasReceived = false
  #ticksWithoutSending = 0
  #ticksWithoutReceiving = 0

  constructor(options: ConnectionOptions, events: ConnectionEvents) {
    this.#options = options
    this.#events = events
    const { address, tls, connectTimeoutMs } = options
    this.#reader = new PacketReader(this)
    this.#deadline = setTimeout(
      () => this.#fail(deadlineFailure(this.#phase, connectTimeoutMs)),
      connectTimeoutMs,
    )
    this.#wire = 'url' in address ? openWebSocket(address, tls, this) : openSocket(address, tls, this)
    this.#outbound = new Outbound(this.#wire)
  }

  /** False: not taken; when the connection is up, `room` follows. `topic` is a field with its length. */
  send(topic: Buffer, header: FrameHeader, payload: Buffer | undefined): boolean {
    if (this.#phase !== 'up') return false
    if (this.awaitsRoom()) return false
    const outbound = this.#outbound
    outbound.write(encodeFrameHead(topic, header, payload))
    if (payload !== undefined && followsItsHead(payload)) outbound.write(payload)
    this.#hasSent = true
    return true
  }

  /** True: as much is waiting as may, and `room` follows. */
  awaitsRoom(): boolean {
    if (this.#outbound.pendingBytes < this.#options.maxPendingBytes) return false
    this.#roomIsAwaited = true
    return true
  }

  publishRetained(topic: string, payload: string): void {
    if (this.#phase === 'up') this.#write(encodeRetained(topic, payload))
  }

  /** Returns the packet identifier. */
  subscribe(filter: string): number {
    const packetId = this.#nextPacketId
    this.#nextPacketId = packetId === 0xffff ? OWN_FILTER_ID + 1 : packetId + 1
    this.#write(encodeSubscribe(packetId, filter))
    return packetId
  }

  /** Returns how many PINGREQ have been sent. */
  ping(): number {
    this.#write(PINGREQ)
    return ++this.#pingsSent
  }

  /** Sends what waits, and DISCONNECT; what is not taken within the grace is lost. */
  close(graceMs: number): void {
    if (this.#phase === 'closing' || this.#phase === 'closed') return
    const wasUp = this.#phase === 'up'
    this.#stop('closing')
    if (!wasUp) {
      this.#wire.destroy()
      return
    }
    this.#deadline = setTimeout(() => this.#wire.destroy(), withinTimer(graceMs))
    this.#outbound.write(DISCONNECT)
    this.#outbound.flush()
    this.#wire.end() // [MQTT-3.14.4-1]
  }

  // From the wire.

  opened(): void {
    if (this.#phase !== 'opening') return
    this.#phase = 'connack'
    this.#write(encodeConnect(this.#options.connect))
  }

  data(chunk: Buffer): void {
    if (this.#phase === 'closing' || this.#phase === 'closed') return
    this.#hasReceived = true
    try {
      this.#reader.receive(chunk)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error // a fault of ours
      this.#fail(protocolFailure(error))
    }
  }

  written(): void {
    if (this.#phase !== 'up' || !this.#roomIsAwaited) return
    if (this.#outbound.pendingBytes > this.#options.maxPendingBytes / 2) return
    this.#roomIsAwaited = false
    this.#events.room()
  }

  closed(error: Error | undefined): void {
    const phase = this.#phase
    if (phase === 'closed') return
    this.#stop('closed')
    const failure = phase === 'closing' ? this.#failure : wireFailure(error, phase, this.#options.address)
    this.#events.closed(failure)
  }

  // From the reader.

  connack(code: number): void {
    if (this.#phase !== 'connack') return this.#fail(unexpected('CONNACK'))
    if (code !== ConnackCode.accepted) return this.#fail(connackFailure(code, this.#options.connect.clientId))
    this.#phase = 'subscribing'
    this.subscribe(this.#options.filter)
  }

  suback(packetId: number, code: number): void {
    if (this.#phase === 'up') return this.#events.suback(packetId, code)
    if (this.#phase !== 'subscribing' || packetId !== OWN_FILTER_ID) return this.#fail(unexpected('SUBACK'))
    const { filter, connect } = this.#options
    if (code === SUBACK_FAILURE) return this.#fail(subscriptionFailure(filter, connect.clientId))
    this.#phase = 'up'
    clearTimeout(this.#deadline)
    const { keepaliveSeconds } = connect
    this.#ticker = setInterval(() => this.#tick(), (keepaliveSeconds * 1_000) / TICKS_PER_KEEPALIVE)
    this.#events.up()
  }

  publish(
    bytes: Buffer,
    topicStart: number,
    topicEnd: number,
    payloadStart: number,
    end: number,
    isRetained: boolean,
  ): void {
    // Before SUBACK as well: a broker may send as soon as it has subscribed us [MQTT-3.8.4].
    if (this.#phase !== 'up' && this.#phase !== 'subscribing') return this.#fail(unexpected('PUBLISH'))
    this.#events.publish(bytes, topicStart, topicEnd, payloadStart, end, isRetained)
  }

  mustAck(qos: number, packetId: number): void {
    this.#answer(encodeAck(qos === 1 ? PacketType.puback : PacketType.pubrec, packetId))
  }

  pubrel(packetId: number): void {
    this.#answer(encodeAck(PacketType.pubcomp, packetId))
  }

  pingresp(): void {
    this.#events.pingresp(++this.#pingsAnswered)
  }

  #answer(packet: Buffer): void {
    if (this.#outbound.pendingBytes > this.#options.maxPendingBytes + MAX_PENDING_ANSWER_BYTES) {
      this.#fail(stuckFailure())
      return
    }
    this.#write(packet)
  }

  #write(packet: Buffer): void {
    this.#hasSent = true
    this.#outbound.write(packet)
  }

  #tick(): void {
    this.#ticksWithoutSending = this.#hasSent ? 0 : this.#ticksWithoutSending + 1
    this.#ticksWithoutReceiving = this.#hasReceived ? 0 : this.#ticksWithoutReceiving + 1
    this.#hasSent = false
    this.#hasReceived = false
    if (this.#ticksWithoutReceiving >= DEAD_AFTER_TICKS) {
      this.#fail(silenceFailure(1.5 * this.#options.connect.keepaliveSeconds))
    } else if (
      this.#ticksWithoutSending >= PING_AFTER_TICKS ||
      (this.#ticksWithoutReceiving >= PING_AFTER_TICKS && this.#pingsSent === this.#pingsAnswered)
    ) {
      this.ping()
    }
  }

  #fail(failure: Failure): void {
    if (this.#phase === 'closing' || this.#phase === 'closed') return
    this.#failure = failure
    this.#stop('closing')
    this.#wire.destroy()
  }

  #stop(phase: 'closing' | 'closed'): void {
    this.#phase = phase
    clearTimeout(this.#deadline)
    clearInterval(this.#ticker)
    this.#reader.stop()
  }
}

const unexpected = (packet: string): Failure =>
  protocolFailure(new Error(`the broker has sent ${packet} at the wrong time`))
