import { connect as openSocket, type Socket } from 'node:net'
import {
  ackPacket,
  connectPacket,
  disconnect,
  type Filter,
  Packet,
  PacketReader,
  pingreq,
  publishPacket,
  subscribePacket,
  unsubscribePacket,
  type WireWill,
} from './wire.ts'

export interface LoadClientOptions {
  readonly port: number
  readonly clientId: string
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
}

export interface Delivery {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  readonly messageId: number
}

export interface Outgoing {
  readonly topic: string
  readonly payload: string
  readonly qos: 0 | 1 | 2
  readonly retain?: boolean
}

interface Inflight {
  readonly message: Outgoing
  readonly resolve: () => void
  released: boolean
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
  /** Payloads that had to be sent again. */
  readonly resent = new Set<string>()
  /** QoS 2 messages that came again and were recognized, and how many of those bore DUP. */
  readonly again = { count: 0, dupCount: 0 }
  /** Resolves when the present connection has ended. */
  closed: Promise<void> = Promise.resolve()
  readonly #inflight = new Map<number, Inflight>()
  readonly #waiting: Inflight[] = []
  readonly #incomingIds = new Set<number>()
  readonly #requests = new Map<string, Pending[]>()
  #owed: Buffer[] | undefined
  #socket: Socket | undefined
  #open = false
  #nextId = 0

  constructor(options: LoadClientOptions) {
    this.options = options
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

  /** Rejects when the connection ends before the CONNACK. */
  async connect(port = this.options.port): Promise<{ code: number; sessionPresent: boolean }> {
    const socket = openSocket({ port, host: '127.0.0.1', noDelay: true })
    this.#socket = socket
    const reader = new PacketReader((first, body) => this.#packet(first, body))
    socket.on('data', (chunk) => reader.receive(chunk))
    // `close` follows, and tells everyone who waits.
    socket.on('error', () => {})
    this.closed = new Promise((resolve) => socket.once('close', resolve)).then(() => {
      if (this.#socket === socket) this.#lost()
    })
    const connack = this.#request('connack')
    socket.write(connectPacket(this.options))
    const body = await connack
    const code = body[1]!
    if (code === 0) this.#resume(body[0] === 1)
    return { code, sessionPresent: body[0] === 1 }
  }

  /** Resolves when the broker has taken it over and the handshake is done; at QoS 0 at once. */
  publish(message: Outgoing): Promise<void> {
    if (message.qos === 0) {
      this.write(publishPacket(message))
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      this.#waiting.push({ message, resolve, released: false })
      this.#fill()
    })
  }

  /** Resolves to the codes of the SUBACK. */
  async subscribe(...filters: readonly Filter[]): Promise<number[]> {
    const messageId = this.#id()
    const answer = this.#request(`suback ${messageId}`)
    this.write(subscribePacket(messageId, filters))
    return [...(await answer).subarray(2)]
  }

  async unsubscribe(...filters: readonly string[]): Promise<void> {
    const messageId = this.#id()
    const answer = this.#request(`unsuback ${messageId}`)
    this.write(unsubscribePacket(messageId, filters))
    await answer
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
    for (const ack of this.#owed?.splice(0) ?? []) this.write(ack)
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

  async disconnect(): Promise<void> {
    this.#socket?.end(disconnect)
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
      this.write(
        released ? ackPacket(Packet.pubrel, messageId) : publishPacket({ ...message, messageId, dup: true }),
      )
    }
    this.#fill()
  }

  #fill(): void {
    const window = this.options.window ?? 20
    while (this.#open && this.#waiting.length > 0 && this.#inflight.size < window) {
      const next = this.#waiting.shift()!
      const messageId = this.#id()
      this.#inflight.set(messageId, next)
      this.write(publishPacket({ ...next.message, messageId }))
    }
  }

  #id(): number {
    do {
      this.#nextId = (this.#nextId % 65_535) + 1
    } while (this.#inflight.has(this.#nextId))
    return this.#nextId
  }

  #packet(first: number, body: Buffer): void {
    const type = first >> 4
    if (type === Packet.publish) return this.#delivered(first, body)
    if (type === Packet.connack) return this.#answered('connack', body)
    if (type === Packet.pingresp) return this.#answered('pingresp', body)
    const messageId = body.readUInt16BE(0)
    if (type === Packet.suback) return this.#answered(`suback ${messageId}`, body)
    if (type === Packet.unsuback) return this.#answered(`unsuback ${messageId}`, body)
    if (type === Packet.pubrel) {
      this.#incomingIds.delete(messageId)
      this.write(ackPacket(Packet.pubcomp, messageId))
      return
    }
    const inflight = this.#inflight.get(messageId)
    if (inflight === undefined) return
    this.acknowledged.add(inflight.message.payload)
    if (type === Packet.pubrec) {
      inflight.released = true
      this.write(ackPacket(Packet.pubrel, messageId))
      return
    }
    this.#inflight.delete(messageId)
    inflight.resolve()
    this.#fill()
  }

  #delivered(first: number, body: Buffer): void {
    const qos = (first >> 1) & 3
    const topicEnd = 2 + body.readUInt16BE(0)
    const messageId = qos === 0 ? 0 : body.readUInt16BE(topicEnd)
    const delivery: Delivery = {
      topic: body.toString('utf8', 2, topicEnd),
      payload: body.subarray(qos === 0 ? topicEnd : topicEnd + 2),
      qos,
      retain: (first & 1) !== 0,
      dup: (first & 8) !== 0,
      messageId,
    }
    const isNew = qos < 2 || !this.#incomingIds.has(messageId)
    if (qos === 2) this.#incomingIds.add(messageId)
    if (isNew) {
      if (this.options.onDelivery === undefined) this.received.push(delivery)
      else this.options.onDelivery(delivery)
    } else {
      this.again.count++
      if (delivery.dup) this.again.dupCount++
    }
    if (qos > 0) this.#acknowledge(ackPacket(qos === 1 ? Packet.puback : Packet.pubrec, messageId))
  }

  #acknowledge(ack: Buffer): void {
    if (this.#owed === undefined) this.write(ack)
    else this.#owed.push(ack)
  }
}
