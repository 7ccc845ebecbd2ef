import { connect, type Socket } from 'node:net'
import {
  connectPacket,
  type ConnectFields,
  PacketType,
  type Qos,
  subscribePacket,
  type Version,
} from './packets.ts'
import { PacketScanner, type PacketSink } from './scanner.ts'
import type { Flushable, TurnEnd } from './turn-end.ts'

const HANDSHAKE_DEADLINE_MS = 15_000
const ACK_BYTES = 4
const SUBSCRIBE_PACKET_ID = 1
const REFUSED = 0x80

// libuv fills it and calls back within the same read, so one buffer serves all sockets of the process.
const readBuffer = Buffer.allocUnsafe(256 * 1024)

/** What a connection does with the packets of its work; the handshakes are the connection's own. */
export interface Role {
  publish(connection: Connection, header: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void
  acknowledge(connection: Connection, type: PacketType, packetId: number): void
}

export interface ConnectionOptions {
  readonly port: number
  readonly connect: ConnectFields
  readonly role: Role
  readonly turnEnd: TurnEnd
  readonly onDisconnect: (reason: string) => void
}

interface Waiter {
  readonly type: PacketType
  readonly resolve: (code: number) => void
  readonly reject: (error: Error) => void
}

/** One MQTT client on a raw socket: TCP, CONNECT, SUBSCRIBE, and acknowledgements written once a turn. */
export class Connection implements PacketSink, Flushable {
  isDue = false
  readonly #options: ConnectionOptions
  readonly #socket: Socket
  readonly #scanner = new PacketScanner(this)
  #acks = Buffer.allocUnsafe(16 * ACK_BYTES)
  #ackBytes = 0
  #waiter: Waiter | undefined
  #state: 'connecting' | 'open' | 'closed' = 'connecting'

  private constructor(options: ConnectionOptions) {
    this.#options = options
    this.#socket = connect({
      host: '127.0.0.1',
      port: options.port,
      noDelay: true,
      onread: { buffer: readBuffer, callback: this.#read },
    })
    this.#socket.once('error', (error) => this.#close(error.message))
    this.#socket.once('close', () => this.#close('closed by the broker'))
  }

  /** Connects, and resolves when the broker has accepted with CONNACK 0. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(options)
    connection.write(connectPacket(options.connect))
    const code = await connection.#answer(PacketType.connack)
    if (code !== 0) throw new Error(`CONNECT refused with code ${code}`)
    connection.#state = 'open'
    return connection
  }

  /** Subscribes, and checks that the wanted QoS is granted. */
  async subscribe(filter: string, qos: Qos): Promise<void> {
    this.write(subscribePacket(SUBSCRIBE_PACKET_ID, filter, qos, this.version))
    const code = await this.#answer(PacketType.suback)
    if (code >= REFUSED || code !== qos) throw new Error(`SUBSCRIBE to ${filter} answered with ${code}`)
  }

  get version(): Version {
    return this.#options.connect.version
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes)
  }

  /** Two pieces of one ring as one system call. */
  writeBoth(first: Buffer, second: Buffer): void {
    this.#socket.cork()
    this.#socket.write(first)
    this.#socket.write(second)
    this.#socket.uncork()
  }

  /** Ends the connection on purpose: not counted as a fault. */
  destroy(): void {
    this.#state = 'closed'
    this.#socket.destroy()
  }

  /** Queues PUBACK, PUBREC, PUBREL or PUBCOMP for the end of the turn. */
  queueAck(type: PacketType, packetId: number): void {
    if (this.#ackBytes === this.#acks.length) {
      const larger = Buffer.allocUnsafe(this.#acks.length * 2)
      this.#acks.copy(larger)
      this.#acks = larger
    }
    const acks = this.#acks
    const at = this.#ackBytes
    acks[at] = type === PacketType.pubrel ? (type << 4) | 0x02 : type << 4 // [MQTT-3.6.1-1]
    acks[at + 1] = 2
    acks[at + 2] = packetId >> 8
    acks[at + 3] = packetId
    this.#ackBytes = at + ACK_BYTES
    this.#options.turnEnd.add(this)
  }

  flush(): void {
    const bytes = Buffer.allocUnsafe(this.#ackBytes)
    this.#acks.copy(bytes, 0, 0, this.#ackBytes)
    this.#ackBytes = 0
    this.#socket.write(bytes)
  }

  packet(header: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const type = header >> 4
    switch (type) {
      case PacketType.publish:
        return this.#options.role.publish(this, header, bytes, bodyStart, bodyEnd)
      case PacketType.puback:
      case PacketType.pubrec:
      case PacketType.pubrel:
      case PacketType.pubcomp: {
        const packetId = ((bytes[bodyStart] ?? 0) << 8) | (bytes[bodyStart + 1] ?? 0)
        return this.#options.role.acknowledge(this, type, packetId)
      }
      default: {
        const waiter = this.#waiter
        if (waiter === undefined || waiter.type !== type) return this.#close(`unexpected packet type ${type}`)
        this.#waiter = undefined
        // A SUBACK ends with its code.
        waiter.resolve(bytes[type === PacketType.connack ? bodyStart + 1 : bodyEnd - 1] ?? REFUSED)
      }
    }
  }

  readonly #read = (byteCount: number): boolean => {
    this.#scanner.push(readBuffer, byteCount)
    return true
  }

  async #answer(type: PacketType): Promise<number> {
    const { promise, resolve, reject } = waiterPromise()
    const deadline = setTimeout(
      () => reject(new Error(`no packet of type ${type} within ${HANDSHAKE_DEADLINE_MS} ms`)),
      HANDSHAKE_DEADLINE_MS,
    )
    this.#waiter = { type, resolve, reject }
    try {
      return await promise
    } finally {
      clearTimeout(deadline)
    }
  }

  #close(reason: string): void {
    const before = this.#state
    this.#state = 'closed'
    this.#waiter?.reject(new Error(reason))
    this.#waiter = undefined
    if (before === 'open') this.#options.onDisconnect(reason)
    this.#socket.destroy()
  }
}

// Promise.withResolvers came with Node 22.
function waiterPromise(): { promise: Promise<number> } & Pick<Waiter, 'resolve' | 'reject'> {
  let resolve: (code: number) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<number>((fulfil, fail) => {
    resolve = fulfil
    reject = fail
  })
  return { promise, resolve, reject }
}
