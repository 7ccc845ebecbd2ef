import type { Log } from '../../log.ts'
import type { Connection } from './connection.ts'

type Listener = (message: Buffer) => void

/** SUBSCRIBE on a connection of its own, said again on each new one. What is published meanwhile is lost. */
export class Subscriber {
  readonly #listeners = new Map<string, Listener[]>()
  readonly #log: Log

  constructor(log: Log) {
    this.#log = log
  }

  /** `connection` is told at once if it is up. */
  subscribe(connection: Connection, channel: string, listener: Listener): void {
    const listeners = this.#listeners.get(channel)
    this.#listeners.set(channel, [...(listeners ?? []), listener])
    if (listeners === undefined && connection.isUp) this.#send(connection, [channel])
  }

  connected(connection: Connection): void {
    if (this.#listeners.size > 0) this.#send(connection, [...this.#listeners.keys()])
  }

  message(channel: Buffer, message: Buffer): void {
    for (const listener of this.#listeners.get(channel.toString()) ?? []) {
      try {
        listener(message)
      } catch (error) {
        this.#log.error({ err: error }, 'a listener of a channel failed')
      }
    }
  }

  #send(connection: Connection, channels: readonly string[]): void {
    connection.send('subscribe', channels).catch((error: unknown) => {
      this.#log.warn({ err: error }, 'subscribing at redis failed')
      connection.drop('Redis has refused a subscription')
    })
  }
}
