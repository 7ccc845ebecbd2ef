import { LoadClient } from '../support/load-client.ts'
import { eventually } from './ledger.ts'

export interface PublisherOptions {
  /** QoS 1 and 2 messages that it has on their way at once. */
  readonly window?: number
  /** Between an acknowledgement and the message that follows it; default: none. */
  readonly pauseMs?: number
}

/** Publishes without a pause, through every interruption, until it is stopped. */
export class Publisher {
  readonly client: LoadClient
  readonly published: string[] = []
  stopped = false
  readonly #qos: 1 | 2
  readonly #name: string
  readonly #window: number
  readonly #pauseMs: number

  constructor(name: string, qos: 1 | 2, port: number, { window = 20, pauseMs = 0 }: PublisherOptions = {}) {
    this.client = new LoadClient({ port, clientId: name, clean: false, window })
    this.#name = name
    this.#qos = qos
    this.#window = window
    this.#pauseMs = pauseMs
  }

  publishMore(): void {
    while (!this.stopped && this.client.unfinishedCount < 2 * this.#window) {
      const number = this.published.length
      const payload = `${this.#name} ${number}`
      this.published.push(payload)
      const message = { topic: `load/${this.#name}/${number % 5}`, payload, qos: this.#qos }
      void this.client.publish({ ...message, retain: number % 7 === 0 }).then(() => this.#later())
    }
    // In between, what nobody promises to keep.
    if (this.client.isOpen) void this.client.publish({ topic: 'noise', payload: 'x', qos: 0 })
  }

  #later(): void {
    if (this.#pauseMs === 0) this.publishMore()
    else setTimeout(() => this.publishMore(), this.#pauseMs)
  }
}

/** They publish no more. Resolves with what was acknowledged, once all that they have published is. */
export async function stopAll(publishers: readonly Publisher[]): Promise<string[]> {
  for (const publisher of publishers) publisher.stopped = true
  await eventually(() => publishers.every(({ client }) => client.unfinishedCount === 0))
  return publishers.flatMap(({ client }) => [...client.acknowledged])
}
