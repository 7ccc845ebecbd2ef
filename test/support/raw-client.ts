import { AssertionError } from 'node:assert'
import { connect as openSocket, type Socket } from 'node:net'
import { type AckType, Decoder, describe, type Of, type Published, type Received } from './received.ts'
import {
  ackPacket,
  type ConnectFields,
  connectPacket,
  disconnect,
  disconnectPacket,
  type Filter,
  Packet,
  PacketReader,
  pingreq,
  type PublishPacket,
  publishPacket,
  type Reason,
  subscribePacket,
  unsubscribePacket,
} from './wire.ts'
import type { WireProperties } from './wire-properties.ts'

export interface RawClientOptions {
  readonly port: number
  /** How long to wait for what must come. Default 20 s. */
  readonly deadlineMs?: number
  /** How what comes is read, before `connect` was called with a version. Default: 3.1.1. */
  readonly version?: 5
}

interface Waiter {
  readonly what: string
  matches(packet: Received): boolean
  resolve(packet: Received): void
  reject(error: Error): void
}

/**
 * One connection to a broker with every byte under control, for one test: it acknowledges and answers nothing
 * by itself. What came is kept in `received`; the waiting methods consume it, each packet once, in order.
 *
 * What does not come in time, or because the connection ended, is an AssertionError that says what did come.
 * It is the test's to {@link destroy}.
 */
export class RawClient {
  /** Everything that has come on this connection. */
  readonly received: Received[] = []
  /** Resolves when the connection has ended, by whomever. */
  readonly closed: Promise<void>
  isClosed = false
  readonly #socket: Socket
  readonly #deadlineMs: number
  readonly #decoder = new Decoder()
  #unread: Received[] = []
  #waiters: Waiter[] = []
  #nextId = 0

  private constructor(socket: Socket, options: RawClientOptions) {
    this.#socket = socket
    this.#deadlineMs = options.deadlineMs ?? 20_000
    this.#decoder.isMqtt5 = options.version === 5
    const reader = new PacketReader((first, body) => this.#take(this.#decoder.decode(first, body)))
    socket.on('data', (chunk) => reader.receive(chunk))
    // `close` follows, and tells everyone who waits.
    socket.on('error', () => {})
    this.closed = new Promise<void>((resolve) => socket.once('close', () => resolve())).then(() => {
      this.isClosed = true
      for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#missing(waiter.what, 'the end'))
    })
  }

  /** A connection over which nothing has been sent. */
  static async open(options: RawClientOptions): Promise<RawClient> {
    const socket = openSocket({ port: options.port, host: '127.0.0.1', noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new RawClient(socket, options)
  }

  /** PUBLISH packets that came with an alias in place of their topic. */
  get aliasedCount(): number {
    return this.#decoder.aliasedCount
  }

  // --- bytes

  /** Exactly these bytes. */
  send(...packets: readonly Buffer[]): void {
    this.#socket.write(packets.length === 1 ? packets[0]! : Buffer.concat(packets))
  }

  /** Resolves when everything sent is in the hands of the system; or the connection has ended. */
  async flushed(): Promise<void> {
    if (this.#socket.writableLength === 0) return
    await Promise.race([new Promise<void>((resolve) => this.#socket.write('', () => resolve())), this.closed])
  }

  /** The client takes nothing more from its socket: a frozen reader. */
  pauseReading(): void {
    this.#socket.pause()
  }

  resumeReading(): void {
    this.#socket.resume()
  }

  /** The network is gone: no DISCONNECT. */
  async destroy(): Promise<void> {
    this.#socket.destroy()
    await this.closed
  }

  // --- waiting

  /** The first packet of this type that fits and was not consumed before. */
  async next<T extends Received['type']>(
    type: T,
    fits: (packet: Of<T>) => boolean = () => true,
    what = '',
  ): Promise<Of<T>> {
    const matches = (packet: Received): boolean => packet.type === type && fits(packet as Of<T>)
    const index = this.#unread.findIndex(matches)
    if (index >= 0) return this.#unread.splice(index, 1)[0] as Of<T>
    const title = what === '' ? type.toUpperCase() : `${type.toUpperCase()} ${what}`
    if (this.isClosed) throw this.#missing(title, 'the end')
    return (await this.#wait(title, matches)) as Of<T>
  }

  /** The next `count` messages, in order; not acknowledged. */
  async nextMessages(count: number): Promise<Published[]> {
    const messages: Published[] = []
    while (messages.length < count)
      messages.push(await this.next('publish', undefined, `${messages.length + 1} of ${count}`))
    return messages
  }

  /** Takes messages, and gives them their acknowledgements, until one with this topic has come; resolves to all. */
  async takeUntil(topic: string): Promise<Published[]> {
    const messages: Published[] = []
    for (;;) {
      const message = await this.next('publish', undefined, `to ${topic}`)
      messages.push(message)
      await this.acknowledge(message)
      if (message.topic === topic) return messages
    }
  }

  /** Messages that have come and were not consumed. */
  get waitingMessages(): readonly Published[] {
    return this.#unread.filter((packet) => packet.type === 'publish')
  }

  /** Resolves when the connection has ended; what is still open at the deadline is an AssertionError. */
  async untilClosed(): Promise<void> {
    const timer = new Promise<'late'>((resolve) => setTimeout(resolve, this.#deadlineMs, 'late').unref())
    if ((await Promise.race([this.closed, timer])) === 'late') throw this.#missing('the end', 'the deadline')
  }

  /** PINGREQ: 'answered', or 'closed' when the connection ended instead. */
  async pingOrClose(): Promise<'answered' | 'closed'> {
    this.send(pingreq)
    const answer = this.next('pingresp').then(() => 'answered' as const)
    answer.catch(() => {})
    return Promise.race([answer, this.closed.then(() => 'closed' as const)])
  }

  // --- exchanges

  /** CONNECT; resolves to the CONNACK, whatever its code. */
  connect(fields: ConnectFields): Promise<Of<'connack'>> {
    if (fields.version === 5) this.#decoder.isMqtt5 = true
    this.send(connectPacket(fields))
    return this.next('connack')
  }

  /** DISCONNECT, with MQTT 5 for a reason; resolves when the broker has closed the connection. */
  async disconnect(reason?: Reason): Promise<void> {
    this.send(reason === undefined ? disconnect : disconnectPacket(reason))
    await this.untilClosed()
  }

  /** As this client would send it: in its version. */
  publishPacket(fields: PublishPacket): Buffer {
    return publishPacket({ ...this.#version, ...fields })
  }

  /** The whole exchange that the QoS asks for. Without `messageId`, the next of this connection is used. */
  async publish(fields: PublishPacket): Promise<void> {
    const { qos = 0, messageId = this.#id() } = fields
    this.send(this.publishPacket({ ...fields, messageId }))
    if (qos === 1) await this.nextAck('puback', messageId)
    if (qos !== 2) return
    const { reasonCode = 0 } = await this.nextAck('pubrec', messageId)
    if (reasonCode >= 0x80) return
    this.send(ackPacket(Packet.pubrel, messageId))
    await this.nextAck('pubcomp', messageId)
  }

  nextAck(type: AckType, messageId: number): Promise<Of<AckType>> {
    return this.next(type, (packet) => packet.messageId === messageId, String(messageId))
  }

  /** PUBACK; or PUBREC, and PUBCOMP after the PUBREL. */
  async acknowledge({ qos, messageId }: Published): Promise<void> {
    if (qos === 1) this.send(ackPacket(Packet.puback, messageId))
    if (qos !== 2) return
    this.send(ackPacket(Packet.pubrec, messageId))
    await this.nextAck('pubrel', messageId)
    this.send(ackPacket(Packet.pubcomp, messageId))
  }

  /** Resolves to the codes of the SUBACK. */
  async subscribe(...filters: readonly Filter[]): Promise<readonly number[]> {
    const { codes } = await this.subscribeWith(this.#version.properties, ...filters)
    return codes
  }

  /** With properties of MQTT 5; resolves to the SUBACK. */
  subscribeWith(
    properties: WireProperties | undefined,
    ...filters: readonly Filter[]
  ): Promise<Of<'suback'>> {
    const messageId = this.#id()
    this.send(subscribePacket(messageId, filters, properties))
    return this.next('suback', (packet) => packet.messageId === messageId, String(messageId))
  }

  /** Resolves to the codes of the UNSUBACK; to none before MQTT 5. */
  async unsubscribe(...filters: readonly string[]): Promise<readonly number[]> {
    const messageId = this.#id()
    this.send(unsubscribePacket(messageId, filters, this.#version.properties))
    const { codes = [] } = await this.nextAck('unsuback', messageId)
    return codes
  }

  /** Resolves when the broker has answered; what it sent before that is in `received`. */
  async ping(): Promise<void> {
    this.send(pingreq)
    await this.next('pingresp')
  }

  // --- inside

  /** Empty properties are what makes a packet one of MQTT 5. */
  get #version(): { readonly properties?: WireProperties } {
    return this.#decoder.isMqtt5 ? { properties: {} } : {}
  }

  #id(): number {
    this.#nextId = (this.#nextId % 65_535) + 1
    return this.#nextId
  }

  #take(packet: Received): void {
    this.received.push(packet)
    const index = this.#waiters.findIndex((waiter) => waiter.matches(packet))
    if (index < 0) this.#unread.push(packet)
    else this.#waiters.splice(index, 1)[0]!.resolve(packet)
  }

  #wait(what: string, matches: (packet: Received) => boolean): Promise<Received> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        what,
        matches,
        resolve: (packet) => {
          clearTimeout(timer)
          resolve(packet)
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter)
        reject(this.#missing(what, 'the deadline'))
      }, this.#deadlineMs)
      this.#waiters.push(waiter)
    })
  }

  #missing(what: string, instead: string): AssertionError {
    const last = this.received.slice(-10).map(describe).join(', ')
    return new AssertionError({
      message: `no ${what}, but ${instead}; ${this.received.length} packets came, at last: ${last || 'nothing'}`,
    })
  }
}
