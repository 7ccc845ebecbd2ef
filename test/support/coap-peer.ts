import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { blockOption } from '../../src/gateway/coap/block.ts'
import {
  Code,
  encodeEmpty,
  encodeMessage,
  MessageType,
  NO_BYTES,
  parseMessage,
  type CoapMessage,
  type CoapOption,
} from '../../src/gateway/coap/message.ts'
import { OptionNumber, uintOption } from '../../src/gateway/coap/options.ts'

export interface Asked {
  readonly code?: number
  readonly type?: MessageType
  readonly messageId?: number
  readonly token?: Buffer
  readonly options?: readonly CoapOption[]
  readonly payload?: Buffer | string
}

/**
 * A UDP socket that speaks CoAP as a test says, datagram by datagram: nothing is acknowledged or sent again by itself.
 * Confirmable messages that come again are not shown again.
 */
export class CoapPeer {
  readonly socket: Socket
  readonly #port: number
  readonly #arrived: CoapMessage[] = []
  readonly #waiting: (() => void)[] = []
  readonly #confirmable = new Set<number>()
  #nextId = 1_000

  private constructor(socket: Socket, port: number) {
    this.socket = socket
    this.#port = port
    socket.on('message', (datagram) => {
      const message = parseMessage(datagram)
      if ('fault' in message) throw new Error(`the door has sent a malformed message: ${message.fault}`)
      if (message.type === MessageType.confirmable) {
        if (this.#confirmable.has(message.messageId)) return
        this.#confirmable.add(message.messageId)
      }
      this.#arrived.push(message)
      for (const look of this.#waiting.splice(0)) look()
    })
  }

  static async open(port: number, address = '127.0.0.1'): Promise<CoapPeer> {
    const socket = createSocket('udp4')
    socket.bind(0, address)
    await once(socket, 'listening')
    onTestFinished(() => void socket.close())
    return new CoapPeer(socket, port)
  }

  /** All that is there and was not taken. */
  get arrived(): readonly CoapMessage[] {
    return this.#arrived
  }

  raw(datagram: Buffer): void {
    this.socket.send(datagram, this.#port, '127.0.0.1')
  }

  /** Returns the message id. */
  send({
    code = Code.get,
    type = MessageType.confirmable,
    token,
    options,
    payload,
    messageId,
  }: Asked): number {
    const id = messageId ?? this.#nextId++
    this.raw(
      encodeMessage({
        type,
        code,
        messageId: id,
        token: token ?? Buffer.from([id >> 8, id & 0xff]),
        options: options ?? [],
        payload: Buffer.from(payload ?? NO_BYTES),
      }),
    )
    return id
  }

  acknowledge(messageId: number): void {
    this.raw(encodeEmpty(MessageType.acknowledgement, messageId))
  }

  reset(messageId: number): void {
    this.raw(encodeEmpty(MessageType.reset, messageId))
  }

  /** The first message that is so, taken out of what has arrived. */
  async next(isIt: (message: CoapMessage) => boolean = () => true): Promise<CoapMessage> {
    for (;;) {
      const index = this.#arrived.findIndex(isIt)
      if (index >= 0) return this.#arrived.splice(index, 1)[0]!
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  /** Asks, and waits for what carries its token; pings on the way to that are answered, as every client does. */
  async ask(asked: Asked): Promise<CoapMessage> {
    const token = asked.token ?? Buffer.from([0x77, this.#nextId & 0xff, this.#nextId >> 8])
    this.send({ ...asked, token })
    for (;;) {
      const message = await this.next((one) => one.token.equals(token) || isPing(one))
      if (!isPing(message)) return message
      this.reset(message.messageId)
    }
  }
}

/** Empty and confirmable: RFC 7252, 4.3. */
export function isPing({ type, code }: CoapMessage): boolean {
  return type === MessageType.confirmable && code === Code.empty
}

/** Options for `mqtt/<topic>?<query>`. */
export function uri(topic: string, ...query: readonly string[]): CoapOption[] {
  return [
    ...`mqtt/${topic}`.split('/').map((level) => ({
      number: OptionNumber.uriPath,
      value: Buffer.from(level),
    })),
    ...query.map((argument) => ({ number: OptionNumber.uriQuery, value: Buffer.from(argument) })),
  ]
}

export const observe: CoapOption = uintOption(OptionNumber.observe, 0)
export const stopObserving: CoapOption = uintOption(OptionNumber.observe, 1)

export function block1(num: number, hasMore: boolean, sizeBytes = 16): CoapOption {
  return blockOption(OptionNumber.block1, { num, hasMore, sizeBytes })
}

export function optionOf(message: CoapMessage, number: number): Buffer | undefined {
  return message.options.find((option) => option.number === number)?.value
}
