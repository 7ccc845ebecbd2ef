import type { Log } from '../../log.ts'
import type { Connection } from './connection.ts'
import type { ConnectionName, Connections } from './connections.ts'
import type { Lane } from './contract.ts'
import { Publisher } from './publisher.ts'
import { Subscriber } from './subscriber.ts'

export interface PubSubLaneOptions {
  readonly connections: Connections
  /** One connection each way, which no other lane uses. */
  readonly publishes: ConnectionName
  readonly subscribes: ConnectionName
  readonly keyPrefix: string
  /** Bytes that Redis has not answered yet, at most. */
  readonly maxBytes: number
  readonly log: Log
}

/** Pub/sub, both ways. */
export class PubSubLane implements Lane {
  readonly #options: PubSubLaneOptions
  readonly #publisher: Publisher
  readonly #subscriber: Subscriber

  constructor(options: PubSubLaneOptions) {
    const { connections, publishes, maxBytes, log } = options
    this.#options = options
    this.#publisher = new Publisher(connections.get(publishes), maxBytes)
    this.#subscriber = new Subscriber(log)
  }

  publish(channel: string, message: Buffer): boolean {
    return this.#publisher.publish(this.#options.keyPrefix + channel, message)
  }

  get pendingBytes(): number {
    return this.#publisher.pendingBytes
  }

  onDrained(listener: () => void): void {
    this.#publisher.onDrained(listener)
  }

  subscribe(channel: string, listener: (message: Buffer) => void): void {
    this.#subscriber.subscribe(this.#subscribing, this.#options.keyPrefix + channel, listener)
  }

  /** A connection is there. */
  up(name: ConnectionName): void {
    if (name === this.#options.subscribes) this.#subscriber.connected(this.#subscribing)
  }

  message(name: ConnectionName, channel: Buffer, message: Buffer): void {
    if (name === this.#options.subscribes) this.#subscriber.message(channel, message)
  }

  get #subscribing(): Connection {
    return this.#options.connections.get(this.#options.subscribes)
  }
}
