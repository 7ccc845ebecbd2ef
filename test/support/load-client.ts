import { connect as openSocket, type Socket } from 'node:net'
import type { Properties } from '../../src/broker/packets/properties.ts'
import { Decoder, type Of, type Published } from './received.ts'
import {
  ackPacket,
  connectPacket,
  disconnect,
  disconnectPacket,
  type Filter,
  Packet,
  PacketReader,
  pingreq,
  publishPacket,
  type Reason,
  remainingLength,
  subscribePacket,
  unsubscribePacket,
  type WireWill,
} from './wire.ts'

export interface LoadClientOptions {
  readonly port: number
  readonly clientId: string
  /** Default: 3.1.1. What says MQTT 5 below needs it. */
  readonly version?: 5
  /** MQTT 5: clean start. Default true. */
  readonly clean?: boolean
  readonly username?: string
  readonly password?: string
  readonly will?: WireWill
  /** QoS 1 and 2 messages that this client has on their way at once. */
  readonly window?: number
  /** False: it takes messages, and acknowledges them when `settle` is called. */
  readonly acknowledges?: boolean
  /** Instead of `received`. */
  readonly onDelivery?: (delivery: Delivery) => void
  /** MQTT 5. */
  readonly sessionExpirySeconds?: number
  /** MQTT 5; see `mostUnsettledCount`. */
  readonly receiveMaximum?: number
  /** MQTT 5, bytes; see `largestPacketBytes`. */
  readonly maximumPacketSize?: number
  /** MQTT 5: aliases that the broker may use. */
  readonly topicAliasMaximum?: number
  /** MQTT 5: it gives its topics aliases, as many as the broker takes. */
  readonly usesTopicAliases?: boolean
  /** MQTT 5: of CONNECT, beside those above. */
  readonly properties?: Readonly<Properties>
}

/** With MQTT 5 it has its properties, and its topic also where the broker has used an alias. */
export type Delivery = Published

export interface Outgoing {
  readonly topic: string
  readonly payload: string
  readonly qos: 0 | 1 | 2
  readonly retain?: boolean
  /** MQTT 5. */
  readonly properties?: Readonly<Properties>
}

interface Inflight {
  readonly message: Outgoing
  readonly resolve: () => void
  released: boolean
}

export interface Connack {
  readonly code: number
  readonly sessionPresent: boolean
  /** MQTT 5. */
  readonly properties?: Readonly<Properties>
}

/** A request that dies with its connection. */
interface Pending {
  resolve(value: Buffer): void
  reject(error: Error): void
}

/**
 * An MQTT client for volume and for broken connections, true to the specification: what it has not been thanked
 * for it sends again when it is connected again, with DUP, and QoS 2 messages it takes once.
 */
export class LoadClient {
  readonly options: LoadClientOptions
  /** What came, in order; at QoS 2 without what came again. */
  readonly received: Delivery[] = []
  /** Payloads that the broker has taken over: PUBACK, or PUBREC. */
  readonly acknowledged = new Set<string>()
  /** MQTT 5: payloads and the reason codes of their PUBACK or PUBREC; those from 0x80 on were not taken over. */
  readonly reasonCodes = new Map<string, number>()
  /** MQTT 5: why the broker has ended the last connection, if it said so. */
  ended: Of<'disconnect'> | undefined
  /** Most messages at QoS 1 and 2 that had come and were not settled, on any connection. The receive maximum is its bound. */
  mostUnsettledCount = 0
  /** Of the packets that came. */
  largestPacketBytes = 0
  /** Payloads that had to be sent again. */
  readonly resent = new Set<string>()
  /** QoS 2 messages that came again and were recognized, and how many of those bore DUP. */
  readonly again = { count: 0, dupCount: 0 }
  /** Resolves when the present connection has ended. */
  closed: Promise<void> = Promise.resolve()
  readonly #inflight = new Map<number, Inflight>()
  readonly #waiting: Inflight[] = []
  readonly #incomingIds = new Set<number>()
  /** Came on this connection; without PUBACK or PUBCOMP. */
  readonly #unsettled = new Set<number>()
  readonly #requests = new Map<string, Pending[]>()
  #owed: Buffer[] | undefined
  #decoder = new Decoder()
  /** What this client has given, and how many it may. */
  #aliases = { given: new Map<string, number>(), maximum: 0 }
  #window: number
  #socket: Socket | undefined
  #open = false
  #nextId = 0

  constructor(options: LoadClientOptions) {
    this.options = options
    this.#window = options.window ?? DEFAULT_WINDOW
    if (options.acknowledges === false) this.#owed = []
  }

  /** Messages without PUBACK or PUBCOMP. */
  get unfinishedCount(): number {
    return this.#inflight.size + this.#waiting.length
  }

  /** QoS 2 messages whose PUBREL has not come. */
  get unreleasedCount(): number {
    return this.#incomingIds.size
  }

  get isOpen(): boolean {
    return this.#open
  }

  /** Messages that came on this connection with an alias alone. */
  get aliasedCount(): number {
    return this.#decoder.aliasedCount
  }

  /** Rejects when the connection ends before the CONNACK. */
  async connect(port = this.options.port): Promise<Connack> {
    const socket = openSocket({ port, host: '127.0.0.1', noDelay: true })
    this.#socket = socket
    this.#decoder = new Decoder()
    this.#decoder.isMqtt5 = this.#isMqtt5
    this.#unsettled.clear()
    this.ended = undefined
    const reader = new PacketReader((first, body) => this.#packet(first, body))
    socket.on('data', (chunk) => reader.receive(chunk))
    // `close` follows, and tells everyone who waits.
    socket.on('error', () => {})
    this.closed = new Promise((resolve) => socket.once('close', resolve)).then(() => {
      if (this.#socket === socket) this.#lost()
    })
    const connack = this.#request('connack')
    socket.write(connectPacket({ ...this.options, properties: this.#connectProperties }))
    const body = await connack
    const {
      code,
      sessionPresent,
      properties = {},
    } = this.#decoder.decode(Packet.connack << 4, body) as Of<'connack'>
    this.#window = Math.min(this.options.window ?? DEFAULT_WINDOW, properties.receiveMaximum ?? 65_535)
    const maximum = this.options.usesTopicAliases === true ? (properties.topicAliasMaximum ?? 0) : 0
    this.#aliases = { given: new Map(), maximum }
    if (code === 0) this.#resume(sessionPresent)
    return { code, sessionPresent, ...(this.#isMqtt5 && { properties }) }
  }

  get #isMqtt5(): boolean {
    return this.options.version === 5
  }

  get #connectProperties(): Properties {
    const { sessionExpirySeconds, receiveMaximum, maximumPacketSize, topicAliasMaximum } = this.options
    return {
      ...(sessionExpirySeconds !== undefined && { sessionExpiryInterval: sessionExpirySeconds }),
      ...(receiveMaximum !== undefined && { receiveMaximum }),
      ...(maximumPacketSize !== undefined && { maximumPacketSize }),
      ...(topicAliasMaximum !== undefined && { topicAliasMaximum }),
      ...this.options.properties,
    }
  }

  /** What makes other packets those of MQTT 5. */
  get #noProperties(): Properties | undefined {
    return this.#isMqtt5 ? {} : undefined
  }

  /** Resolves when the broker has taken it over, or refused it, and the handshake is done; at QoS 0 at once. */
  publish(message: Outgoing): Promise<void> {
    if (message.qos === 0) {
      this.#send(message, {})
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      this.#waiting.push({ message, resolve, released: false })
      this.#fill()
    })
  }

  /** Resolves to the codes of the SUBACK. */
  async subscribe(...filters: readonly Filter[]): Promise<number[]> {
    const { codes } = await this.subscribeWith(this.#noProperties, ...filters)
    return [...codes]
  }

  /** With properties of MQTT 5, such as the subscription identifier; resolves to the SUBACK. */
  async subscribeWith(
    properties: Readonly<Properties> | undefined,
    ...filters: readonly Filter[]
  ): Promise<Of<'suback'>> {
    const messageId = this.#id()
    const answer = this.#request(`suback ${messageId}`)
    this.write(subscribePacket(messageId, filters, properties))
    return this.#decoder.decode(Packet.suback << 4, await answer) as Of<'suback'>
  }

  /** Resolves to the codes of the UNSUBACK; to none before MQTT 5. */
  async unsubscribe(...filters: readonly string[]): Promise<readonly number[]> {
    const messageId = this.#id()
    const answer = this.#request(`unsuback ${messageId}`)
    this.write(unsubscribePacket(messageId, filters, this.#noProperties))
    const { codes = [] } = this.#decoder.decode(Packet.unsuback << 4, await answer) as Of<'unsuback'>
    return codes
  }

  /** Resolves when the broker has dealt with everything before, and its answers are here. */
  async ping(): Promise<void> {
    const answer = this.#request('pingresp')
    this.write(pingreq)
    await answer
  }

  write(bytes: Buffer): void {
    this.#socket?.write(bytes)
  }

  /** Resolves when the socket has taken what was written. */
  async drained(): Promise<void> {
    const socket = this.#socket
    if (socket === undefined || !socket.writableNeedDrain) return
    await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), this.closed])
  }

  /** Acknowledges what came so far, and from now on everything. */
  settle(): void {
    for (const ack of this.#owed?.splice(0) ?? []) {
      if (ack[0] === Packet.puback << 4) this.#unsettled.delete(ack.readUInt16BE(2))
      this.write(ack)
    }
    this.#owed = undefined
  }

  pauseReading(): void {
    this.#socket?.pause()
  }

  resumeReading(): void {
    this.#socket?.resume()
  }

  /** The network is gone: no DISCONNECT. */
  async vanish(): Promise<void> {
    this.#socket?.destroy()
    await this.closed
  }

  /** With MQTT 5 for a reason, and with another session expiry. */
  async disconnect(reason?: Reason): Promise<void> {
    this.#socket?.end(reason === undefined ? disconnect : disconnectPacket(reason))
    await this.closed
  }

  #request(key: string): Promise<Buffer> {
    if (this.#socket === undefined) {
      return Promise.reject(new Error(`${this.options.clientId} is not connected`))
    }
    return new Promise((resolve, reject) => {
      const waiting = this.#requests.get(key) ?? []
      waiting.push({ resolve, reject })
      this.#requests.set(key, waiting)
    })
  }

  #answered(key: string, body: Buffer): void {
    this.#requests.get(key)?.shift()?.resolve(body)
  }

  #lost(): void {
    this.#open = false
    this.#socket = undefined
    // What was not acknowledged on this connection comes again.
    this.#owed?.splice(0)
    const requests = [...this.#requests.values()].flat()
    this.#requests.clear()
    for (const request of requests)
      request.reject(new Error(`the connection of ${this.options.clientId} was closed`))
  }

  #resume(sessionPresent: boolean): void {
    this.#open = true
    if (!sessionPresent) this.#incomingIds.clear()
    for (const [messageId, { message, released }] of this.#inflight) {
      this.resent.add(message.payload)
      if (released) this.write(ackPacket(Packet.pubrel, messageId))
      else this.#send(message, { messageId, dup: true })
    }
    this.#fill()
  }

  #fill(): void {
    while (this.#open && this.#waiting.length > 0 && this.#inflight.size < this.#window) {
      const next = this.#waiting.shift()!
      const messageId = this.#id()
      this.#inflight.set(messageId, next)
      this.#send(next.message, { messageId })
    }
  }

  #send(message: Outgoing, more: { readonly messageId?: number; readonly dup?: boolean }): void {
    const aliased = this.#isMqtt5 ? this.#withAlias(message) : undefined
    this.write(publishPacket({ ...message, ...aliased, ...more }))
  }

  /** Its topic goes with its alias once. */
  #withAlias({ topic, properties }: Outgoing): { readonly topic: string; readonly properties: Properties } {
    const { given, maximum } = this.#aliases
    const known = given.get(topic)
    if (known !== undefined) return { topic: '', properties: { ...properties, topicAlias: known } }
    if (given.size >= maximum) return { topic, properties: { ...properties } }
    const topicAlias = given.size + 1
    given.set(topic, topicAlias)
    return { topic, properties: { ...properties, topicAlias } }
  }

  #id(): number {
    do {
      this.#nextId = (this.#nextId % 65_535) + 1
    } while (this.#inflight.has(this.#nextId))
    return this.#nextId
  }

  #packet(first: number, body: Buffer): void {
    const type = first >> 4
    const bytes = 1 + remainingLength(body.length).length + body.length
    if (bytes > this.largestPacketBytes) this.largestPacketBytes = bytes
    if (type === Packet.publish) return this.#delivered(first, body)
    if (type === Packet.connack) return this.#answered('connack', body)
    if (type === Packet.pingresp) return this.#answered('pingresp', body)
    if (type === Packet.disconnect && this.#isMqtt5) {
      this.ended = this.#decoder.decode(first, body) as Of<'disconnect'>
      return
    }
    const messageId = body.readUInt16BE(0)
    if (type === Packet.suback) return this.#answered(`suback ${messageId}`, body)
    if (type === Packet.unsuback) return this.#answered(`unsuback ${messageId}`, body)
    if (type === Packet.pubrel) {
      this.#incomingIds.delete(messageId)
      this.#unsettled.delete(messageId)
      this.write(ackPacket(Packet.pubcomp, messageId))
      return
    }
    const inflight = this.#inflight.get(messageId)
    if (inflight === undefined) return
    const code = body.length > 2 && type !== Packet.pubcomp ? body[2]! : 0
    if (type !== Packet.pubcomp && this.#isMqtt5) this.reasonCodes.set(inflight.message.payload, code)
    if (code < 0x80) this.acknowledged.add(inflight.message.payload)
    if (type === Packet.pubrec && code < 0x80) {
      inflight.released = true
      this.write(ackPacket(Packet.pubrel, messageId))
      return
    }
    this.#inflight.delete(messageId)
    inflight.resolve()
    this.#fill()
  }

  #delivered(first: number, body: Buffer): void {
    const { type: _, ...delivery } = this.#decoder.decode(first, body) as Of<'publish'>
    const { qos, messageId } = delivery
    const isNew = qos < 2 || !this.#incomingIds.has(messageId)
    if (qos === 2) this.#incomingIds.add(messageId)
    if (qos > 0) this.#unsettled.add(messageId)
    this.mostUnsettledCount = Math.max(this.mostUnsettledCount, this.#unsettled.size)
    if (isNew) {
      if (this.options.onDelivery === undefined) this.received.push(delivery)
      else this.options.onDelivery(delivery)
    } else {
      this.again.count++
      if (delivery.dup) this.again.dupCount++
    }
    if (qos > 0) this.#acknowledge(qos, messageId)
  }

  #acknowledge(qos: number, messageId: number): void {
    const ack = ackPacket(qos === 1 ? Packet.puback : Packet.pubrec, messageId)
    if (this.#owed !== undefined) {
      this.#owed.push(ack)
      return
    }
    if (qos === 1) this.#unsettled.delete(messageId)
    this.write(ack)
  }
}

const DEFAULT_WINDOW = 20
