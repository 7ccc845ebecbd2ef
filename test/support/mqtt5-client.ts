import { AssertionError } from 'node:assert'
import { connect as openSocket, type Socket } from 'node:net'
import mqttPacket, { type IConnectPacket, type ISubscription, type Packet } from 'mqtt-packet'
import { onTestFinished } from 'vitest'
import { PacketReader, remainingLength } from './wire.ts'

type Cmd = Packet['cmd']
/** A packet from the broker; `bytes` is the whole of it. */
export type From<C extends Cmd> = Extract<Packet, { cmd: C }> & { readonly bytes: Buffer }

export type ConnectInput = Partial<Omit<IConnectPacket, 'cmd' | 'protocolId'>>
export type PublishInput = Partial<Omit<Extract<Packet, { cmd: 'publish' }>, 'cmd'>> & { topic: string }
export type SubscriptionInput = Partial<ISubscription> & { topic: string }

const DEADLINE_MS = 20_000

/**
 * One connection that speaks MQTT 5, with a decoder and encoder that are not the broker's (mqtt-packet). It
 * acknowledges and answers nothing by itself. The waiting methods consume what has come, each packet once.
 */
export class Mqtt5Client {
  /** Everything that has come. */
  readonly received: (Packet & { readonly bytes: Buffer })[] = []
  readonly closed: Promise<void>
  isClosed = false
  readonly #socket: Socket
  readonly #unread: (Packet & { readonly bytes: Buffer })[] = []
  #waiting: (() => void)[] = []
  #nextId = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    const decoder = mqttPacket.parser({ protocolVersion: 5 })
    decoder.on('packet', (packet: Packet) => {
      this.received.push(Object.assign(packet, { bytes: Buffer.alloc(0) }))
      this.#unread.push(this.received.at(-1)!)
    })
    decoder.on('error', (error: Error) => {
      throw error
    })
    const reader = new PacketReader((first, body) => {
      const bytes = Buffer.concat([Buffer.of(first), remainingLength(body.length), body])
      decoder.parse(bytes)
      Object.assign(this.received.at(-1)!, { bytes })
      this.#wake()
    })
    socket.on('data', (chunk: Buffer) => reader.receive(chunk))
    // `close` follows.
    socket.on('error', () => {})
    this.closed = new Promise((resolve) =>
      socket.once('close', () => {
        this.isClosed = true
        this.#wake()
        resolve()
      }),
    )
  }

  /** Over which nothing has been sent; destroyed when the test ends. */
  static async open(port: number): Promise<Mqtt5Client> {
    const socket = openSocket({ port, host: '127.0.0.1', noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    const client = new Mqtt5Client(socket)
    onTestFinished(() => client.destroy())
    return client
  }

  /** Bytes go as they are; packets are encoded. */
  send(...packets: readonly (Packet | Buffer)[]): void {
    this.#socket.write(
      Buffer.concat(
        packets.map((one) => (Buffer.isBuffer(one) ? one : mqttPacket.generate(one, { protocolVersion: 5 }))),
      ),
    )
  }

  /** The network is gone: no DISCONNECT. */
  async destroy(): Promise<void> {
    this.#socket.destroy()
    await this.closed
  }

  /** The first packet of this type that was not consumed before, and fits. */
  async next<C extends Cmd>(cmd: C, fits: (packet: From<C>) => boolean = () => true): Promise<From<C>> {
    const deadline = Date.now() + DEADLINE_MS
    for (;;) {
      const index = this.#unread.findIndex((packet) => packet.cmd === cmd && fits(packet as From<C>))
      if (index >= 0) return this.#unread.splice(index, 1)[0] as From<C>
      if (this.isClosed || Date.now() >= deadline) {
        const last = this.received.slice(-6).map(({ cmd: came }) => came)
        throw new AssertionError({
          message: `no ${cmd}, but ${this.isClosed ? 'the end' : 'the deadline'}; at last: ${last.join(', ')}`,
        })
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now())
        this.#waiting.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  /** Who waits looks again. */
  #wake(): void {
    for (const look of this.#waiting.splice(0)) look()
  }

  /** What has come and was not consumed. */
  waiting<C extends Cmd>(cmd: C): From<C>[] {
    return this.#unread.filter((packet) => packet.cmd === cmd) as From<C>[]
  }

  /** Reason code of the DISCONNECT with which the broker ends the connection, or undefined if it sends none. */
  async untilClosed(): Promise<number | undefined> {
    const timer = new Promise<'late'>((resolve) => setTimeout(resolve, DEADLINE_MS, 'late').unref())
    if ((await Promise.race([this.closed, timer])) === 'late') {
      throw new AssertionError({ message: 'the broker does not close the connection' })
    }
    return this.waiting('disconnect').at(-1)?.reasonCode
  }

  /** What was sent before has been dealt with, and what the broker sent at once has come. */
  async ping(): Promise<void> {
    this.send({ cmd: 'pingreq' })
    await this.next('pingresp')
  }

  id(): number {
    return ++this.#nextId
  }

  /** Resolves to the CONNACK, whatever it says. Clean start, and no keep alive, unless told otherwise. */
  connect({ clientId = '', properties, ...fields }: ConnectInput = {}): Promise<From<'connack'>> {
    this.send(connectPacket({ clientId, ...fields, ...(properties && { properties }) }))
    return this.next('connack')
  }

  /** The SUBACK. */
  async subscribe(
    subscriptions: string | SubscriptionInput | readonly SubscriptionInput[],
    properties: Extract<Packet, { cmd: 'subscribe' }>['properties'] = {},
  ): Promise<From<'suback'>> {
    const messageId = this.id()
    const list =
      typeof subscriptions === 'string' ? [{ topic: subscriptions, qos: 2 as const }] : subscriptions
    this.send({
      cmd: 'subscribe',
      messageId,
      properties,
      subscriptions: (Array.isArray(list) ? list : [list]).map((one: SubscriptionInput) => ({
        qos: 0,
        nl: false,
        rap: false,
        rh: 0,
        ...one,
      })),
    })
    return await this.next('suback', (packet) => packet.messageId === messageId)
  }

  async unsubscribe(...topics: readonly string[]): Promise<From<'unsuback'>> {
    const messageId = this.id()
    this.send({ cmd: 'unsubscribe', messageId, unsubscriptions: [...topics] })
    return await this.next('unsuback', (packet) => packet.messageId === messageId)
  }

  /** The whole exchange of its QoS; resolves to the reason code of PUBACK or PUBREC, 0 at QoS 0. */
  async publish(input: PublishInput): Promise<number> {
    const messageId = input.messageId ?? this.id()
    this.send(publishPacket({ ...input, messageId }))
    const { qos = 0 } = input
    if (qos === 0) return 0
    const answer = await this.next(qos === 1 ? 'puback' : 'pubrec', (one) => one.messageId === messageId)
    const code = answer.reasonCode ?? 0
    if (qos === 2 && code < 0x80) {
      this.send({ cmd: 'pubrel', messageId, reasonCode: 0 })
      await this.next('pubcomp', (one) => one.messageId === messageId)
    }
    return code
  }

  /** The next message, acknowledged as its QoS asks. */
  async take(fits: (packet: From<'publish'>) => boolean = () => true): Promise<From<'publish'>> {
    const message = await this.next('publish', fits)
    await this.acknowledge(message)
    return message
  }

  async acknowledge({ qos, messageId }: From<'publish'>): Promise<void> {
    if (qos === 0) return
    if (qos === 1) {
      this.send({ cmd: 'puback', messageId: messageId!, reasonCode: 0 })
      return
    }
    this.send({ cmd: 'pubrec', messageId: messageId!, reasonCode: 0 })
    await this.next('pubrel', (one) => one.messageId === messageId)
    this.send({ cmd: 'pubcomp', messageId: messageId!, reasonCode: 0 })
  }
}

export function connectPacket({ clientId = '', ...fields }: ConnectInput): Packet {
  return {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: true,
    keepalive: 0,
    clientId,
    ...fields,
  }
}

export function publishPacket(input: PublishInput): Packet {
  return { cmd: 'publish', qos: 0, dup: false, retain: false, payload: '', ...input }
}

/** A connection with its CONNACK, which must accept. */
export async function connect5(port: number, fields: ConnectInput = {}): Promise<Mqtt5Client> {
  const client = await Mqtt5Client.open(port)
  const { reasonCode } = await client.connect(fields)
  if (reasonCode !== 0) throw new AssertionError({ message: `CONNACK ${reasonCode}` })
  return client
}
